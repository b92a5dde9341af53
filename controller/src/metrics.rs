//! What the controller tells Prometheus of its own.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use signalbox_controller_core::Lane;
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::Telemetry;

use crate::store::Store;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabel {
    lane: &'static str,
}

/// How much is going on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gauges {
    active: Gauge,
    waiting: Family<LaneLabel, Gauge>,
}

impl Gauges {
    pub(crate) fn register(telemetry: &Telemetry) -> Self {
        let gauges = Self::default();
        let mut registry = telemetry.registry();
        registry.register("runs_active", "Runs that are not finished", gauges.active.clone());
        registry.register("effects_due", "Effects that are due or being performed", gauges.waiting.clone());
        gauges
    }

    /// Keeps them true, every few seconds.
    pub(crate) async fn follow(self, store: Store, shutdown: Shutdown) {
        while !shutdown.begun() {
            if let Ok((lanes, active)) = store.load().await {
                self.active.set(active);
                for lane in Lane::ALL {
                    let due = lanes.iter().find(|(name, _)| name == lane.word()).map_or(0, |(_, due)| *due);
                    self.waiting.get_or_create(&LaneLabel { lane: lane.word() }).set(due);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(5)) => {}
                () = shutdown.requested() => {}
            }
        }
    }
}
