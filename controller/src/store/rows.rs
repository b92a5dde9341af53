//! How the core's values stand in rows.

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use signalbox_contract::api::run::RunState;

use super::StoreError;

/// Milliseconds since the epoch.
pub(super) fn millis(at: Timestamp) -> i64 {
    at.as_millisecond()
}

/// The moment so many milliseconds after the epoch; the nearest there is, if there is none.
pub(super) fn moment(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(if millis < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

pub(super) fn to_json<T: Serialize>(table: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|source| StoreError::Row { table, source })
}

pub(super) fn from_json<T: DeserializeOwned>(table: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|source| StoreError::Row { table, source })
}

/// A run's state as the column has it.
pub(super) const fn state_word(state: RunState) -> &'static str {
    match state {
        RunState::Queued => "queued",
        RunState::Building => "building",
        RunState::Stopping => "stopping",
        RunState::Finished => "finished",
    }
}
