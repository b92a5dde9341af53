//! Deploying, activating, and telling what hosts show.
//!
//! Each host goes its own way, several at a time: one that hangs or fails holds up no other and is left as it was. All
//! that a host is asked may be asked again.

mod activate;
mod deploy;
mod host;
mod metrics;
mod survey;
mod words;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};
use signalbox_contract::api::deploy::{HostOutcome, HostResult, NewerActivation};
use signalbox_contract::{Digest, EnvironmentName, Failure, FailureCode, PublishedName};
use signalbox_service::clock::SharedClock;
use signalbox_service::ledger::WorkError;
use signalbox_service::telemetry::Telemetry;

use crate::blob::Cache;
use crate::config::Limits;
use crate::environment::{Environment, Host};
use crate::release::{End, Fault, Report};
use crate::ssh::Sessions;
use metrics::Metrics;

/// How long a host waits for another deployment of the same name to let go of its lock.
const PATIENCE: Duration = Duration::from_secs(20);

/// What brings releases to hosts.
pub struct Deployer {
    environments: BTreeMap<EnvironmentName, Environment>,
    sessions: Sessions,
    cache: Cache,
    limits: Limits,
    clock: SharedClock,
    metrics: Metrics,
}

impl std::fmt::Debug for Deployer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deployer").field("environments", &self.environments).finish_non_exhaustive()
    }
}

impl Deployer {
    /// What brings releases to the hosts of these environments.
    pub fn new(
        environments: BTreeMap<EnvironmentName, Environment>,
        sessions: Sessions,
        cache: Cache,
        limits: Limits,
        clock: SharedClock,
        telemetry: &Telemetry,
    ) -> Self {
        let metrics = Metrics::register(telemetry);
        Self { environments, sessions, cache, limits, clock, metrics }
    }

    /// The environment, if it allows the name.
    fn environment(&self, environment: &EnvironmentName, name: &PublishedName) -> Result<&Environment, WorkError> {
        let Some(found) = self.environments.get(environment) else {
            let failure = Failure::new(FailureCode::EnvironmentNotFound, format!("There is no environment {environment}."));
            return Err(WorkError::Failed(
                failure.configure("Name one of those in the deployment worker's configuration, or add it there."),
            ));
        };
        if !found.allows(name) {
            let failure = Failure::new(FailureCode::NameNotAllowed, format!("{environment} does not allow the name {name}."));
            return Err(WorkError::Failed(
                failure.configure("Name one that its `names` in the deployment worker's configuration allow, or add it there."),
            ));
        }
        Ok(found)
    }

    /// Does something with each host, as many at a time as the configuration says. The results are in the hosts' order.
    async fn side_by_side<T: Send>(&self, each: Vec<BoxFuture<'_, T>>) -> Vec<T> {
        stream::iter(each).buffered(self.limits.parallel).collect().await
    }

    /// A word that no other order has.
    fn nonce(&self) -> String {
        self.clock.uuid().simple().to_string()
    }

    /// How long a host may wait for its lock, in seconds: less than we wait for the host.
    fn patience(&self) -> u64 {
        PATIENCE.min(self.limits.step / 2).as_secs().max(1)
    }
}

/// What became of one host.
fn result(host: &Host, begun: Instant, outcome: HostOutcome, digest: Option<Digest>, previous: Option<Digest>, bytes: u64) -> HostResult {
    let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    HostResult { host: host.name.clone(), outcome, digest, previous, newer: None, bytes, took_ms }
}

/// What an answer about a switch to `wanted` means.
fn judged(host: &Host, begun: Instant, report: &Report, complaint: &[u8], wanted: Digest, bytes: u64) -> HostResult {
    let before = report.shows.map(|release| release.digest);
    let failed = |failure| HostOutcome::Failed { failure };
    let (outcome, now) = match &report.end {
        End::Switched => (HostOutcome::Switched, Some(wanted)),
        End::Unchanged => (HostOutcome::Unchanged, Some(wanted)),
        End::Superseded => (HostOutcome::Superseded, before),
        End::Failed(Fault::SyncAfter) => (failed(words::of_fault(host, &Fault::SyncAfter, complaint)), Some(wanted)),
        End::Failed(fault) => (failed(words::of_fault(host, fault, complaint)), before),
        End::Missing | End::Nothing => (failed(words::not_kept(host)), before),
        End::Checked | End::Told => (failed(words::unexpected(host, "it answers something else", complaint)), before),
    };
    let superseded = outcome == HostOutcome::Superseded;
    let newer = report.high.filter(|_| superseded).map(|sequence| NewerActivation { sequence, run: report.high_run });
    HostResult { newer, ..result(host, begun, outcome, now, before, bytes) }
}
