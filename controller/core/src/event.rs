//! What can happen to a run.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use signalbox_contract::api::deploy::HostResult;
use signalbox_contract::api::run::{ArtifactView, RerunFrom};
use signalbox_contract::api::vcs::{Timings, Transferred};
use signalbox_contract::build::Observation;
use signalbox_contract::grant::Glob;
use signalbox_contract::{AttemptKey, CommitSha, Digest, Failure, RefName};

use crate::attempt::Published;
use crate::effect::Kind;
use crate::plan::PlannedStep;
use crate::resource::Granted;

/// Something that happened, as the engine tells the core. Each names the attempt that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Somebody stops the run.
    StopRequested {
        /// Who.
        by: String,
        /// Why, where there is more to say than who.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Somebody reruns the run.
    RerunRequested {
        /// Who.
        by: String,
        /// From where.
        from: RerunFrom,
        /// Which artifacts they may publish: what holds from now on is what they may do, whoever started the run.
        #[serde(default)]
        artifacts: Vec<Glob>,
    },
    /// A resource has room for an attempt.
    Granted(Granted),
    /// The source was fetched and proven, and the plan resolved (or not).
    Fetched {
        /// The attempt.
        key: AttemptKey,
        /// The commit.
        sha: CommitSha,
        /// The ref, as the source has it.
        ref_name: RefName,
        /// The steps behind this one, or why there can be none.
        plan: Result<Vec<PlannedStep>, Failure>,
        /// What was moved.
        transferred: Transferred,
        /// How long it took.
        timings: Timings,
    },
    /// The attempt's ref is there for the executor to read.
    Published {
        /// The attempt.
        key: AttemptKey,
        /// Where.
        at: Published,
    },
    /// The executor said what is newest.
    Prepared {
        /// The attempt.
        key: AttemptKey,
        /// What it said; opaque.
        anchor: String,
    },
    /// The executor took the attempt.
    Started {
        /// The attempt.
        key: AttemptKey,
        /// Its own name for the build, unless somebody else will begin it.
        build: Option<String>,
    },
    /// The answer to the start was lost: it may run, or not.
    StartUnclear {
        /// The attempt.
        key: AttemptKey,
    },
    /// The executor was searched for the attempt.
    Found {
        /// The attempt.
        key: AttemptKey,
        /// The build that counts, if there is one.
        build: Option<String>,
        /// Others that a race made; they were cancelled.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        surplus: Vec<String>,
    },
    /// The executor will never run the attempt from now on.
    Fenced {
        /// The attempt.
        key: AttemptKey,
    },
    /// After the attempt's end builds of it came to light that did not count; they were stopped.
    Swept {
        /// The attempt.
        key: AttemptKey,
        /// Which.
        surplus: Vec<String>,
    },
    /// The executor was looked at.
    Observed(Observation),
    /// The attempt's log and artifacts are safe.
    Sealed {
        /// The attempt.
        key: AttemptKey,
        /// What it made.
        artifacts: Vec<ArtifactView>,
        /// What else a person should know of it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        remarks: Vec<String>,
    },
    /// The store said which bytes are meant, and keeps them for the run.
    Resolved {
        /// The attempt.
        key: AttemptKey,
        /// The bytes.
        digest: Digest,
    },
    /// The deployment worker has been to each host.
    Deployed {
        /// The attempt.
        key: AttemptKey,
        /// What came of each.
        hosts: Vec<HostResult>,
    },
    /// An effect was refused, or tried for as long as it may be.
    EffectFailed {
        /// The attempt.
        key: AttemptKey,
        /// What was tried.
        kind: Kind,
        /// Why it failed.
        failure: Failure,
    },
    /// An effect was tried in vain, or had its answer, and is tried again.
    Troubled {
        /// The attempt.
        key: AttemptKey,
        /// What is tried again.
        kind: Kind,
        /// What is the matter; `None` if nothing is any more.
        failure: Option<Failure>,
    },
    /// The attempt's time is over.
    DeadlinePassed {
        /// The attempt.
        key: AttemptKey,
    },
    /// The forge was told how the run stands.
    Reported {
        /// The attempt that stands for the run.
        key: AttemptKey,
        /// Which telling it was.
        serial: u32,
        /// What the forge made of it, for people.
        #[serde(default)]
        remarks: Vec<String>,
    },
}

/// The details of an entry of the event log, in the documented shape. What was written before there was one is brought into
/// it: a plan stood there as what came of resolving it, a deployment as a pair, and each entry said its own kind again.
pub fn details(mut body: Value) -> Value {
    let Some(members) = body.as_object_mut() else { return body };
    members.remove("event");
    if let Some(resolved) = members.get_mut("plan") {
        let told = [("Ok", "planned", "steps"), ("Err", "refused", "failure")].into_iter().find_map(|(variant, outcome, member)| {
            let value = resolved.as_object_mut()?.remove(variant)?;
            Some(json!({ "outcome": outcome, member: value }))
        });
        if let Some(told) = told {
            *resolved = told;
        }
    }
    if let Some(deploy) = body.pointer_mut("/request/deploy")
        && let Some([artifact, target]) = deploy.as_array().map(Vec::as_slice)
    {
        *deploy = json!({ "artifact": artifact, "target": target });
    }
    body
}

impl Event {
    /// The event in a word, as the event log shows it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::StopRequested { .. } => "stop_requested",
            Self::RerunRequested { .. } => "rerun_requested",
            Self::Granted(_) => "granted",
            Self::Fetched { .. } => "fetched",
            Self::Published { .. } => "published",
            Self::Prepared { .. } => "prepared",
            Self::Started { .. } => "started",
            Self::StartUnclear { .. } => "start_unclear",
            Self::Found { .. } => "found",
            Self::Fenced { .. } => "fenced",
            Self::Swept { .. } => "swept",
            Self::Observed(_) => "observed",
            Self::Sealed { .. } => "sealed",
            Self::Resolved { .. } => "resolved",
            Self::Deployed { .. } => "deployed",
            Self::EffectFailed { .. } => "effect_failed",
            Self::Troubled { .. } => "troubled",
            Self::DeadlinePassed { .. } => "deadline_passed",
            Self::Reported { .. } => "reported",
        }
    }

    /// Who caused it, where somebody did.
    pub fn principal(&self) -> Option<&str> {
        match self {
            Self::StopRequested { by, .. } | Self::RerunRequested { by, .. } => Some(by),
            _ => None,
        }
    }
}
