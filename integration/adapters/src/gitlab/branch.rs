//! Branches and commits.

use http::Method;
use serde::Deserialize;

use super::client::GitLab;
use super::error::GitLabError;
use super::lenient;
use super::project::ProjectRef;
use super::request::Request;

/// A branch.
#[derive(Debug, Clone, Deserialize)]
pub struct Branch {
    /// Its name.
    pub name: String,
    /// What it points to.
    pub commit: Commit,
    /// Whether it is protected.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub protected: Option<bool>,
}

/// A commit.
#[derive(Debug, Clone, Deserialize)]
pub struct Commit {
    /// Its id.
    pub id: String,
    /// Its message.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub message: Option<String>,
}

impl GitLab {
    /// A branch; `None` if there is none.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn branch(&self, project: &ProjectRef, name: &str) -> Result<Option<Branch>, GitLabError> {
        match self.call(Request::get(project.segments(["repository", "branches", name]))).await {
            Ok(branch) => Ok(Some(branch)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The commit that a branch, a tag or an id names; `None` if there is none.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn commit(&self, project: &ProjectRef, name: &str) -> Result<Option<Commit>, GitLabError> {
        match self.call(Request::get(project.segments(["repository", "commits", name]))).await {
            Ok(commit) => Ok(Some(commit)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes a branch; that it is gone already is as good.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn delete_branch(&self, project: &ProjectRef, name: &str) -> Result<(), GitLabError> {
        match self.act(Request::new(Method::DELETE, project.segments(["repository", "branches", name]))).await {
            Err(error) if error.is_not_found() => Ok(()),
            done => done,
        }
    }
}
