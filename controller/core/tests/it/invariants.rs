//! What must hold after every step, whatever happened.
//!
//! The simulator's `law.rs` says much of the same, apart from this on purpose: the core's tests need nothing that is itself built
//! on the core, and of two that were written apart, one may see what the other forgot.

use std::collections::{BTreeMap, BTreeSet};

use signalbox_contract::api::run::{Outcome, StepState};
use signalbox_contract::build::{BuildState, Stamp};
use signalbox_contract::{AttemptKey, EnvironmentName, RunId, Verdict};
use signalbox_controller_core::plan::{PlannedStep, Request};
use signalbox_controller_core::resource::{Granted, ResourceKey};
use signalbox_controller_core::run::{INTERRUPTIONS, LOST_RETRIES};
use signalbox_controller_core::{Act, Attempt, Decision, Effect, Event, Phase, Resource, Run, view};

use crate::desk::Pending;

/// What was seen so far, to compare with.
#[derive(Debug, Default)]
pub(crate) struct Book {
    plans: BTreeMap<RunId, String>,
    ended: BTreeMap<AttemptKey, String>,
    stamps: BTreeMap<AttemptKey, Stamp>,
    looks: BTreeMap<AttemptKey, Stamp>,
    fences: BTreeMap<ResourceKey, u64>,
    sequences: BTreeMap<EnvironmentName, u64>,
    logged: BTreeMap<RunId, u64>,
}

impl Book {
    pub(crate) fn accepted(&mut self, decision: &Decision) {
        assert_eq!(decision.run.version, 1);
        self.decision(decision);
    }

    /// What one event may do to one run.
    pub(crate) fn decided(&mut self, before: &Run, event: &Event, decision: Option<&Decision>) {
        if let Event::Observed(seen) = event
            && seen.state != BuildState::Gone
            && before.current(&seen.key).is_some_and(Attempt::at_executor)
        {
            let newest = self.looks.entry(seen.key).or_default();
            assert!(decision.is_none() || seen.stamp >= *newest, "an older observation has overwritten a newer one");
            *newest = seen.stamp.max(*newest);
        }
        let Some(decision) = decision else { return };
        let run = &decision.run;
        assert_eq!(run.version, before.version + 1, "the version rises with each change");
        self.decision(decision);
        let rerun = matches!(event, Event::RerunRequested { .. });
        for (old, new) in before.steps.iter().zip(&run.steps) {
            assert!(new.attempts.len() >= old.attempts.len() && new.attempts.len() <= old.attempts.len() + 1);
            let begun = new.attempts.len() > old.attempts.len();
            assert!(!begun || run.stopped_by.is_none(), "a stopped run has begun something");
            let lost = old.attempts.last().is_none_or(|_| new.attempts[old.attempts.len() - 1].verdict == Some(Verdict::Lost));
            let waited = old.state == StepState::Pending;
            assert!(!begun || rerun || lost || waited, "an attempt was begun beside another");
        }
        assert!(run.lost_retries <= LOST_RETRIES && run.interruptions <= INTERRUPTIONS);
        if before.outcome.is_some() && !rerun {
            assert_eq!((before.outcome, &before.steps), (run.outcome, &run.steps), "a finished run has changed");
        }
    }

    fn decision(&mut self, decision: &Decision) {
        let logged = self.logged.entry(decision.run.id).or_default();
        *logged += decision.log.len() as u64;
        assert_eq!(decision.run.events, *logged, "every entry of the event log is counted");
        let ids: BTreeSet<String> = decision.effects.iter().map(Effect::id).collect();
        assert_eq!(ids.len(), decision.effects.len(), "an attempt has at most one effect of a kind");
        for effect in &decision.effects {
            let (environment, sequence) = match &effect.act {
                Act::Deploy(request) => (&request.environment, request.sequence),
                Act::Activate(request) => (&request.environment, request.sequence),
                _ => continue,
            };
            let last = self.sequences.insert(environment.clone(), sequence).unwrap_or_default();
            assert!(sequence > last, "an activation's number does not rise");
        }
    }

    pub(crate) fn granted(&mut self, granted: &Granted) {
        let last = self.fences.insert(granted.resource.clone(), granted.fence).unwrap_or_default();
        assert!(granted.fence > last, "a grant's number does not rise");
    }

    /// What must hold of everything together.
    pub(crate) fn check(
        &mut self,
        runs: &BTreeMap<RunId, Run>,
        resources: &BTreeMap<ResourceKey, Resource>,
        effects: &BTreeMap<String, Pending>,
    ) {
        for run in runs.values() {
            self.frozen(run);
            sound(run);
            for (index, step) in (0_u16..).zip(&run.steps) {
                let last = step.attempts.len();
                for (n, attempt) in (1_u16..).zip(&step.attempts) {
                    let key = AttemptKey { run: run.id, step: index, attempt: n };
                    if attempt.ended() {
                        self.immutable(key, attempt);
                    } else {
                        assert_eq!(usize::from(n), last, "{key} is live beside a later attempt");
                        assert!(run.outcome.is_none(), "{key} is live in a finished run");
                        self.moves_on(key, attempt, &step.plan, resources, effects);
                    }
                }
            }
        }
        for resource in resources.values() {
            assert!(resource.holders() <= resource.capacity, "{} is given to too many", resource.key);
            for claim in resource.claims() {
                let attempt = runs[&claim.holder.run].current(&claim.holder).filter(|attempt| !attempt.ended());
                let attempt = attempt.unwrap_or_else(|| panic!("{} is claimed by {}, which is over", resource.key, claim.holder));
                let waits = matches!(&attempt.phase, Phase::Claiming { of } if *of == resource.key);
                assert_eq!(claim.fence.is_none(), waits, "{} and its claim disagree", claim.holder);
            }
        }
        for (id, pending) in effects {
            let key = pending.effect.key;
            let live = runs[&key.run].current(&key).is_some_and(|attempt| !attempt.ended());
            let tidying = matches!(pending.effect.act, Act::Unpublish(_) | Act::Forget(_) | Act::Sweep(_) | Act::Report { .. });
            assert!(live || tidying, "{id} is done for an attempt that is over");
        }
    }

    /// Once the source is known, neither it nor the plan changes.
    fn frozen(&mut self, run: &Run) {
        let resolved = !matches!(run.request, Request::Cd(_)) || run.steps.first().is_some_and(signalbox_controller_core::Step::passed);
        if resolved {
            let steps: Vec<&PlannedStep> = run.steps.iter().map(|step| &step.plan).collect();
            let text = format!("{:?} {:?} {steps:?}", run.sha, run.ref_name);
            let known = self.plans.entry(run.id).or_insert_with(|| text.clone());
            assert_eq!(*known, text, "the plan has changed");
        } else {
            assert!(!self.plans.contains_key(&run.id), "the plan was forgotten");
        }
    }

    fn immutable(&mut self, key: AttemptKey, attempt: &Attempt) {
        assert!(attempt.verdict.is_some() && attempt.finished_at.is_some());
        assert!(attempt.cancel.is_none() || attempt.verdict != Some(Verdict::Success), "{key} was called off and passed");
        let text = serde_json::to_string(attempt).expect("an attempt has a JSON form");
        let known = self.ended.entry(key).or_insert_with(|| text.clone());
        assert_eq!(*known, text, "{key} has changed after its end");
    }

    /// Nothing can be stuck: whatever happens outside, something that is due will move it on.
    fn moves_on(
        &mut self,
        key: AttemptKey,
        attempt: &Attempt,
        plan: &PlannedStep,
        resources: &BTreeMap<ResourceKey, Resource>,
        effects: &BTreeMap<String, Pending>,
    ) {
        assert!(!self.ended.contains_key(&key), "{key} has come back to life");
        assert!(attempt.verdict.is_none() && attempt.finished_at.is_none());
        let timer = effects.get(&format!("{key}/deadline")).unwrap_or_else(|| panic!("{key} has no deadline"));
        assert_eq!(timer.effect.due, attempt.deadline, "{key} is told of another deadline than it has");
        let stamp = self.stamps.entry(key).or_default();
        assert!(attempt.stamp >= *stamp, "{key} has an older stamp than before");
        *stamp = attempt.stamp;
        let mut asked = true;
        for needed in plan.work.resources() {
            let claim = resources.get(&needed).and_then(|resource| resource.claim(&key));
            assert_eq!(claim.is_some(), asked, "{key} and {needed} disagree");
            asked &= !matches!(&attempt.phase, Phase::Claiming { of } if *of == needed);
        }
        let beside = |act: &Act| matches!(act, Act::Deadline | Act::Report { .. });
        let under_way: Vec<_> = effects.values().filter(|p| p.effect.key == key && !beside(&p.effect.act)).collect();
        for pending in &under_way {
            assert!(attempt.phase.acts().contains(&pending.effect.act.kind()), "{key} is {:?} and does {pending:?}", attempt.phase);
        }
        let waits = matches!(attempt.phase, Phase::Claiming { .. } | Phase::Tracking { .. });
        assert!(waits || !under_way.is_empty(), "{key} is {:?} and nothing is done about it", attempt.phase);
    }
}

/// What must hold of one run by itself.
fn sound(run: &Run) {
    for step in &run.steps {
        let needed = || step.plan.needs.iter().map(|needed| &run.steps[usize::from(*needed)]);
        match step.state {
            StepState::Pending => assert!(needed().any(|step| !step.passed()), "{} does not begin", step.plan.name),
            StepState::Skipped => {}
            StepState::Waiting | StepState::Active | StepState::Ended => {
                let success = needed().all(|step| step.latest().and_then(|attempt| attempt.verdict) == Some(Verdict::Success));
                assert!(success, "{} has begun, though something that it needs has not passed", step.plan.name);
                let latest = step.latest().expect("what has begun has an attempt");
                assert_eq!(latest.ended(), step.state == StepState::Ended);
                assert_eq!(matches!(latest.phase, Phase::Claiming { .. }), step.state == StepState::Waiting);
            }
        }
    }
    let over = run.steps.iter().all(|step| matches!(step.state, StepState::Ended | StepState::Skipped));
    assert_eq!(run.outcome.is_some(), over, "a run has ended when its steps have, and not before");
    assert_eq!(run.outcome.is_some(), run.finished_at.is_some());
    let passed = run.steps.iter().all(signalbox_controller_core::Step::passed);
    assert_eq!(run.outcome == Some(Outcome::Passed), over && passed);
    let shown = view::view(run, Vec::new());
    assert_eq!(shown.summary.outcome, run.outcome);
    assert_eq!(shown.steps.len(), run.steps.len());
}
