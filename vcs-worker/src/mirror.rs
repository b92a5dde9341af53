//! Where a mirror lives: where an attempt's commit is shown to its executor.
//!
//! There is one such place by now, the mirrors that this worker serves itself. Places on other servers (a GitLab project)
//! show the same commits by pushing; they take the same orders.

use std::pin::Pin;
use std::sync::Arc;

use signalbox_contract::api::vcs::RefsResult;
use signalbox_contract::{AttemptKey, CommitSha, Failure, FailureCode, RefName, RepoName};
use signalbox_service::git::GitError;
use url::Url;

use crate::cache::{Cache, Copy};
use crate::names::Names;

/// What a call to a mirror answers, later.
pub(crate) type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, MirrorError>> + Send + 'a>>;

/// Why a mirror did not do it.
#[derive(Debug)]
pub(crate) enum MirrorError {
    /// It cannot be done.
    Failed(Failure),
    /// It did not work this time; the error is for the log.
    Git(GitError),
}

impl From<GitError> for MirrorError {
    fn from(error: GitError) -> Self {
        Self::Git(error)
    }
}

/// A place where executors read. Each call can be repeated.
pub(crate) trait Mirror: Send + Sync {
    /// Shows a proven commit under the attempt's ref, and reads it back.
    fn show<'a>(&'a self, name: &'a RepoName, key: &'a AttemptKey, sha: &'a CommitSha) -> Later<'a, RefsResult>;

    /// Takes the attempt's ref away. That it is gone already is as good.
    fn hide<'a>(&'a self, name: &'a RepoName, key: &'a AttemptKey, sha: &'a CommitSha) -> Later<'a, RefsResult>;
}

/// The mirrors that this worker serves itself: a ref in our copy, which [`crate::served`] shows.
pub(crate) struct Served {
    names: Arc<Names>,
    cache: Arc<Cache>,
    base: Url,
}

impl Served {
    /// Mirrors that are reached below `base`.
    pub(crate) const fn new(names: Arc<Names>, cache: Arc<Cache>, base: Url) -> Self {
        Self { names, cache, base }
    }

    fn copy(&self, name: &RepoName) -> Option<Arc<Copy>> {
        let binding = self.names.get(name)?;
        Some(self.cache.copy(&binding.copy)).filter(|copy| copy.exists())
    }

    fn result(&self, name: &RepoName, key: &AttemptKey, sha: &CommitSha) -> Result<RefsResult, MirrorError> {
        let internal = || MirrorError::Failed(Failure::new(FailureCode::Internal, "The mirror's URL or ref cannot be made."));
        let mut url = self.base.clone();
        let path = format!("{}/mirrors/{name}.git", url.path().trim_end_matches('/'));
        url.set_path(&path);
        let ref_name: RefName = attempt_ref(key).parse().map_err(|_| internal())?;
        Ok(RefsResult { url, ref_name, sha: sha.clone(), project: None, moved: true })
    }
}

/// The full name of an attempt's ref.
pub(crate) fn attempt_ref(key: &AttemptKey) -> String {
    format!("refs/heads/cd/{key}")
}

impl Mirror for Served {
    fn show<'a>(&'a self, name: &'a RepoName, key: &'a AttemptKey, sha: &'a CommitSha) -> Later<'a, RefsResult> {
        Box::pin(async move {
            let unproven = || {
                let words = format!("The commit {sha} was not fetched for {name} and proven here.");
                MirrorError::Failed(Failure::new(FailureCode::CommitNotFound, words).hint("Mirror it first, by POST /repo."))
            };
            let copy = self.copy(name).ok_or_else(unproven)?;
            let mut inspector = copy.inspect()?;
            if !inspector.proven(sha).await? {
                return Err(unproven());
            }
            let ref_name = attempt_ref(key);
            if inspector.commit(&ref_name).await?.as_ref() != Some(sha) {
                copy.update_refs(&format!("update {ref_name} {sha}\n")).await?;
            }
            match inspector.commit(&ref_name).await? {
                Some(read) if read == *sha => self.result(name, key, sha),
                _ => Err(MirrorError::Failed(Failure::new(FailureCode::ProofFailed, format!("{ref_name} was written and is not {sha}.")))),
            }
        })
    }

    fn hide<'a>(&'a self, name: &'a RepoName, key: &'a AttemptKey, sha: &'a CommitSha) -> Later<'a, RefsResult> {
        Box::pin(async move {
            if let Some(copy) = self.copy(name) {
                copy.update_refs(&format!("delete {}\n", attempt_ref(key))).await?;
            }
            self.result(name, key, sha)
        })
    }
}
