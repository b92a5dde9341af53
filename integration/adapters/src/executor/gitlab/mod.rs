//! GitLab as an executor: the repository's own `.gitlab-ci.yml`, run in the organisation's own GitLab.
//!
//! GitLab takes no keys of ours. What it has instead: a ref of the attempt's own (`cd/KEY`), so that every pipeline on it
//! is that attempt's; or, where the commit keeps its original name, pipelines that are newer than the anchor, of our
//! commit, on that name. So a start is searched for before it is made, and found after its answer was lost.
//!
//! An attempt that has ended stays what it was. GitLab lets people retry jobs of a pipeline that has failed, which then
//! runs again under the same number: that is shown there, and changes nothing here, where trying again is a new attempt.
//!
//! Nothing is deleted in GitLab: [`forget`](crate::executor::Executor::forget) keeps the pipeline, whose retention is
//! GitLab's own.

mod archive;
mod begin;
mod doctor;
mod gather;
mod hook;
mod identity;
mod keyring;
mod look;
mod outputs;
mod part;
mod place;
mod refusal;
mod state;
mod tend;
mod tests_part;
mod trace;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use signalbox_contract::build::Observation;
use signalbox_contract::{AttemptKey, RepoName};
use signalbox_service::clock::SharedClock;
use signalbox_service::secret::SecretString;

pub use keyring::Keyring;
pub use tend::{HookTerms, Tally};

use super::{
    Abilities, Anchor, BuildIdentity, BuildRef, Bytes, Executor, Fenced, Finding, Found, Fut, Intent, LogChunk, LogCursor, Order,
    OutputRef, Outputs, Pace, PartRef, Pick, Scope, Severity, Started, Tracked, Unidentified,
};
use crate::gitlab::{GitLab, ProjectRef};
use identity::Identities;
use look::Memory;
use tend::Tending;

const ABILITIES: Abilities = Abilities { jobs: false, native: true, keyed: false, outputs: Outputs::Fetched, pace: PACE };

/// A hook makes a look come at once; without one a build is seen to end within these.
const PACE: Pace = Pace { quickest: std::time::Duration::from_secs(2), slowest: std::time::Duration::from_secs(30) };

/// A GitLab group in which builds run, one project for a repository.
#[derive(Clone)]
pub struct GitLabExecutor {
    gitlab: GitLab,
    group: String,
    clock: SharedClock,
    memory: Arc<Memory>,
    identities: Option<Arc<Identities>>,
    tending: Option<Arc<Tending>>,
    typed_inputs: bool,
}

impl std::fmt::Debug for GitLabExecutor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GitLabExecutor").field("gitlab", &self.gitlab).field("group", &self.group).finish_non_exhaustive()
    }
}

impl GitLabExecutor {
    /// The executor in the group of this full path, where the mirror keeps a project for each repository.
    pub fn new(gitlab: GitLab, group: &str, clock: SharedClock) -> Self {
        Self {
            gitlab,
            group: group.trim_matches('/').to_owned(),
            clock,
            memory: Arc::default(),
            identities: None,
            tending: None,
            typed_inputs: false,
        }
    }

    /// The same, taking the identities of jobs that are for this audience and signed with one of these keys of its GitLab.
    #[must_use]
    pub fn identifying(mut self, audience: &str, keyring: &Keyring) -> Self {
        self.identities = Some(Arc::new(Identities::new(self.gitlab.base(), audience, keyring.clone())));
        self
    }

    /// The same, giving a run's inputs to the inputs that its definition declares, instead of setting variables.
    #[must_use]
    pub const fn with_typed_inputs(mut self, typed: bool) -> Self {
        self.typed_inputs = typed;
        self
    }

    /// The client, for what else is asked of this GitLab.
    pub const fn gitlab(&self) -> &GitLab {
        &self.gitlab
    }

    /// The full path of the project in which a repository is built.
    pub fn project_path(&self, repo: &RepoName) -> String {
        if self.group.is_empty() { repo.to_string() } else { format!("{}/{repo}", self.group) }
    }

    fn project_of(&self, repo: &RepoName) -> ProjectRef {
        ProjectRef::Path(self.project_path(repo))
    }
}

impl Executor for GitLabExecutor {
    fn abilities(&self) -> &Abilities {
        &ABILITIES
    }

    fn prepare<'a>(&'a self, intent: &'a Intent) -> Fut<'a, Anchor> {
        Box::pin(self.drop_anchor(intent))
    }

    fn start<'a>(&'a self, order: &'a Order, anchor: &'a Anchor) -> Fut<'a, Started> {
        Box::pin(self.begin(order, anchor))
    }

    fn find<'a>(&'a self, key: &'a AttemptKey, anchor: &'a Anchor) -> Fut<'a, Found> {
        Box::pin(self.search(key, anchor))
    }

    fn observe<'a>(&'a self, _scope: &'a Scope, live: &'a [Tracked]) -> Fut<'a, Vec<Observation>> {
        Box::pin(self.look(live))
    }

    fn cancel<'a>(&'a self, tracked: &'a Tracked) -> Fut<'a, ()> {
        Box::pin(self.stop(tracked))
    }

    fn fence<'a>(&'a self, key: &'a AttemptKey, anchor: &'a Anchor) -> Fut<'a, Fenced> {
        Box::pin(self.shut(key, anchor))
    }

    fn log<'a>(&'a self, part: &'a PartRef, from: &'a LogCursor) -> Fut<'a, LogChunk> {
        Box::pin(self.read_on(part, from))
    }

    fn outputs<'a>(&'a self, tracked: &'a Tracked, picks: &'a [Pick]) -> Fut<'a, Vec<OutputRef>> {
        Box::pin(self.pick(tracked, picks))
    }

    fn read<'a>(&'a self, output: &'a OutputRef) -> Fut<'a, Bytes> {
        Box::pin(self.open(output))
    }

    fn surplus<'a>(&'a self, key: &'a AttemptKey, anchor: &'a Anchor, counted: Option<&'a BuildRef>) -> Fut<'a, Vec<BuildRef>> {
        Box::pin(self.beside(key, anchor, counted))
    }

    fn forget<'a>(&'a self, _key: &'a AttemptKey, _anchor: &'a Anchor) -> Fut<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn identify<'a>(&'a self, token: &'a SecretString) -> BoxFuture<'a, Result<BuildIdentity, Unidentified>> {
        Box::pin(self.recognise(token))
    }

    fn examine<'a>(&'a self, repos: &'a [RepoName]) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(self.doctor(repos, self.tending.as_ref().map(|tending| tending.url())))
    }
}
