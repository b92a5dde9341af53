//! Projects.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::client::GitLab;
use super::error::GitLabError;
use super::lenient;
use super::page::Listed;
use super::request::Request;

/// How a project is named in a call: by its number, or by its full path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ProjectRef {
    /// Its number, which survives renaming.
    Id(u64),
    /// Its path with all of its groups.
    Path(String),
}

impl From<u64> for ProjectRef {
    fn from(id: u64) -> Self {
        Self::Id(id)
    }
}

impl From<&str> for ProjectRef {
    fn from(path: &str) -> Self {
        Self::Path(path.to_owned())
    }
}

impl std::fmt::Display for ProjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Path(path) => f.write_str(path),
        }
    }
}

impl ProjectRef {
    /// The address of something of the project's.
    pub fn segments<const N: usize>(&self, below: [&str; N]) -> Vec<String> {
        ["projects".to_owned(), self.to_string()].into_iter().chain(below.into_iter().map(str::to_owned)).collect()
    }
}

/// A project, as far as we use it.
#[derive(Debug, Clone, Deserialize)]
pub struct Project {
    /// Its number.
    pub id: u64,
    /// Its full path.
    pub path_with_namespace: String,
    /// Its default branch; none until the first push.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub default_branch: Option<String>,
    /// Where it is cloned from by HTTPS.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub http_url_to_repo: Option<Url>,
    /// Where it is cloned from by SSH; not a URL in GitLab's usual form.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub ssh_url_to_repo: Option<String>,
    /// Its page.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub web_url: Option<Url>,
    /// Whether nothing was pushed yet.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub empty_repo: Option<bool>,
    /// Whether it is archived.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub archived: Option<bool>,
    /// `private`, `internal` or `public`.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub visibility: Option<String>,
    /// When it is going to be deleted; it is marked, then.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub marked_for_deletion_on: Option<String>,
    /// The older name of the same.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub marked_for_deletion_at: Option<String>,
    /// Whether pipelines are on: `disabled`, `private` or `enabled`.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub builds_access_level: Option<String>,
    /// Where the definition is; `.gitlab-ci.yml` when it is empty or missing.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub ci_config_path: Option<String>,
    /// Whether everybody may see pipelines of a project that is not private.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub public_jobs: Option<bool>,
    /// The least role that may set variables of a pipeline.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub ci_pipeline_variables_minimum_override_role: Option<String>,
    /// The older switch of the same.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub restrict_user_defined_variables: Option<bool>,
    /// Whether shared runners take its jobs.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub shared_runners_enabled: Option<bool>,
    /// Whether Auto DevOps builds what has no definition.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub auto_devops_enabled: Option<bool>,
    /// Whether a newer pipeline of a branch cancels older ones: `enabled` or `disabled`.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub auto_cancel_pending_pipelines: Option<String>,
    #[serde(default)]
    permissions: Value,
}

impl Project {
    /// Whether it is marked for deletion.
    pub const fn is_marked_for_deletion(&self) -> bool {
        self.marked_for_deletion_on.is_some() || self.marked_for_deletion_at.is_some()
    }

    /// The token's role in it: 30 for a developer, 40 for a maintainer, 50 for an owner. `None` where GitLab does not say,
    /// as for an administrator without membership.
    pub fn role(&self) -> Option<u64> {
        ["project_access", "group_access"].iter().filter_map(|kind| self.permissions.get(kind)?.get("access_level")?.as_u64()).max()
    }

    /// Its reference by number.
    pub const fn reference(&self) -> ProjectRef {
        ProjectRef::Id(self.id)
    }
}

/// A CI/CD variable of a project. Its value is not read.
#[derive(Debug, Clone, Deserialize)]
pub struct ProjectVariable {
    /// Whether only protected branches and tags have it.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub protected: Option<bool>,
}

impl GitLab {
    /// The CI/CD variables of a project, for which the role Maintainer is needed.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn project_variables(&self, project: &ProjectRef) -> Result<Vec<ProjectVariable>, GitLabError> {
        Ok(self.list(Request::get(project.segments(["variables"])), 3).await?.items)
    }

    /// A project; `None` if there is none, or the token may not see it.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn project(&self, project: &ProjectRef) -> Result<Option<Project>, GitLabError> {
        match self.call(Request::get(project.segments([]))).await {
            Ok(project) => Ok(Some(project)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The projects of a group and of the groups below it, those that the token may see.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn group_projects(&self, group: &str, pages: usize) -> Result<Listed<Project>, GitLabError> {
        self.list(Request::get(["groups", group, "projects"]).with("include_subgroups", "true"), pages).await
    }

    /// Changes settings of a project.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn edit_project<B: Serialize + ?Sized>(&self, project: &ProjectRef, settings: &B) -> Result<Project, GitLabError> {
        self.call(Request::new(http::Method::PUT, project.segments([])).json(settings)).await
    }
}
