//! Bringing a commit into a copy.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use signalbox_contract::api::vcs::{Timings, Transferred};
use signalbox_contract::{CommitSha, Failure, FailureCode, RefName, SourceUrl};
use signalbox_service::git::{Fault, Fetch, GitError, Remote, Shown};
use signalbox_service::ledger::WorkError;
use signalbox_service::telemetry::causes;

use super::copy::{Copy, Swept};
use super::durable;
use super::elsewhere::not_there;
use super::flights::{Boarding, Flight};
use crate::failure::{may_pass, of_source};
use crate::proof::{Inspector, PROVEN};

/// How long after a failure that may pass it is tried again; as often as there are entries.
const AGAIN: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// What is wanted of a source.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The source, for words.
    pub(crate) source: SourceUrl,
    /// How to reach it.
    pub(crate) remote: Remote,
    /// The ref.
    pub(crate) ref_name: RefName,
    /// The commit that it must point to.
    pub(crate) sha: Option<CommitSha>,
    /// Whether a forge has told of it: then the source may only be late.
    pub(crate) announced: bool,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) struct Brought {
    /// The commit, read back from our copy.
    pub(crate) sha: CommitSha,
    /// The full name of the ref that was meant.
    pub(crate) ref_name: RefName,
    /// What was transferred.
    pub(crate) transferred: Transferred,
    /// How long resolving and fetching took.
    pub(crate) timings: Timings,
}

/// What those who share a fetch have in common: the ref, the commit, and whether it is waited for.
pub(super) type Sought = (RefName, Option<CommitSha>, bool);

type Led<'a> = Flight<'a, Sought, Result<Brought, WorkError>>;

/// Why a commit was not brought.
pub(super) enum Trouble {
    Git(GitError),
    Work(WorkError),
}

impl From<GitError> for Trouble {
    fn from(error: GitError) -> Self {
        Self::Git(error)
    }
}

impl Copy {
    /// Brings the commit that is wanted into the copy, if it is not there, and proves it. Whoever wants the same meanwhile
    /// shares what came of it; and gets no reader, which only the one who did it has.
    pub(crate) async fn bring(self: &Arc<Self>, wanted: &Wanted) -> Result<(Brought, Option<Inspector>), WorkError> {
        let begun = Instant::now();
        let key = (wanted.ref_name.clone(), wanted.sha.clone(), wanted.announced);
        loop {
            match self.flights.board(&key) {
                Boarding::Join(mut landed) => {
                    let Ok(outcome) = landed.wait_for(Option::is_some).await.map(|outcome| outcome.clone()) else {
                        // Whoever led went away; somebody else leads now.
                        continue;
                    };
                    if let Some(outcome) = outcome {
                        let mut brought = outcome?;
                        // Nothing was transferred for this request, and all of its time was waiting.
                        brought.transferred = Transferred::default();
                        brought.timings = Timings { wait_ms: millis(begun), ..Timings::default() };
                        return Ok((brought, None));
                    }
                }
                Boarding::Lead(flight) => {
                    let outcome = self.lead(&flight, wanted, begun).await;
                    let (shared, outcome) = match outcome {
                        Ok((brought, inspector)) => (Ok(brought.clone()), Ok((brought, Some(inspector)))),
                        Err(failure) => (Err(failure.clone()), Err(failure)),
                    };
                    flight.land(shared);
                    return outcome;
                }
            }
        }
    }

    async fn lead(self: &Arc<Self>, flight: &Led<'_>, wanted: &Wanted, begun: Instant) -> Result<(Brought, Inspector), WorkError> {
        let mut swept = self.turn.lock().await;
        let _room = self.room.acquire().await.map_err(|_| ending())?;
        if wanted.sha.is_none() {
            flight.close();
        }
        let wait_ms = millis(begun);
        let mut tries = AGAIN.iter();
        let outcome = loop {
            let trouble = match self.try_bring(&mut swept, wanted).await {
                Ok(outcome) => break Ok(outcome),
                Err(trouble) => trouble,
            };
            // Half a pack is of no use to anybody.
            if self.exists()
                && let Err(error) = self.sweep()
            {
                tracing::warn!(error = %causes(&error), said = error.said, "cache.sweep_failed");
            }
            let error = match trouble {
                Trouble::Work(error) => break Err(error),
                Trouble::Git(error) => error,
            };
            // What took too long is not tried again here: the caller's patience may be over.
            let quick = may_pass(error.fault) && error.fault != Fault::Timeout;
            let Some(pause) = tries.next().filter(|_| quick) else {
                tracing::info!(fault = ?error.fault, said = error.said, source = %wanted.source, "source.failed");
                break Err(of_source(&error, &wanted.source));
            };
            tracing::debug!(fault = ?error.fault, said = error.said, source = %wanted.source, "source.tried_again");
            tokio::time::sleep(*pause).await;
        };
        drop(swept);
        let (mut brought, inspector) = outcome?;
        brought.timings.wait_ms = wait_ms;
        if brought.transferred.objects > 0 {
            self.keep_up();
        }
        Ok((brought, inspector))
    }

    async fn try_bring(&self, swept: &mut Swept, wanted: &Wanted) -> Result<(Brought, Inspector), Trouble> {
        let before = self.measure();
        let mut timings = Timings::default();
        let mut inspector = None;
        if self.exists() {
            self.sweep_once(swept)?;
            // It starts while the server is asked.
            inspector = Some(self.inspect()?);
        }
        let found = match &wanted.sha {
            // A new commit of which we were told: the fetch itself finds out whether the ref points to it.
            Some(sha) if !known(inspector.as_mut(), sha).await? => {
                self.fetch_told(swept, wanted, sha, &mut inspector, &mut timings).await?
            }
            _ => None,
        };
        let (ref_name, sha) = match found {
            Some(found) => found,
            None => self.resolve_and_fetch(swept, wanted, &mut inspector, &mut timings).await?,
        };
        let inspector = match inspector {
            Some(inspector) => inspector,
            None => self.inspect()?,
        };
        let after = self.measure();
        let transferred =
            Transferred { objects: after.objects.saturating_sub(before.objects), bytes: after.bytes.saturating_sub(before.bytes) };
        Ok((Brought { sha, ref_name, transferred, timings }, inspector))
    }

    /// Fetches the first ref that may be meant, in the belief that it points to `sha`. None if it does not, or is not there:
    /// then the server has to be asked.
    async fn fetch_told(
        &self,
        swept: &mut Swept,
        wanted: &Wanted,
        sha: &CommitSha,
        inspector: &mut Option<Inspector>,
        timings: &mut Timings,
    ) -> Result<Option<(RefName, CommitSha)>, Trouble> {
        let Some(candidate) = wanted.ref_name.candidates().into_iter().next() else {
            return Ok(None);
        };
        match self.fetch(swept, wanted, &candidate, sha, inspector, timings).await {
            Ok(actual) if actual == *sha => Ok(Some((candidate, actual))),
            Ok(_) => Ok(None),
            // All of these have another explanation than that nothing can be had: the ref is a tag, the URL wants `.git`.
            Err(Trouble::Git(error)) if matches!(error.fault, Fault::NoSuchRef | Fault::NotFound | Fault::Redirects) => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// Asks the server what the ref points to, and fetches that if it is not here.
    async fn resolve_and_fetch(
        &self,
        swept: &mut Swept,
        wanted: &Wanted,
        inspector: &mut Option<Inspector>,
        timings: &mut Timings,
    ) -> Result<(RefName, CommitSha), Trouble> {
        let begun = Instant::now();
        let shown = self.ask(&wanted.remote, &wanted.ref_name.candidates(), self.limits.fetch_timeout).await?;
        timings.resolve_ms += millis(begun);
        // Of a branch and a tag with one name, the one that points to the commit is meant; else the branch.
        let exact = shown.iter().find(|shown| wanted.sha.as_ref() == Some(&shown.sha));
        let Some(chosen) = exact.or(shown.first()) else {
            return Err(Trouble::Work(not_there(wanted)));
        };
        if let Some(sha) = wanted.sha.as_ref().filter(|sha| **sha != chosen.sha) {
            return Err(Trouble::Work(self.points_elsewhere(swept, wanted, sha, chosen, inspector, timings).await?));
        }
        if known(inspector.as_mut(), &chosen.sha).await? {
            return Ok((chosen.name.clone(), chosen.sha.clone()));
        }
        let actual = self.fetch(swept, wanted, &chosen.name, &chosen.sha, inspector, timings).await?;
        if let Some(sha) = wanted.sha.as_ref().filter(|sha| **sha != actual) {
            // It moved between the question and the fetch.
            let now = Shown { sha: actual, ..chosen.clone() };
            return Err(Trouble::Work(self.points_elsewhere(swept, wanted, sha, &now, inspector, timings).await?));
        }
        Ok((chosen.name.clone(), actual))
    }

    /// Asks the server for the refs that may be meant, in the spelling of the URL that it wants.
    async fn ask(&self, remote: &Remote, refs: &[RefName], deadline: Duration) -> Result<Vec<Shown>, GitError> {
        let first = self.git.ls_remote(&self.spelled(remote)?, refs, deadline).await;
        let shown = match first {
            Err(error) if matches!(error.fault, Fault::NotFound | Fault::Redirects) && remote.url().scheme() != "ssh" => {
                // GitLab, for one, redirects to the URL with `.git`; a plain folder's server knows only its exact name.
                self.suffixed.fetch_not(Ordering::Relaxed);
                let second = self.git.ls_remote(&self.spelled(remote)?, refs, deadline).await;
                if second.is_err() {
                    self.suffixed.fetch_not(Ordering::Relaxed);
                    return Err(error);
                }
                second
            }
            outcome => outcome,
        };
        if shown.as_ref().is_ok_and(Vec::is_empty) {
            // "No such ref" is only believed of a git server: a sign-in page has no refs either.
            self.git.confirm_server(&self.spelled(remote)?, deadline).await?;
        }
        shown
    }

    /// Makes sure that a git server answers at the source and lets us read there. Nothing is fetched.
    pub(crate) async fn confirm(&self, remote: &Remote, deadline: Duration) -> Result<(), GitError> {
        let any: RefName = "main".parse().map_err(|_| GitError::new(Fault::Local, "a branch's name is refused"))?;
        self.ask(remote, &any.candidates(), deadline).await.map(drop)
    }

    /// The remote, with `.git` after its path where its server wants that.
    pub(super) fn spelled(&self, remote: &Remote) -> Result<Remote, GitError> {
        if self.suffixed.load(Ordering::Relaxed) { remote.with_suffix(".git") } else { Ok(remote.clone()) }
    }

    /// Fetches a ref that is believed to point to `believed`, remembers what it really points to as proven, and answers it.
    pub(super) async fn fetch(
        &self,
        swept: &mut Swept,
        wanted: &Wanted,
        ref_name: &RefName,
        believed: &CommitSha,
        inspector: &mut Option<Inspector>,
        timings: &mut Timings,
    ) -> Result<CommitSha, Trouble> {
        let begun = Instant::now();
        self.prepare(swept, believed.as_str().len()).await?;
        let proof = format!("{PROVEN}{believed}");
        let room = self.limits.max_repository.saturating_sub(self.measure().bytes);
        let order = Fetch {
            remote: &self.spelled(&wanted.remote)?,
            refs: &[(ref_name.as_str(), proof.as_str())],
            deadline: self.limits.fetch_timeout,
            max_bytes: room,
            cancel: tokio_util::sync::CancellationToken::new(),
        };
        let fetched = self.git.fetch(&self.path, order).await;
        timings.fetch_ms += millis(begun);
        if let Err(error) = fetched {
            // A ref may have been written before the fetch was found wanting.
            self.update_refs(&format!("delete {proof}\n")).await?;
            return Err(error.into());
        }
        durable::settle_packs(&self.path).await?;
        durable::settle_refs(&self.path).await?;
        let inspector = match inspector {
            Some(inspector) => inspector,
            None => inspector.insert(self.inspect()?),
        };
        let actual = inspector.commit(&proof).await?;
        if actual.as_ref() == Some(believed) {
            return Ok(believed.clone());
        }
        // What came is something else: it is proven under its own name, if it is a commit.
        let lines = match &actual {
            Some(actual) => format!(
                "delete {proof}
update {PROVEN}{actual} {actual}
"
            ),
            None => format!(
                "delete {proof}
"
            ),
        };
        self.update_refs(&lines).await?;
        actual.ok_or_else(|| {
            let words = format!("{ref_name} of {} is no commit.", wanted.source);
            let failure = Failure::new(FailureCode::CommitNotFound, words).hint("Ask for a branch, or for a tag of a commit.");
            Trouble::Work(WorkError::Failed(failure))
        })
    }
}

async fn known(inspector: Option<&mut Inspector>, sha: &CommitSha) -> Result<bool, GitError> {
    match inspector {
        Some(inspector) => inspector.proven(sha).await,
        None => Ok(false),
    }
}

fn ending() -> WorkError {
    WorkError::Again(Failure::new(FailureCode::Internal, "The VCS worker is ending.").hint("Ask again."))
}

fn millis(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}
