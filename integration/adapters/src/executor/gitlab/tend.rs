//! Seeing to the webhooks of the projects that are built in: each is to have one that leads to us.
//!
//! A webhook only makes a look come sooner. So nothing waits for it, and what is wrong with one is shown and tried again
//! while builds go on.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use signalbox_contract::RepoName;
use tokio::sync::Notify;
use url::Url;

use super::GitLabExecutor;
use super::hook::ensure;
use crate::gitlab::{GitLabError, HookWish, Project, ProjectRef};

/// How many projects are seen to.
const MOST: usize = 10_000;

/// How webhooks stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many are as they should be.
    pub well: usize,
    /// How many are not.
    pub troubled: usize,
}

/// The webhook that each project is to have, and how it stands with each that is known.
#[derive(Debug)]
pub(super) struct Tending {
    wish: HookWish,
    projects: Mutex<BTreeMap<u64, Standing>>,
    wake: Notify,
}

#[derive(Debug, Clone, Default)]
struct Standing {
    /// It was seen to.
    seen: bool,
    /// Its secrets were written since we were started: whether they are the right ones cannot be read.
    written: bool,
    trouble: Option<String>,
}

impl Tending {
    pub(super) fn new(wish: HookWish) -> Self {
        Self { wish, projects: Mutex::default(), wake: Notify::new() }
    }

    pub(super) fn url(&self) -> &Url {
        &self.wish.url
    }

    /// A project is built in. If its webhook was not seen to yet, it soon is.
    pub(super) fn used(&self, project: u64) {
        let mut projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        if projects.len() < MOST && !projects.contains_key(&project) {
            projects.insert(project, Standing::default());
            self.wake.notify_one();
        }
    }

    /// Something is wrong with a project's webhook: it is seen to soon, and written anew.
    pub(super) fn mend(&self, project: u64) {
        self.projects.lock().unwrap_or_else(PoisonError::into_inner).insert(project, Standing::default());
        self.wake.notify_one();
    }

    /// What is wrong with a project's webhook, as far as is known.
    pub(super) fn trouble(&self, project: u64) -> Option<String> {
        self.projects.lock().unwrap_or_else(PoisonError::into_inner).get(&project)?.trouble.clone()
    }

    fn due(&self, all: bool) -> Vec<(u64, Standing)> {
        let projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        projects.iter().filter(|(_, standing)| all || !standing.seen).map(|(id, standing)| (*id, standing.clone())).collect()
    }

    fn settle(&self, project: u64, now: Option<Standing>) {
        let mut projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        let before = projects.remove(&project);
        let Some(now) = now else { return };
        let before = before.and_then(|standing| standing.trouble);
        match &now.trouble {
            Some(trouble) if before.as_ref() != Some(trouble) => {
                tracing::warn!(project, trouble, "a webhook is not as it should be; builds are looked at in their own time");
            }
            None if before.is_some() => tracing::info!(project, "a webhook is as it should be again"),
            Some(_) | None => {}
        }
        projects.insert(project, now);
    }

    fn tally(&self) -> Tally {
        let projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        let troubled = projects.values().filter(|standing| standing.trouble.is_some()).count();
        Tally { well: projects.values().filter(|standing| standing.seen).count() - troubled, troubled }
    }
}

impl GitLabExecutor {
    /// The same, whose projects are to have this webhook.
    #[must_use]
    pub fn with_hook(mut self, wish: HookWish) -> Self {
        self.tending = Some(std::sync::Arc::new(Tending::new(wish)));
        self
    }

    /// Waits until there is a project whose webhook was not seen to.
    pub async fn hook_wanted(&self) {
        match &self.tending {
            Some(tending) => tending.wake.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Sees to the webhooks of these repositories' projects, as far as they are there, and of all that are built in; with
    /// no repositories only to those that were not seen to yet.
    pub async fn tend_hooks(&self, repos: Option<&[RepoName]>) -> Tally {
        let Some(tending) = &self.tending else { return Tally::default() };
        for repo in repos.unwrap_or_default() {
            match self.gitlab.project(&self.project_of(repo)).await {
                Ok(Some(project)) if is_tended(&project) => tending.used(project.id),
                // The mirror makes it with the first run.
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%repo, %error, "a project whose webhook is to be seen to could not be asked for");
                    return tending.tally();
                }
            }
        }
        for (project, before) in tending.due(repos.is_some()) {
            let wish = HookWish { rewrite: !before.written, ..tending.wish.clone() };
            let done = ensure(&self.gitlab, &ProjectRef::Id(project), &wish).await;
            let now = match done {
                Ok(state) => Standing { seen: true, written: true, trouble: state.trouble },
                // One of this number that is gone for good was replaced by another.
                Err(GitLabError::NotFound { .. }) if matches!(self.gitlab.project(&ProjectRef::Id(project)).await, Ok(None)) => {
                    tending.settle(project, None);
                    continue;
                }
                Err(error) => Standing { seen: true, written: before.written, trouble: Some(words(&error)) },
            };
            tending.settle(project, Some(now));
        }
        tending.tally()
    }
}

fn is_tended(project: &Project) -> bool {
    !project.is_marked_for_deletion() && project.archived != Some(true)
}

/// Why a webhook could not be seen to, with what to do.
fn words(error: &GitLabError) -> String {
    match error {
        GitLabError::Forbidden { .. } | GitLabError::NotFound { .. } => {
            "The token may not see to webhooks: that needs the role Maintainer in the group.".to_owned()
        }
        GitLabError::Invalid { .. } => format!(
            "{error}. A GitLab calls addresses of its own network only where its administrator allows requests to the local network \
             from webhooks."
        ),
        error => format!("{}.", signalbox_service::telemetry::causes(error)),
    }
}
