//! Jobs, those that start other pipelines, and statuses that others report.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use secrecy::SecretString;

use super::plan::PlannedJob;
use super::status::Status;

/// The most that a job's log keeps; GitLab's own default.
pub const MAX_TRACE: usize = 100 * 1024 * 1024;

/// What kind of job it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobKind {
    /// A runner does it.
    Build,
    /// It starts another pipeline, and this is it once it is there.
    Bridge(Option<u64>),
    /// Another system does it, and reports.
    External {
        /// Where people can look.
        target_url: Option<String>,
        /// What it says.
        description: Option<String>,
    },
}

/// A file that a job left.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// `archive`, `junit`, `metadata`, `trace` …
    pub file_type: String,
    /// `zip`, `gzip` or `raw`.
    pub file_format: String,
    /// Its name.
    pub filename: String,
    /// Its bytes.
    pub bytes: Bytes,
}

/// A job.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its id, new for each attempt.
    pub id: u64,
    /// Whose it is.
    pub project: u64,
    /// The pipeline that it is in.
    pub pipeline: u64,
    /// What it is to do.
    pub plan: PlannedJob,
    /// What kind it is.
    pub kind: JobKind,
    /// How far it is.
    pub status: Status,
    /// Who started it.
    pub user: u64,
    /// The attempt that came after it, if it was tried again.
    pub retried_by: Option<u64>,
    /// How many attempts came before it.
    pub attempt: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it began to wait for a runner.
    pub queued_at: Option<Timestamp>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When its log and artifacts were erased.
    pub erased_at: Option<Timestamp>,
    /// When it is to begin, if it waits for its time.
    pub scheduled_at: Option<Timestamp>,
    /// Why it failed.
    pub failure_reason: Option<String>,
    /// What its script ended with.
    pub exit_code: Option<i32>,
    /// The share of code that its tests reach.
    pub coverage: Option<f64>,
    /// Its log.
    pub trace: Vec<u8>,
    /// What it left.
    pub artifacts: Vec<Artifact>,
    /// When that goes.
    pub artifacts_expire_at: Option<Timestamp>,
    /// The runner that does it.
    pub runner: Option<u64>,
    /// Whether that runner says when it has stopped, and may do `after_script` before.
    pub stops_gracefully: bool,
    /// What it shows to the API while it runs.
    pub token: SecretString,
    /// Variables that were given when it was started by hand.
    pub variables: BTreeMap<String, String>,
    /// The deployment that it makes.
    pub deployment: Option<u64>,
}

impl Job {
    /// Whether it is the newest attempt.
    pub const fn newest(&self) -> bool {
        self.retried_by.is_none()
    }

    /// Whether a runner does it.
    pub const fn is_build(&self) -> bool {
        matches!(self.kind, JobKind::Build)
    }

    /// Whether it starts another pipeline.
    pub const fn is_bridge(&self) -> bool {
        matches!(self.kind, JobKind::Bridge(_))
    }

    /// How long it ran, in seconds.
    pub fn duration(&self) -> Option<f64> {
        Some(seconds(self.started_at?, self.finished_at?))
    }

    /// How long it waited for a runner, in seconds.
    pub fn queued_duration(&self) -> Option<f64> {
        Some(seconds(self.queued_at?, self.started_at?))
    }

    /// The file of this type.
    pub fn artifact(&self, file_type: &str) -> Option<&Artifact> {
        self.artifacts.iter().find(|artifact| artifact.file_type == file_type)
    }
}

/// The seconds between two moments.
pub fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}
