//! Webhooks of projects.

use http::Method;
use serde::{Deserialize, Serialize};
use signalbox_service::secret::{ExposeSecret as _, SecretString};
use url::Url;

use super::client::GitLab;
use super::error::GitLabError;
use super::lenient;
use super::project::ProjectRef;
use super::request::Request;

/// The name that webhooks get which we make. GitLab has names for them from 17.1 on.
pub const HOOK_NAME: &str = "Signalbox";

/// A project has at most some hundred.
const PAGES: usize = 3;

/// A webhook, as far as we use it. GitLab never shows its secrets.
#[derive(Debug, Clone, Deserialize)]
pub struct Hook {
    /// Its number.
    pub id: u64,
    /// Where it leads. Kept as text: GitLab may mask a part of it.
    pub url: String,
    /// Its name, where it has one and GitLab tells.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub name: Option<String>,
    /// The events that it sends.
    #[serde(flatten)]
    pub events: HookEvents,
    /// Whether GitLab checks our certificate.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub enable_ssl_verification: Option<bool>,
    /// Whether GitLab has stopped sending.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub alert_status: Option<AlertStatus>,
    /// Whether a secret is set, where GitLab says.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub token_present: Option<bool>,
    /// Whether a key for signing is set. Versions that cannot sign do not say anything.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub signing_token_present: Option<bool>,
}

/// Whether GitLab sends to a hook.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertStatus {
    /// It does.
    Executable,
    /// It does not for some time, after failures.
    TemporarilyDisabled,
    /// It does not any more, after many failures.
    Disabled,
    /// A word of a newer version.
    #[serde(other)]
    Other,
}

/// Which events a hook sends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HookEvents {
    /// Branches that moved.
    pub push_events: bool,
    /// Tags that moved.
    pub tag_push_events: bool,
    /// Merge requests.
    pub merge_requests_events: bool,
    /// Comments.
    pub note_events: bool,
    /// Pipelines.
    pub pipeline_events: bool,
    /// Jobs.
    pub job_events: bool,
}

impl HookEvents {
    /// What we want of a project that we build in.
    pub const BUILDS: Self = Self {
        push_events: false,
        tag_push_events: false,
        merge_requests_events: false,
        note_events: false,
        pipeline_events: true,
        job_events: true,
    };

    /// What we want of a project from which changes come.
    pub const CHANGES: Self = Self {
        push_events: true,
        tag_push_events: true,
        merge_requests_events: true,
        note_events: true,
        pipeline_events: false,
        job_events: false,
    };

    /// Whether all of these are among them.
    pub const fn cover(self, wanted: Self) -> bool {
        (self.push_events || !wanted.push_events)
            && (self.tag_push_events || !wanted.tag_push_events)
            && (self.merge_requests_events || !wanted.merge_requests_events)
            && (self.note_events || !wanted.note_events)
            && (self.pipeline_events || !wanted.pipeline_events)
            && (self.job_events || !wanted.job_events)
    }
}

/// A webhook as it should be.
#[derive(Debug, Clone)]
pub struct HookWish {
    /// Where it leads.
    pub url: Url,
    /// What it sends in the clear, so that we know it is GitLab; not needed where it signs.
    pub secret: Option<SecretString>,
    /// What it signs with, `whsec_` and the key in base64. Older versions silently ignore it.
    pub signing: Option<SecretString>,
    /// What it sends.
    pub events: HookEvents,
    /// Whether its secrets are written even where the hook looks right: after they were rotated, or after a start.
    pub rewrite: bool,
}

/// The wish as it is sent. It holds secrets, and therefore lives for one call and cannot be printed.
#[derive(Serialize)]
struct Body<'w> {
    url: &'w Url,
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'w str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_token: Option<&'w str>,
    enable_ssl_verification: bool,
    #[serde(flatten)]
    events: HookEvents,
}

impl Hook {
    /// Whether it is one that we made for this wish: it leads there, and has our name. In versions without names, and before
    /// we gave ours one, it sends nothing but what we ask for.
    pub fn is_of(&self, wish: &HookWish) -> bool {
        let is_ours = match self.name.as_deref() {
            None | Some("") => wish.events.cover(self.events),
            Some(name) => name == HOOK_NAME,
        };
        self.url == wish.url.as_str() && is_ours
    }
}

impl HookWish {
    fn body(&self) -> Body<'_> {
        Body {
            url: &self.url,
            name: HOOK_NAME,
            token: self.secret.as_ref().map(SecretString::expose_secret),
            signing_token: self.signing.as_ref().map(SecretString::expose_secret),
            enable_ssl_verification: self.url.scheme() == "https",
            events: self.events,
        }
    }
}

impl GitLab {
    /// The webhooks of a project.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn hooks(&self, project: &ProjectRef) -> Result<Vec<Hook>, GitLabError> {
        Ok(self.list(Request::get(project.segments(["hooks"])), PAGES).await?.items)
    }

    /// Makes a webhook.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn create_hook(&self, project: &ProjectRef, wish: &HookWish) -> Result<Hook, GitLabError> {
        self.call(Request::post(project.segments(["hooks"])).json(&wish.body())).await
    }

    /// Makes a webhook what it should be, its secrets included.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn edit_hook(&self, project: &ProjectRef, id: u64, wish: &HookWish) -> Result<Hook, GitLabError> {
        self.call(Request::new(Method::PUT, project.segments(["hooks", &id.to_string()])).json(&wish.body())).await
    }

    /// Has GitLab send a sample. One that we answer well makes a disabled hook work again.
    ///
    /// # Errors
    /// As [`GitLabError`] tells; [`GitLabError::Invalid`] when it could not be delivered.
    pub async fn test_hook(&self, project: &ProjectRef, id: u64, trigger: &str) -> Result<(), GitLabError> {
        self.act(Request::post(project.segments(["hooks", &id.to_string(), "test", trigger]))).await
    }

    /// Deletes a webhook; that it is gone already is as good.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn delete_hook(&self, project: &ProjectRef, id: u64) -> Result<(), GitLabError> {
        match self.act(Request::new(Method::DELETE, project.segments(["hooks", &id.to_string()]))).await {
            Err(error) if error.is_not_found() => Ok(()),
            done => done,
        }
    }
}
