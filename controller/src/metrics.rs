//! What the controller tells Prometheus of its own.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use signalbox_contract::ForgeName;
use signalbox_controller_core::Lane;
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::Telemetry;

use crate::store::Store;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabel {
    lane: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TableLabel {
    table: &'static str,
}

/// The tables whose rows are set aside when they cannot be read.
const TABLES: [&str; 4] = ["run", "effect", "claim", "resource"];

/// How much is going on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gauges {
    active: Gauge,
    waiting: Family<LaneLabel, Gauge>,
    aside: Family<TableLabel, Gauge>,
}

impl Gauges {
    pub(crate) fn register(telemetry: &Telemetry) -> Self {
        let gauges = Self::default();
        let mut registry = telemetry.registry();
        registry.register("runs_active", "Runs that are not finished", gauges.active.clone());
        registry.register("effects_due", "Effects that are due or being performed", gauges.waiting.clone());
        registry.register("rows_unreadable", "Rows that cannot be read and are set aside until the next start", gauges.aside.clone());
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
            if let Ok(tables) = store.aside().await {
                for table in TABLES {
                    let count = tables.iter().find(|(name, _)| name == table).map_or(0, |(_, count)| *count);
                    self.aside.get_or_create(&TableLabel { table }).set(count);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(5)) => {}
                () = shutdown.requested() => {}
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeliveryLabels {
    forge: String,
    outcome: &'static str,
}

/// What forges deliver. The forges are those of the configuration, so their number is small.
#[derive(Debug, Clone, Default)]
pub struct Deliveries(Family<DeliveryLabels, Counter>);

impl Deliveries {
    pub(crate) fn register(telemetry: &Telemetry) -> Self {
        let deliveries = Self::default();
        telemetry.registry().register("deliveries", "What forges delivered, by what came of it", deliveries.0.clone());
        deliveries
    }

    /// One more.
    pub(crate) fn count(&self, forge: &ForgeName, outcome: &'static str) {
        self.0.get_or_create(&DeliveryLabels { forge: forge.to_string(), outcome }).inc();
    }
}
