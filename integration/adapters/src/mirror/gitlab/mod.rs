//! A GitLab as the place: a project for each repository, found or made in one group.
//!
//! Invariants: the default branch is one of our own, seeded before anything is pushed, so that what is mirrored neither
//! becomes the default nor protected by it. A project is deleted only where [`Naming::Replace`] was ordered. The token goes
//! to the configured origin alone, whatever addresses GitLab answers.

mod examine;
pub(crate) mod place;
mod replace;
mod settings;
mod trouble;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use signalbox_contract::api::vcs::Naming;
use signalbox_contract::{CommitSha, Failure, FailureCode, RefName, RepoName};
use signalbox_service::clock::SharedClock;
use signalbox_service::git::{Access, Git, Remote};
use signalbox_service::secret::{SecretString, is_same_secret, read_secret};
use signalbox_service::telemetry::causes;
use url::Url;

use self::trouble::of_api;
use super::push::{Bring, bring, look, remove};
use super::refusal::of_push;
use super::{Finding, Fut, Listed, Mirror, MirrorError, OURS, Order, Shown, Target, shown_as};
use crate::gitlab::{Connection, GitLab, ProjectRef};

/// How many refs of ours are read of one project.
const MOST_REFS: usize = 10_000;

/// How long a list of refs may take.
const LIST: Duration = Duration::from_mins(1);

/// How long a project that was found as it should be is believed to be so.
const BELIEVED: Duration = Duration::from_mins(10);

/// The words that a push of an attempt's own ref carries: it starts no pipeline, neither here nor in what listens here.
const SKIP: &[&str] = &["ci.skip", "integrations.skip_ci"];

/// The name under which a token is a password. OAuth's tokens need this one; others take any.
const USERNAME: &str = "oauth2";

/// What is configured of such a place.
#[derive(Debug, Clone)]
pub struct GitlabSettings {
    /// The GitLab's address.
    pub url: Url,
    /// The file with the token. It is read each time it is used.
    pub token: PathBuf,
    /// The full path of the group in which the projects lie.
    pub group: String,
    /// Who may see projects that are made: `private`, `internal` or `public`.
    pub visibility: String,
    /// The certificate authorities that are trusted instead of the system's.
    pub ca: Option<PathBuf>,
    /// How long one push may take, and a replacement.
    pub deadline: Duration,
    /// How many calls of the API are made a minute.
    pub calls_per_minute: u32,
}

/// A GitLab that takes pushes.
pub struct GitlabMirror {
    git: Git,
    settings: GitlabSettings,
    /// The client, for as long as the token is the same.
    client: Mutex<Option<(SecretString, GitLab)>>,
    /// Projects that were found as they should be, and when.
    known: Mutex<HashMap<RepoName, (Project, Instant)>>,
    clock: SharedClock,
}

/// A project at the place.
#[derive(Debug, Clone)]
struct Project {
    id: u64,
    path: String,
}

impl Project {
    const fn reference(&self) -> ProjectRef {
        ProjectRef::Id(self.id)
    }
}

impl GitlabMirror {
    /// The GitLab that the settings name.
    pub fn new(git: Git, settings: GitlabSettings, clock: SharedClock) -> Self {
        Self { git, settings, client: Mutex::default(), known: Mutex::default(), clock }
    }

    fn token(&self) -> Result<SecretString, MirrorError> {
        read_secret(&self.settings.token).map_err(|error| {
            tracing::error!(error = %causes(&error), "mirror.credential_unreadable");
            let failure = Failure::new(FailureCode::MirrorDenied, "The mirror's token cannot be read.");
            MirrorError::Final(failure.hint("See the VCS worker's log; the file must be there, and readable by the worker alone."))
        })
    }

    fn client(&self) -> Result<GitLab, MirrorError> {
        let token = self.token()?;
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, client)) = client.as_ref().filter(|(known, _)| is_same_secret(known, &token)) {
            let _ = known;
            return Ok(client.clone());
        }
        let mut connection = Connection::new(self.settings.url.clone(), token.clone());
        connection.ca.clone_from(&self.settings.ca);
        connection.calls_per_minute = self.settings.calls_per_minute;
        let made = GitLab::new(&connection).map_err(|error| {
            let failure = Failure::new(FailureCode::MirrorSettings, format!("The GitLab cannot be called: {}.", causes(&error)));
            MirrorError::Final(failure.configure("Mend the mirror's entry in the VCS worker's configuration."))
        })?;
        *client = Some((token, made.clone()));
        Ok(made)
    }

    /// Where a project's repository is: made from our own configuration, since the token goes there.
    fn remote(&self, path: &str, addresses: &[IpAddr]) -> Result<Remote, MirrorError> {
        let mut url = self.settings.url.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{path}.git"));
        let remote = Remote::new(&url).map_err(|error| MirrorError::Final(Failure::new(FailureCode::MirrorRefused, error.said)))?;
        let access = Access::Basic { username: USERNAME.to_owned(), password: self.token()? };
        Ok(remote.access(access).pinned(addresses.to_vec()).ca(self.settings.ca.clone()))
    }

    /// The full path of a repository's project.
    fn path(&self, name: &RepoName) -> String {
        format!("{}/{name}", self.settings.group)
    }

    fn known(&self, name: &RepoName) -> Option<Project> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).filter(|(_, since)| since.elapsed() < BELIEVED).map(|(project, _)| project.clone())
    }

    fn remember(&self, name: &RepoName, project: &Project) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, since)| since.elapsed() < BELIEVED);
        known.insert(name.clone(), (project.clone(), Instant::now()));
    }

    fn forget(&self, name: &RepoName) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Brings the ref to the commit. A protection that stands in the way of a branch under its own name is opened, once.
    async fn push(&self, order: &Order<'_>, project: &Project, remote: &Remote, ref_name: &RefName) -> Result<bool, MirrorError> {
        let options = if order.naming == Naming::Run { SKIP } else { &[] };
        let push = Bring {
            remote,
            copy: order.target.copy,
            ref_name,
            sha: order.sha,
            note: order.note,
            options,
            deadline: self.settings.deadline,
        };
        match bring(&self.git, push).await {
            Err(MirrorError::Final(failure)) if failure.code == FailureCode::MirrorProtected && order.naming == Naming::Same => {
                if self.open(project, ref_name).await? { bring(&self.git, push).await } else { Err(MirrorError::Final(failure)) }
            }
            outcome => outcome,
        }
    }

    /// Lets a protected branch's history be replaced: it has to follow its source. Answers whether anything was changed.
    async fn open(&self, project: &Project, ref_name: &RefName) -> Result<bool, MirrorError> {
        let client = self.client()?;
        let Some(branch) = ref_name.as_str().strip_prefix("refs/heads/") else { return Ok(false) };
        let trouble = |error| of_api(&error, "Looking at the protected branches");
        let rules = client.protected_branches(&project.reference()).await.map_err(trouble)?;
        let mut opened = false;
        for rule in rules.iter().filter(|rule| rule.covers(branch) && rule.allow_force_push != Some(true)) {
            match client.allow_force_push(&project.reference(), &rule.name).await {
                Ok(()) => {
                    tracing::info!(project = project.path, rule = rule.name, "mirror.force_push_allowed");
                    opened = true;
                }
                Err(error) => {
                    let detail = format!(
                        "The branch {branch} is protected in {} by the rule {}, and that cannot be changed.",
                        project.path, rule.name
                    );
                    tracing::warn!(error = %causes(&error), detail, "mirror.protection_not_changed");
                    let failure = Failure::new(FailureCode::MirrorProtected, detail);
                    let hint =
                        "Allow force pushes for it (Settings, Repository, Protected branches), or give the token the role Maintainer.";
                    return Err(MirrorError::Final(failure.hint(hint)));
                }
            }
        }
        Ok(opened)
    }

    /// Where a project is that git does not find at its path: somewhere else, or nowhere. Where it is at its path all the same, or
    /// the group is not shown either, `error` stands.
    async fn whereabouts(&self, name: &RepoName, error: MirrorError) -> Result<Option<String>, MirrorError> {
        let (client, path) = (self.client()?, self.path(name));
        let asked = |error| of_api(&error, "Looking for the project");
        match client.project(&ProjectRef::Path(path.clone())).await.map_err(asked)? {
            Some(found) if found.path_with_namespace != path => Ok(Some(found.path_with_namespace)),
            None if client.group(&self.settings.group).await.map_err(asked)?.is_some() => Ok(None),
            // Nothing is missed meanwhile: it is taken away when it is shown again.
            Some(_) | None => Err(MirrorError::Passing(error.failure().clone())),
        }
    }

    fn shown(order: &Order<'_>, project: Option<&Project>, remote: &Remote, ref_name: RefName, moved: bool) -> Shown {
        let project = project.map(|project| project.id.to_string());
        Shown { url: remote.url().clone(), ref_name, sha: order.sha.clone(), project, moved }
    }
}

impl Mirror for GitlabMirror {
    fn server(&self) -> Option<&Url> {
        Some(&self.settings.url)
    }

    fn show<'a>(&'a self, order: &'a Order<'a>) -> Fut<'a, Shown> {
        Box::pin(async move {
            let ref_name = shown_as(order).map_err(MirrorError::Final)?;
            let name = order.target.name;
            let project = match (order.naming, self.known(name)) {
                (Naming::Replace, _) => {
                    self.forget(name);
                    self.replace(order, &ref_name).await?
                }
                (_, Some(project)) => project,
                (_, None) => self.ensure(name).await?,
            };
            let remote = self.remote(&project.path, order.target.addresses)?;
            let pushed = self.push(order, &project, &remote, &ref_name).await;
            if pushed.is_err() {
                // It may have been renamed, archived or deleted meanwhile: the next try looks.
                self.forget(name);
            } else if order.naming != Naming::Replace {
                self.remember(name, &project);
            }
            Ok(Self::shown(order, Some(&project), &remote, ref_name, pushed?))
        })
    }

    fn hide<'a>(&'a self, order: &'a Order<'a>) -> Fut<'a, Shown> {
        Box::pin(async move {
            let ref_name = shown_as(order).map_err(MirrorError::Final)?;
            let mut remote = self.remote(&self.path(order.target.name), order.target.addresses)?;
            if order.naming == Naming::Run {
                let now = match look(&self.git, &remote, &ref_name).await {
                    // Git says this also of what was renamed, and of what is not shown to us: there the ref may well be.
                    Err(error) if error.failure().code == FailureCode::MirrorNotFound => {
                        match self.whereabouts(order.target.name, error).await? {
                            Some(path) => {
                                remote = self.remote(&path, order.target.addresses)?;
                                look(&self.git, &remote, &ref_name).await?
                            }
                            // Without its project there is no ref either.
                            None => None,
                        }
                    }
                    outcome => outcome?,
                };
                if let Some(now) = now {
                    remove(&self.git, &remote, order.target.copy, &[(ref_name.clone(), now.object)], self.settings.deadline).await?;
                }
            }
            Ok(Self::shown(order, self.known(order.target.name).as_ref(), &remote, ref_name, false))
        })
    }

    fn list<'a>(&'a self, target: &'a Target<'a>) -> Fut<'a, Option<Listed>> {
        Box::pin(async move {
            let client = self.client()?;
            let path = self.path(target.name);
            let trouble = |error| of_api(&error, "Looking at a project");
            let Some(project) = client.project(&ProjectRef::Path(path.clone())).await.map_err(trouble)? else { return Ok(None) };
            if project.path_with_namespace != path {
                return Ok(None);
            }
            let size = client.project_size(&project.reference()).await.unwrap_or_default();
            let remote = self.remote(&path, target.addresses)?;
            let refs = self.git.ls_remote_below(&remote, OURS, MOST_REFS, LIST).await;
            let refs = refs.map_err(|error| of_push(&error, remote.url(), None))?;
            let refs = refs.into_iter().map(|shown| (shown.name, shown.object)).collect();
            Ok(Some(Listed { url: remote.url().clone(), project: Some(project.id.to_string()), size, refs }))
        })
    }

    fn clear<'a>(&'a self, target: &'a Target<'a>, refs: &'a [(RefName, CommitSha)]) -> Fut<'a, ()> {
        Box::pin(async move {
            let remote = self.remote(&self.path(target.name), target.addresses)?;
            remove(&self.git, &remote, target.copy, refs, self.settings.deadline).await
        })
    }

    fn examine<'a>(&'a self, _addresses: &'a [IpAddr]) -> Fut<'a, Vec<Finding>> {
        Box::pin(async move { self.look_around().await })
    }
}
