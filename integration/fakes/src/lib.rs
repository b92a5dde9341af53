//! Servers that behave like foreign systems which cannot be installed everywhere: for tests, and for users who want to
//! try their set-up before they point it at the real one.
//!
//! A fake is a model of the foreign system's state, with its quirks, not a list of canned answers. It is honest when
//! clients that know nothing of us can use it unmodified.

pub mod gitlab;
