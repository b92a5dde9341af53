//! Which environments there are, as the deployment worker last said. So a request that names another one is refused at once,
//! and not when everything is built.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use signalbox_contract::EnvironmentName;
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::causes;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout};

use crate::engine::Workers;

/// How often the deployment worker is asked.
const PACE: Duration = Duration::from_mins(1);

/// How often it is asked while it has never answered.
const SOON: Duration = Duration::from_secs(2);

/// How long the background waits for an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// How long a request that names an unknown environment waits until it is known whether there is one by now. Beside the
/// pages of environments, this is the one thing that a handler waits for.
const PATIENCE: Duration = Duration::from_millis(1500);

/// The names of all environments.
pub(crate) type Names = Arc<BTreeSet<EnvironmentName>>;

#[derive(Debug, Clone)]
enum Known {
    /// The first answer has not come, and is still waited for.
    Asking,
    /// It was asked, and has never answered.
    Never,
    /// What it answered last, and when it was asked that.
    Names(Names, Instant),
}

/// The environments that the deployment worker has. Clones are handles on the same list.
#[derive(Clone)]
pub(crate) struct Roster {
    workers: Workers,
    known: Arc<watch::Sender<Known>>,
    /// Held by whoever asks: others wait for that answer instead of asking as well.
    asking: Arc<Mutex<()>>,
}

impl Roster {
    pub(crate) fn new(workers: Workers) -> Self {
        Self { workers, known: Arc::new(watch::channel(Known::Asking).0), asking: Arc::default() }
    }

    /// Keeps the list fresh. When the worker cannot be asked, its last answer stays.
    pub(crate) async fn follow(self, shutdown: Shutdown) {
        while !shutdown.begun() {
            let begun = Instant::now();
            tokio::select! {
                asked = timeout(ANSWER, self.ask(begun)) => if asked.is_err() { self.unanswered() },
                () = shutdown.requested() => return,
            }
            let pace = if matches!(*self.known.borrow(), Known::Names(..)) { PACE } else { SOON };
            tokio::select! {
                () = tokio::time::sleep(pace) => {}
                () = shutdown.requested() => return,
            }
        }
    }

    /// The names of all environments, if `name` is not among them; `None` if it is, or if nobody can tell because the worker
    /// has never answered: then the run that is asked for waits for it.
    pub(crate) async fn without(&self, name: &EnvironmentName) -> Option<Names> {
        let begun = Instant::now();
        if let Known::Names(names, _) = &*self.known.borrow()
            && names.contains(name)
        {
            return None;
        }
        // It may have been added a moment ago. Where the first answer is still under way, that is the one that is waited for.
        let first = matches!(*self.known.borrow(), Known::Asking);
        let waiting = async {
            if first {
                let _ = self.known.subscribe().wait_for(|known| !matches!(known, Known::Asking)).await;
            } else if matches!(*self.known.borrow(), Known::Names(..)) {
                self.ask(begun).await;
            }
        };
        // When it does not answer in time, its last answer counts.
        let _ = timeout(PATIENCE, waiting).await;
        match &*self.known.borrow() {
            Known::Names(names, _) if !names.contains(name) => Some(Arc::clone(names)),
            Known::Names(..) | Known::Asking | Known::Never => None,
        }
    }

    /// Asks the worker, unless somebody else has had its answer to a question from after `begun`.
    async fn ask(&self, begun: Instant) {
        let _turn = self.asking.lock().await;
        if matches!(*self.known.borrow(), Known::Names(_, asked) if asked >= begun) {
            return;
        }
        let asked = Instant::now();
        match self.workers.environments().await {
            Ok(environments) => {
                let names = environments.into_iter().map(|environment| environment.name).collect();
                self.known.send_replace(Known::Names(Arc::new(names), asked));
            }
            Err(error) => {
                tracing::warn!(error = %causes(&error), "the deployment worker could not be asked for its environments");
                self.unanswered();
            }
        }
    }

    fn unanswered(&self) {
        self.known.send_if_modified(|known| {
            let first = matches!(known, Known::Asking);
            if first {
                *known = Known::Never;
            }
            first
        });
    }
}
