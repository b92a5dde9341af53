//! The local executor: runs builds on this machine, in a sandbox, as a service of its own.
//!
//! It is an executor like the others: the controller starts, observes and cancels builds here by their attempt's key, and
//! reads their logs. It fetches the source itself, outside of the sandbox and before anything of it can run, with a
//! capability for that one repository and attempt; it puts what a build made into the attempt's grant. Nothing of a build
//! is left when it has ended but its log.
//!
//! | module | what it holds |
//! |---|---|
//! | `api` | the HTTP API |
//! | `build` | what was asked for, one build from its beginning to its end |
//! | `sandbox` | what stands between a build and the machine |
//! | `limits` | memory and processes: control groups |
//! | `workspace` | a build's files |
//! | `log` | what a build says |
//! | `store` | what is known of each attempt, in the database |

mod api;
mod build;
mod config;
mod limits;
mod log;
mod sandbox;
mod start;
mod store;
mod workspace;

pub use api::openapi;
pub use config::{Config, Policy};
pub use start::{StartError, start};
