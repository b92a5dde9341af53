//! A deployment: the environment's lock and sequence, the bytes, and what came of each host.

use signalbox_contract::api::deploy::{ActivateRequest, DeployRequest, HostOutcome, HostResult};
use signalbox_contract::api::run::StepState;
use signalbox_contract::{AttemptKey, Digest, Failure, FailureClass, FailureCode, RunId, Verdict};

use super::change::{Change, End};
use crate::attempt::Phase;
use crate::effect::Act;
use crate::plan::{DeployTarget, Work};
use crate::resource::{Granted, Message, ResourceKey};

impl Change {
    pub(super) fn enter_environment(&mut self, granted: &Granted) {
        let key = granted.key;
        // What a newer run has put there stays, unless this one was asked for again.
        if self.run.reruns == 0 && granted.newest.is_some_and(|newest| newest > self.run.id) {
            self.end(key, superseded());
            return;
        }
        self.run.steps[usize::from(key.step)].state = StepState::Active;
        self.allow(key, self.limits.deploy);
        if let Some(attempt) = self.attempt(&key) {
            attempt.sequence = Some(granted.fence);
        }
        match self.work(&key).cloned() {
            Some(Work::Deploy { artifact, from: Some(from), .. }) => {
                let made = self.run.steps.get(usize::from(from)).and_then(|step| step.latest());
                let digest = made.and_then(|attempt| attempt.artifacts.iter().find(|made| made.name == artifact)).map(|made| made.digest);
                match digest {
                    Some(digest) => self.deploy(&key, digest),
                    None => self.end(
                        key,
                        End::failed(Failure::new(FailureCode::ArtifactMissing, format!("The build did not make the artifact {artifact}."))),
                    ),
                }
            }
            Some(Work::Deploy { artifact, from: None, .. }) => {
                // A rerun deploys the same bytes, even if the name shows others by now.
                let tried = self.run.steps.get(usize::from(key.step)).map(|step| step.attempts.as_slice()).unwrap_or_default();
                if let Some(digest) = tried.iter().find_map(|attempt| attempt.digest) {
                    self.deploy(&key, digest);
                } else {
                    self.enter(&key, Phase::Resolving);
                    self.perform(key, Act::Resolve { artifact });
                }
            }
            Some(Work::Activate { target: DeployTarget { environment, name }, digest }) => {
                self.enter(&key, Phase::Deploying);
                let request = ActivateRequest { published_name: name, environment, digest, sequence: granted.fence, run: self.run.id };
                self.perform(key, Act::Activate(request));
            }
            Some(Work::Mirror { .. } | Work::Build { .. }) | None => {}
        }
    }

    pub(super) fn resolved(&mut self, key: &AttemptKey, digest: Digest) -> bool {
        if !self.is_in(key, &Phase::Resolving) {
            return false;
        }
        self.deploy(key, digest);
        true
    }

    fn deploy(&mut self, key: &AttemptKey, digest: Digest) {
        let Some(Work::Deploy { artifact, target: DeployTarget { environment, name }, .. }) = self.work(key).cloned() else { return };
        let run = self.run.id;
        let Some(attempt) = self.attempt(key) else { return };
        attempt.digest = Some(digest);
        let Some(sequence) = attempt.sequence else { return };
        self.enter(key, Phase::Deploying);
        let request = DeployRequest { artifact_id: artifact, published_name: name, environment, digest, sequence, run };
        self.perform(*key, Act::Deploy(request));
    }

    pub(super) fn deployed(&mut self, key: &AttemptKey, hosts: &[HostResult]) -> bool {
        if !self.is_in(key, &Phase::Deploying) {
            return false;
        }
        if let Some(attempt) = self.attempt(key) {
            attempt.hosts = hosts.to_vec();
        }
        let shows_ours = |host: &HostResult| matches!(host.outcome, HostOutcome::Switched | HostOutcome::Unchanged);
        if hosts.iter().any(shows_ours) {
            self.tell_deployed(key);
        }
        let failures: Vec<String> = hosts.iter().filter_map(HostResult::complaint).collect();
        let end = if !failures.is_empty() {
            let detail = format!("{} of {} hosts could not be switched. {}", failures.len(), hosts.len(), failures.join(" "));
            End::failed(Failure::new(FailureCode::HostsFailed, detail))
        } else if hosts.iter().any(|host| host.outcome == HostOutcome::Superseded) {
            let number = self.attempt(key).and_then(|attempt| attempt.sequence);
            kept_by_hosts(self.run.id, number, hosts)
        } else {
            End::verdict(Verdict::Success)
        };
        self.end(*key, end);
        true
    }

    /// The deployment worker could not do it, or not in time.
    pub(super) fn not_deployed(&mut self, key: &AttemptKey, failure: &Failure) {
        use FailureCode::{DeadlinePassed, HostsFailed, Internal, SequenceSuperseded, Unknown, WorkerUnavailable};
        if failure.code == SequenceSuperseded {
            let number = self.attempt(key).and_then(|attempt| attempt.sequence);
            return self.end(*key, kept_by_hosts(self.run.id, number, &[]));
        }
        // Some of the hosts may show our bytes, and an older run must not go over them.
        if matches!(failure.code, DeadlinePassed | HostsFailed | Internal | Unknown | WorkerUnavailable) {
            self.tell_deployed(key);
        }
        let end = End::failed(failure.clone());
        let late = failure.code == DeadlinePassed;
        self.end(*key, if late { End { verdict: Verdict::TimedOut, class: Some(FailureClass::Infrastructure), ..end } } else { end });
    }

    /// Tells the environment that the run has changed, or may have changed, what it shows.
    fn tell_deployed(&mut self, key: &AttemptKey) {
        let Some(DeployTarget { environment, name }) = self.work(key).and_then(Work::target).cloned() else { return };
        self.tell(Message::Deployed { resource: ResourceKey::Environment(environment), name, run: self.run.id });
    }
}

/// A newer run of ours has been deployed.
fn superseded() -> End {
    passed_over(
        Failure::new(FailureCode::SequenceSuperseded, "A newer run was deployed before this one came to it.")
            .hint("Rerun it if it is to be deployed all the same."),
    )
}

/// Hosts keep something with a higher number than ours. As long as the attempt holds the environment nobody else here has one:
/// the number was not given by what this installation remembers, and the next one would be refused as well.
fn kept_by_hosts(run: RunId, number: Option<u64>, hosts: &[HostResult]) -> End {
    let keeps = hosts.iter().find(|host| host.outcome == HostOutcome::Superseded);
    let newer = keeps.and_then(|host| host.newer.as_ref());
    let name = keeps.map_or("A host", |host| host.host.as_str());
    let whose = newer.and_then(|newer| newer.run).map(|run| format!(" of run {run}")).unwrap_or_default();
    let which = newer.map_or_else(|| "a later activation".to_owned(), |newer| format!("activation {}{whose}", newer.sequence));
    let ours = number.map(|number| format!(", and this one would be number {number}")).unwrap_or_default();
    let detail = format!(
        "{name} keeps {which}{ours}: this installation knows nothing of so high a number. Another installation, or this one before a \
         backup was restored, deploys to the same root."
    );
    let hint = format!(
        "Rerunning it alone is refused again. Give each installation a root of its own. If this one is to go on with that root, stop the \
         controller, `touch restored` in its data folder (`touch data/controller/restored` in a folder of `signalbox init`), start it: from \
         then on its numbers are above all that were given; and `signalbox rerun {run}`."
    );
    passed_over(Failure::new(FailureCode::SequenceSuperseded, detail).hint(hint))
}

fn passed_over(failure: Failure) -> End {
    End { verdict: Verdict::Skipped, class: None, failure: Some(failure) }
}
