//! Moments, as the API and as hooks write them. They differ, and hooks' is not RFC 3339.

use jiff::Timestamp;
use serde_json::Value;

/// As the API writes it.
pub(crate) fn api(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// As the API writes what may not have happened.
pub(crate) fn api_or_null(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| api(at).into())
}

/// As hooks write it: Ruby's own way.
pub(crate) fn hook(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// As hooks write what may not have happened.
pub(crate) fn hook_or_null(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| hook(at).into())
}

/// A day, as the API writes it.
pub(crate) fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}
