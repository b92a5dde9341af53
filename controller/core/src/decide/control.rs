//! What people and time do to a run: stopping, rerunning, failing effects, deadlines.

use signalbox_contract::api::run::{RerunFrom, StepState};
use signalbox_contract::grant::Glob;
use signalbox_contract::{ArtifactName, AttemptKey, Failure, FailureClass, FailureCode, Verdict};

use super::change::{Change, End};
use super::trouble::too_late;
use super::{Refusal, settled};
use crate::attempt::Phase;
use crate::effect::Kind;
use crate::plan::{Request, Work, covered};
use crate::run::Run;

/// How many attempts a step may have. Somebody who reruns more often has another problem.
const MAX_ATTEMPTS: usize = 100;

impl Change {
    pub(super) fn stop(&mut self, by: &str, reason: Option<&str>) -> Result<bool, Refusal> {
        if self.run.outcome.is_some() {
            return Err(Refusal::NotNow("The run has ended already."));
        }
        if self.run.stopped_by.is_some() {
            return Err(Refusal::NotNow("The run is being stopped already."));
        }
        self.run.stopped_by = Some(by.to_owned());
        self.run.stop_reason = reason.map(str::to_owned);
        for key in self.live() {
            self.call_off(&key, Verdict::Aborted);
        }
        self.advance();
        Ok(true)
    }

    /// Runs it again for somebody who may publish `artifacts`. They need to be allowed whatever starting this very run would
    /// need, wherever it begins again: else a rerun would do on behalf of the first what the second may not.
    pub(super) fn rerun(&mut self, from: RerunFrom, artifacts: &[Glob]) -> Result<bool, Refusal> {
        let first = may_rerun(&self.run, from, artifacts)?;
        if let Request::Cd(order) = &mut self.run.request {
            order.artifacts = artifacts.to_vec();
        }
        self.run.outcome = None;
        self.run.reason.clear();
        self.run.finished_at = None;
        self.run.stopped_by = None;
        self.run.stop_reason = None;
        self.run.lost_retries = 0;
        self.run.interruptions = 0;
        self.run.reruns += 1;
        self.run.line = self.now;
        if first == 0 && self.run.steps.first().is_some_and(|step| matches!(step.plan.work, Work::Mirror { .. })) {
            self.unplan();
        }
        for step in self.run.steps.iter_mut().skip(first) {
            step.state = StepState::Pending;
        }
        self.advance();
        Ok(true)
    }

    pub(super) fn effect_failed(&mut self, key: &AttemptKey, kind: Kind, failure: &Failure) -> bool {
        if kind == Kind::Report {
            return self.not_reported(key, failure);
        }
        let Some(phase) = self.phase(key) else { return false };
        // That the time was over says less than what was the matter until then.
        let failure = &match self.trouble(key) {
            Some(trouble) if failure.code == FailureCode::DeadlinePassed => too_late(trouble),
            _ => failure.clone(),
        };
        match (kind, phase) {
            // A newer commit is there, and has a run of its own.
            (Kind::Fetch, Phase::Fetching) if failure.code == FailureCode::RefMoved && !self.run.request.origin().is_api() => {
                self.end(*key, End { verdict: Verdict::Skipped, class: None, failure: Some(failure.clone()) });
            }
            (Kind::Deploy | Kind::Activate, Phase::Deploying) => self.not_deployed(key, failure),
            // A refusal is an answer. Anything else leaves open whether an earlier try came through.
            (Kind::Start, Phase::Starting) if leaves_open(failure) => {
                self.not_started(key, failure);
            }
            (Kind::Publish, Phase::Publishing) if self.work(key).is_some_and(Work::begins_by_push) => self.not_pushed(key, failure),
            (Kind::Fetch, Phase::Fetching)
            | (Kind::Publish, Phase::Publishing)
            | (Kind::Prepare, Phase::Preparing)
            | (Kind::Start, Phase::Starting)
            | (Kind::Resolve, Phase::Resolving) => self.end(*key, End::failed(failure.clone())),
            (Kind::Seal, Phase::Sealing { .. }) => self.not_sealed(key, failure.clone()),
            (Kind::Find, Phase::Finding { offered }) => self.not_found(key, offered),
            (Kind::Cancel, Phase::Tracking { .. }) => {
                let then = self.cancelled_as(key);
                self.fence(key, then);
            }
            (Kind::Fence, Phase::Fencing { then }) => self.end_fenced(key, then, Some(failure.clone())),
            _ => return false,
        }
        true
    }

    pub(super) fn deadline_passed(&mut self, key: &AttemptKey) -> bool {
        let Some(attempt) = self.run.current(key).filter(|attempt| !attempt.ended()) else { return false };
        // The deadline was moved after this timer was set, or the clock was put back. The timer is used up all the same.
        if attempt.deadline > self.now {
            self.set_timer(*key);
            return true;
        }
        let trouble = self.trouble(key);
        let late =
            || trouble.clone().map_or_else(|| Failure::new(FailureCode::DeadlinePassed, "The time that it may take is over."), too_late);
        match attempt.phase.clone() {
            Phase::Publishing | Phase::Tracking { .. } if attempt.cancel.is_some() => {
                let then = self.cancelled_as(key);
                self.fence(key, then);
            }
            Phase::Finding { offered: true } => self.not_found(key, true),
            Phase::Fencing { then } => self.end_fenced(key, then, Some(late())),
            Phase::Sealing { .. } => {
                let failure = Failure::new(FailureCode::WorkerUnavailable, "What the build made could not be stored in time.");
                self.not_sealed(
                    key,
                    match trouble {
                        Some(trouble) => Failure { detail: format!("{} {}", failure.detail, trouble.detail), ..trouble },
                        None => failure,
                    },
                );
            }
            Phase::Deploying => self.not_deployed(key, &late()),
            phase => {
                self.explain_lateness(key, &phase);
                self.call_off(key, Verdict::TimedOut);
            }
        }
        true
    }

    /// Whether what its builds make is published.
    pub(super) fn publishes(&self) -> bool {
        publishes(&self.run)
    }

    pub(super) fn cancelled_as(&self, key: &AttemptKey) -> Verdict {
        self.run.current(key).and_then(|attempt| attempt.cancel).unwrap_or(Verdict::Aborted)
    }

    /// The keys of the attempts that are not over.
    fn live(&self) -> Vec<AttemptKey> {
        (0_u16..)
            .zip(&self.run.steps)
            .filter(|(_, step)| !settled(step.state) && step.latest().is_some_and(|attempt| !attempt.ended()))
            .filter_map(|(index, _)| self.run.latest_key(index))
            .collect()
    }
}

/// Whether what was tried may have come through all the same, so that nobody knows what it began: its receiver was still at
/// it when its time was over, or nobody can say what became of it. Anything else is a refusal.
pub(super) fn leaves_open(failure: &Failure) -> bool {
    failure.code == FailureCode::DeadlinePassed || matches!(failure.code.class(), FailureClass::Infrastructure | FailureClass::Unknown)
}

/// The step from which the run is run again for somebody who may publish `artifacts`.
///
/// # Errors
/// Why it cannot be, now or for them.
pub fn may_rerun(run: &Run, from: RerunFrom, artifacts: &[Glob]) -> Result<usize, Refusal> {
    if run.outcome.is_none() {
        return Err(Refusal::NotNow("The run has not ended yet; stop it first."));
    }
    let failed = run.steps.iter().position(|step| !step.passed());
    // A source that was proven stays proven, and the plan that it gave stays frozen.
    let proven = run.steps.first().is_some_and(|step| matches!(step.plan.work, Work::Mirror { .. }) && step.passed());
    let first = match (from, failed) {
        (RerunFrom::Failed, None) => return Err(Refusal::NotNow("Every step passed; rerun it from the start.")),
        (RerunFrom::Failed, Some(index)) => index,
        (RerunFrom::Start, _) => usize::from(proven),
    };
    if run.steps.iter().skip(first).any(|step| step.attempts.len() >= MAX_ATTEMPTS) {
        return Err(Refusal::NotNow("A step has been tried a hundred times; start a new run."));
    }
    published_beyond(run, artifacts).map_or(Ok(first), |beyond| Err(Refusal::NotGranted(beyond)))
}

fn publishes(run: &Run) -> bool {
    match &run.request {
        Request::Cd(order) => order.publish,
        Request::Deploy { .. } | Request::Rollback { .. } => true,
    }
}

/// An artifact of the frozen plan's builds that none of the patterns covers. Where the plan is not known yet, its artifacts
/// are looked at when it is resolved.
fn published_beyond(run: &Run, artifacts: &[Glob]) -> Option<ArtifactName> {
    if !publishes(run) {
        return None;
    }
    let declared = run.steps.iter().filter_map(|step| match &step.plan.work {
        Work::Build { definition, .. } => Some(definition.artifacts()),
        Work::Mirror { .. } | Work::Deploy { .. } | Work::Activate { .. } => None,
    });
    declared.flatten().find(|name| !covered(artifacts, name)).cloned()
}
