//! Which environments there are and what may be published in them, as the deployment worker last said. So a request that names
//! another one is refused at once, and not when everything is built.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use signalbox_contract::EnvironmentName;
use signalbox_contract::grant::Glob;
use signalbox_controller_core::plan::DeployTarget;
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

/// How long a request that names an unknown environment, or a name that it does not allow, waits until it is known whether
/// that holds by now.
const PATIENCE: Duration = Duration::from_millis(1500);

/// All environments, each with the patterns of the names that it allows, where the worker says them.
pub(crate) type Environments = Arc<BTreeMap<EnvironmentName, Option<Vec<Glob>>>>;

/// Why nothing can be deployed somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// There is no such environment; there are these.
    Environment(Environments),
    /// The environment allows other names: those of these patterns.
    Name(Vec<Glob>),
}

#[derive(Debug, Clone)]
enum Known {
    /// The first answer has not come, and is still waited for.
    Asking,
    /// It was asked, and has never answered.
    Never,
    /// What it answered last, and when it was asked that.
    Environments(Environments, Instant),
}

impl Known {
    /// What speaks against a target, as far as is known.
    fn against(&self, DeployTarget { environment, name }: &DeployTarget) -> Option<Unfit> {
        let Self::Environments(all, _) = self else { return None };
        match all.get(environment) {
            None => Some(Unfit::Environment(Arc::clone(all))),
            Some(Some(names)) if !names.iter().any(|glob| glob.matches(name.as_str())) => Some(Unfit::Name(names.clone())),
            Some(_) => None,
        }
    }
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
            let pace = if matches!(*self.known.borrow(), Known::Environments(..)) { PACE } else { SOON };
            tokio::select! {
                () = tokio::time::sleep(pace) => {}
                () = shutdown.requested() => return,
            }
        }
    }

    /// Why nothing can be deployed there, if so; `None` also if nobody can tell because the worker has never answered: then
    /// the run that is asked for waits for it.
    pub(crate) async fn against(&self, target: &DeployTarget) -> Option<Unfit> {
        let begun = Instant::now();
        let known = self.known.borrow().clone();
        if matches!(known, Known::Environments(..)) && known.against(target).is_none() {
            return None;
        }
        // It may have been added a moment ago. Where the first answer is still under way, that is the one that is waited for.
        let waiting = async {
            match known {
                Known::Asking => drop(self.known.subscribe().wait_for(|known| !matches!(known, Known::Asking)).await),
                Known::Environments(..) => self.ask(begun).await,
                Known::Never => {}
            }
        };
        // When it does not answer in time, its last answer counts.
        let _ = timeout(PATIENCE, waiting).await;
        self.known.borrow().against(target)
    }

    /// Asks the worker, unless somebody else has had its answer to a question from after `begun`.
    async fn ask(&self, begun: Instant) {
        let _turn = self.asking.lock().await;
        if matches!(*self.known.borrow(), Known::Environments(_, asked) if asked >= begun) {
            return;
        }
        let asked = Instant::now();
        match self.workers.environments().await {
            Ok(environments) => {
                let all = environments.into_iter().map(|environment| (environment.name, environment.names)).collect();
                self.known.send_replace(Known::Environments(Arc::new(all), asked));
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
