//! The public keys by which the identities that GitLab gives its jobs can be checked.

use std::time::Duration;

use http::StatusCode;
use http::header::ACCEPT;
use serde::Deserialize;

use super::client::{Answer, GitLab, failed, parse};
use super::error::GitLabError;
use super::lenient;

/// The largest set that is read, in bytes. GitLab's has a few keys of less than a kilobyte each.
const MAX_SET: usize = 64 << 10;

/// How many keys a set may have.
const MAX_KEYS: usize = 32;

/// How long asking for the set may take.
const ANSWER: Duration = Duration::from_secs(10);

/// A public key as GitLab shows it. It is not checked yet whether it is one that can be used.
#[derive(Debug, Clone, Deserialize)]
pub struct PublicKey {
    /// Its name.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub kid: Option<String>,
    /// Its kind, such as `RSA`.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub kty: Option<String>,
    /// What it is for: `sig`.
    #[serde(default, rename = "use", deserialize_with = "lenient::optional")]
    pub purpose: Option<String>,
    /// The one algorithm that it is for.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub alg: Option<String>,
    /// The modulus of an RSA key, in base64.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub n: Option<String>,
    /// Its exponent.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub e: Option<String>,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<PublicKey>,
}

impl GitLab {
    /// The keys with which GitLab signs now. They are public: our token does not go there, and no redirect is followed.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn public_keys(&self) -> Result<Vec<PublicKey>, GitLabError> {
        let exchange = async {
            let response = self.ask_openly(&["oauth", "discovery", "keys"]).await?;
            let status = response.status();
            let headers = response.headers().clone();
            let body = self.read(response, MAX_SET, true).await?;
            if status != StatusCode::OK {
                return Err(GitLabError::of(status, &body, None, true));
            }
            let KeySet { keys } = parse(&Answer { headers, body })?;
            if keys.len() > MAX_KEYS {
                return Err(GitLabError::unreadable(format!("it has more than {MAX_KEYS} keys")));
            }
            Ok(keys)
        };
        let Ok(keys) = tokio::time::timeout(ANSWER, exchange).await else {
            self.breaker().fail("it gave no answer");
            return Err(GitLabError::Unavailable { after: None, remote: "no answer came in time".to_owned() });
        };
        keys
    }

    /// Reads something below GitLab's address that is for everybody, without our token.
    async fn ask_openly(&self, segments: &[&str]) -> Result<reqwest::Response, GitLabError> {
        let mut url = self.base().clone();
        url.path_segments_mut().map_err(|()| GitLabError::not_sent("the address has no path"))?.pop_if_empty().extend(segments);
        self.breaker().pass()?;
        let sent = self.http().get(url).header(ACCEPT, "application/json").send().await.map_err(failed);
        self.breaker().record(sent.as_ref().map(reqwest::Response::status));
        sent
    }
}
