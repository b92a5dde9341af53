//! One try of a step.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use signalbox_contract::api::deploy::HostResult;
use signalbox_contract::api::run::ArtifactView;
use signalbox_contract::build::{BuildState, PartState, Stamp};
use signalbox_contract::{Digest, Failure, FailureClass, RefName, Verdict};
use url::Url;

use crate::effect::Kind;
use crate::resource::ResourceKey;

/// How far an attempt is. What may happen next depends on it alone, so an event that comes too late or from another
/// attempt finds no place to act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Waits for something that runs share. What comes before it among what its work needs, it has.
    Claiming {
        /// For what.
        of: ResourceKey,
    },
    /// The VCS worker fetches and proves.
    Fetching,
    /// The executor says what is newest there before anything of ours can begin.
    Preparing,
    /// The VCS worker publishes the attempt's ref. Where a push starts builds, this may begin ours.
    Publishing,
    /// The executor is asked to start.
    Starting,
    /// The executor is searched for our build.
    Finding {
        /// Somebody else begins it, and it is waited for. Else the answer to the start was lost, and it is looked for.
        offered: bool,
    },
    /// The executor has it.
    Tracking {
        /// What was seen of it last.
        seen: BuildState,
    },
    /// The executor is made sure never to run it (any more); then it ends with this verdict.
    Fencing {
        /// How it ends.
        then: Verdict,
    },
    /// The build has ended; its log and artifacts are made safe.
    Sealing {
        /// How the build ended.
        verdict: Verdict,
        /// Whose fault, where it did not pass.
        class: Option<FailureClass>,
        /// What the executor says.
        reason: String,
    },
    /// The store says which bytes the artifact's name shows.
    Resolving,
    /// The deployment worker is at work on the hosts.
    Deploying,
    /// Over. Nothing of it changes any more.
    Ended,
}

impl Phase {
    /// The phase in a word, for people.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Claiming { .. } => "waiting",
            Self::Fetching => "fetching",
            Self::Preparing => "preparing",
            Self::Publishing => "publishing",
            Self::Starting => "starting",
            Self::Finding { offered: false } => "searching",
            Self::Finding { offered: true } => "expected",
            Self::Tracking { seen: BuildState::Running } => "running",
            Self::Tracking { .. } => "queued",
            Self::Fencing { .. } => "stopping",
            Self::Sealing { .. } => "storing",
            Self::Resolving => "resolving",
            Self::Deploying => "deploying",
            Self::Ended => "ended",
        }
    }

    /// What may be under way on behalf of an attempt in this phase. When the phase is left, it is not wanted any more.
    pub const fn acts(&self) -> &'static [Kind] {
        match self {
            Self::Claiming { .. } | Self::Ended => &[],
            Self::Fetching => &[Kind::Fetch],
            Self::Publishing => &[Kind::Publish],
            Self::Preparing => &[Kind::Prepare],
            Self::Starting => &[Kind::Start],
            Self::Finding { .. } => &[Kind::Find],
            Self::Tracking { .. } => &[Kind::Cancel],
            Self::Fencing { .. } => &[Kind::Fence],
            Self::Sealing { .. } => &[Kind::Seal],
            Self::Resolving => &[Kind::Resolve],
            Self::Deploying => &[Kind::Deploy, Kind::Activate],
        }
    }
}

/// How many logs of one attempt are kept. An executor that shows more parts than that has pages of its own for them.
pub const MAX_LOGS: usize = 100;

/// One try of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// How far it is.
    pub phase: Phase,
    /// How it ended.
    pub verdict: Option<Verdict>,
    /// Whose fault it was, where it did not pass.
    pub class: Option<FailureClass>,
    /// Why it failed, where that is known.
    pub failure: Option<Failure>,
    /// What is the matter with what its phase has done, as long as that is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Failure>,
    /// What it ends as, whatever its executor says, because it was stopped or ran out of time.
    pub cancel: Option<Verdict>,
    /// When it must have ended.
    pub deadline: Timestamp,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Where the executor reads the source.
    pub published: Option<Published>,
    /// What was newest at the executor before the start.
    pub anchor: Option<String>,
    /// The executor's own name for the build.
    pub build: Option<String>,
    /// How new the last observation is.
    pub stamp: Stamp,
    /// The build's page at the executor.
    #[serde(default)]
    pub url: Option<Url>,
    /// The pieces that the executor shows apart.
    pub parts: Vec<PartState>,
    /// What else a person should know of it.
    #[serde(default)]
    pub remarks: Vec<String>,
    /// What it made.
    pub artifacts: Vec<ArtifactView>,
    /// The bytes that are deployed.
    pub digest: Option<Digest>,
    /// The activation's number, from the claim on the environment.
    pub sequence: Option<u64>,
    /// What it did on each host.
    pub hosts: Vec<HostResult>,
}

/// Where an executor reads an attempt's source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// What it clones.
    pub url: Url,
    /// The ref there.
    pub ref_name: RefName,
    /// The project at the mirror, in the mirror's own words, where it has such.
    pub project: Option<String>,
    /// Whether publishing moved the ref: where a push starts builds, one that moved nothing has started none.
    pub moved: bool,
}

impl Attempt {
    /// An attempt that begins at `now`.
    pub const fn begin(phase: Phase, now: Timestamp, deadline: Timestamp) -> Self {
        Self {
            phase,
            verdict: None,
            class: None,
            failure: None,
            trouble: None,
            cancel: None,
            deadline,
            started_at: now,
            finished_at: None,
            published: None,
            anchor: None,
            build: None,
            stamp: Stamp(0),
            url: None,
            parts: Vec::new(),
            remarks: Vec::new(),
            artifacts: Vec::new(),
            digest: None,
            sequence: None,
            hosts: Vec::new(),
        }
    }

    /// Whether it is over.
    pub const fn ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// The parts whose logs are read: those that have one and may have begun, a bounded number of them.
    pub fn logs(&self) -> Vec<String> {
        let begun = |part: &&PartState| part.has_log && !matches!(part.state, BuildState::Waiting { .. });
        self.parts.iter().filter(begun).take(MAX_LOGS).map(|part| part.part.clone()).collect()
    }

    /// Whether an executor may know of it.
    pub const fn at_executor(&self) -> bool {
        matches!(self.phase, Phase::Tracking { .. })
    }
}
