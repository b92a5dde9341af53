//! The two ways of hearing from forges that are not their calls: listening to their streams, and looking what is there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use signalbox_adapters::forge::{Forge, Streamed, Watched};
use signalbox_contract::ForgeName;
use signalbox_contract::api::delivery::Via;
use signalbox_service::auth::sha256;
use signalbox_service::clock::SharedClock;
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::causes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Comparison;
use super::calls::{Calls, Look};
use super::comparison::{Compare, Looked};
use crate::config::Config;
use crate::engine::Forges;
use crate::store::{NewDelivery, Store};

/// How long it is waited before a forge is asked again for what it did not say.
const AGAIN: Duration = Duration::from_secs(15);

/// How long it is waited before an event that could not be written down is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// What listens and looks.
#[derive(Clone)]
pub struct Sources {
    /// Where events are written down.
    pub store: Store,
    /// Time.
    pub clock: SharedClock,
    /// Which projects are looked at, and how often.
    pub config: Arc<Config>,
    /// Where comparisons are called for.
    pub calls: Calls,
    /// Where they go.
    pub found: mpsc::Sender<Comparison>,
}

impl Sources {
    /// Starts a listener and an onlooker for each forge.
    pub fn start(&self, forges: &Forges, shutdown: &Shutdown) {
        for (name, forge) in forges {
            shutdown.spawn("forge-comparison", self.clone().look(name.clone(), Arc::clone(forge), shutdown.clone()));
            if self.config.forges.get(name).is_some_and(|config| config.stream) {
                shutdown.spawn("forge-stream", self.clone().listen(name.clone(), Arc::clone(forge), shutdown.clone()));
            }
        }
    }

    /// Looks what is there, on a slow timer and when it is called for. What could not be read is looked at again before that.
    async fn look(self, name: ForgeName, forge: Arc<dyn Forge>, shutdown: Shutdown) {
        let resync = self.config.forges.get(&name).map_or(Duration::from_mins(10), |config| config.resync);
        let all = self.config.watched(&name);
        let mut behind = BTreeSet::new();
        let (mut look, mut whole) = (Look { all: true, ..Look::default() }, true);
        let mut last = None;
        let (mut next, mut again) = (Instant::now(), None);
        while !shutdown.begun() {
            let some: Vec<Watched> = all.iter().filter(|one| whole || behind.contains(&one.project)).cloned().collect();
            let wanted = Compare { name: &name, forge: forge.as_ref(), store: &self.store, config: &self.config, watched: &some };
            let asked_at = self.clock.now();
            let looked = async {
                if all.is_empty() {
                    Ok(Looked { comparison: Comparison::nothing(&name, asked_at), behind: BTreeSet::new() })
                } else {
                    wanted.look(&look, asked_at, &mut last).await
                }
            };
            let looked = tokio::select! {
                looked = looked => looked,
                () = shutdown.requested() => return,
            };
            match looked {
                Ok(Looked { comparison, behind: now }) => {
                    let (found, missing) = (comparison.found.len(), now.len());
                    tracing::debug!(forge = %name, found, missing, "a forge was looked at");
                    tokio::select! {
                        sent = self.found.send(comparison) => if sent.is_err() { return },
                        () = shutdown.requested() => return,
                    }
                    if look.all {
                        behind = now;
                    } else {
                        behind.extend(now);
                    }
                }
                Err(error) => {
                    tracing::warn!(forge = %name, error = %causes(&error), "a forge could not be looked at");
                    behind.extend(all.iter().map(|one| one.project.clone()));
                }
            }
            if whole {
                next = Instant::now() + resync;
            }
            // What was called for and not seen is looked at with everything else of its project, soon.
            if behind.is_empty() {
                again = None;
            } else if look.all || again.is_none() {
                again = Some(Instant::now() + AGAIN.min(resync));
            }
            (look, whole) = tokio::select! {
                () = tokio::time::sleep_until(next) => (Look { all: true, ..Look::default() }, true),
                () = tokio::time::sleep_until(again.unwrap_or(next)), if again.is_some() => (Look { all: true, ..Look::default() }, false),
                look = self.calls.called(&name) => { let whole = look.all; (look, whole) },
                () = shutdown.requested() => return,
            };
        }
    }

    /// Writes down what the stream says.
    async fn listen(self, name: ForgeName, forge: Arc<dyn Forge>, shutdown: Shutdown) {
        let Some(mut stream) = forge.stream() else { return };
        loop {
            let streamed = tokio::select! {
                streamed = stream.next() => streamed,
                () = shutdown.requested() => return,
            };
            match streamed {
                Some(Streamed::Event(line)) => self.write_down(&name, forge.as_ref(), &line, &shutdown).await,
                // What was said while nobody listened is found by comparing.
                Some(Streamed::Connected) => {
                    tracing::info!(forge = %name, "the stream of events stands");
                    self.calls.compare(&name);
                }
                Some(Streamed::Cut { why }) => tracing::warn!(forge = %name, why, "the stream of events was cut"),
                None => return,
            }
        }
    }

    /// Writes an event down, however long that takes: the stream waits meanwhile.
    async fn write_down(&self, name: &ForgeName, forge: &dyn Forge, line: &[u8], shutdown: &Shutdown) {
        let (digest, size) = (sha256(line), line.len() as u64);
        let delivery = match forge.admit_streamed(line) {
            Ok(admitted) => NewDelivery {
                source: name.clone(),
                via: Via::Stream,
                key: admitted.id,
                kind: admitted.kind,
                headers: admitted.headers,
                body: Some(String::from_utf8_lossy(&admitted.body).into_owned()),
                size,
                digest,
                settled: None,
            },
            Err(error) => {
                tracing::warn!(forge = %name, %error, "an event could not be kept");
                // Whatever it said is found by comparing.
                self.calls.compare(name);
                NewDelivery::unreadable(name, Via::Stream, digest, size)
            }
        };
        while !shutdown.begun() {
            match self.store.receive(delivery.clone()).await {
                Ok(_) => return,
                Err(error) => tracing::warn!(forge = %name, error = %causes(&error), "an event could not be written down"),
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = shutdown.requested() => return,
            }
        }
    }
}
