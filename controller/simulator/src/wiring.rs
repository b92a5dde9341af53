//! What a simulated world is made of: the real parts, unless a test puts a faulty one in their place.

use jiff::Timestamp;
use signalbox_contract::AttemptKey;
use signalbox_contract::build::Observation;
use signalbox_controller_core::decide::{Decision, Limits, Refusal};
use signalbox_controller_core::dispatcher::Settlement;
use signalbox_controller_core::lease::Lease;
use signalbox_controller_core::{Effect, Event, Run, decide};

use crate::database::Row;

/// The places in which a mistake can be planted. Each default is what the controller does.
pub trait Wiring: Sync {
    /// Tells a run what happened.
    ///
    /// # Errors
    /// When the run's state does not allow what a person asks.
    fn decide(&self, run: &Run, event: &Event, now: Timestamp, limits: &Limits) -> Result<Option<Decision>, Refusal> {
        decide(run, event, now, limits)
    }

    /// Whether whoever holds a lease may still say what came of the effect.
    fn holds(&self, row: &Row, lease: Lease) -> bool {
        row.epoch == lease.epoch
    }

    /// Whether effects are performed only once what caused them is written.
    fn writes_first(&self) -> bool {
        true
    }

    /// The key under which an effect is performed, which was tried so often before.
    fn key(&self, effect: &Effect, _tries: u32) -> AttemptKey {
        effect.key
    }

    /// What is written of an effect that was performed.
    fn settlement(&self, settlement: Settlement) -> Settlement {
        settlement
    }

    /// What a look at an executor is taken for.
    fn seen(&self, observation: Observation) -> Observation {
        observation
    }

    /// Whether executors are looked at; else only what they report by themselves is known.
    fn looks(&self) -> bool {
        true
    }
}

/// The controller as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Real;

impl Wiring for Real {}
