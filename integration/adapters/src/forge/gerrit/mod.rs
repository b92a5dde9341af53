//! Gerrit: changes come as events, and what became of them is told by a vote.
//!
//! Events come over ssh, by webhooks, or both; whatever is missed is found by comparing. A vote goes to the commit that was
//! built and to no other.

mod admission;
mod asked;
mod doctor;
mod event;
mod heads;
mod rest;
mod settings;
mod ssh;
mod stream;
pub mod testing;
mod told;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::HeaderMap;
use jiff::Timestamp;
use signalbox_contract::change::ChangeId;
use signalbox_contract::{CommitSha, Failure, FailureCode, ForgeName, RefName};
use signalbox_service::client::ClientError;
use signalbox_service::clock::SharedClock;
use tokio::sync::OnceCell;

pub use admission::MAX_EVENT;
pub use settings::{GerritSettings, GerritSsh, Notify};

use super::payload::number;
use super::{Admitted, Finding, Forge, ForgeError, Forged, Fut, Glance, Happening, Knock, Review, Streamed, Told, Untranslated, Watched};
use rest::{Ask, Rest, RestError};

/// Why a Gerrit cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum GerritSetUpError {
    /// Its address is not one that may be called.
    #[error("the address of the Gerrit {0}")]
    Address(&'static str),
    /// The ssh host, its port's number, or the user is not plain enough to be used.
    #[error("the host of the Gerrit's ssh, or the user, holds other characters than letters, digits, dots, dashes and underscores")]
    Ssh,
    /// The user or the password is not one.
    #[error("the user or the password holds characters that neither has")]
    Account,
    /// The certificate authority cannot be used.
    #[error("the certificate authority of the Gerrit cannot be used")]
    Authority(#[source] ClientError),
    /// TLS cannot be set up here.
    #[error("the client cannot be set up")]
    Client(#[source] reqwest::Error),
}

/// One Gerrit.
pub struct Gerrit {
    settings: Arc<GerritSettings>,
    clock: SharedClock,
    rest: Option<Rest>,
    /// Our account's number there.
    own: OnceCell<u64>,
}

impl std::fmt::Debug for Gerrit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gerrit").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Gerrit {
    /// The Gerrit that is configured so.
    ///
    /// # Errors
    /// When it cannot be used so.
    pub fn new(settings: GerritSettings, clock: SharedClock) -> Result<Self, GerritSetUpError> {
        let rest = Rest::new(&settings)?;
        if settings.ssh.as_ref().is_some_and(|stream| !ssh::is_plain(&stream.host) || !ssh::is_plain(&settings.user)) {
            return Err(GerritSetUpError::Ssh);
        }
        Ok(Self { settings: Arc::new(settings), clock, rest, own: OnceCell::new() })
    }

    fn rest(&self) -> Result<&Rest, ForgeError> {
        self.rest.as_ref().ok_or_else(|| {
            let detail = format!("There is no password for {}.", self.settings.name);
            ForgeError::Refused(
                Failure::new(FailureCode::ForgeRefused, detail)
                    .hint("Give the account an HTTP password and name its file in the configuration."),
            )
        })
    }

    /// Our account's number, asked for once.
    async fn own(&self, rest: &Rest) -> Result<u64, ForgeError> {
        let ask = async {
            let account = rest.json(Ask::get(&["accounts", "self"])).await?;
            number(&account, &["_account_id"]).ok_or(RestError::Unreadable("says no account"))
        };
        self.own.get_or_try_init(|| ask).await.copied().map_err(|error| told::refused(error, "Our own account could not be read."))
    }
}

impl Forge for Gerrit {
    fn name(&self) -> &ForgeName {
        &self.settings.name
    }

    fn glance(&self, _headers: &HeaderMap, path: &str) -> Result<Glance, Forged> {
        admission::glance(path, &self.settings.secrets.current())
    }

    fn admit(&self, knock: &Knock<'_>) -> Result<Admitted, Forged> {
        admission::admit(knock, &self.settings.secrets.current())
    }

    fn admit_streamed(&self, line: &[u8]) -> Result<Admitted, Forged> {
        admission::admit_event(line)
    }

    fn translate(&self, kind: &str, body: &[u8]) -> Result<Vec<Happening>, Untranslated> {
        event::translate(&self.settings, kind, body)
    }

    fn can_be_asked(&self) -> bool {
        self.rest.is_some()
    }

    fn heads<'a>(&'a self, projects: &'a [Watched]) -> Fut<'a, Vec<Happening>> {
        Box::pin(async { heads::heads(self.rest()?, &self.settings.name, projects).await })
    }

    fn change<'a>(&'a self, change: &'a ChangeId) -> Fut<'a, Option<Happening>> {
        Box::pin(async { asked::change(self.rest()?, change).await })
    }

    fn merged_as<'a>(&'a self, project: &'a str, branch: &'a RefName, sha: &'a CommitSha) -> Fut<'a, Option<ChangeId>> {
        Box::pin(async { asked::merged_as(self.rest()?, &self.settings.name, project, branch, sha).await })
    }

    fn events_since(&self, since: Timestamp) -> Fut<'_, Option<Vec<Bytes>>> {
        Box::pin(async move { heads::events_since(self.rest()?, since).await })
    }

    fn tell<'a>(&'a self, review: &'a Review) -> Fut<'a, Told> {
        Box::pin(async {
            let rest = self.rest()?;
            let own = self.own(rest).await?;
            told::tell(&self.settings, rest, own, review).await
        })
    }

    fn stream(&self) -> Option<BoxStream<'static, Streamed>> {
        let ssh = self.settings.ssh.clone()?;
        Some(stream::stream(Arc::clone(&self.settings), ssh, self.rest.clone(), Arc::clone(&self.clock)))
    }

    fn examine<'a>(&'a self, projects: &'a [String]) -> futures_util::future::BoxFuture<'a, Vec<Finding>> {
        Box::pin(doctor::examine(self, projects))
    }
}
