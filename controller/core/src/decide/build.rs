//! A build step: a place at the executor, a ref that it can read, the build, and what came of it.

use std::time::Duration;

use signalbox_contract::api::run::{ArtifactView, StepState};
use signalbox_contract::api::vcs::{RefsAction, RefsRequest};
use signalbox_contract::build::{BuildState, Observation};
use signalbox_contract::{ArtifactName, AttemptKey, Failure, FailureClass, FailureCode, RefName, Verdict};

use super::change::{Change, End};
use super::control::leaves_open;
use crate::attempt::{Attempt, Phase, Published};
use crate::effect::{Act, AtExecutor, BuildOrder, Intent};
use crate::plan::{Definition, Request, Work};

/// How many remarks an attempt keeps.
const MAX_REMARKS: usize = 20;

impl Change {
    /// The executor has room.
    pub(super) fn place_at_executor(&mut self, key: AttemptKey) {
        let Some(intent) = self.intent(&key) else { return };
        self.enter(&key, Phase::Preparing);
        self.run.steps[usize::from(key.step)].state = StepState::Active;
        self.allow(key, self.build_time(&key));
        self.perform(key, Act::Prepare(Box::new(intent)));
    }

    /// How long a build may take, with what it takes beyond its own time.
    pub(super) fn build_time(&self, key: &AttemptKey) -> Duration {
        let own = match self.work(key) {
            Some(Work::Build { definition: Definition::Job { spec, .. }, .. }) => spec.timeout,
            _ => None,
        };
        let time = own.map_or(self.limits.build, |timeout| Duration::from_secs(timeout.as_secs().into()));
        time.saturating_add(self.limits.build_slack)
    }

    /// What was newest there is known, and written down: only now is the commit shown, which may begin the build.
    pub(super) fn prepared(&mut self, key: &AttemptKey, anchor: &str) -> bool {
        if !self.is_in(key, &Phase::Preparing) {
            return false;
        }
        if let Some(attempt) = self.attempt(key) {
            attempt.anchor = Some(anchor.to_owned());
        }
        let Some(request) = self.refs_request(key, RefsAction::Publish) else { return false };
        self.enter(key, Phase::Publishing);
        self.perform(*key, Act::Publish(request));
        true
    }

    pub(super) fn published(&mut self, key: &AttemptKey, at: &Published) -> bool {
        if !self.is_in(key, &Phase::Publishing) {
            return false;
        }
        if let Some(attempt) = self.attempt(key) {
            attempt.published = Some(at.clone());
        }
        // It was called off meanwhile, and its build may have begun.
        if let Some(then) = self.run.current(key).and_then(|attempt| attempt.cancel) {
            self.fence(key, then);
            return true;
        }
        let Some(order) = self.order(key) else { return false };
        self.enter(key, Phase::Starting);
        self.perform(*key, Act::Start(Box::new(order)));
        true
    }

    /// Publishing failed where it may itself begin the build: unless it was refused, it may have come through.
    pub(super) fn not_pushed(&mut self, key: &AttemptKey, failure: &Failure) {
        let cancel = self.run.current(key).and_then(|attempt| attempt.cancel);
        match (cancel, leaves_open(failure)) {
            (Some(then), _) => self.fence(key, then),
            (None, true) => self.not_started(key, failure),
            (None, false) => self.end(*key, End::failed(failure.clone())),
        }
    }

    pub(super) fn remark(&mut self, key: &AttemptKey, words: String) {
        if let Some(attempt) = self.attempt(key).filter(|attempt| attempt.remarks.len() < MAX_REMARKS) {
            attempt.remarks.push(words);
        }
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
            attempt.url = observation.url.clone().or(attempt.url.take());
        }
        self.compare_commit(key, observation);
        let Some(attempt) = self.attempt(key) else { return true };
        let cancel = attempt.cancel;
        match &observation.state {
            BuildState::Waiting { .. } | BuildState::Running => {
                attempt.phase = Phase::Tracking { seen: observation.state.clone() };
            }
            // Once it was called off it ends as that: an executor may call it failed, or may just have finished it. What is said
            // of it is about that, and not about why it was called off.
            BuildState::Ended { .. } | BuildState::Gone if let Some(cancel) = cancel => self.seal(key, cancel, None, ""),
            BuildState::Ended { verdict, class, reason } => self.seal(key, *verdict, *class, reason),
            BuildState::Gone => {
                let why = "The executor knows nothing of the build any more.";
                self.seal(key, Verdict::Lost, Some(FailureClass::Infrastructure), why);
            }
        }
        true
    }

    pub(super) fn sealed(&mut self, key: &AttemptKey, artifacts: &[ArtifactView], remarks: &[String]) -> bool {
        let Some(Phase::Sealing { verdict, class, reason }) = self.phase(key) else { return false };
        if let Some(attempt) = self.attempt(key) {
            attempt.artifacts = artifacts.to_vec();
        }
        for remark in remarks {
            self.remark(key, remark.clone());
        }
        let wanted = match &self.run.request {
            Request::Cd(order) => order.deploy.as_ref().map(|(artifact, _)| artifact),
            Request::Deploy { .. } | Request::Rollback { .. } => None,
        };
        let missing = wanted.filter(|wanted| !artifacts.iter().any(|artifact| artifact.name == **wanted));
        let end = match (verdict, missing) {
            (Verdict::Success, Some(missing)) => End::failed(self.not_made(key, missing)),
            (Verdict::Success, None) => End::verdict(Verdict::Success),
            (verdict, _) => self.ends_as(key, verdict, class, reason),
        };
        self.end(*key, end);
        true
    }

    fn not_made(&self, key: &AttemptKey, missing: &ArtifactName) -> Failure {
        let failure = Failure::new(FailureCode::ArtifactMissing, format!("The build did not make the artifact {missing}."));
        let Some(Work::Build { repo, definition, .. }) = self.work(key) else { return failure };
        match definition.picks().iter().find(|pick| pick.name == *missing) {
            None => failure,
            Some(pick) => Failure { detail: format!("{} It was looked for as {}.", failure.detail, pick.place()), ..failure }
                .hint(format!("Where it is says [repositories.\"{repo}\".artifacts] in the controller's configuration.")),
        }
    }

    /// How an attempt ends that did not pass: with what is known of it already, else with its executor's words.
    fn ends_as(&mut self, key: &AttemptKey, verdict: Verdict, class: Option<FailureClass>, reason: String) -> End {
        let known = self.attempt(key).and_then(|attempt| Some((attempt.class, attempt.failure.take()?)));
        match known {
            Some((known, failure)) => End { verdict, class: known.or(class), failure: Some(failure) },
            None => End { verdict, class, failure: failure_of(verdict, reason) },
        }
    }

    /// What the build made, and its log, could not be made safe. So it has not passed; if it had not anyway, it ends as it is.
    pub(super) fn not_sealed(&mut self, key: &AttemptKey, failure: Failure) {
        let Some(Phase::Sealing { verdict, class, reason }) = self.phase(key) else { return };
        let end = match verdict {
            Verdict::Success => End::failed(failure),
            _ => self.ends_as(key, verdict, class, reason),
        };
        self.end(*key, end);
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
            // Whether it began its build is known only when it is over. Until then nobody could find what to cancel.
            Phase::Publishing if self.work(key).is_some_and(Work::begins_by_push) => {
                let settle = self.limits.settle;
                if let Some(attempt) = self.attempt(key).filter(|attempt| attempt.cancel.is_none()) {
                    attempt.cancel = Some(verdict);
                    self.allow(*key, settle);
                }
            }
            Phase::Claiming { .. } | Phase::Fetching | Phase::Resolving | Phase::Publishing | Phase::Preparing => {
                let known = self.attempt(key).and_then(|attempt| Some((attempt.class, attempt.failure.take()?)));
                let (class, failure) =
                    known.map_or_else(|| (None, failure_of(verdict, String::new())), |(class, known)| (class, Some(known)));
                self.end(*key, End { verdict, class, failure });
            }
            Phase::Starting | Phase::Finding { .. } => self.fence(key, verdict),
            Phase::Tracking { .. } => self.cancel(key, verdict),
            // These come to an end by themselves, and soon.
            Phase::Fencing { .. } | Phase::Sealing { .. } | Phase::Deploying | Phase::Ended => {}
        }
    }

    /// Asks the executor to stop it. If it does not, in time, it is fenced.
    pub(super) fn cancel(&mut self, key: &AttemptKey, verdict: Verdict) {
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

    fn seal(&mut self, key: &AttemptKey, verdict: Verdict, class: Option<FailureClass>, reason: &str) {
        let Some(at) = self.at_executor(key) else { return };
        self.enter(key, Phase::Sealing { verdict, class, reason: reason.to_owned() });
        self.allow(*key, self.limits.settle);
        let line = self.run.line;
        let publish = verdict.passed() && self.publishes();
        let picks = match self.work(key) {
            // What is not published need not be fetched.
            Some(Work::Build { definition, .. }) if publish => definition.picks().to_vec(),
            _ => Vec::new(),
        };
        let parts = self.run.current(key).map(Attempt::logs).unwrap_or_default();
        self.perform(*key, Act::Seal { at, publish, line, picks, parts });
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
        attempt.trouble = None;
        for kind in left.acts() {
            self.withdraw(key, *kind);
        }
    }

    pub(super) fn at_executor(&self, key: &AttemptKey) -> Option<AtExecutor> {
        let Some(Work::Build { executor, .. }) = self.work(key) else { return None };
        let Attempt { anchor, build, .. } = self.run.current(key)?;
        Some(AtExecutor { executor: executor.clone(), anchor: anchor.clone(), build: build.clone() })
    }

    /// What the VCS worker is asked for an attempt's ref.
    pub(super) fn refs_request(&self, key: &AttemptKey, action: RefsAction) -> Option<RefsRequest> {
        let Some(Work::Build { repo, ref_name, mirror, naming, .. }) = self.work(key) else { return None };
        Some(RefsRequest {
            name: repo.clone(),
            sha: self.run.sha.clone()?,
            action,
            mirror: mirror.clone(),
            naming: *naming,
            original: mirror.as_ref().map(|_| ref_name.clone()),
        })
    }

    fn intent(&self, key: &AttemptKey) -> Option<Intent> {
        let Some(Work::Build { repo, ref_name, executor, naming, .. }) = self.work(key) else { return None };
        let (executor, repo, naming) = (executor.clone(), repo.clone(), *naming);
        Some(Intent { executor, repo, sha: self.run.sha.clone()?, branch: said(ref_name), naming })
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
            branch: said(ref_name),
            published: attempt.published.clone()?,
            anchor: attempt.anchor.clone(),
            deadline: attempt.deadline,
        })
    }
}

/// A ref as people say it.
fn said(ref_name: &RefName) -> RefName {
    ref_name.short().parse().unwrap_or_else(|_| ref_name.clone())
}

/// What is said of an attempt that did not pass, where its executor said something.
pub(super) fn failure_of(verdict: Verdict, reason: String) -> Option<Failure> {
    match verdict {
        Verdict::Success => None,
        Verdict::TimedOut if reason.is_empty() => Some(Failure::new(FailureCode::DeadlinePassed, "The time that it may take is over.")),
        Verdict::TimedOut => Some(Failure::new(FailureCode::DeadlinePassed, reason)),
        _ if reason.is_empty() => None,
        Verdict::Lost => Some(Failure::new(FailureCode::BuildLost, reason)),
        Verdict::Aborted => Some(Failure::new(FailureCode::BuildStopped, reason)),
        Verdict::Failed | Verdict::Unstable | Verdict::Skipped => Some(Failure::new(FailureCode::BuildFailed, reason)),
    }
}
