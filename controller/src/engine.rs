//! What carries out decisions: the dispatcher performs effects, the reconciler looks at what is true, the collector keeps
//! the logs. Each pass of theirs is a step function without I/O; the loops here feed them.

mod nudges;
mod outputs;
pub mod perform;
mod report;
mod resolve;
mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use signalbox_adapters::executor::Executor;
use signalbox_contract::build::Observation;
use signalbox_contract::{AttemptKey, ExecutorName, Failure, FailureCode, RunId};
use signalbox_controller_core::reconciler;
use signalbox_controller_core::{Effect, Event};
use signalbox_service::clock::SharedClock;
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::causes;
use signalbox_service::telemetry::request_id::{self, RequestId};
use tokio::sync::mpsc;
use tracing::Instrument as _;

use crate::log::{Collector, Reading};
use crate::store::{Lease, Leased, Live, Store, StoreError};

pub use nudges::Nudges;
pub use perform::Outside;
pub(crate) use report::subject;
pub use report::{Forges, Reporter};
pub use signalbox_controller_core::dispatcher::{Dispatcher, Fault, Settlement};
pub use signalbox_controller_core::reconciler::{Look, Reconciler};
pub use workers::Workers;

/// The executors, by name.
pub type Executors = BTreeMap<ExecutorName, Arc<dyn Executor>>;

/// How often the dispatcher looks for work when nobody calls it.
const TICK: Duration = Duration::from_millis(250);

/// Performs effects in the outside world. Repeatable: it is asked again after a crash.
pub trait Perform: Send + Sync {
    /// Performs an effect, and tells what is to be told to its run.
    fn perform<'a>(&'a self, effect: &'a Effect) -> BoxFuture<'a, Result<Option<Event>, Fault>>;
}

/// Looks at what is true. Changes nothing.
pub trait Observe: Send + Sync {
    /// Looks at some builds of one executor.
    fn observe<'a>(&'a self, look: &'a Look) -> BoxFuture<'a, Option<Vec<Observation>>>;
}

/// What the loops need.
#[derive(Clone)]
pub struct Engine {
    /// The store.
    pub store: Store,
    /// Time.
    pub clock: SharedClock,
    /// What performs.
    pub outside: Arc<Outside>,
    /// What keeps the logs.
    pub collector: Arc<Collector>,
    /// What is said of executors.
    pub nudges: Nudges,
}

impl Engine {
    /// Starts the loops.
    pub fn start(&self, shutdown: &Shutdown) {
        shutdown.spawn("dispatcher", self.clone().dispatch(shutdown.clone()));
        shutdown.spawn("reconciler", self.clone().reconcile(shutdown.clone()));
        shutdown.spawn("collector", self.clone().collect(shutdown.clone()));
    }

    /// Leases effects while there are hands free, performs them, and tells the store what came of them.
    async fn dispatch(self, shutdown: Shutdown) {
        let mut dispatcher = Dispatcher::default();
        // As many as there are hands, so that nothing that was performed ever waits to say so.
        let (report, mut outcomes) = mpsc::channel::<(Lease, Result<Option<Event>, Fault>)>(dispatcher.hands());
        loop {
            let now = self.clock.now();
            let room = dispatcher.room();
            if !room.is_empty() && !shutdown.begun() {
                match self.store.lease(room, dispatcher.lease_until(now)).await {
                    Ok(leased) => {
                        for leased in leased {
                            dispatcher.begin(&leased, now);
                            self.perform(leased, report.clone());
                        }
                    }
                    Err(error) => tracing::warn!(error = %causes(&error), "effects could not be leased"),
                }
            }
            for (lease, settlement) in dispatcher.unwritten(now) {
                self.write(&mut dispatcher, lease, settlement).await;
            }
            let renewals = dispatcher.renewals(now);
            if !renewals.is_empty()
                && let Err(error) = self.store.renew(renewals, dispatcher.lease_until(now)).await
            {
                tracing::warn!(error = %causes(&error), "leases could not be renewed");
            }
            tokio::select! {
                Some((lease, result)) = outcomes.recv() => self.settle(&mut dispatcher, lease, result).await,
                () = self.store.nudged() => {}
                () = tokio::time::sleep(TICK) => {}
                // What is under way is given up: its lease ends, and it is performed again after the start.
                () = shutdown.requested() => return,
            }
            while let Ok((lease, result)) = outcomes.try_recv() {
                self.settle(&mut dispatcher, lease, result).await;
            }
        }
    }

    fn perform(&self, leased: Leased, report: mpsc::Sender<(Lease, Result<Option<Event>, Fault>)>) {
        let outside = Arc::clone(&self.outside);
        let (key, kind) = (leased.effect.key, leased.effect.act.kind().word());
        // One for all tries: whoever is asked again is asked the same.
        let id = RequestId::of_attempt(&key, kind);
        let span = tracing::info_span!("effect", %id, run = %leased.run, %key, kind, tries = leased.tries);
        let task = async move {
            let performed = AssertUnwindSafe(request_id::scope(id, outside.perform(&leased.effect))).catch_unwind().await;
            let result = performed.unwrap_or_else(|_| {
                tracing::error!("performing panicked");
                Err(Fault::Again {
                    after: None,
                    why: Failure::new(FailureCode::Internal, "The controller met a fault of its own.").hint("Its log has more."),
                })
            });
            match &result {
                Ok(_) => tracing::info!("effect.performed"),
                Err(Fault::Failed(failure)) => tracing::info!(code = failure.code.as_str(), "effect.failed"),
                Err(Fault::Again { why, .. }) => tracing::debug!(code = why.code.as_str(), "effect.tried_in_vain"),
                Err(Fault::Working | Fault::NotYet(_)) => tracing::debug!("effect.goes_on"),
            }
            // The dispatcher ends only with the service.
            let _ = report.send((leased.lease, result)).await;
        };
        tokio::spawn(task.instrument(span));
    }

    async fn settle(&self, dispatcher: &mut Dispatcher, lease: Lease, result: Result<Option<Event>, Fault>) {
        let Some(settlement) = dispatcher.outcome(lease, result, self.clock.now()) else { return };
        self.write(dispatcher, lease, settlement).await;
    }

    async fn write(&self, dispatcher: &mut Dispatcher, lease: Lease, settlement: Settlement) {
        let written = match settlement.clone() {
            Settlement::Tell { run, event } => self.tell(run, *event, Some(lease)).await,
            Settlement::Done => self.store.done(lease).await,
            // The trouble first: once the effect is put off, nobody would say it again before the next try.
            Settlement::Later { due, error, trouble } => match trouble {
                Some((run, event)) => match self.tell(run, *event, None).await {
                    Ok(()) => self.store.later(lease, due, error).await,
                    Err(error) => Err(error),
                },
                None => self.store.later(lease, due, error).await,
            },
        };
        if let Err(error) = written {
            tracing::warn!(error = %causes(&error), "what came of an effect could not be written");
            dispatcher.keep(lease, settlement, self.clock.now());
        }
    }

    async fn tell(&self, run: RunId, event: Event, done: Option<Lease>) -> Result<(), StoreError> {
        let word = event.word();
        match self.store.happened(run, event, done).await {
            Ok(changed) => {
                tracing::debug!(%run, event = word, changed, "an event was told");
                Ok(())
            }
            // Retention has removed it; nobody is left to be told. One that cannot be read waits for a start that can.
            Err(StoreError::NoSuchRun | StoreError::Unreadable(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Looks at each executor that has builds of ours, again and again, and tells what it saw.
    async fn reconcile(self, shutdown: Shutdown) {
        let paces = self.outside.executors.iter().map(|(name, executor)| (name.clone(), executor.abilities().pace));
        let mut reconciler = Reconciler::new(paces.collect());
        // An executor that does not answer must not hold up the looks at the others.
        let mut looks = FuturesUnordered::new();
        while !shutdown.begun() {
            for executor in self.nudges.take() {
                reconciler.nudge(&executor);
                if let Err(error) = self.store.hurry(executor).await {
                    tracing::warn!(error = %causes(&error), "a search could not be hurried");
                }
            }
            match self.store.live().await {
                Ok(live) => {
                    looks.extend(reconciler.due(self.clock.now(), &live).into_iter().map(|look| self.look(look)));
                }
                Err(error) => tracing::warn!(error = %causes(&error), "the live attempts could not be read"),
            }
            let mut pace = std::pin::pin!(tokio::time::sleep(reconciler::PACE));
            loop {
                tokio::select! {
                    Some((look, seen)) = looks.next() => {
                        for event in reconciler.seen(&look, seen, self.clock.now()) {
                            self.observed(event).await;
                        }
                    }
                    () = &mut pace => break,
                    () = shutdown.requested() => return,
                }
            }
        }
    }

    async fn look(&self, look: Look) -> (Look, Option<Vec<Observation>>) {
        let id = RequestId::random();
        let span = tracing::info_span!("look", %id, executor = %look.executor);
        let seen = request_id::scope(id, self.outside.observe(&look)).instrument(span).await;
        (look, seen)
    }

    async fn observed(&self, observation: Observation) {
        let run = observation.key.run;
        if let Err(error) = self.tell(run, Event::Observed(observation), None).await {
            // It is seen again at the next look.
            tracing::warn!(%run, error = %causes(&error), "an observation could not be written");
        }
    }

    /// Reads on in the logs of what runs.
    async fn collect(self, shutdown: Shutdown) {
        let mut reading = BTreeSet::new();
        let mut reads = FuturesUnordered::new();
        while !shutdown.begun() {
            if let Ok(live) = self.store.live().await {
                self.collector.only(&live.iter().map(|live| live.key).collect());
                reads.extend(live.into_iter().filter(|live| reading.insert(live.key)).map(|live| self.read_on(live)));
            }
            let mut pace = std::pin::pin!(tokio::time::sleep(reconciler::PACE));
            loop {
                tokio::select! {
                    Some(key) = reads.next() => { reading.remove(&key); }
                    () = &mut pace => break,
                    () = shutdown.requested() => return,
                }
            }
        }
    }

    async fn read_on(&self, live: Live) -> AttemptKey {
        let reading = Reading { key: live.key, executor: &live.executor, build: live.build.as_deref(), parts: &live.parts };
        let id = RequestId::of_attempt(&live.key, "log");
        let span = tracing::info_span!("log", %id, run = %live.key.run, key = %live.key);
        let reading = async {
            if let Err(error) = self.collector.read_on(&reading).await {
                tracing::debug!(error = %causes(&error), "a log could not be read on");
            }
        };
        request_id::scope(id, reading).instrument(span).await;
        live.key
    }
}
