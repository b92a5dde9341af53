//! Seeing to the webhooks of the projects that are built in: each is to have one that leads to us.
//!
//! A webhook only makes a look come sooner. So nothing waits for it, and what is wrong with one is shown and tried again
//! while builds go on.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use signalbox_contract::RepoName;
use signalbox_service::secret::{ExposeSecret as _, SecretString};
use tokio::sync::Notify;
use url::Url;

use super::GitLabExecutor;
use super::hook::ensure;
use crate::forge::Secrets;
use crate::gitlab::{GitLabError, HookEvents, HookWish, Project, ProjectRef};

/// How many projects are seen to.
pub(super) const MOST: usize = 10_000;

/// How webhooks stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many are as they should be.
    pub well: usize,
    /// How many are not.
    pub troubled: usize,
}

/// What the projects' webhooks are to be.
#[derive(Debug, Clone)]
pub struct HookTerms {
    /// Where they lead.
    pub url: Url,
    /// The secrets of which each carries the first, which is the newest, in the clear.
    pub secrets: Secrets,
    /// The keys of which each signs with the first.
    pub signing: Secrets,
}

/// The webhook that each project is to have, and how it stands with each that is known.
#[derive(Debug)]
pub(super) struct Tending {
    terms: HookTerms,
    edition: Mutex<Edition>,
    projects: Mutex<BTreeMap<u64, Standing>>,
    wake: Notify,
}

/// The secrets that webhooks are to carry now, and a number that is another one after each change of them.
#[derive(Debug, Default)]
struct Edition {
    number: u64,
    secret: Option<SecretString>,
    signing: Option<SecretString>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    /// It was seen to.
    seen: bool,
    /// The edition of the secrets that was written since we were started: whether they are the right ones cannot be read.
    written: Option<u64>,
    trouble: Option<String>,
    /// How often somebody said something about it. What was seen before the last time does not settle it.
    asked: u64,
}

impl Standing {
    /// The same, seen to with this edition of the secrets, and what was found wrong.
    pub(super) fn seen_to(self, edition: u64, trouble: Option<String>) -> Self {
        Self { seen: true, written: Some(edition), trouble, ..self }
    }
}

impl Tending {
    pub(super) fn new(terms: HookTerms) -> Self {
        Self { terms, edition: Mutex::default(), projects: Mutex::default(), wake: Notify::new() }
    }

    pub(super) fn url(&self) -> &Url {
        &self.terms.url
    }

    /// A project is built in. If its webhook was not seen to yet, it soon is.
    pub(super) fn used(&self, project: u64) {
        self.ask(project, |_| {});
    }

    /// Something is wrong with a project's webhook: it is seen to soon, and written anew.
    pub(super) fn mend(&self, project: u64) {
        self.ask(project, |standing| (standing.seen, standing.written) = (false, None));
    }

    fn ask(&self, project: u64, change: impl FnOnce(&mut Standing)) {
        let mut projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        if projects.len() >= MOST && !projects.contains_key(&project) {
            return;
        }
        let standing = projects.entry(project).or_default();
        standing.asked = standing.asked.wrapping_add(1);
        change(standing);
        if !standing.seen {
            self.wake.notify_one();
        }
    }

    /// What is wrong with a project's webhook, as far as is known.
    pub(super) fn trouble(&self, project: u64) -> Option<String> {
        self.projects.lock().unwrap_or_else(PoisonError::into_inner).get(&project)?.trouble.clone()
    }

    /// The webhook as it is to be now, and the edition of the secrets in it. They change while we run.
    pub(super) fn wish(&self) -> (HookWish, u64) {
        let first = |secrets: &Secrets| secrets.current().into_iter().next();
        let (secret, signing) = (first(&self.terms.secrets), first(&self.terms.signing));
        let mut edition = self.edition.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_same(edition.secret.as_ref(), secret.as_ref()) || !is_same(edition.signing.as_ref(), signing.as_ref()) {
            *edition = Edition { number: edition.number.wrapping_add(1), secret: secret.clone(), signing: signing.clone() };
        }
        (HookWish { url: self.terms.url.clone(), secret, signing, events: HookEvents::BUILDS, rewrite: false }, edition.number)
    }

    /// Those that are to be seen to: all, or those that were not yet, or have other secrets than they should.
    pub(super) fn due(&self, all: bool) -> Vec<(u64, Standing)> {
        let (_, edition) = self.wish();
        let is_due = |standing: &Standing| all || !standing.seen || standing.written.is_some_and(|written| written != edition);
        let projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        projects.iter().filter(|(_, standing)| is_due(standing)).map(|(id, standing)| (*id, standing.clone())).collect()
    }

    /// How it stands with a project's webhook, which stood as `before` when it was begun to see to it; with `None` its project
    /// is gone. What was said about it meanwhile still counts.
    pub(super) fn settle(&self, project: u64, before: &Standing, now: Option<Standing>) {
        let mut projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(standing) = projects.get_mut(&project) else { return };
        let is_settled = standing.asked == before.asked;
        let Some(now) = now else {
            if is_settled {
                projects.remove(&project);
            } else {
                standing.seen = false;
                self.wake.notify_one();
            }
            return;
        };
        match &now.trouble {
            Some(trouble) if standing.trouble.as_ref() != Some(trouble) => {
                tracing::warn!(project, trouble, "a webhook is not as it should be; builds are looked at in their own time");
            }
            None if standing.trouble.is_some() => tracing::info!(project, "a webhook is as it should be again"),
            Some(_) | None => {}
        }
        if is_settled {
            *standing = now;
        } else {
            standing.trouble = now.trouble;
        }
    }

    fn tally(&self) -> Tally {
        let projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        let troubled = projects.values().filter(|standing| standing.trouble.is_some()).count();
        let well = projects.values().filter(|standing| standing.seen && standing.trouble.is_none()).count();
        Tally { well, troubled }
    }
}

impl GitLabExecutor {
    /// The same, whose projects are to have this webhook.
    #[must_use]
    pub fn with_hook(mut self, terms: HookTerms) -> Self {
        self.tending = Some(std::sync::Arc::new(Tending::new(terms)));
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
            // Read anew for each: seeing to many takes long, and a secret that was replaced meanwhile is not to be written.
            let (wish, edition) = tending.wish();
            let written = before.written.filter(|written| *written == edition);
            let wish = HookWish { rewrite: written.is_none(), ..wish };
            let done = ensure(&self.gitlab, &ProjectRef::Id(project), &wish).await;
            let now = match done {
                Ok(trouble) => Some(before.clone().seen_to(edition, trouble)),
                // One of this number that is gone for good was replaced by another.
                Err(GitLabError::NotFound { .. }) if matches!(self.gitlab.project(&ProjectRef::Id(project)).await, Ok(None)) => None,
                Err(error) => Some(Standing { seen: true, written, trouble: Some(words(&error)), asked: before.asked }),
            };
            tending.settle(project, &before, now);
        }
        tending.tally()
    }
}

fn is_same(one: Option<&SecretString>, other: Option<&SecretString>) -> bool {
    one.map(SecretString::expose_secret) == other.map(SecretString::expose_secret)
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
