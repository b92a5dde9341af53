//! Where a change comes from.

use serde::{Deserialize, Serialize};
use url::Url;

use crate::{CommitSha, ForgeName, RefName};

/// What made a run begin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Origin {
    /// Somebody asked for it: a person, a script.
    #[default]
    Api,
    /// A change under review: a patch set in Gerrit, a merge request in GitLab.
    Review(ReviewHead),
    /// A branch or tag that moved at a forge.
    Moved {
        /// The forge.
        forge: ForgeName,
        /// The project there.
        project: String,
        /// The full ref.
        #[serde(rename = "ref")]
        ref_name: RefName,
        /// What it points to now.
        sha: CommitSha,
    },
}

/// The newest state of a change under review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ReviewHead {
    /// Which change.
    pub change: ChangeId,
    /// The patch set's number, where the forge counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch_set: Option<u32>,
    /// The commit.
    pub sha: CommitSha,
    /// The ref under which its source is fetched.
    #[serde(rename = "ref")]
    pub ref_name: RefName,
    /// The branch that it is meant for, its short name.
    pub branch: RefName,
    /// Its topic, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Its page, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Url>,
}

/// A change at a forge, whatever its patch set. The number alone, or a Change-Id, would not be unique.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ChangeId {
    /// The forge.
    pub forge: ForgeName,
    /// The project there.
    pub project: String,
    /// Its number: Gerrit's change number, GitLab's `iid`.
    pub number: u64,
}

impl Origin {
    /// The forge, where there is one.
    pub const fn forge(&self) -> Option<&ForgeName> {
        match self {
            Self::Api => None,
            Self::Review(head) => Some(&head.change.forge),
            Self::Moved { forge, .. } => Some(forge),
        }
    }
}
