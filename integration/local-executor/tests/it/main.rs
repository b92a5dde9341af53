//! The local executor by its public border: real bubblewrap, real git, real tokens.
#![expect(clippy::expect_used, reason = "a test that cannot be set up fails")]

mod api;
mod bounds;
mod conformance;
mod crash;
mod documented;
mod escape;
mod produce;
mod reach;
mod stage;
