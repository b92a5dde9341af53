//! Builds: taken once, run in the background, told of until they are forgotten.
//!
//! ```text
//! waiting ──► running ──► ended ──► forgotten        a row each; what never came may be fenced
//! ```
//!
//! Invariant: when a build's row says that it has ended, nothing of it is left: no process, mount, control group or file
//! but its log. A process of this service that dies takes its builds along; the next one clears away what they left and
//! calls them lost, since their requests, with the capabilities in them, are kept in memory alone.

mod deliver;
mod desk;
mod ended;
mod metrics;
mod script;
mod slot;
mod socket;
mod work;

pub(crate) use desk::{AcceptError, Desk, Parts};
pub(crate) use ended::{Ended, plain};
pub(crate) use metrics::Metrics;

/// The one part that a build shows.
pub(crate) const PART: &str = "build";
