//! The local executor: builds, as a worker's API.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::build::Observation;
use crate::git::RepoPath;
use crate::job::{Timeout, Variables};
use crate::{ArtifactName, AttemptKey, CommitSha, RefName, RepoName};

/// `POST /builds`: run this script on this commit. Idempotent by the attempt's key: asked twice, it is built once.
/// Capabilities for reading the repository and for putting artifacts come in the request, not in the build's sight.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BuildRequest {
    /// The repository, by which the executor's own configuration says what its builds may do.
    pub repo: RepoName,
    /// What to check out.
    pub source: BuildSource,
    /// What to run, by `/bin/sh -e`.
    pub script: String,
    /// Variables of the build.
    #[serde(deserialize_with = "crate::job::distinct")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub env: Variables,
    /// Which files to keep, by artifact name.
    #[schema(value_type = BTreeMap<String, String>)]
    pub artifacts: BTreeMap<ArtifactName, RepoPath>,
    /// When it must have ended.
    pub deadline: Timestamp,
    /// How long the script may take once it runs. The executor's own limit holds as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
    /// Where artifacts are put: the base URL of the artifact store.
    pub store: Url,
    /// The capability to read the repository. Kept out of logs and out of the ledger.
    pub read: String,
    /// The capability to put artifacts into this attempt's grant.
    pub put: String,
}

impl std::fmt::Debug for BuildRequest {
    /// The capabilities and the variables' values are left out: they are for nobody's log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuildRequest")
            .field("repo", &self.repo)
            .field("source", &self.source)
            .field("artifacts", &self.artifacts)
            .field("deadline", &self.deadline)
            .field("timeout", &self.timeout)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// What to check out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BuildSource {
    /// Where the mirror can be cloned from.
    pub url: Url,
    /// The ref there.
    #[serde(rename = "ref")]
    pub ref_name: RefName,
    /// The commit; the checkout is refused if the ref gives another.
    pub sha: CommitSha,
    /// The branch's or tag's name, which the checkout gets.
    pub branch: RefName,
}

/// The answer to `POST /builds`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BuildAccepted {
    /// The executor's own name for the build.
    pub build: String,
}

/// `POST /observe`: what is known of these attempts. Of one that it never heard of it says `gone`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ObserveRequest {
    /// The attempts, 1,000 at most.
    pub keys: Vec<AttemptKey>,
}

/// The answer to `POST /observe`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ObserveResult {
    /// One for each attempt that was asked for, in that order.
    pub observations: Vec<Observation>,
}

/// The answer to `POST /builds/KEY/fence`: the attempt will never start here from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FenceResult {
    /// Whether it had started before.
    pub had_started: bool,
}

/// The answer to `GET /builds/KEY/log?from=N`: raw bytes come in the body; these headers say the rest.
pub mod log {
    /// The offset after the last byte that is answered: where to go on.
    pub const NEXT: &str = "signalbox-log-next";
    /// `true` once nothing more will come.
    pub const COMPLETE: &str = "signalbox-log-complete";
    /// How many bytes one answer holds at most.
    pub const MAX_CHUNK: usize = 256 * 1024;
}
