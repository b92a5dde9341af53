//! Effects that somebody performs.

use signalbox_contract::RunId;
use signalbox_controller_core::Effect;

/// The right to say what came of an effect: nobody else has leased it since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lease {
    /// The effect's row.
    pub id: i64,
    /// How often it was leased.
    pub epoch: i64,
}

/// An effect that is leased.
#[derive(Debug, Clone)]
pub struct Leased {
    /// The lease.
    pub lease: Lease,
    /// The run.
    pub run: RunId,
    /// How often it was tried before.
    pub tries: u32,
    /// What is to be done.
    pub effect: Effect,
}
