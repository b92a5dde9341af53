//! Serving HTTP: an accept loop that no client can hold up, the layers that every answer passes, and problems.
//!
//! A service builds a [`Router`](axum::Router) of ordinary routes, and one of routes whose bodies are streams, wrapped
//! by [`streaming`]; [`finish`] or [`finish_with`] puts the layers around them, [`serve()`] serves them until the end.
//!
//! Architecture invariants: every connection, head, body, handler, write and drain has a deadline; what is refused is a
//! problem with the request's id; an error's own words go to the log and nowhere else.

mod body;
mod connection;
mod description;
mod extract;
mod head;
mod health;
mod layers;
mod limit;
mod options;
mod pairs;
mod parameters;
mod problem;
mod serve;
mod shape;
mod slots;
mod tls;
mod unread;
mod wire;
mod words;

#[cfg(test)]
mod tests;

pub use body::{BodyFault, body_refusal, refuse_encoded};
pub use description::describe;
pub use extract::{Form, Json, NoBody, OptionalJson, Path, Query, body_within, require_json, whole_body};
pub use health::Readiness;
pub(crate) use health::{Health, READY};
pub use layers::{finish, finish_with, streaming, until_the_end};
pub use limit::Limit;
pub use options::{ServeMetrics, ServeOptions, StreamLimits};
pub(crate) use parameters::ACCESS_TOKEN;
pub use parameters::{described_parameters, without_parameters};
pub use problem::{Refusal, Result, internal};
pub use serve::{bind, raise_file_limit, serve};
pub use shape::parse_json;
pub use tls::{TlsError, check as check_tls, install_crypto};
