//! What the operator's dashboards see.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use signalbox_service::telemetry::Telemetry;

/// What is counted of builds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    /// Builds that have ended, by how.
    ended: Family<Outcome, Counter>,
    /// Builds that wait or run.
    pub(super) live: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    verdict: &'static str,
}

impl Metrics {
    pub(crate) fn register(telemetry: &Telemetry) -> Self {
        let metrics = Self::default();
        let mut registry = telemetry.registry();
        registry.register("executor_builds", "Builds that have ended, by verdict", metrics.ended.clone());
        registry.register("executor_builds_live", "Builds that wait or run", metrics.live.clone());
        drop(registry);
        metrics
    }

    pub(super) fn ended(&self, verdict: &'static str) {
        self.ended.get_or_create(&Outcome { verdict }).inc();
    }
}
