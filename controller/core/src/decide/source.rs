//! The mirror step: the source is fetched and proven, and the plan frozen.

use signalbox_contract::api::run::StepState;
use signalbox_contract::api::vcs::RepoRequest;
use signalbox_contract::job::DEFINITION_FILE;
use signalbox_contract::{AttemptKey, CommitSha, Failure, RefName, Verdict};

use super::change::{Change, End};
use crate::attempt::Phase;
use crate::effect::Act;
use crate::plan::{PlannedStep, Request};
use crate::run::Step;

impl Change {
    pub(super) fn fetch(&mut self, key: AttemptKey) {
        let Request::Cd(order) = &self.run.request else { return };
        let request = RepoRequest {
            git: order.source.clone(),
            ref_name: order.ref_name.clone(),
            name: order.repo.clone(),
            // What came from a forge is about one commit, wherever its ref points by now.
            sha: order.origin.sha().cloned(),
            // What somebody typed may never come to be; what a forge has told of is only late.
            announced: !order.origin.is_api(),
            files: match &order.route.native {
                None => DEFINITION_FILE.parse().into_iter().collect(),
                Some(native) => native.file.iter().cloned().collect(),
            },
        };
        let order = order.clone();
        self.perform(key, Act::Fetch { request, order });
    }

    pub(super) fn fetched(
        &mut self,
        key: &AttemptKey,
        sha: &CommitSha,
        ref_name: &RefName,
        plan: &Result<Vec<PlannedStep>, Failure>,
    ) -> bool {
        if !self.attempt(key).is_some_and(|attempt| attempt.phase == Phase::Fetching) {
            return false;
        }
        self.run.sha = Some(sha.clone());
        self.run.ref_name = Some(ref_name.clone());
        match plan {
            Ok(steps) => {
                // From here on the plan is frozen: nothing adds a step or changes what one does.
                self.run.steps.truncate(1);
                self.run.steps.extend(steps.iter().cloned().map(Step::new));
                self.end(*key, End::verdict(Verdict::Success));
            }
            Err(failure) => self.end(*key, End::failed(failure.clone())),
        }
        true
    }

    /// Forgets a plan that was never frozen, so that the mirror step can be tried again.
    pub(super) fn unplan(&mut self) {
        self.run.sha = None;
        self.run.ref_name = None;
        self.run.steps.truncate(1);
        if let Some(step) = self.run.steps.first_mut() {
            step.state = StepState::Pending;
        }
    }
}
