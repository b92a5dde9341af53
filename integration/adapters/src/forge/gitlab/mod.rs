//! GitLab as a place where changes come from: pushes and merge requests start runs, commit statuses tell how they stand.

mod admission;
mod asked;
mod call;
mod doctor;
mod event;
mod settings;

#[cfg(test)]
mod tests;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use http::HeaderMap;
use signalbox_contract::change::ChangeId;
use signalbox_contract::{CommitSha, Failure, FailureCode, ForgeName, RefName};
use signalbox_service::clock::SharedClock;

pub use admission::MAX_DELIVERY;
pub use settings::GitlabForgeSettings;

use super::{Admitted, Finding, Forge, ForgeError, Forged, Fut, Glance, Happening, Knock, Review, Streamed, Told, Untranslated, Watched};
use crate::gitlab::{GitLab, GitLabSetUpError};
use call::Turns;

/// One GitLab.
pub struct GitlabForge {
    settings: GitlabForgeSettings,
    clock: SharedClock,
    gitlab: Option<GitLab>,
    turns: Turns,
}

impl std::fmt::Debug for GitlabForge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GitlabForge").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl GitlabForge {
    /// The GitLab that is configured so.
    ///
    /// # Errors
    /// When it cannot be used so.
    pub fn new(settings: GitlabForgeSettings, clock: SharedClock) -> Result<Self, GitLabSetUpError> {
        let gitlab = settings.connection().map(|connection| GitLab::new(&connection)).transpose()?;
        Ok(Self::with(gitlab, settings, clock))
    }

    /// The same, called by a client that others use too.
    pub fn with(gitlab: Option<GitLab>, settings: GitlabForgeSettings, clock: SharedClock) -> Self {
        Self { gitlab, settings, clock, turns: Turns::default() }
    }

    fn gitlab(&self) -> Result<&GitLab, ForgeError> {
        self.gitlab.as_ref().ok_or_else(|| {
            let detail = format!("There is no token for {}.", self.settings.name);
            let hint = "Make a token with the scope api for a member with the role Developer, and name its file in the configuration.";
            ForgeError::Refused(Failure::new(FailureCode::ForgeRefused, detail).hint(hint))
        })
    }
}

impl Forge for GitlabForge {
    fn name(&self) -> &ForgeName {
        &self.settings.name
    }

    fn glance(&self, headers: &HeaderMap, _path: &str) -> Result<Glance, Forged> {
        admission::glance(&self.settings, headers)
    }

    fn admit(&self, knock: &Knock<'_>) -> Result<Admitted, Forged> {
        admission::admit(&self.settings, knock)
    }

    fn translate(&self, kind: &str, body: &[u8]) -> Result<Vec<Happening>, Untranslated> {
        event::translate(&self.settings, kind, body)
    }

    fn can_be_asked(&self) -> bool {
        self.gitlab.is_some()
    }

    fn heads<'a>(&'a self, projects: &'a [Watched]) -> Fut<'a, Vec<Happening>> {
        Box::pin(async { call::heads(self.gitlab()?, &self.settings, projects).await })
    }

    fn change<'a>(&'a self, change: &'a ChangeId) -> Fut<'a, Option<Happening>> {
        Box::pin(async { asked::change(self.gitlab()?, &self.settings, change).await })
    }

    fn merged_as<'a>(&'a self, project: &'a str, branch: &'a RefName, sha: &'a CommitSha) -> Fut<'a, Option<ChangeId>> {
        Box::pin(async { asked::merged_as(self.gitlab()?, &self.settings, project, branch, sha).await })
    }

    fn tell<'a>(&'a self, review: &'a Review) -> Fut<'a, Told> {
        Box::pin(async { call::tell(self.gitlab()?, &self.settings, &self.turns, review).await })
    }

    fn stream(&self) -> Option<BoxStream<'static, Streamed>> {
        None
    }

    fn examine<'a>(&'a self, projects: &'a [String]) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(doctor::examine(self.gitlab.as_ref(), &self.settings, &self.clock, projects))
    }
}
