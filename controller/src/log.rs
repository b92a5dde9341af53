//! Logs: read on from the executors while builds run, masked, and kept for as long as their runs are, whatever the
//! executor forgets.

mod book;
mod collector;
mod mask;

pub use book::{LogBook, LogState, MAX_READ};
pub use collector::{CollectError, Collector, PART, Reading};
pub use mask::Mask;
pub(crate) use mask::SHORTEST;
