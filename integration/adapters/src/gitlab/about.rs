//! What GitLab says of itself and of our token.

use serde::Deserialize;

use super::client::GitLab;
use super::error::GitLabError;
use super::lenient;
use super::request::Request;

/// GitLab's version.
#[derive(Debug, Clone, Deserialize)]
pub struct Version {
    /// As it says it, such as `18.3.0-ee`.
    pub version: String,
}

impl Version {
    /// Major and minor number.
    pub fn numbers(&self) -> Option<(u32, u32)> {
        let mut numbers = self.version.split(['.', '-', '+']).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

/// What GitLab says of a token.
#[derive(Debug, Clone, Deserialize)]
pub struct TokenInfo {
    /// Its name.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub name: Option<String>,
    /// What it may do.
    #[serde(default, deserialize_with = "lenient::list")]
    pub scopes: Vec<String>,
    /// The day on which it ends, as `2026-12-31`.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub expires_at: Option<String>,
    /// Whether it is valid.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub active: Option<bool>,
}

impl GitLab {
    /// Which version it is.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn version(&self) -> Result<Version, GitLabError> {
        self.call(Request::get(["version"])).await
    }

    /// What our token is; `None` where GitLab does not say, as of OAuth tokens and in old versions.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn token(&self) -> Result<Option<TokenInfo>, GitLabError> {
        match self.call(Request::get(["personal_access_tokens", "self"])).await {
            Ok(token) => Ok(Some(token)),
            Err(GitLabError::NotFound { .. } | GitLabError::Invalid { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
