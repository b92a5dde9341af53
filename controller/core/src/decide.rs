//! The one place where a run changes.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_contract::api::run::StepState;
use signalbox_contract::{ArtifactName, Code, Problem, RunId};

use crate::effect::Effect;
use crate::event::Event;
use crate::plan::Request;
use crate::resource::Message;
use crate::run::{Run, Step};

mod build;
mod change;
mod claim;
mod control;
mod deploy;
mod report;
mod search;
mod source;
mod trouble;

pub use control::may_rerun;

use change::Change;

/// How long things may take. Part of the server's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Fetching a source, with all tries.
    pub fetch: Duration,
    /// Waiting for a place at an executor or in an environment.
    pub wait: Duration,
    /// A build that does not say itself how long it may take.
    pub build: Duration,
    /// What a build may take beyond its own time: publishing, starting, queueing at the executor.
    pub build_slack: Duration,
    /// Waiting for a build that somebody else begins, once its source was handed over.
    pub appear: Duration,
    /// Storing what a build made, stopping it, making sure that it never runs: each.
    pub settle: Duration,
    /// A deployment, over all hosts, with all tries.
    pub deploy: Duration,
    /// Tidying up, with all tries.
    pub clean_up: Duration,
    /// Telling a forge how a run stands, with all tries.
    pub report: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const MINUTE: u64 = 60;
        Self {
            fetch: Duration::from_secs(15 * MINUTE),
            wait: Duration::from_secs(24 * 60 * MINUTE),
            build: Duration::from_secs(60 * MINUTE),
            build_slack: Duration::from_secs(10 * MINUTE),
            appear: Duration::from_secs(10 * MINUTE),
            settle: Duration::from_secs(10 * MINUTE),
            deploy: Duration::from_secs(30 * MINUTE),
            clean_up: Duration::from_secs(24 * 60 * MINUTE),
            // A forge that is away for a day still gets the final state.
            report: Duration::from_secs(2 * 24 * 60 * MINUTE),
        }
    }
}

/// A changed run, and what follows from the change. All of it is written in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The run, changed.
    pub run: Run,
    /// What is to be done. One with the id of an effect that is there already takes its place.
    pub effects: Vec<Effect>,
    /// The ids of effects that are not wanted any more. They go first: an effect of the same id may be new.
    pub withdrawn: Vec<String>,
    /// What other aggregates are told.
    pub messages: Vec<Message>,
    /// What the event log gains.
    pub log: Vec<LogEntry>,
}

/// An entry of a run's event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// What happened, in a word.
    pub kind: &'static str,
    /// Who caused it, where somebody did.
    pub principal: Option<String>,
    /// The details.
    pub body: Value,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The run is not in a state for it.
    #[error("{0}")]
    NotNow(&'static str),
    /// Whoever asks may not publish this artifact, which the run would.
    #[error("The run publishes the artifact {0}. No grant of this token that allows to start runs of the repository covers it.")]
    NotGranted(ArtifactName),
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::NotNow(_) => Code::NotAllowedNow,
            Refusal::NotGranted(_) => Code::Forbidden,
        };
        Self::new(code).detail(refusal.to_string())
    }
}

/// What the store knows of a run that is to be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceptance {
    /// The id that it gets.
    pub id: RunId,
    /// Its number in its repository.
    pub number: u64,
    /// Who asks.
    pub principal: String,
    /// What is asked.
    pub request: Request,
}

/// Accepts a run: its first step begins.
pub fn accept(acceptance: Acceptance, now: Timestamp, limits: &Limits) -> Decision {
    let Acceptance { id, number, principal, request } = acceptance;
    let steps = request.first_steps().into_iter().map(Step::new).collect();
    let body = json!({ "request": &request });
    let run = Run {
        id,
        number,
        principal: principal.clone(),
        request,
        sha: None,
        ref_name: None,
        steps,
        stopped_by: None,
        stop_reason: None,
        reporting: None,
        lost_retries: 0,
        interruptions: 0,
        reruns: 0,
        outcome: None,
        reason: String::new(),
        accepted_at: now,
        line: now,
        finished_at: None,
        events: 0,
        version: 0,
    };
    let mut change = Change::new(run, now, *limits);
    change.log("accepted", Some(principal), body);
    change.advance();
    change.decision()
}

/// What an event makes of a run; `None` when it changes nothing, because it comes too late, twice, or from elsewhere.
///
/// # Errors
/// When the event is a command that the run's state does not allow.
pub fn decide(run: &Run, event: &Event, now: Timestamp, limits: &Limits) -> Result<Option<Decision>, Refusal> {
    let mut change = Change::new(run.clone(), now, *limits);
    let changed = match event {
        Event::StopRequested { by, reason } => change.stop(by, reason.as_deref())?,
        Event::RerunRequested { from, artifacts, .. } => change.rerun(*from, artifacts)?,
        Event::Granted(granted) => change.granted(granted),
        Event::Fetched { key, sha, ref_name, plan, .. } => change.fetched(key, sha, ref_name, plan),
        Event::Published { key, at } => change.published(key, at),
        Event::Prepared { key, anchor } => change.prepared(key, anchor),
        Event::Started { key, build } => change.started(key, build.as_deref()),
        Event::StartUnclear { key } => change.start_unclear(key),
        Event::Found { key, build, surplus } => change.found(key, build.as_deref(), surplus),
        Event::Fenced { key } => change.fenced(key),
        Event::Swept { key, surplus } => change.swept(key, surplus),
        Event::Observed(observation) => change.observed(observation),
        Event::Sealed { key, artifacts, remarks } => change.sealed(key, artifacts, remarks),
        Event::Resolved { key, digest } => change.resolved(key, *digest),
        Event::Deployed { key, hosts } => change.deployed(key, hosts),
        Event::EffectFailed { key, kind, failure } => change.effect_failed(key, *kind, failure),
        Event::Troubled { key, kind, failure } => change.troubled(key, *kind, failure.as_ref()),
        Event::DeadlinePassed { key } => change.deadline_passed(key),
        Event::Reported { key, serial, remarks } => change.reported(key, *serial, remarks),
    };
    if !changed {
        return Ok(None);
    }
    change.log_first(event);
    Ok(Some(change.decision()))
}

/// Whether a step has come to its end, one way or the other.
const fn settled(state: StepState) -> bool {
    matches!(state, StepState::Ended | StepState::Skipped)
}
