//! Groups.

use serde::Deserialize;

use super::client::GitLab;
use super::error::GitLabError;
use super::lenient;
use super::request::Request;

/// A group, as far as we use it.
#[derive(Debug, Clone, Deserialize)]
pub struct Group {
    /// Its number.
    pub id: u64,
    /// Its full path.
    pub full_path: String,
    /// `private`, `internal` or `public`.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub visibility: Option<String>,
    /// When it is going to be deleted.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub marked_for_deletion_on: Option<String>,
}

impl GitLab {
    /// A group by its full path; `None` if there is none, or the token may not see it.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn group(&self, path: &str) -> Result<Option<Group>, GitLabError> {
        match self.call(Request::get(["groups", path])).await {
            Ok(group) => Ok(Some(group)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
