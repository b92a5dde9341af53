//! The two things that the worker is asked to do. Both can be repeated: the ledger does, after a crash.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use signalbox_adapters::mirror::MirrorError;
use signalbox_contract::api::vcs::{NamedSource, RefsRequest, RefsResult, RepoRequest, RepoResult, SourceFinding};
use signalbox_contract::{AttemptKey, Failure, FailureCode, SourceUrl};
use signalbox_service::git::GitError;
use signalbox_service::ledger::WorkError;
use signalbox_service::telemetry::causes;

use crate::cache::{Brought, Cache, Wanted};
use crate::failure::of_source;
use crate::meters::Meters;
use crate::mirror::Places;
use crate::names::{BindError, Binding, Names};
use crate::remote::Sources;

/// How long a source's server may take to show that it can be read, and how many are asked at a time. With the longest
/// list they have answered before whoever asks gives up.
const GLANCE: Duration = Duration::from_secs(10);
const AT_ONCE: usize = 7;

/// What the worker needs for what it is asked.
pub(crate) struct Work {
    pub(crate) sources: Sources,
    pub(crate) names: Arc<Names>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) places: Places,
    pub(crate) meters: Meters,
}

impl Work {
    /// Fetches what was asked for, proves it, and reads the files that are wanted.
    pub(crate) async fn mirror(&self, request: RepoRequest) -> Result<RepoResult, WorkError> {
        let outcome = self.try_mirror(request).await;
        self.meters.mirrored(outcome.as_ref().map(|result| result.transferred).map_err(|error| error.failure().code));
        outcome
    }

    async fn try_mirror(&self, request: RepoRequest) -> Result<RepoResult, WorkError> {
        let cleared = self.sources.clear(&request.git).await?;
        let copy = self.cache.copy(&cleared.copy);
        let wanted = Wanted {
            source: request.git.clone(),
            remote: cleared.remote,
            ref_name: request.ref_name,
            sha: request.sha,
            announced: request.announced,
        };
        // Before, so that it is not removed meanwhile; and after, when it is there for sure.
        copy.note_use(self.places.now());
        let (brought, inspector) = copy.bring(&wanted).await?;
        copy.note_use(self.places.now());
        let begun = Instant::now();
        let proven = async {
            let mut inspector = match inspector {
                Some(inspector) => inspector,
                None => copy.inspect()?,
            };
            // Read back, whoever fetched it: a commit that is not in our copy is not answered.
            if !inspector.proven(&brought.sha).await? {
                return Ok(None);
            }
            inspector.files(&brought.sha, &request.files).await.map(Some)
        };
        let files = proven.await.map_err(|error: GitError| of_source(&error, &request.git))?.ok_or_else(|| {
            let words = format!("The commit {} was fetched from {} and is not in our copy.", brought.sha, request.git);
            let failure = Failure::new(FailureCode::ProofFailed, words);
            WorkError::Failed(failure.hint("Ask again; if it stays, see the VCS worker's log."))
        })?;
        let binding = Binding { name: request.name, source: request.git, copy: cleared.copy };
        self.names.bind(binding).map_err(|error| match error {
            // It was free when this was asked for, and was given to another source meanwhile.
            BindError::Taken(conflict) => WorkError::Failed(conflict.failure()),
            BindError::Write(source) => {
                tracing::error!(error = %causes(&source), "names.not_written");
                let full = source.kind() == std::io::ErrorKind::StorageFull;
                let code = if full { FailureCode::DiskFull } else { FailureCode::Internal };
                let failure = Failure::new(code, "The name's binding cannot be written.");
                WorkError::Failed(failure.hint("Make room on the VCS worker's disk."))
            }
        })?;
        let Brought { sha, ref_name, transferred, mut timings } = brought;
        timings.proof_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(RepoResult { sha, ref_name, files, transferred, timings })
    }

    /// Says of each of these sources whether it may be read under its name, and can be with its entry's credential.
    pub(crate) async fn examine(&self, sources: Vec<NamedSource>) -> Vec<SourceFinding> {
        let examined = stream::iter(sources).map(async |NamedSource { name, source }| {
            // One that its name does not belong to is not fetched, readable or not.
            let failure = match self.names.conflict(&name, &source) {
                Some(conflict) => Some(conflict.failure()),
                None => self.confirm(&source).await.err().map(|error| error.failure().clone()),
            };
            SourceFinding { name, source, failure }
        });
        examined.buffered(AT_ONCE).collect().await
    }

    async fn confirm(&self, source: &SourceUrl) -> Result<(), WorkError> {
        let cleared = self.sources.clear(source).await?;
        let copy = self.cache.copy(&cleared.copy);
        copy.confirm(&cleared.remote, GLANCE).await.map_err(|error| of_source(&error, source))
    }

    /// Shows an attempt's ref, or takes it away.
    pub(crate) async fn change_refs(&self, key: &AttemptKey, request: &RefsRequest) -> Result<RefsResult, WorkError> {
        self.places.change(key, request).await.map_err(|error| match error {
            MirrorError::Final(failure) => WorkError::Failed(failure),
            MirrorError::Passing(failure) => WorkError::Again(failure),
        })
    }
}
