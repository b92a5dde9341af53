//! Stories of the client against servers that misbehave.

mod answers;
mod downloads;
pub(crate) mod server;
