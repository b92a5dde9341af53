//! What an executor's build can be, and how it can end.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{AttemptKey, CommitSha};

/// How something ended. Only `success` counts as passed; `unstable` is shown and not deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything passed.
    Success,
    /// Something did not pass.
    Failed,
    /// The executor finished it with reservations: failing tests that it does not count as a failure.
    Unstable,
    /// Somebody stopped it.
    Aborted,
    /// It was not needed.
    Skipped,
    /// It took longer than it may.
    TimedOut,
    /// Nobody knows how it ended: the executor forgot it, or died with it.
    Lost,
}

impl Verdict {
    /// Whether what follows may go on.
    pub const fn passed(self) -> bool {
        matches!(self, Self::Success)
    }
}

/// Whose fault a failure is, as far as it can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// What was built does not work: trying again will not help.
    Work,
    /// What was asked for, or how the server is set up, is wrong.
    Configuration,
    /// A machine, a network or a service failed: trying again may help.
    Infrastructure,
    /// Its executor was stopped in good order, to be started again. Nothing failed, and it is tried again.
    Interrupted,
    /// It cannot be told.
    Unknown,
}

/// The state of a build, as its executor shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum BuildState {
    /// Not begun; `why` says what it waits for, for people.
    Waiting {
        /// What it waits for.
        why: String,
    },
    /// At work.
    Running,
    /// Over.
    Ended {
        /// How it ended.
        verdict: Verdict,
        /// Whose fault, where it did not pass.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        class: Option<FailureClass>,
        /// What a person should know of it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// The executor knows nothing of it any more.
    Gone,
}

/// How new an observation is: of two with the same key, the one with the greater stamp is newer. Its executor makes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Stamp(pub u64);

/// What was seen of one build at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Observation {
    /// The attempt that the build belongs to.
    pub key: AttemptKey,
    /// The executor's own name for the build.
    pub build: String,
    /// How new this is.
    pub stamp: Stamp,
    /// What was seen.
    pub state: BuildState,
    /// The pieces that the executor shows apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartState>,
    /// Its page at the executor, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Url>,
    /// The commit that it builds, where the executor says so. One of another commit does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha: Option<CommitSha>,
}

impl Observation {
    /// A look that showed no more than this.
    pub fn new(key: AttemptKey, build: impl Into<String>, stamp: Stamp, state: BuildState) -> Self {
        Self { key, build: build.into(), stamp, state, parts: Vec::new(), url: None, sha: None }
    }
}

/// A piece of an attempt that its executor shows apart: a GitLab job, a Jenkins stage. The local executor shows one,
/// named `build`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PartState {
    /// The executor's id for it, unique in the attempt.
    pub part: String,
    /// Its name for people.
    pub name: String,
    /// Its state.
    pub state: BuildState,
    /// The stage that it belongs to, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Whether its failure fails nothing else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_fail: bool,
    /// Whether it has a log.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub has_log: bool,
    /// When it began, by the executor's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended, by the executor's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Its page at the executor, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Url>,
    /// What its tests came to, where it is about tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests: Option<TestCounts>,
}

/// What tests came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TestCounts {
    /// How many there were.
    pub total: u32,
    /// How many failed.
    pub failed: u32,
    /// How many ended in an error.
    pub errors: u32,
    /// How many were skipped.
    pub skipped: u32,
    /// How long they took together, in milliseconds, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
}

const fn yes() -> bool {
    true
}

impl PartState {
    /// A piece of which no more is known than this.
    pub fn new(part: impl Into<String>, name: impl Into<String>, state: BuildState) -> Self {
        Self {
            part: part.into(),
            name: name.into(),
            state,
            stage: None,
            may_fail: false,
            has_log: true,
            started_at: None,
            finished_at: None,
            url: None,
            tests: None,
        }
    }
}

/// How often an executor with builds of ours is looked at. A hook makes the next look come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The shortest time between two looks.
    pub quickest: Duration,
    /// The longest, which is come to while nothing new is seen.
    pub slowest: Duration,
}
