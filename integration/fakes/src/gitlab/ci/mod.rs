//! `.gitlab-ci.yml`: what it says, and which jobs it makes for a ref. Pure; what it does not know is an error, not a guess.
//!
//! [`Definition::parse`] reads and checks a text, [`Definition::pipeline`] makes the jobs, and [`progress`] says how
//! they go on. Sentences about mistakes are GitLab's own where it has one.

pub mod progress;

mod definition;
mod expression;
mod include;
mod inputs;
mod job;
mod multiply;
mod needs;
mod parts;
mod pattern;
mod pipeline;
mod policy;
mod reading;
mod refusal;
mod resolve;
mod rule;
mod template;
mod value;
mod variable;

#[cfg(test)]
mod tests;

pub use definition::{AutoCancel, Definition, OnNewCommit};
pub use include::{FindFile, Sources};
pub use job::{AllowFailure, Artifacts, ArtifactsWhen, Cache, Environment, Image, Job, Need, Retry, Trigger, TriggerTarget, When};
pub use pipeline::Context;
pub(crate) use reading::seconds;
pub use refusal::{Errors, Refusal};
pub use variable::{Variable, expand};
