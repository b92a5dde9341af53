//! Stories of the adapters against whole systems.
#![expect(clippy::expect_used, reason = "a test that cannot be set up fails")]

mod gitlab;
