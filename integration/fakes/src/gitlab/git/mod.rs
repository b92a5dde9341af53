//! Git: the repositories on disk, and how clients reach them over smart HTTP. All of it is done by the real git.

mod door;
mod push;
mod repository;
mod serve;
mod write;

pub(crate) use door::install as install_hooks;
pub(crate) use push::{Change, Pushed, nested};
pub(crate) use repository::Repository;
pub(crate) use serve::serve;
pub(crate) use write::{Edit, NewCommit};

/// The name of no commit.
pub(crate) const NOTHING: &str = "0000000000000000000000000000000000000000";
