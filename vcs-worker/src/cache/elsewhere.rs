//! What it means that a source does not show the commit that is wanted: that it is late, that the ref has moved on, or that the
//! commit is gone.
//!
//! Invariant: only what a forge has told of is waited for. What somebody typed and nobody has is an answer at once.

use signalbox_contract::api::vcs::Timings;
use signalbox_contract::{CommitSha, Failure, FailureCode};
use signalbox_service::git::{Fault, Fetch, GitError, Shown};
use signalbox_service::ledger::WorkError;

use super::bring::{Trouble, Wanted};
use super::copy::{Copy, Swept};
use crate::proof::Inspector;

/// What to know about a source that is waited for.
const LATE: &str = "The source may be a replica that lags behind its forge; see its replication. How long it is waited for is `fetch` in \
                    [limits] of the controller's configuration.";

/// The source shows no ref of this name. A forge tells of one before each of its servers has it.
pub(super) fn not_there(wanted: &Wanted) -> WorkError {
    let failure = |yet| Failure::new(FailureCode::RefNotFound, format!("{} has no ref {}{yet}.", wanted.source, wanted.ref_name));
    if wanted.announced {
        WorkError::Again(failure(" yet").hint(LATE))
    } else {
        WorkError::Failed(failure("").hint("Check the ref's name; it may have been deleted."))
    }
}

impl Copy {
    /// The ref shows another commit than the one that is wanted. It is asked again where that one is still to come.
    pub(super) async fn points_elsewhere(
        &self,
        swept: &mut Swept,
        wanted: &Wanted,
        sha: &CommitSha,
        now: &Shown,
        inspector: &mut Option<Inspector>,
        timings: &mut Timings,
    ) -> Result<WorkError, Trouble> {
        if wanted.announced && self.is_behind(swept, wanted, sha, now, inspector, timings).await? {
            let words = format!(
                "{} of {} still points to {}; {sha}, of which its forge has told, is yet to come.",
                wanted.ref_name, wanted.source, now.sha
            );
            return Ok(WorkError::Again(Failure::new(FailureCode::CommitNotFound, words).hint(LATE)));
        }
        Ok(WorkError::Failed(self.moved(wanted, sha, &now.sha, inspector.as_mut()).await))
    }

    /// Whether the source has not got as far as the forge that told of `sha`: it does not have that commit, or has it, and the
    /// ref still shows one from which it comes. Where the commit is in the history of what is shown, the ref has moved on.
    async fn is_behind(
        &self,
        swept: &mut Swept,
        wanted: &Wanted,
        sha: &CommitSha,
        now: &Shown,
        inspector: &mut Option<Inspector>,
        timings: &mut Timings,
    ) -> Result<bool, Trouble> {
        if !holds(inspector.as_mut(), &now.sha).await?
            && self.fetch(swept, wanted, &now.name, &now.sha, inspector, timings).await? != now.sha
        {
            // It moves at this very moment; what it shows then is for the next time.
            return Ok(true);
        }
        // All of the history of what is shown is here now. A server need not give out a commit to which no ref points, and
        // so is only asked for one that is not among it.
        if !holds(inspector.as_mut(), sha).await? {
            match self.fetch_unnamed(wanted, sha).await {
                Ok(()) => {}
                Err(error) if error.fault == Fault::NotOurRef => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.is_from(sha, &now.sha).await?)
    }

    /// Fetches a commit by its id, without a ref: nothing is proven by it.
    async fn fetch_unnamed(&self, wanted: &Wanted, sha: &CommitSha) -> Result<(), GitError> {
        let order = Fetch {
            remote: &self.spelled(&wanted.remote)?,
            refs: &[(sha.as_str(), "")],
            deadline: self.limits.fetch_timeout,
            max_bytes: self.limits.max_repository.saturating_sub(self.measure().bytes),
            cancel: tokio_util::sync::CancellationToken::new(),
        };
        self.git.fetch(self.path(), order).await
    }

    /// Whether `older` is in the history of `sha`; both are here.
    async fn is_from(&self, sha: &CommitSha, older: &CommitSha) -> Result<bool, GitError> {
        let beyond = self.git.local(self.path()).args(["rev-list", "--max-count=1", older.as_str(), "--not", sha.as_str()]).run().await?;
        Ok(beyond.iter().all(u8::is_ascii_whitespace))
    }

    /// The ref points elsewhere for good: whether the commit is still to be had makes the difference between moved and gone.
    async fn moved(&self, wanted: &Wanted, sha: &CommitSha, now: &CommitSha, inspector: Option<&mut Inspector>) -> Failure {
        let here = holds(inspector, sha).await.unwrap_or(false);
        if !here && self.is_gone(wanted, sha).await {
            let words = format!("{} no longer has the commit {sha}; {} points to {now} now.", wanted.source, wanted.ref_name);
            return Failure::new(FailureCode::CommitNotFound, words)
                .hint("It was replaced, and cleaned up since; start a run of the new commit.");
        }
        let words = format!("{} of {} points to {now} now, no longer to {sha}.", wanted.ref_name, wanted.source);
        Failure::new(FailureCode::RefMoved, words).hint("Start a run of the new commit if it is the one that is wanted.")
    }

    /// Whether the source does not give out the commit at all: asked from an empty repository, for the commit alone.
    async fn is_gone(&self, wanted: &Wanted, sha: &CommitSha) -> bool {
        let scratch = self.path().with_extension("probe.new");
        let asked = async {
            self.git.init_bare(&scratch, sha.as_str().len()).await?;
            let remote = self.spelled(&wanted.remote)?;
            self.git
                .toward(&scratch, &remote)
                .args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--depth=1", "--filter=tree:0"])
                .deadline(self.limits.fetch_timeout)
                .at_most(self.limits.max_repository)
                .operands([remote.url().as_str(), sha.as_str()])
                .run()
                .await
        };
        let gone = asked.await.is_err_and(|error| error.fault == Fault::NotOurRef);
        let _ = std::fs::remove_dir_all(&scratch);
        gone
    }
}

/// Whether a commit is in the copy, proven or not.
async fn holds(inspector: Option<&mut Inspector>, sha: &CommitSha) -> Result<bool, GitError> {
    match inspector {
        Some(inspector) => Ok(inspector.commit(sha.as_str()).await?.is_some()),
        None => Ok(false),
    }
}
