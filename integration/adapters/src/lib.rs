//! Everything that knows a foreign system's words.
//!
//! Architecture invariant: foreign JSON dies here. It is parsed once, and what goes on inside is an enum of ours that
//! every `match` must exhaust. Nothing here decides anything: adapters do what they are told and tell what they see.

pub mod executor;
pub mod forge;
pub mod gitlab;
pub mod mirror;
