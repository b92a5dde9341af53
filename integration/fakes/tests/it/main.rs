//! Stories about the fakes, told through their public borders.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a story that cannot go on fails")]

mod gitlab;
mod protocol;
mod runner;
mod yard;
