//! Executors: systems that build.
//!
//! [`Executor`] is the one face that they all have for us. [`conformance`] is what each must pass.

pub mod conformance;
mod face;
mod failure;
pub mod gitlab;
mod identity;
pub mod local;
mod order;
mod word;

pub use crate::mirror::{Finding, Severity};
pub use face::{Bytes, Executor, Fut};
pub use failure::ExecutorError;
pub use identity::{BuildIdentity, Unidentified};
pub use order::{
    Abilities, Definition, Fenced, Found, Intent, LogChunk, NativeBuild, Order, OutputRef, Outputs, PartRef, Pick, ProvenSource, Started,
    Tracked,
};
pub use signalbox_contract::build::Pace;
pub use word::{Anchor, BuildRef, LogCursor, Scope};
