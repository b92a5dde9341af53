//! What the worker counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use signalbox_contract::FailureCode;
use signalbox_contract::api::vcs::Transferred;
use signalbox_service::telemetry::Telemetry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// The counters.
#[derive(Debug)]
pub(crate) struct Meters {
    mirrored: Family<Outcome, Counter>,
    bytes: Counter,
}

impl Meters {
    /// Registers them.
    pub(crate) fn register(telemetry: &Telemetry) -> Self {
        let meters = Self { mirrored: Family::default(), bytes: Counter::default() };
        let mut registry = telemetry.registry();
        registry.register("mirrored", "Requests to mirror a ref, by what came of them", meters.mirrored.clone());
        registry.register("fetched_bytes", "Bytes by which copies of sources grew", meters.bytes.clone());
        meters
    }

    /// Counts one request to mirror.
    pub(crate) fn mirrored(&self, outcome: Result<Transferred, FailureCode>) {
        let word = match outcome {
            Ok(Transferred { objects: 0, .. }) => "known",
            Ok(transferred) => {
                self.bytes.inc_by(transferred.bytes);
                "fetched"
            }
            Err(code) => code.as_str(),
        };
        self.mirrored.get_or_create(&Outcome { outcome: word }).inc();
    }
}
