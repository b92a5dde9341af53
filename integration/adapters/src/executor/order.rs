//! What is said between us and an executor.

use bytes::Bytes;
use jiff::Timestamp;
use signalbox_contract::api::vcs::Naming;
use signalbox_contract::build::Pace;
use signalbox_contract::git::RepoPath;
use signalbox_contract::job::{JobSpec, Variables};
use signalbox_contract::{ArtifactName, AttemptKey, CommitSha, RefName, RepoName};
use signalbox_service::secret::SecretString;
use url::Url;

use super::{BuildRef, LogCursor, Scope};

/// A build that is to be started. It is made at the moment of the call: its capabilities are never stored.
#[derive(Debug, Clone)]
pub struct Order {
    /// The attempt. Whoever takes keys is given this one.
    pub key: AttemptKey,
    /// The repository.
    pub repo: RepoName,
    /// What is built.
    pub source: ProvenSource,
    /// How it is built.
    pub definition: Definition,
    /// Variables that the build gets, besides those of its definition.
    pub variables: Variables,
    /// When it must have ended.
    pub deadline: Timestamp,
    /// The capability to read the repository from the mirror.
    pub read: SecretString,
    /// The capability to put artifacts into the attempt's grant.
    pub put: SecretString,
    /// The artifact store's base URL.
    pub store: Url,
}

impl Order {
    /// What was known of it before its source was published.
    pub fn intent(&self) -> Intent {
        Intent {
            key: self.key,
            repo: self.repo.clone(),
            sha: self.source.sha.clone(),
            branch: self.source.branch.clone(),
            naming: self.source.naming,
        }
    }
}

/// A build that is going to be ordered: what is known before its source was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The attempt.
    pub key: AttemptKey,
    /// The repository.
    pub repo: RepoName,
    /// The commit.
    pub sha: CommitSha,
    /// The branch or tag, as people say it.
    pub branch: RefName,
    /// Under which name it will be published.
    pub naming: Naming,
}

/// An artifact that is wanted, and where in what a build made it is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pick {
    /// Under which name we keep it.
    pub name: ArtifactName,
    /// The part that makes it. Without it, whichever has such a file.
    pub part: Option<String>,
    /// The file. Without it, the only one with the artifact's name.
    pub path: Option<RepoPath>,
}

/// A commit that was fetched, proven and published where the executor can read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenSource {
    /// Where the mirror can be cloned from.
    pub url: Url,
    /// The full ref there.
    pub ref_name: RefName,
    /// The commit.
    pub sha: CommitSha,
    /// The branch or tag, as people say it.
    pub branch: RefName,
    /// Under which name it was published.
    pub naming: Naming,
    /// The project at the mirror, in the mirror's own words, where it has such.
    pub project: Option<String>,
    /// Whether publishing moved the ref: where a push starts builds, one that moved nothing has started none.
    pub moved: bool,
}

/// How something is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Definition {
    /// By a job of `.signalbox.yaml`.
    Job(JobSpec),
    /// By what the executor itself has: the repository's `.gitlab-ci.yml`, an existing Jenkins job.
    Native(NativeBuild),
}

/// A definition that the executor has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NativeBuild {
    /// Its name there, where it has one.
    pub name: Option<String>,
    /// Its inputs.
    pub inputs: Variables,
}

/// What an executor can do. What it cannot do is refused when a plan is made, not when it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// It runs jobs of `.signalbox.yaml`.
    pub jobs: bool,
    /// It runs definitions of its own.
    pub native: bool,
    /// It takes our key with a start, so that a start may be repeated and is done once.
    pub keyed: bool,
    /// How artifacts come from it.
    pub outputs: Outputs,
    /// How often it is looked at.
    pub pace: Pace,
}

/// How artifacts come from an executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outputs {
    /// It puts them into the attempt's grant itself.
    Put,
    /// We fetch them from it, by [`Executor::outputs`](super::Executor::outputs) and
    /// [`Executor::read`](super::Executor::read).
    Fetched,
}

/// What a start came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// There is a build.
    Build(BuildRef),
    /// It waits in the executor's queue, under this name.
    Queued(BuildRef),
    /// Somebody else will begin it; it is found when it is there.
    Offered,
}

/// What a search for an attempt's build came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// This one.
    One(BuildRef),
    /// Several: a race made duplicates. One counts, the others are cancelled and shown.
    Many {
        /// The one that counts.
        counts: BuildRef,
        /// The others.
        surplus: Vec<BuildRef>,
    },
    /// None, and one may still come.
    NotYet,
    /// None, and none will come.
    Never,
}

/// What a fence came to: from now on the attempt cannot start at the executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fenced {
    /// It never started, and never will.
    Never,
    /// It had started before. That build is what it is: it is observed, or cancelled, like any other.
    HadStarted,
}

/// A build that somebody waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tracked {
    /// The attempt.
    pub key: AttemptKey,
    /// The executor's name for it.
    pub build: BuildRef,
    /// Where it runs there.
    pub scope: Scope,
}

/// A piece of a build that has a log of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartRef {
    /// The build.
    pub tracked: Tracked,
    /// The piece, as `PartState` names it.
    pub part: String,
}

/// Some of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// Raw bytes: terminal codes, NUL and broken UTF-8 are data.
    pub bytes: Bytes,
    /// Where to go on.
    pub next: LogCursor,
    /// Whether this was the end of it.
    pub complete: bool,
}

/// Something that a build made and that its executor keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputRef {
    /// The build.
    pub tracked: Tracked,
    /// Under which name we keep it.
    pub name: ArtifactName,
    /// The executor's own name for it.
    pub place: String,
    /// Its size in bytes, where the executor says one.
    pub size: Option<u64>,
}
