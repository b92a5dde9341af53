//! Jobs, the bridges to other pipelines, and what tests said.

use jiff::Timestamp;
use serde::Deserialize;
use url::Url;

use super::client::GitLab;
use super::error::GitLabError;
use super::lenient;
use super::page::Listed;
use super::pipeline::Status;
use super::project::ProjectRef;
use super::request::Request;

/// A job, as far as we use it.
#[derive(Debug, Clone, Deserialize)]
pub struct Job {
    /// Its number. A retry of it has another, greater one.
    pub id: u64,
    /// Its name, unique in its pipeline but for retries.
    pub name: String,
    /// Its state.
    pub status: Status,
    /// Its stage.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub stage: Option<String>,
    /// Whether its failure fails nothing else.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub allow_failure: Option<bool>,
    /// Why it failed; a word that may be of a newer version.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub failure_reason: Option<String>,
    /// Its page.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub web_url: Option<Url>,
    /// When it was made.
    #[serde(default, deserialize_with = "lenient::time")]
    pub created_at: Option<Timestamp>,
    /// When it began.
    #[serde(default, deserialize_with = "lenient::time")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, deserialize_with = "lenient::time")]
    pub finished_at: Option<Timestamp>,
    /// When its log and artifacts were thrown away.
    #[serde(default, deserialize_with = "lenient::time")]
    pub erased_at: Option<Timestamp>,
    /// How long it has waited for a runner, in seconds.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub queued_duration: Option<f64>,
    /// What it wants of a runner.
    #[serde(default, deserialize_with = "lenient::list")]
    pub tag_list: Vec<String>,
    /// What it has uploaded.
    #[serde(default, deserialize_with = "lenient::list")]
    pub artifacts: Vec<ArtifactFile>,
    /// Its pipeline, in lists over a whole project.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub pipeline: Option<JobPipeline>,
}

/// The pipeline of a job.
#[derive(Debug, Clone, Deserialize)]
pub struct JobPipeline {
    /// Its number.
    pub id: u64,
}

/// A file that a job has uploaded.
#[derive(Debug, Clone, Deserialize)]
pub struct ArtifactFile {
    /// What it is: `archive`, `junit`, `trace` …
    #[serde(default, deserialize_with = "lenient::optional")]
    pub file_type: Option<String>,
    /// Its size in bytes.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub size: Option<u64>,
}

impl Job {
    /// Whether it has uploaded a report of tests.
    pub fn has_test_report(&self) -> bool {
        self.artifacts.iter().any(|file| file.file_type.as_deref() == Some("junit"))
    }

    /// Whether it has an archive of artifacts.
    pub fn has_archive(&self) -> bool {
        self.artifacts.iter().any(|file| file.file_type.as_deref() == Some("archive"))
    }
}

/// A job that starts another pipeline.
#[derive(Debug, Clone, Deserialize)]
pub struct Bridge {
    /// What it has as a job.
    #[serde(flatten)]
    pub job: Job,
    /// The pipeline that it started, when there is one.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub downstream_pipeline: Option<Downstream>,
}

/// A pipeline that another one has started.
#[derive(Debug, Clone, Deserialize)]
pub struct Downstream {
    /// Its number.
    pub id: u64,
    /// Its project; the same one's for a child pipeline.
    pub project_id: u64,
    /// Its state.
    pub status: Status,
    /// Its page.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub web_url: Option<Url>,
}

impl GitLab {
    /// The jobs of a pipeline, newest first; the tries that were retried are not among them, except in old versions.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn jobs(&self, project: &ProjectRef, pipeline: u64, pages: usize) -> Result<Listed<Job>, GitLabError> {
        self.list(Request::get(project.segments(["pipelines", &pipeline.to_string(), "jobs"])), pages).await
    }

    /// The jobs of a pipeline that start other pipelines.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn bridges(&self, project: &ProjectRef, pipeline: u64, pages: usize) -> Result<Listed<Bridge>, GitLabError> {
        self.list(Request::get(project.segments(["pipelines", &pipeline.to_string(), "bridges"])), pages).await
    }

    /// A job.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn job(&self, project: &ProjectRef, id: u64) -> Result<Job, GitLabError> {
        self.call(Request::get(project.segments(["jobs", &id.to_string()]))).await
    }
}
