//! Whose a token is that an executor gives its builds.

use std::time::Duration;

use signalbox_contract::{CommitSha, RefName, RepoName};

use super::BuildRef;

/// What a token says, once its executor's signature on it is right and it is for us: which build holds it, of what. Whether
/// that build is one of ours, and at work now, is for the caller to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildIdentity {
    /// The build.
    pub build: BuildRef,
    /// The repository that is built in the executor's project.
    pub repo: RepoName,
    /// The whole name of the ref, as the executor has it.
    pub ref_name: RefName,
    /// The commit.
    pub sha: CommitSha,
    /// The part of the build that holds it, for the log.
    pub part: String,
}

/// Why a token tells of no build. None of these repeats anything of the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unidentified {
    /// It is not of this executor, or not for us.
    #[error("the token is of another issuer, or for another audience")]
    Elsewhere,
    /// Its form, key, algorithm or signature is wrong.
    #[error("the token cannot be verified")]
    Unverifiable,
    /// Its signature is right, and its time is not now.
    #[error("{0}")]
    Untimely(&'static str),
    /// It is genuine, and not of a build that we may have begun.
    #[error("{0}")]
    Unfit(String),
    /// Whether it is genuine cannot be told now.
    #[error("whether the token is genuine cannot be told now; ask again")]
    NotNow {
        /// When asking again makes sense.
        after: Duration,
    },
}
