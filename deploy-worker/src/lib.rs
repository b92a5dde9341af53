//! The deployment worker: the only keys that reach hosts, and what an environment is.
//!
//! Architecture invariant: what a host may be told lies in this worker's configuration and in one fixed script. A request
//! chooses among environments, names and digests that the configuration allows; no text of a request becomes a command.

pub mod activation;
pub mod api;
pub mod blob;
pub mod config;
pub mod environment;
pub mod release;
pub mod ssh;
pub mod testing;

mod start;

pub use api::openapi;
pub use config::Config;
pub use start::{StartError, start};
