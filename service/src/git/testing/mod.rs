//! For tests: a real git server, and repositories to put behind it.
//!
//! The server is `git http-backend` behind a small handler. It can ask for a credential, it writes down what it was asked,
//! and it misbehaves on order.

mod fixture;
mod server;
mod ssh;
mod tls;

pub use fixture::Fixture;
pub use server::{GitServer, Misbehaviour, Seen};
pub use ssh::SshServer;
