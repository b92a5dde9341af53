//! Stories about the artifact store, told from outside: real sockets, real tokens, real files.

#![expect(clippy::expect_used, reason = "a test that cannot go on says why and ends")]

mod access;
mod browser;
mod cuts;
mod documented;
mod grants;
mod hostile;
mod house;
mod memory;
mod names;
mod ranges;
mod retention;
mod room;
mod rot;
mod story;
mod together;
