//! The VCS worker from its public border: real tokens, real git on both sides.
#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why and ends")]

mod attacks;
mod documented;
mod elsewhere;
mod gitlab;
mod hostile;
mod house;
mod late;
mod mirrors;
mod refusals;
mod restart;
mod speed;
mod story;
mod tidy;
