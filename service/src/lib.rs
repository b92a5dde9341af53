//! The chassis that every service of Signalbox stands on: configuration, telemetry, HTTP, tokens, the ledger, and the
//! few programs that are ever started.
//!
//! Architecture invariant: nothing here knows what a run, an artifact or an environment is for. What a service decides
//! lives in the service.

pub mod auth;
pub mod client;
pub mod clock;
pub mod config;
pub mod folder;
pub mod git;
pub mod http;
pub mod ledger;
pub mod near;
pub mod process;
pub mod secret;
pub mod shutdown;
pub mod sqlite;
pub mod ssh;
pub mod telemetry;
pub mod testing;
