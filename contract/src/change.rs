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

/// How a run stands, as a vote would say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is under way; a vote of ours from an earlier run of the same commit is withdrawn.
    Started,
    /// Every voting step has passed.
    Passed,
    /// A voting step has not passed.
    Failed,
    /// Nothing can be said: stopped, lost, overtaken, or the fault of a machine.
    Undecided,
}

impl Standing {
    /// The standing in a word, for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Undecided => "undecided",
        }
    }
}

impl Origin {
    /// Whether somebody asked for it by the API.
    pub const fn is_api(&self) -> bool {
        matches!(self, Self::Api)
    }

    /// The change under review that it is for, if it is for one.
    pub const fn review(&self) -> Option<&ReviewHead> {
        match self {
            Self::Review(head) => Some(head),
            Self::Api | Self::Moved { .. } => None,
        }
    }

    /// The change under review in a few words, `team/hello 42, patch set 3`: what people call it, where its ref says little.
    /// The project's name is the forge's.
    pub fn change(&self) -> Option<String> {
        let ReviewHead { change, patch_set, .. } = self.review()?;
        let patch_set = patch_set.map(|number| format!(", patch set {number}")).unwrap_or_default();
        Some(format!("{} {}{patch_set}", change.project, change.number))
    }

    /// The commit that it is about, where that is known from the beginning.
    pub const fn sha(&self) -> Option<&CommitSha> {
        match self {
            Self::Api => None,
            Self::Review(head) => Some(&head.sha),
            Self::Moved { sha, .. } => Some(sha),
        }
    }

    /// What `CICD_TRIGGER_TYPE` says of it.
    pub const fn trigger(&self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Review(_) => "review",
            Self::Moved { .. } => "push",
        }
    }

    /// The forge, where there is one.
    pub const fn forge(&self) -> Option<&ForgeName> {
        match self {
            Self::Api => None,
            Self::Review(head) => Some(&head.change.forge),
            Self::Moved { forge, .. } => Some(forge),
        }
    }
}
