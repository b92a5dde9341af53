//! The controller: takes changes, decides what is done with them, remembers all of it, and alone signs tokens.

pub mod api;
pub mod config;
pub mod definition;
mod doctor;
pub mod engine;
mod gitlabs;
pub mod intake;
pub mod log;
mod metrics;
mod page;
mod roster;
mod start;
pub mod store;

pub use api::{job_schema, openapi};
pub use config::Config;
pub use start::{AtHand, StartError, start, start_with};
