//! Campaigns: what `ops/prove` runs, to find out whether anything is lost, doubled or torn. See `docs/proof.md`.
//!
//! A campaign brings real services into a situation, again and again, and judges what came of it by what the services
//! answer. What it finds is in its [`Report`]. A campaign that could not find anything proves nothing; so the tests plant
//! mistakes, and each has to be found.

mod asker;
mod books;
pub mod crash;
mod dice;
mod evidence;
mod figures;
pub mod flips;
pub mod lossy;
pub mod powercut;
mod progress;
mod reaper;
mod report;

pub use progress::Progress;
pub use report::{Part, Report, Verdict};
