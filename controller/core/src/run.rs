//! A run: one execution of a plan for one change.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use signalbox_contract::api::run::{Outcome, RunKind, RunState, StepState};
use signalbox_contract::{AttemptKey, CommitSha, RefName, RunId, Verdict};

use crate::attempt::{Attempt, Phase};
use crate::plan::{PlannedStep, Request};
use crate::reporting::Reporting;

/// How often a run tries a lost attempt again by itself.
pub const LOST_RETRIES: u8 = 2;

/// How often it tries again what was interrupted by an executor that was stopped in good order. That says nothing of the
/// build; but an executor that never stays up for as long as it takes must not go on for ever.
pub const INTERRUPTIONS: u8 = 10;

/// A run, whole. The store keeps it as one document; it is never rebuilt from events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Its number in its repository, from 1.
    pub number: u64,
    /// Who asked for it.
    pub principal: String,
    /// What was asked for.
    pub request: Request,
    /// The commit, once it is known.
    pub sha: Option<CommitSha>,
    /// The ref, as the source has it, once it is known.
    pub ref_name: Option<RefName>,
    /// Its steps. All of them are known, and frozen, once the source is.
    pub steps: Vec<Step>,
    /// Who stopped it, if somebody did.
    pub stopped_by: Option<String>,
    /// Why, where that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// What its forge is told of it, where it has one that is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reporting: Option<Reporting>,
    /// How often a lost attempt was tried again since it was started, or rerun.
    pub lost_retries: u8,
    /// How often an interrupted attempt was tried again since.
    #[serde(default)]
    pub interruptions: u8,
    /// How often it was rerun.
    pub reruns: u32,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Why, in words.
    pub reason: String,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it was accepted or last rerun: what it makes counts as new as this.
    pub line: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How many entries its event log has.
    pub events: u64,
    /// Rises with each change.
    pub version: u64,
}

/// A step of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What it is to do.
    pub plan: PlannedStep,
    /// Its state.
    pub state: StepState,
    /// Its attempts, oldest first.
    pub attempts: Vec<Attempt>,
}

impl Step {
    /// A step that has not begun.
    pub const fn new(plan: PlannedStep) -> Self {
        Self { plan, state: StepState::Pending, attempts: Vec::new() }
    }

    /// The attempt that counts: the last one.
    pub fn latest(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// How it ended, if it did.
    pub fn verdict(&self) -> Option<Verdict> {
        match self.state {
            StepState::Ended => self.latest().and_then(|attempt| attempt.verdict),
            StepState::Skipped => Some(Verdict::Skipped),
            StepState::Pending | StepState::Waiting | StepState::Active => None,
        }
    }

    /// Whether it passed.
    pub fn passed(&self) -> bool {
        self.state == StepState::Ended && self.verdict().is_some_and(Verdict::passed)
    }
}

impl Run {
    /// What it was made for.
    pub const fn kind(&self) -> RunKind {
        match self.request {
            Request::Cd(_) => RunKind::Cd,
            Request::Deploy { .. } => RunKind::Deploy,
            Request::Rollback { .. } => RunKind::Rollback,
        }
    }

    /// Its state, from all that is known of it. It is queued until a step behind the mirror has been given its place.
    pub fn state(&self) -> RunState {
        if self.outcome.is_some() {
            return RunState::Finished;
        }
        if self.stopped_by.is_some() {
            return RunState::Stopping;
        }
        let begun = |step: &Step| {
            !matches!(step.plan.work, crate::plan::Work::Mirror { .. })
                && step.attempts.iter().any(|attempt| !matches!(attempt.phase, Phase::Claiming { .. }))
        };
        if self.steps.iter().any(begun) { RunState::Building } else { RunState::Queued }
    }

    /// The attempt with this key, if it is the one that counts in its step. An older attempt is over, whatever comes.
    pub fn current(&self, key: &AttemptKey) -> Option<&Attempt> {
        let step = self.steps.get(usize::from(key.step))?;
        (key.run == self.id && step.attempts.len() == usize::from(key.attempt)).then(|| step.latest())?
    }

    /// The key of the latest attempt of a step.
    pub fn latest_key(&self, step: u16) -> Option<AttemptKey> {
        let attempts = self.steps.get(usize::from(step))?.attempts.len();
        u16::try_from(attempts).ok().filter(|n| *n > 0).map(|attempt| AttemptKey { run: self.id, step, attempt })
    }

    /// The attempts that are at an executor, with the executor's name.
    pub fn at_executors(&self) -> impl Iterator<Item = (AttemptKey, &signalbox_contract::ExecutorName, &Attempt)> {
        (0_u16..).zip(&self.steps).filter_map(|(index, step)| {
            let crate::plan::Work::Build { executor, .. } = &step.plan.work else { return None };
            let attempt = step.latest().filter(|attempt| attempt.at_executor())?;
            Some((self.latest_key(index)?, executor, attempt))
        })
    }
}
