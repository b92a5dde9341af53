//! What stands between a build and the machine.
//!
//! A build runs in namespaces of its own, made by bubblewrap: it sees the system's programs, read-only, its workspace and
//! nothing else; no other process, no network unless its repository may have it, no capability, no file of the
//! executor's, and a kernel with fewer doors (seccomp). Its user is never root: where the executor runs as root, each
//! build gets a user of its own, else it is the executor's user in a user namespace.
//!
//! Nothing that a repository chose ever reaches a program outside of the sandbox: variables and script are read from
//! files, inside.

mod bubblewrap;
mod inside;
mod launch;
mod seccomp;

pub(crate) use inside::write_control;
pub(crate) use launch::{Launch, Sandbox, Wanted};
pub(crate) use seccomp::filter;
