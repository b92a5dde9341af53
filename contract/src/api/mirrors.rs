//! The VCS worker's mirrors: what is there, what may go, what is wrong. `GET /mirrors`, `POST /mirrors/collect`,
//! `GET /mirrors/doctor`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{AttemptKey, CommitSha, Failure, MirrorName, RefName, RepoName};

/// How many refs of one repository are told.
pub const MAX_REFS: usize = 200;

/// How many repositories a page has at most.
pub const MAX_MIRRORS: u32 = 100;

/// A repository at a mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MirrorInfo {
    /// The configured mirror; without it, the worker's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorName>,
    /// The repository's name.
    pub name: RepoName,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Url>,
    /// The project there, in the mirror's own words, where it has such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// How much room it takes there, in bytes, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When something was last shown there, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<Timestamp>,
    /// The refs of attempts there, oldest first.
    pub refs: Vec<MirrorRef>,
    /// How many more there are than are told.
    pub more_refs: u64,
    /// Why nothing can be told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// An attempt's ref at a mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MirrorRef {
    /// The ref's full name.
    #[serde(rename = "ref")]
    pub ref_name: RefName,
    /// What it points to.
    pub sha: CommitSha,
    /// The attempt.
    pub attempt: AttemptKey,
    /// Since when it is there: when it was shown, or when its run began where that is no longer known.
    pub since: Timestamp,
}

/// `POST /mirrors/collect`: remove what is older than the retention allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CollectRequest {
    /// Whether it is only told what would go.
    #[serde(default)]
    pub dry_run: bool,
}

/// What went, or would go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CollectResult {
    /// Whether nothing was removed.
    pub dry_run: bool,
    /// The attempts' refs.
    pub refs: Vec<CollectedRef>,
    /// The worker's copies of sources that nobody has used for long.
    pub copies: Vec<CollectedCopy>,
    /// Where it did not work.
    pub failures: Vec<CollectFailure>,
    /// Whether there is more: ask again.
    pub more: bool,
}

/// A ref that went, or would go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CollectedRef {
    /// The configured mirror; without it, the worker's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorName>,
    /// The repository's name.
    pub name: RepoName,
    /// The ref's full name.
    #[serde(rename = "ref")]
    pub ref_name: RefName,
    /// Since when it was there.
    pub since: Timestamp,
}

/// A copy of a source that went, or would go. It is fetched anew when it is wanted again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CollectedCopy {
    /// The names of the repositories that it was for.
    pub names: Vec<RepoName>,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last used.
    pub used_at: Timestamp,
}

/// A repository where nothing could be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CollectFailure {
    /// The configured mirror; without it, the worker's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorName>,
    /// The repository's name.
    pub name: RepoName,
    /// Why.
    pub failure: Failure,
}

/// `GET /mirrors/doctor`: what was found when the mirrors were examined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MirrorFinding {
    /// The configured mirror; without it, the worker's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorName>,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// As it should be.
    Fine,
    /// It works, and may not always.
    Warning,
    /// It does not work.
    Error,
}
