//! Pipelines.

use http::Method;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

use super::client::GitLab;
use super::error::GitLabError;
use super::lenient;
use super::page::Listed;
use super::project::ProjectRef;
use super::request::Request;

/// The state of a pipeline or of a job. GitLab's versions add to these words, so that each that is not known is kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
#[expect(missing_docs, reason = "GitLab's own words, which its documentation explains")]
pub enum Status {
    Created,
    WaitingForResource,
    Preparing,
    WaitingForCallback,
    Pending,
    Running,
    Success,
    Failed,
    Canceling,
    Canceled,
    Skipped,
    Manual,
    Scheduled,
    /// A word of a newer version.
    Other(String),
}

impl From<String> for Status {
    fn from(word: String) -> Self {
        match word.as_str() {
            "created" => Self::Created,
            "waiting_for_resource" => Self::WaitingForResource,
            "preparing" => Self::Preparing,
            "waiting_for_callback" => Self::WaitingForCallback,
            "pending" => Self::Pending,
            "running" => Self::Running,
            "success" => Self::Success,
            "failed" => Self::Failed,
            "canceling" => Self::Canceling,
            "canceled" => Self::Canceled,
            "skipped" => Self::Skipped,
            "manual" => Self::Manual,
            "scheduled" => Self::Scheduled,
            _ => Self::Other(super::plain(&word)),
        }
    }
}

impl Status {
    /// Whether it is over.
    pub const fn has_ended(&self) -> bool {
        matches!(self, Self::Success | Self::Failed | Self::Canceled | Self::Skipped)
    }
}

/// A pipeline, as far as we use it. Lists leave most of it out.
#[derive(Debug, Clone, Deserialize)]
pub struct Pipeline {
    /// Its number, unique in all of this GitLab, and greater than those of older ones.
    pub id: u64,
    /// Its state.
    pub status: Status,
    /// The commit.
    pub sha: String,
    /// The branch's or tag's short name.
    #[serde(rename = "ref", default, deserialize_with = "lenient::optional")]
    pub ref_name: Option<String>,
    /// What made it: `push`, `api`, `schedule` …
    #[serde(default, deserialize_with = "lenient::optional")]
    pub source: Option<String>,
    /// The project that it belongs to.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub project_id: Option<u64>,
    /// Its page.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub web_url: Option<Url>,
    /// When it was made.
    #[serde(default, deserialize_with = "lenient::time")]
    pub created_at: Option<Timestamp>,
    /// When it last changed its state.
    #[serde(default, deserialize_with = "lenient::time")]
    pub updated_at: Option<Timestamp>,
    /// When its first job began.
    #[serde(default, deserialize_with = "lenient::time")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, deserialize_with = "lenient::time")]
    pub finished_at: Option<Timestamp>,
    /// What is wrong with its definition.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub yaml_errors: Option<String>,
    /// Its state for people. Nothing is decided by it.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub detailed_status: Option<DetailedStatus>,
}

/// A state for people.
#[derive(Debug, Clone, Deserialize)]
pub struct DetailedStatus {
    /// Its word, such as `passed with warnings`.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub label: Option<String>,
}

/// A pipeline that is to be made.
#[derive(Debug, Clone, Default, Serialize)]
pub struct NewPipeline {
    /// The branch's or tag's name. A commit is refused.
    #[serde(rename = "ref")]
    pub ref_name: String,
    /// Its variables.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<PipelineVariable>,
    /// Its inputs.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub inputs: std::collections::BTreeMap<String, String>,
}

/// A variable of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineVariable {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// Which pipelines are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PipelineQuery {
    /// Of this branch or tag.
    pub ref_name: Option<String>,
    /// Of this commit.
    pub sha: Option<String>,
    /// Those that changed after this moment.
    pub updated_after: Option<Timestamp>,
    /// How many are enough, 100 at most: one page.
    pub per_page: Option<u8>,
}

impl GitLab {
    /// Pipelines, newest first, in at most so many pages. Child pipelines are not among them.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn pipelines(&self, project: &ProjectRef, query: &PipelineQuery, pages: usize) -> Result<Listed<Pipeline>, GitLabError> {
        let mut request = Request::get(project.segments(["pipelines"])).with("order_by", "id").with("sort", "desc");
        if let Some(ref_name) = &query.ref_name {
            request = request.with("ref", ref_name);
        }
        if let Some(sha) = &query.sha {
            request = request.with("sha", sha);
        }
        if let Some(after) = query.updated_after {
            request = request.with("updated_after", after.to_string());
        }
        if let Some(count) = query.per_page {
            request = request.with("per_page", count.to_string());
        }
        self.list(request, pages).await
    }

    /// A pipeline.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn pipeline(&self, project: &ProjectRef, id: u64) -> Result<Pipeline, GitLabError> {
        self.call(Request::get(project.segments(["pipelines", &id.to_string()]))).await
    }

    /// The variables that a pipeline was made with.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn pipeline_variables(&self, project: &ProjectRef, id: u64) -> Result<Vec<PipelineVariable>, GitLabError> {
        self.call(Request::get(project.segments(["pipelines", &id.to_string(), "variables"]))).await
    }

    /// Makes a pipeline.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn create_pipeline(&self, project: &ProjectRef, new: &NewPipeline) -> Result<Pipeline, GitLabError> {
        self.call(Request::post(project.segments(["pipeline"])).json(new)).await
    }

    /// Asks for a pipeline's end. It may have ended already.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn cancel_pipeline(&self, project: &ProjectRef, id: u64) -> Result<(), GitLabError> {
        self.act(Request::new(Method::POST, project.segments(["pipelines", &id.to_string(), "cancel"]))).await
    }
}
