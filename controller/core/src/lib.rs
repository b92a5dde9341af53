//! What the controller decides, and nothing that it does: what becomes of a run, which effects are performed when, and
//! which executors are looked at when.
//!
//! A *run* and a *resource* are aggregates. An event and an aggregate give a changed aggregate, effects for the outside
//! world, messages for other aggregates, and an entry for the event log; the store writes all of them in one transaction.
//!
//! Architecture invariant: nothing here sees a clock, a socket or a row. Time and identifiers come in with the event, so
//! that the same code runs in production, under property tests and in a simulator.

pub mod attempt;
pub mod decide;
pub mod dispatcher;
pub mod effect;
pub mod event;
pub mod lease;
pub mod plan;
pub mod reconciler;
pub mod reporting;
pub mod resource;
mod route;
pub mod run;
pub mod view;

pub use attempt::{Attempt, Phase};
pub use decide::{Decision, Refusal, accept, decide};
pub use effect::{Act, Effect, Lane};
pub use event::Event;
pub use plan::{PlannedStep, Work};
pub use reporting::Reporting;
pub use resource::{Granted, Message, Resource, ResourceKey};
pub use run::{Run, Step};

/// `wait` after `now`.
pub fn after(now: jiff::Timestamp, wait: std::time::Duration) -> jiff::Timestamp {
    now.saturating_add(wait).unwrap_or(jiff::Timestamp::MAX)
}
