//! The artifact store: blobs, grants, pins.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ArtifactName, Digest, RunId};

/// What is known of a blob; the answer to `PUT /blobs/NAME` and an entry of the lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BlobInfo {
    /// Its name.
    pub name: ArtifactName,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Which version of the name this is, from 1.
    pub version: u64,
    /// Its media type, as its uploader gave it.
    pub content_type: String,
    /// When it was stored under this name.
    pub stored_at: Timestamp,
    /// The run that made it, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
}

/// The answer to `PUT /grants/KEY/NAME`: the bytes are kept, not yet public.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PutResult {
    /// The artifact's name.
    pub name: ArtifactName,
    /// The digest of the bytes.
    pub digest: Digest,
    /// Their size in bytes.
    pub size: u64,
}

/// `POST /grants/KEY/close`: nothing more may be put; publish what came, or throw it away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseRequest {
    /// Whether the attempt passed: then what came is published under its names.
    pub publish: bool,
    /// How new the attempt is. A name that shows something newer keeps showing it; the older bytes become part of its
    /// history.
    pub line: Timestamp,
    /// The run for which the digests are pinned, so that they are kept until it lets go of them.
    pub pin: RunId,
}

/// What came of closing a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CloseResult {
    /// What the attempt put, by name.
    pub artifacts: Vec<PutResult>,
}

/// What lies in a grant: the answer to `GET /grants/KEY`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct GrantInfo {
    /// What was put so far, by name; nothing once the grant is closed.
    pub artifacts: Vec<PutResult>,
    /// Whether it is closed: nothing more may be put.
    pub closed: bool,
}

/// `POST /unpin`: the run needs its digests no longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnpinRequest {
    /// The run.
    pub owner: RunId,
}

/// `POST /resolve`: which digest a name shows now, and pin it for a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveRequest {
    /// The name.
    pub name: ArtifactName,
    /// The run that needs it.
    pub pin: RunId,
}
