//! Effects that somebody performs, and attempts that somebody looks at.

use signalbox_contract::{AttemptKey, ExecutorName, RunId};

use crate::effect::Effect;

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

/// An attempt that is at an executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// The attempt.
    pub key: AttemptKey,
    /// The executor.
    pub executor: ExecutorName,
    /// What was newest there before its start.
    pub anchor: Option<String>,
    /// The executor's own name for the build.
    pub build: Option<String>,
    /// The parts whose logs are read.
    pub parts: Vec<String>,
}
