//! A build step: a place at the executor, a ref that it can read, the build, and what came of it.

use std::time::Duration;

use signalbox_contract::api::run::{ArtifactView, StepState};
use signalbox_contract::build::{BuildState, Observation};
use signalbox_contract::{AttemptKey, Failure, FailureClass, FailureCode, Verdict};

use super::change::{Change, End};
use crate::attempt::{Attempt, Phase, Published};
use crate::effect::{Act, AtExecutor, BuildOrder};
use crate::plan::{Request, Work};

impl Change {
    /// The executor has room.
    pub(super) fn place_at_executor(&mut self, key: AttemptKey) {
        let Some(Work::Build { repo, spec, .. }) = self.work(&key).cloned() else { return };
        let Some(sha) = self.run.sha.clone() else { return };
        let time = spec.timeout.map_or(self.limits.build, |timeout| Duration::from_secs(timeout.as_secs().into()));
        self.enter(&key, Phase::Publishing);
        self.run.steps[usize::from(key.step)].state = StepState::Active;
        self.allow(key, time.saturating_add(self.limits.build_slack));
        self.perform(key, Act::Publish { repo, sha });
    }

    pub(super) fn published(&mut self, key: &AttemptKey, at: &Published) -> bool {
        if !self.is_in(key, &Phase::Publishing) {
            return false;
        }
        if let Some(attempt) = self.attempt(key) {
            attempt.published = Some(at.clone());
        }
        let Some(order) = self.order(key) else { return false };
        self.enter(key, Phase::Preparing);
        self.perform(*key, Act::Prepare(Box::new(order)));
        true
    }

    pub(super) fn prepared(&mut self, key: &AttemptKey, anchor: &str) -> bool {
        if !self.is_in(key, &Phase::Preparing) {
            return false;
        }
        if let Some(attempt) = self.attempt(key) {
            attempt.anchor = Some(anchor.to_owned());
        }
        let Some(order) = self.order(key) else { return false };
        self.enter(key, Phase::Starting);
        self.perform(*key, Act::Start(Box::new(order)));
        true
    }

    pub(super) fn started(&mut self, key: &AttemptKey, build: Option<&str>) -> bool {
        if !self.is_in(key, &Phase::Starting) && !self.is_in(key, &Phase::Finding) {
            return false;
        }
        self.track(key, build);
        true
    }

    pub(super) fn start_unclear(&mut self, key: &AttemptKey) -> bool {
        if !self.is_in(key, &Phase::Starting) {
            return false;
        }
        let Some(at) = self.at_executor(key) else { return false };
        self.enter(key, Phase::Finding);
        self.perform(*key, Act::Find(at));
        true
    }

    pub(super) fn found(&mut self, key: &AttemptKey, build: Option<&str>) -> bool {
        if !self.is_in(key, &Phase::Finding) {
            return false;
        }
        match build {
            Some(build) => self.track(key, Some(build)),
            // It may still be on its way. So it is made sure that it never runs, before anything else is tried.
            None => self.fence(key, Verdict::Lost),
        }
        true
    }

    pub(super) fn fenced(&mut self, key: &AttemptKey) -> bool {
        let Some(Phase::Fencing { then }) = self.phase(key) else { return false };
        self.end_fenced(key, then, None);
        true
    }

    /// A look at the executor. An older look never overwrites a newer one, and only a build that we track counts.
    pub(super) fn observed(&mut self, observation: &Observation) -> bool {
        let key = &observation.key;
        let Some(attempt) = self.attempt(key) else { return false };
        let Phase::Tracking { seen } = &attempt.phase else { return false };
        let gone = observation.state == BuildState::Gone;
        let same = observation.stamp == attempt.stamp && *seen == observation.state && attempt.parts == observation.parts;
        // What is gone has no stamp to compare. A newer look that shows nothing new still counts: one that is older than
        // it, and comes later, must find its stamp.
        if !gone && (observation.stamp < attempt.stamp || same) {
            return false;
        }
        if !gone {
            attempt.stamp = observation.stamp;
            attempt.parts.clone_from(&observation.parts);
            attempt.build = Some(observation.build.clone());
        }
        let cancel = attempt.cancel;
        match &observation.state {
            BuildState::Waiting { .. } | BuildState::Running => {
                attempt.phase = Phase::Tracking { seen: observation.state.clone() };
            }
            BuildState::Ended { verdict, class, reason } => {
                // Once it was called off it ends as that: an executor may call it failed, or may just have finished it.
                self.seal(key, cancel.unwrap_or(*verdict), *class, reason);
            }
            BuildState::Gone => {
                self.seal(
                    key,
                    cancel.unwrap_or(Verdict::Lost),
                    Some(FailureClass::Infrastructure),
                    "The executor knows nothing of the build any more.",
                );
            }
        }
        true
    }

    pub(super) fn sealed(&mut self, key: &AttemptKey, artifacts: &[ArtifactView]) -> bool {
        let Some(Phase::Sealing { verdict, class, reason }) = self.phase(key) else { return false };
        if let Some(attempt) = self.attempt(key) {
            attempt.artifacts = artifacts.to_vec();
        }
        let wanted = match &self.run.request {
            Request::Cd(order) => order.deploy.as_ref().map(|(artifact, _)| artifact),
            Request::Deploy { .. } | Request::Rollback { .. } => None,
        };
        let missing = wanted.filter(|wanted| !artifacts.iter().any(|artifact| artifact.name == **wanted));
        let end = match (verdict, missing) {
            (Verdict::Success, Some(missing)) => {
                End::failed(Failure::new(FailureCode::ArtifactMissing, format!("The build did not make the artifact {missing}.")))
            }
            (Verdict::Success, None) => End::verdict(Verdict::Success),
            (verdict, _) => End { verdict, class, failure: failure_of(verdict, reason) },
        };
        self.end(*key, end);
        true
    }

    /// What the build made, and its log, could not be made safe. So it has not passed; if it had not anyway, it ends as it is.
    pub(super) fn not_sealed(&mut self, key: &AttemptKey, failure: Failure) {
        let Some(Phase::Sealing { verdict, class, reason }) = self.phase(key) else { return };
        let end = match verdict {
            Verdict::Success => End::failed(failure),
            _ => End { verdict, class, failure: failure_of(verdict, reason) },
        };
        self.end(*key, end);
    }

    /// The start was tried for as long as it may be, and whether it ever arrived is not known.
    pub(super) fn not_started(&mut self, key: &AttemptKey, failure: &Failure) {
        if let Some(attempt) = self.attempt(key) {
            attempt.class = Some(failure.code.class());
            attempt.failure = Some(failure.clone());
        }
        self.fence(key, Verdict::Failed);
    }

    /// The executor will not run it any more, or, with a failure, nothing more can be done about that. It is over for us
    /// either way: whatever its build still does counts for nothing.
    pub(super) fn end_fenced(&mut self, key: &AttemptKey, then: Verdict, unfenced: Option<Failure>) {
        let Some(attempt) = self.attempt(key) else { return };
        let class = attempt.class.or(unfenced.as_ref().map(|_| FailureClass::Infrastructure));
        let failure = attempt.failure.take().or(unfenced).or_else(|| failure_of(then, String::new()));
        self.end(*key, End { verdict: then, class, failure });
    }

    /// The build is not wanted any more, or has had its time: ends as `verdict`, once it is sure that it does not run.
    pub(super) fn call_off(&mut self, key: &AttemptKey, verdict: Verdict) {
        let Some(phase) = self.phase(key) else { return };
        match phase {
            Phase::Claiming | Phase::Fetching | Phase::Resolving | Phase::Publishing | Phase::Preparing => {
                self.end(*key, End { verdict, class: None, failure: failure_of(verdict, String::new()) });
            }
            Phase::Starting | Phase::Finding => self.fence(key, verdict),
            Phase::Tracking { .. } => self.cancel(key, verdict),
            // These come to an end by themselves, and soon.
            Phase::Fencing { .. } | Phase::Sealing { .. } | Phase::Deploying | Phase::Ended => {}
        }
    }

    /// Asks the executor to stop it. If it does not, in time, it is fenced.
    fn cancel(&mut self, key: &AttemptKey, verdict: Verdict) {
        let Some(at) = self.at_executor(key) else { return };
        let settle = self.limits.settle;
        if let Some(attempt) = self.attempt(key).filter(|attempt| attempt.cancel.is_none()) {
            attempt.cancel = Some(verdict);
            self.allow(*key, settle);
            self.perform(*key, Act::Cancel(at));
        }
    }

    /// Makes sure that the executor never runs it from now on.
    pub(super) fn fence(&mut self, key: &AttemptKey, then: Verdict) {
        let Some(at) = self.at_executor(key) else { return };
        self.enter(key, Phase::Fencing { then });
        self.allow(*key, self.limits.settle);
        self.perform(*key, Act::Fence(at));
    }

    fn track(&mut self, key: &AttemptKey, build: Option<&str>) {
        if let Some(attempt) = self.attempt(key) {
            attempt.build = build.map(str::to_owned);
        }
        self.enter(key, Phase::Tracking { seen: BuildState::Waiting { why: String::new() } });
    }

    fn seal(&mut self, key: &AttemptKey, verdict: Verdict, class: Option<FailureClass>, reason: &str) {
        let Some(at) = self.at_executor(key) else { return };
        self.enter(key, Phase::Sealing { verdict, class, reason: reason.to_owned() });
        self.allow(*key, self.limits.settle);
        let line = self.run.line;
        let publish = verdict.passed() && self.publishes();
        self.perform(*key, Act::Seal { at, publish, line });
    }

    pub(super) fn phase(&self, key: &AttemptKey) -> Option<Phase> {
        self.run.current(key).filter(|attempt| !attempt.ended()).map(|attempt| attempt.phase.clone())
    }

    pub(super) fn is_in(&self, key: &AttemptKey, phase: &Phase) -> bool {
        self.run.current(key).is_some_and(|attempt| attempt.phase == *phase)
    }

    /// Brings the attempt into another phase. What the old one had under way is not wanted any more.
    pub(super) fn enter(&mut self, key: &AttemptKey, phase: Phase) {
        let Some(attempt) = self.attempt(key) else { return };
        let left = std::mem::replace(&mut attempt.phase, phase);
        for kind in left.acts() {
            self.withdraw(key, *kind);
        }
    }

    fn at_executor(&self, key: &AttemptKey) -> Option<AtExecutor> {
        let Some(Work::Build { executor, .. }) = self.work(key) else { return None };
        let Attempt { anchor, build, .. } = self.run.current(key)?;
        Some(AtExecutor { executor: executor.clone(), anchor: anchor.clone(), build: build.clone() })
    }

    fn order(&self, key: &AttemptKey) -> Option<BuildOrder> {
        let work = self.work(key)?;
        let (Work::Build { executor, ref_name, .. }, Request::Cd(request)) = (work, &self.run.request) else { return None };
        let attempt = self.run.current(key)?;
        Some(BuildOrder {
            executor: executor.clone(),
            work: work.clone(),
            source: request.source.clone(),
            origin: request.origin.clone(),
            number: self.run.number,
            sha: self.run.sha.clone()?,
            branch: ref_name.short().parse().unwrap_or_else(|_| ref_name.clone()),
            published: attempt.published.clone()?,
            anchor: attempt.anchor.clone(),
            deadline: attempt.deadline,
        })
    }
}

/// What is said of an attempt that did not pass, where its executor said something.
pub(super) fn failure_of(verdict: Verdict, reason: String) -> Option<Failure> {
    match verdict {
        Verdict::Success => None,
        Verdict::TimedOut if reason.is_empty() => Some(Failure::new(FailureCode::DeadlinePassed, "The time that it may take is over.")),
        Verdict::TimedOut => Some(Failure::new(FailureCode::DeadlinePassed, reason)),
        _ if reason.is_empty() => None,
        Verdict::Lost => Some(Failure::new(FailureCode::BuildLost, reason)),
        _ => Some(Failure::new(FailureCode::BuildFailed, reason)),
    }
}
