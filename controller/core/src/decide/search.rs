//! Whose build is whose: what came of a start, the search for a build, and that it is of our commit.

use signalbox_contract::build::{BuildState, Observation};
use signalbox_contract::{AttemptKey, Failure, FailureClass, FailureCode, Verdict};

use super::change::Change;
use crate::attempt::Phase;
use crate::effect::Act;
use crate::plan::Work;

impl Change {
    pub(super) fn started(&mut self, key: &AttemptKey, build: Option<&str>) -> bool {
        match (self.phase(key), build) {
            (Some(Phase::Starting | Phase::Finding { .. }), Some(build)) => self.track(key, build),
            (Some(Phase::Starting | Phase::Finding { offered: false }), None) => return self.expect(key),
            _ => return false,
        }
        true
    }

    /// Somebody else will begin it. That has a time of its own: what does not come is not waited for as long as a build.
    fn expect(&mut self, key: &AttemptKey) -> bool {
        let Some(at) = self.at_executor(key) else { return false };
        self.enter(key, Phase::Finding { offered: true });
        self.allow(*key, self.limits.appear);
        self.perform(*key, Act::Find(at));
        true
    }

    pub(super) fn start_unclear(&mut self, key: &AttemptKey) -> bool {
        if !self.is_in(key, &Phase::Starting) {
            return false;
        }
        let Some(at) = self.at_executor(key) else { return false };
        self.enter(key, Phase::Finding { offered: false });
        self.perform(*key, Act::Find(at));
        true
    }

    pub(super) fn found(&mut self, key: &AttemptKey, build: Option<&str>, surplus: &[String]) -> bool {
        let Some(Phase::Finding { offered }) = self.phase(key) else { return false };
        // This is an answer: what was the matter before it does not count any more.
        self.forget_trouble(key);
        for other in surplus {
            self.remark(key, format!("The executor had another build of it, {other}; it was cancelled and does not count."));
        }
        match build {
            Some(build) => {
                if offered {
                    // Its time begins when it is there.
                    self.allow(*key, self.build_time(key));
                }
                self.track(key, build);
            }
            None => self.not_found(key, offered),
        }
        true
    }

    /// No build was found. One may still be on its way, so it is made sure that it never runs before anything else is tried.
    pub(super) fn not_found(&mut self, key: &AttemptKey, offered: bool) {
        if !offered {
            return self.fence(key, Verdict::Lost);
        }
        // Nobody knows whether it began, so nobody is told to look for why it did not.
        if let Some(trouble) = self.trouble(key) {
            return self.not_started(key, &trouble);
        }
        let Some(Work::Build { executor, .. }) = self.work(key).cloned() else { return };
        let shown = self.run.current(key).and_then(|attempt| attempt.published.as_ref());
        let shown = shown.map_or_else(String::new, |at| format!(" as {}", at.ref_name));
        let waited = self.limits.appear.as_secs();
        let detail =
            format!("The commit was handed over{shown}, and the executor {executor} began no build of it within {waited} seconds.");
        let failure = Failure::new(FailureCode::BuildNeverCame, detail).hint(
            "Look there whether builds are on for the project, whether rules in its definition leave this branch or this way of \
             starting out, and whether the commit's message asks for no build.",
        );
        self.not_started(key, &failure);
    }

    /// Builds that came to light after the attempt's end, and were stopped. What has ended does not change any more; that they
    /// were there stands in the event log.
    pub(super) fn swept(&self, key: &AttemptKey, surplus: &[String]) -> bool {
        !surplus.is_empty() && self.run.current(key).is_some()
    }

    /// A build of another commit is not ours, whatever it comes to: the ref was moved by somebody else. It is cancelled, and
    /// ours is tried again.
    pub(super) fn compare_commit(&mut self, key: &AttemptKey, observation: &Observation) {
        let (Some(theirs), Some(ours)) = (&observation.sha, self.run.sha.clone()) else { return };
        if *theirs == ours {
            return;
        }
        let detail = format!("The executor's build {} is of the commit {theirs}, not of {ours}.", observation.build);
        let failure = Failure::new(FailureCode::BuildLost, detail)
            .hint("Somebody else moves this ref at the executor. Where only Signalbox may push there, this cannot happen.");
        let Some(attempt) = self.attempt(key).filter(|attempt| attempt.cancel.is_none()) else { return };
        attempt.class = Some(FailureClass::Infrastructure);
        attempt.failure = Some(failure);
        if matches!(observation.state, BuildState::Ended { .. } | BuildState::Gone) {
            attempt.cancel = Some(Verdict::Lost);
        } else {
            self.cancel(key, Verdict::Lost);
        }
    }

    /// The start was tried for as long as it may be, and whether it ever arrived is not known.
    pub(super) fn not_started(&mut self, key: &AttemptKey, failure: &Failure) {
        if let Some(attempt) = self.attempt(key) {
            attempt.class = Some(failure.code.class());
            attempt.failure = Some(failure.clone());
        }
        self.fence(key, Verdict::Failed);
    }

    fn track(&mut self, key: &AttemptKey, build: &str) {
        if let Some(attempt) = self.attempt(key) {
            attempt.build = Some(build.to_owned());
        }
        self.enter(key, Phase::Tracking { seen: BuildState::Waiting { why: String::new() } });
    }
}
