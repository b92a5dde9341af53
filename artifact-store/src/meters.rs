//! What the store tells of itself in numbers.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use signalbox_service::telemetry::Telemetry;

/// The store's metrics.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meters {
    /// Blobs that were stored.
    pub(crate) stored: Counter,
    /// Bytes that were stored.
    pub(crate) stored_bytes: Counter,
    /// Bytes that were served.
    pub(crate) served_bytes: Counter,
    /// How often bytes were found that are not what was stored.
    pub(crate) rot_found: Counter,
    /// Blobs that were collected.
    pub(crate) collected: Counter,
    /// How many bytes the blobs have together.
    pub(crate) total_bytes: Gauge,
    /// How many blobs are not served because they rotted.
    pub(crate) rotten: Gauge,
    /// How many bytes the disk still has.
    pub(crate) free_bytes: Gauge,
}

impl Meters {
    /// The metrics, registered.
    pub(crate) fn register(telemetry: &Telemetry) -> Self {
        let meters = Self::default();
        let mut registry = telemetry.registry();
        registry.register("store_blobs_stored", "Blobs stored", meters.stored.clone());
        registry.register("store_bytes_stored", "Bytes stored", meters.stored_bytes.clone());
        registry.register("store_bytes_served", "Bytes served", meters.served_bytes.clone());
        registry.register("store_rot_found", "Times that stored bytes were found to have rotted", meters.rot_found.clone());
        registry.register("store_blobs_collected", "Blobs collected because nobody needed them", meters.collected.clone());
        registry.register("store_total_bytes", "Bytes that all blobs have together", meters.total_bytes.clone());
        registry.register("store_rotten_blobs", "Blobs that are not served because they rotted", meters.rotten.clone());
        registry.register("store_free_bytes", "Bytes free on the disk", meters.free_bytes.clone());
        drop(registry);
        meters
    }
}

/// A number for a gauge.
pub(crate) fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
