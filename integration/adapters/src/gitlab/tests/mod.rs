//! Stories of the client against servers that misbehave.

mod answers;
mod downloads;
mod server;
