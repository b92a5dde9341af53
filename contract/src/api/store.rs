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

/// `POST /scrub`: prove stored bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScrubRequest {
    /// Where to go on: the `next` of the answer before. Default: at the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// What came of looking at stored bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ScrubResult {
    /// How many blobs were looked at to their end.
    pub blobs: u64,
    /// How many bytes were read and proven.
    pub bytes: u64,
    /// How many bytes all blobs have together.
    pub stored: u64,
    /// Those that are not what was stored. They are served no more until the same bytes are uploaded again.
    pub rotten: Vec<RottenBlob>,
    /// Where to go on; none when everything was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A blob whose bytes are not what was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RottenBlob {
    /// The digest that its bytes had.
    pub digest: Digest,
    /// Their size.
    pub size: u64,
    /// What is wrong with them.
    pub damage: Damage,
    /// Names that show it or have shown it, some of them.
    pub names: Vec<ArtifactName>,
}

/// What is wrong with stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// They are others than were stored.
    Changed,
    /// They are not there any more.
    Missing,
    /// The disk does not give them out. It is not noted, since that may pass.
    Unreadable,
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
