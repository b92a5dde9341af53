//! The requests and answers of each service's HTTP API.

pub mod delivery;
pub mod deploy;
pub mod doctor;
pub mod exchange;
pub mod executor;
pub mod mirrors;
pub mod run;
pub mod store;
pub mod token;
pub mod vcs;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Failure;

/// What a worker answers to a changing call. Asking again, with the same key and body, is posting again: it tells how far
/// the work is, and takes up again what a crash interrupted. `200` with `done` or `failed`, `202` with `working`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Answer<T> {
    /// At work; ask again.
    Working {
        /// Since when.
        since: Timestamp,
    },
    /// Done, once and for all.
    Done {
        /// What came of it.
        result: T,
    },
    /// Tried and failed, once and for all; a new attempt has a new key.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// What a changing call answers that has nothing else to say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Nothing {}

/// A page of a list, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// What to give as `cursor` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
