//! What is to be done in the outside world because a state changed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use signalbox_contract::api::deploy::{ActivateRequest, DeployRequest};
use signalbox_contract::api::vcs::{Naming, RefsRequest, RepoRequest};
use signalbox_contract::{ArtifactName, AttemptKey, CommitSha, ExecutorName, Origin, RefName, RepoName, SourceUrl};

use crate::attempt::Published;
use crate::plan::{CdOrder, Pick, Work};

/// An effect: an act that is written down together with the change that causes it, done afterwards, at least once, by
/// receivers that do it at most once by its attempt's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// The attempt on whose behalf.
    pub key: AttemptKey,
    /// What is done.
    pub act: Act,
    /// Not before this.
    pub due: Timestamp,
    /// Not after this: then it has failed.
    pub give_up: Timestamp,
}

impl Effect {
    /// The effect's own key: an attempt has at most one of a kind.
    pub fn id(&self) -> String {
        format!("{}/{}", self.key, self.act.kind().word())
    }
}

/// What is done. Each holds all that is needed, but no secret: tokens are made when it is performed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Act {
    /// Have the VCS worker fetch and prove, then resolve the plan.
    Fetch {
        /// What to fetch.
        request: RepoRequest,
        /// What the plan is resolved from.
        order: Box<CdOrder>,
    },
    /// Have the VCS worker publish the attempt's ref.
    Publish(RefsRequest),
    /// Have the VCS worker remove the attempt's ref.
    Unpublish(RefsRequest),
    /// Ask the executor what is newest there.
    Prepare(Box<Intent>),
    /// Have the executor start the build.
    Start(Box<BuildOrder>),
    /// Search the executor for the build.
    Find(AtExecutor),
    /// Have the executor stop the build.
    Cancel(AtExecutor),
    /// Make sure that the executor never runs it from now on.
    Fence(AtExecutor),
    /// Have the executor stop what it still builds beside the build that counted, and forget what it keeps of it.
    Forget(AtExecutor),
    /// Have the executor stop, a good while after the attempt's end, what came to light only then: a start that was repeated,
    /// or came late, may have begun what it did not show yet.
    Sweep(AtExecutor),
    /// Collect the rest of the log, fetch what the executor keeps of what was made, and close the grant.
    Seal {
        /// Where the build ran.
        at: AtExecutor,
        /// Whether what it made is published.
        publish: bool,
        /// How new what it made is.
        line: Timestamp,
        /// What is fetched, where the executor does not put it into the grant itself.
        picks: Vec<Pick>,
        /// The parts whose logs are collected; none if the executor shows no parts.
        #[serde(default)]
        parts: Vec<String>,
    },
    /// Ask the store which bytes a name shows.
    Resolve {
        /// The name.
        artifact: ArtifactName,
    },
    /// Have the deployment worker deploy.
    Deploy(DeployRequest),
    /// Have the deployment worker switch to a kept release.
    Activate(ActivateRequest),
    /// Tell the run that the attempt's time is over.
    Deadline,
    /// Have the forge show how the run stands. What that is now is looked up when it is performed.
    Report {
        /// Which telling this is.
        serial: u32,
    },
}

/// What an executor is told of a build before its source is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Where.
    pub executor: ExecutorName,
    /// The repository.
    pub repo: RepoName,
    /// The commit.
    pub sha: CommitSha,
    /// The ref, as people say it.
    pub branch: RefName,
    /// Under which name it will be published.
    pub naming: Naming,
}

/// All that an executor needs to know of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildOrder {
    /// Where.
    pub executor: ExecutorName,
    /// What: always a [`Work::Build`].
    pub work: Work,
    /// Where the repository came from, for the build's variables.
    pub source: SourceUrl,
    /// What made the run begin.
    #[serde(default)]
    pub origin: Origin,
    /// The run's number in its repository.
    pub number: u64,
    /// The commit.
    pub sha: CommitSha,
    /// The ref, as people say it.
    pub branch: RefName,
    /// Where the executor reads it.
    pub published: Published,
    /// What the executor said before the start.
    pub anchor: Option<String>,
    /// When it must have ended.
    pub deadline: Timestamp,
}

/// A build, or what may be one, at an executor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtExecutor {
    /// The executor.
    pub executor: ExecutorName,
    /// What was newest there before the start.
    pub anchor: Option<String>,
    /// Its own name for the build, where that is known.
    pub build: Option<String>,
}

/// The kind of an effect, as a stable word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the act of the same name")]
pub enum Kind {
    Fetch,
    Publish,
    Unpublish,
    Prepare,
    Start,
    Find,
    Cancel,
    Fence,
    Forget,
    Sweep,
    Seal,
    Resolve,
    Deploy,
    Activate,
    Deadline,
    Report,
}

impl Kind {
    /// The word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Publish => "publish",
            Self::Unpublish => "unpublish",
            Self::Prepare => "prepare",
            Self::Start => "start",
            Self::Find => "find",
            Self::Cancel => "cancel",
            Self::Fence => "fence",
            Self::Forget => "forget",
            Self::Sweep => "sweep",
            Self::Seal => "seal",
            Self::Resolve => "resolve",
            Self::Deploy => "deploy",
            Self::Activate => "activate",
            Self::Deadline => "deadline",
            Self::Report => "report",
        }
    }
}

/// Effects of one lane share a number of hands, so that slow kinds do not starve quick ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Fetching, which waits for other people's servers.
    Fetch,
    /// Quick calls to the VCS worker.
    Refs,
    /// Calls to executors.
    Executor,
    /// Calls to the artifact store.
    Store,
    /// Deployments.
    Deploy,
    /// Timers.
    Timer,
    /// Telling forges.
    Report,
    /// Tidying up, which nobody waits for.
    CleanUp,
    /// Looking once more after what is over, at its time and not before.
    Sweep,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Self; 9] =
        [Self::Fetch, Self::Refs, Self::Executor, Self::Store, Self::Deploy, Self::Timer, Self::Report, Self::CleanUp, Self::Sweep];

    /// Whether what is in it comes when it is due and never before. Anything else is due from the moment at which it is written:
    /// if it seems to be due later, the clock was set back meanwhile, and nobody waits until it has caught up.
    pub const fn keeps_time(self) -> bool {
        matches!(self, Self::Timer | Self::Sweep)
    }

    /// The lane's name.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Refs => "refs",
            Self::Executor => "executor",
            Self::Store => "store",
            Self::Deploy => "deploy",
            Self::Timer => "timer",
            Self::Report => "report",
            Self::CleanUp => "clean_up",
            Self::Sweep => "sweep",
        }
    }
}

impl Act {
    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Fetch { .. } => Kind::Fetch,
            Self::Publish(_) => Kind::Publish,
            Self::Unpublish(_) => Kind::Unpublish,
            Self::Prepare(_) => Kind::Prepare,
            Self::Start(_) => Kind::Start,
            Self::Find(_) => Kind::Find,
            Self::Cancel(_) => Kind::Cancel,
            Self::Fence(_) => Kind::Fence,
            Self::Forget(_) => Kind::Forget,
            Self::Sweep(_) => Kind::Sweep,
            Self::Seal { .. } => Kind::Seal,
            Self::Resolve { .. } => Kind::Resolve,
            Self::Deploy(_) => Kind::Deploy,
            Self::Activate(_) => Kind::Activate,
            Self::Deadline => Kind::Deadline,
            Self::Report { .. } => Kind::Report,
        }
    }

    /// Its lane.
    pub const fn lane(&self) -> Lane {
        match self {
            Self::Fetch { .. } => Lane::Fetch,
            Self::Publish(_) => Lane::Refs,
            Self::Prepare(_) | Self::Start(_) | Self::Find(_) | Self::Cancel(_) | Self::Fence(_) => Lane::Executor,
            Self::Seal { .. } | Self::Resolve { .. } => Lane::Store,
            Self::Deploy(_) | Self::Activate(_) => Lane::Deploy,
            Self::Deadline => Lane::Timer,
            Self::Report { .. } => Lane::Report,
            Self::Unpublish(_) | Self::Forget(_) => Lane::CleanUp,
            Self::Sweep(_) => Lane::Sweep,
        }
    }
}
