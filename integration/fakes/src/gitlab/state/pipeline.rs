//! Pipelines.

use jiff::Timestamp;

use super::commit::Commit;
use super::status::Status;

/// A variable that was given to a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineVariable {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Whether jobs get a file with the value.
    pub file: bool,
}

/// Where a pipeline came from, if another started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upstream {
    /// That one's project.
    pub project: u64,
    /// That one.
    pub pipeline: u64,
    /// The job that started this one.
    pub job: u64,
}

/// A pipeline.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Its id.
    pub id: u64,
    /// Its number in the project.
    pub iid: u64,
    /// Whose it is.
    pub project: u64,
    /// The branch or tag, by its short name.
    pub ref_name: String,
    /// Whether that is a tag.
    pub tag: bool,
    /// The commit.
    pub sha: String,
    /// What the ref showed before, forty zeros if it was not there.
    pub before_sha: String,
    /// Why it is there: `push`, `web`, `api`, `parent_pipeline`, `pipeline`, `external`, `merge_request_event` …
    pub source: String,
    /// How far it is.
    pub status: Status,
    /// Whether failures were passed over.
    pub warnings: bool,
    /// What it calls itself.
    pub name: Option<String>,
    /// Who started it.
    pub user: u64,
    /// What is wrong with its definition.
    pub yaml_errors: Option<String>,
    /// Variables that it was given.
    pub variables: Vec<PipelineVariable>,
    /// The commit's words and author.
    pub commit: Commit,
    /// The merge request that it is for.
    pub merge_request: Option<u64>,
    /// What started it.
    pub upstream: Option<Upstream>,
    /// Its jobs, all attempts, oldest first.
    pub jobs: Vec<u64>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When something last changed.
    pub updated_at: Timestamp,
    /// When its first job began.
    pub started_at: Option<Timestamp>,
    /// When its last job ended.
    pub finished_at: Option<Timestamp>,
    /// Whether nothing ever happens in it, for tests of patience.
    pub hung: bool,
}

impl Pipeline {
    /// Whether another pipeline of the same project started it: lists hide those.
    pub fn is_child(&self) -> bool {
        self.source == "parent_pipeline"
    }

    /// How long it ran, in whole seconds.
    pub fn duration(&self) -> Option<i64> {
        Some(self.finished_at?.duration_since(self.started_at?).as_secs())
    }

    /// How long it waited for its first job to begin.
    pub fn queued_duration(&self) -> Option<i64> {
        Some(self.started_at?.duration_since(self.created_at).as_secs())
    }
}
