//! The power cut: whenever the power fails, what had been acknowledged is there afterwards, and nothing is torn.
//!
//! A real program is watched by `strace` while it works ([`recorder`]). All that it does to its data folder becomes the
//! history of a model ([`recording`], [`disk`]), which knows what could be lost when ([`states`]). These states are built,
//! and the real service is started on each ([`Subject::judge`]).

pub mod disk;
mod files;
pub mod host;
pub mod mirrors;
pub mod recorder;
pub mod recording;
pub mod runs;
mod site;
pub mod states;
pub mod store;
mod subject;
pub mod trace;

pub use subject::{SUBJECTS, Settings, Subject, examine, open_states, run};
