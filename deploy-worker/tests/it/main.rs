//! The deployment worker from its public border: real `sshd`s as hosts, and a small artifact store that checks capabilities.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod asking;
mod configuring;
mod connecting;
mod deploying;
mod documented;
mod failing;
mod going_back;
mod hanging;
mod hostile;
mod script;
mod store;
mod world;
