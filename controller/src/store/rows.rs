//! How the core's values stand in rows.

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use signalbox_contract::RunId;
use signalbox_contract::api::run::{Outcome, RunState};
use signalbox_controller_core::{Run, view};

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

/// The same for a column that may hold anything: damaged text need not be UTF-8.
pub(super) fn from_bytes<T: DeserializeOwned>(table: &'static str, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|source| StoreError::Row { table, source })
}

/// A column of text that may be damaged, so that it is read as the bytes that it is.
pub(super) type Raw = Vec<u8>;

/// Text that may be damaged.
pub(super) fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
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

/// A run's row.
#[derive(Serialize)]
pub(super) struct RunRow {
    id: RunId,
    repo: Option<String>,
    environment: Option<String>,
    name: Option<String>,
    #[serde(rename = "ref")]
    ref_name: Option<String>,
    number: u64,
    state: &'static str,
    outcome: Option<Outcome>,
    accepted_at: i64,
    finished_at: Option<i64>,
    version: u64,
    summary: String,
    body: String,
}

impl RunRow {
    pub(super) fn of(run: &Run) -> Result<Self, StoreError> {
        let summary = view::summary(run);
        Ok(Self {
            id: run.id,
            repo: summary.repo.as_ref().map(ToString::to_string),
            environment: summary.environment.as_ref().map(ToString::to_string),
            name: summary.published_name.as_ref().map(ToString::to_string),
            // Filters name a branch as people do, whichever way it was asked for.
            ref_name: summary.ref_name.as_ref().map(|name| name.short().to_owned()),
            number: run.number,
            state: state_word(summary.state),
            outcome: run.outcome,
            accepted_at: millis(run.accepted_at),
            finished_at: run.finished_at.map(millis),
            version: run.version,
            summary: to_json("run", &summary)?,
            body: to_json("run", run)?,
        })
    }
}
