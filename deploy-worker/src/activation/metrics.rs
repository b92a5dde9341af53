//! What deployments tell of themselves.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use signalbox_contract::PublishedName;
use signalbox_contract::api::deploy::{HostOutcome, HostResult};
use signalbox_service::telemetry::Telemetry;

use super::Deployer;
use crate::environment::Environment;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Outcome {
    Switched,
    Unchanged,
    Superseded,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: Outcome,
}

/// The worker's own metrics.
pub(super) struct Metrics {
    hosts: Family<Labels, Counter>,
    bytes: Counter,
}

impl Metrics {
    pub(super) fn register(telemetry: &Telemetry) -> Self {
        let metrics = Self { hosts: Family::default(), bytes: Counter::default() };
        let mut registry = telemetry.registry();
        registry.register("deploy_hosts", "Hosts that were asked to switch, by what came of it", metrics.hosts.clone());
        registry.register("deploy_bytes", "Bytes of artifacts moved to hosts", metrics.bytes.clone());
        metrics
    }
}

impl Deployer {
    /// Counts and logs what came of each host.
    pub(super) fn note(&self, environment: &Environment, name: &PublishedName, sequence: u64, hosts: &[HostResult]) {
        for result in hosts {
            let outcome = match &result.outcome {
                HostOutcome::Switched => Outcome::Switched,
                HostOutcome::Unchanged => Outcome::Unchanged,
                HostOutcome::Superseded => Outcome::Superseded,
                HostOutcome::Failed { failure } => {
                    tracing::warn!(host = %result.host, reason = %failure, "deploy.host_failed");
                    Outcome::Failed
                }
            };
            self.metrics.hosts.get_or_create(&Labels { outcome }).inc();
            self.metrics.bytes.inc_by(result.bytes);
        }
        let failed = hosts.iter().filter(|result| matches!(result.outcome, HostOutcome::Failed { .. })).count();
        let (environment, hosts) = (&environment.name, hosts.len());
        tracing::info!(%environment, %name, sequence, hosts, failed, "deploy.ended");
    }
}
