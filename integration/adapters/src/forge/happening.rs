//! What happened at a forge, in our words.

use signalbox_contract::change::{ChangeId, ReviewHead};
use signalbox_contract::{CommitSha, RefName};

/// Something that happened at a forge, or that is so there now. An older one may come later than a newer one, and each
/// may come several times.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly all that is kept for long are proposals")]
pub enum Happening {
    /// A change under review is as this says.
    Proposed {
        /// Its newest state.
        head: ReviewHead,
        /// What about it is new.
        proposal: Proposal,
        /// Whether its author says that it is not ready: work in progress, a draft.
        wip: bool,
        /// Whether only some may see it.
        private: bool,
        /// Its hashtags or labels.
        hashtags: Vec<String>,
        /// The commit that was its newest before, where the forge says so and counts no patch sets.
        follows: Option<CommitSha>,
    },
    /// A change is not under review any more.
    Closed {
        /// Which.
        change: ChangeId,
        /// How.
        closing: Closing,
    },
    /// A branch or tag was created, moved or deleted.
    Moved {
        /// The project.
        project: String,
        /// The full ref.
        ref_name: RefName,
        /// What it points to now; nothing if it is gone.
        sha: Option<CommitSha>,
        /// The change whose merge moved it, where that is known.
        merged: Option<ChangeId>,
    },
    /// An executor's build has changed: a reason to look at it now, and no more than that.
    BuildChanged {
        /// The project there, by the executor's own id.
        project: String,
        /// The build there.
        build: String,
    },
    /// The forge says that events were lost: what is there has to be compared.
    Missed,
}

/// What is new about a change under review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proposal {
    /// A patch set, or new commits.
    Uploaded,
    /// It is open again, or ready for review at last.
    Ready,
    /// Somebody asks for another run of the same.
    Recheck {
        /// Who.
        by: String,
        /// What tells this asking from another: the comment's time or id.
        mark: String,
    },
    /// It was seen to be so, without an event.
    Seen,
}

/// How a change ceased to be under review.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// It was merged.
    Merged,
    /// It was given up.
    Abandoned,
    /// It is gone.
    Deleted,
}

/// Why a delivery that is genuine means nothing to us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untranslated {
    /// It is of a kind, or says a thing, that nothing is done about.
    #[error("nothing is done about {0}")]
    NotNeeded(String),
    /// Something that would be used is missing or wrong.
    #[error("{field}: {what}")]
    Malformed {
        /// Where.
        field: String,
        /// What is wrong.
        what: String,
    },
    /// We made it happen ourselves.
    #[error("it was caused by us")]
    Ours,
}
