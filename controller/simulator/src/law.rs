//! What must hold after every step, whatever happened: the invariants of ARCHITECTURE.md, as far as they are the core's.
//!
//! The core's own tests (`controller/core/tests/it/invariants.rs`) say much of the same, apart from this on purpose: they need
//! nothing that is itself built on the core, and of two that were written apart, one may see what the other forgot.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use signalbox_contract::api::run::{Outcome, StepState};
use signalbox_contract::build::{BuildState, Observation, Stamp};
use signalbox_contract::{AttemptKey, EnvironmentName, FailureClass, RunId, Verdict};
use signalbox_controller_core::plan::{PlannedStep, Request};
use signalbox_controller_core::resource::{Granted, ResourceKey};
use signalbox_controller_core::run::{INTERRUPTIONS, LOST_RETRIES};
use signalbox_controller_core::{Act, Attempt, Decision, Event, Phase, Resource, Run};

use crate::database::Row;

/// A law that was broken, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken(String);

impl Broken {
    pub(crate) fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }

    /// The law without the names of what broke it, so that two histories that break the same one can be told to.
    pub fn law(&self) -> String {
        let word = |word: &str| !word.chars().any(|letter| letter.is_ascii_digit());
        self.0.split_whitespace().filter(|part| word(part)).collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Breaks the history off unless `holds`.
pub(crate) fn must(holds: bool, words: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken::new(words())) }
}

/// What was seen so far, to compare with.
#[derive(Debug, Default)]
pub(crate) struct Law {
    plans: BTreeMap<RunId, Vec<PlannedStep>>,
    ended: BTreeMap<AttemptKey, Attempt>,
    stamps: BTreeMap<AttemptKey, Stamp>,
    looks: BTreeMap<AttemptKey, Stamp>,
    builds: BTreeMap<AttemptKey, String>,
    fences: BTreeMap<ResourceKey, u64>,
    sequences: BTreeMap<EnvironmentName, u64>,
    /// How often each run has tried again by itself since somebody asked for it: what was lost, and what was interrupted.
    tries: BTreeMap<RunId, (u8, u8)>,
    /// The newest look at each build that was told, as its executor meant it.
    told: BTreeMap<AttemptKey, (Stamp, BuildState)>,
}

impl Law {
    /// What one event may do to one run.
    pub(crate) fn decided(&mut self, before: &Run, event: &Event, decision: Option<&Decision>) -> Result<(), Broken> {
        if let Event::Observed(seen) = event
            && seen.state != BuildState::Gone
            && before.current(&seen.key).is_some_and(Attempt::at_executor)
        {
            let newest = self.looks.entry(seen.key).or_default();
            must(decision.is_none() || seen.stamp >= *newest, || format!("{} has an older look over a newer one", seen.key))?;
            *newest = seen.stamp.max(*newest);
        }
        let Some(decision) = decision else { return Ok(()) };
        let run = &decision.run;
        must(run.version == before.version + 1, || "the version does not rise with a change".to_owned())?;
        must(run.events == before.events + decision.log.len() as u64, || "an entry of the event log is not counted".to_owned())?;
        let rerun = matches!(event, Event::RerunRequested { .. });
        for (old, new) in before.steps.iter().zip(&run.steps) {
            let begun = new.attempts.len() > old.attempts.len();
            must(new.attempts.len() >= old.attempts.len(), || "an attempt is gone".to_owned())?;
            must(!begun || run.stopped_by.is_none(), || "a stopped run has begun something".to_owned())?;
            let lost = old.attempts.last().is_none_or(|_| new.attempts[old.attempts.len() - 1].verdict == Some(Verdict::Lost));
            // What begins after the steps before it does, has had attempts before only because somebody reran it: that is no try.
            let again = begun && !rerun && old.state != StepState::Pending;
            if let (true, Some(last)) = (again, old.attempts.len().checked_sub(1).and_then(|last| new.attempts.get(last))) {
                let (lost, interrupted) = self.tries.entry(run.id).or_default();
                *if last.class == Some(FailureClass::Interrupted) { &mut *interrupted } else { &mut *lost } += 1;
                must(*lost <= LOST_RETRIES && *interrupted <= INTERRUPTIONS, || "a run has tried too often".to_owned())?;
            }
            must(!begun || rerun || lost || old.state == StepState::Pending, || "an attempt was begun beside another".to_owned())?;
        }
        if rerun {
            self.tries.remove(&run.id);
        }
        for effect in &decision.effects {
            let (environment, sequence) = match &effect.act {
                Act::Deploy(request) => (&request.environment, request.sequence),
                Act::Activate(request) => (&request.environment, request.sequence),
                _ => continue,
            };
            let last = self.sequences.insert(environment.clone(), sequence).unwrap_or_default();
            must(sequence > last, || "an activation's number does not rise".to_owned())?;
        }
        let same = before.outcome.is_none() || rerun || (before.outcome == run.outcome && before.steps == run.steps);
        must(same, || "a finished run has changed".to_owned())
    }

    /// A look is going to be told, as its executor means it.
    pub(crate) fn looked(&mut self, seen: &Observation) {
        let newest = self.told.entry(seen.key).or_insert_with(|| (seen.stamp, seen.state.clone()));
        if seen.stamp >= newest.0 {
            *newest = (seen.stamp, seen.state.clone());
        }
    }

    /// What is believed of a build is what the newest look showed, whatever was told since.
    pub(crate) fn believed(&self, run: &Run, key: &AttemptKey) -> Result<(), Broken> {
        let Some((Phase::Tracking { seen }, (_, told))) = run.current(key).map(|attempt| &attempt.phase).zip(self.told.get(key)) else {
            return Ok(());
        };
        must(seen == told, || format!("{key} is believed to be {seen:?} , and the newest look showed {told:?}"))
    }

    /// A grant's number rises: an older one is told apart by it.
    pub(crate) fn granted(&mut self, granted: &Granted) -> Result<(), Broken> {
        // What passes is forgotten while nobody wants it, and begins anew.
        if granted.resource.passing() {
            return Ok(());
        }
        let last = self.fences.insert(granted.resource.clone(), granted.fence).unwrap_or_default();
        must(granted.fence > last, || format!("a grant of {} has no higher number than the one before", granted.resource))
    }

    /// What must hold of everything together, once a transaction is written that has changed these runs.
    pub(crate) fn written(
        &mut self,
        touched: &BTreeSet<RunId>,
        runs: &BTreeMap<RunId, Run>,
        resources: &BTreeMap<ResourceKey, Resource>,
        rows: &BTreeMap<String, Row>,
    ) -> Result<(), Broken> {
        for run in touched.iter().filter_map(|id| runs.get(id)) {
            self.frozen(run)?;
            sound(run)?;
            for (index, step) in (0_u16..).zip(&run.steps) {
                for (n, attempt) in (1_u16..).zip(&step.attempts) {
                    let key = AttemptKey { run: run.id, step: index, attempt: n };
                    if attempt.ended() {
                        self.immutable(key, attempt)?;
                    } else {
                        must(usize::from(n) == step.attempts.len(), || format!("{key} is live beside a later attempt"))?;
                        must(run.outcome.is_none(), || format!("{key} is live in a finished run"))?;
                        self.moves_on(key, attempt, &step.plan, resources, rows)?;
                    }
                }
            }
        }
        for resource in resources.values() {
            must(resource.holders() <= resource.capacity, || format!("{} is given to too many", resource.key))?;
            for claim in resource.claims() {
                let attempt = runs.get(&claim.holder.run).and_then(|run| run.current(&claim.holder)).filter(|attempt| !attempt.ended());
                let Some(attempt) = attempt else {
                    return Err(Broken::new(format!("{} is held by {} , which is over", resource.key, claim.holder)));
                };
                let waits = matches!(&attempt.phase, Phase::Claiming { of } if *of == resource.key);
                must(claim.fence.is_none() == waits, || format!("{} and its claim disagree", claim.holder))?;
            }
        }
        for row in rows.values().filter(|row| touched.contains(&row.effect.key.run)) {
            let key = row.effect.key;
            let live = runs.get(&key.run).and_then(|run| run.current(&key)).is_some_and(|attempt| !attempt.ended());
            let tidying = matches!(row.effect.act, Act::Unpublish(_) | Act::Forget(_) | Act::Sweep(_) | Act::Report { .. });
            must(live || tidying, || format!("{} is done for an attempt that is over", row.effect.id()))?;
        }
        Ok(())
    }

    /// Once the source is known, neither it nor the plan changes.
    fn frozen(&mut self, run: &Run) -> Result<(), Broken> {
        let resolved = !matches!(run.request, Request::Cd(_)) || run.steps.first().is_some_and(signalbox_controller_core::Step::passed);
        if !resolved {
            return must(!self.plans.contains_key(&run.id), || "the plan was forgotten".to_owned());
        }
        let same = |known: &Vec<PlannedStep>| known.len() == run.steps.len() && known.iter().zip(&run.steps).all(|(a, b)| *a == b.plan);
        if let Some(known) = self.plans.get(&run.id) {
            return must(same(known), || "the plan has changed".to_owned());
        }
        self.plans.insert(run.id, run.steps.iter().map(|step| step.plan.clone()).collect());
        Ok(())
    }

    fn immutable(&mut self, key: AttemptKey, attempt: &Attempt) -> Result<(), Broken> {
        if let Some(known) = self.ended.get(&key) {
            return must(known == attempt, || format!("{key} has changed after its end"));
        }
        must(attempt.verdict.is_some() && attempt.finished_at.is_some(), || format!("{key} is over and does not say how"))?;
        let passed = attempt.verdict == Some(Verdict::Success);
        must(attempt.cancel.is_none() || !passed, || format!("{key} was called off and passed"))?;
        self.ended.insert(key, attempt.clone());
        Ok(())
    }

    /// Nothing can be stuck: whatever happens outside, something that is due will move it on.
    fn moves_on(
        &mut self,
        key: AttemptKey,
        attempt: &Attempt,
        plan: &PlannedStep,
        resources: &BTreeMap<ResourceKey, Resource>,
        rows: &BTreeMap<String, Row>,
    ) -> Result<(), Broken> {
        must(!self.ended.contains_key(&key), || format!("{key} has come back to life"))?;
        must(attempt.verdict.is_none() && attempt.finished_at.is_none(), || format!("{key} is not over and says how it ended"))?;
        let timer = rows.get(&format!("{key}/deadline"));
        must(timer.is_some_and(|timer| timer.effect.due == attempt.deadline), || format!("{key} is not told when its time is over"))?;
        let stamp = self.stamps.entry(key).or_default();
        must(attempt.stamp >= *stamp, || format!("{key} has an older stamp than before"))?;
        *stamp = attempt.stamp;
        if let Some(build) = &attempt.build {
            let known = self.builds.entry(key).or_insert_with(|| build.clone());
            must(known == build, || format!("two builds count for {key}"))?;
        }
        let mut asked = true;
        for needed in plan.work.resources() {
            let claim = resources.get(&needed).and_then(|resource| resource.claim(&key));
            must(claim.is_some() == asked, || format!("{key} and {needed} disagree"))?;
            asked &= !matches!(&attempt.phase, Phase::Claiming { of } if *of == needed);
        }
        let prefix = format!("{key}/");
        let ours = rows.range(prefix.clone()..).take_while(|(id, _)| id.starts_with(&prefix)).map(|(_, row)| &row.effect.act);
        let mut busy = false;
        for act in ours.filter(|act| !matches!(act, Act::Deadline | Act::Report { .. })) {
            busy = true;
            must(attempt.phase.acts().contains(&act.kind()), || {
                format!("{key} is {} and does {}", attempt.phase.word(), act.kind().word())
            })?;
        }
        let waits = matches!(attempt.phase, Phase::Claiming { .. } | Phase::Tracking { .. });
        must(waits || busy, || format!("{key} is {} and nothing is done about it", attempt.phase.word()))
    }
}

/// What must hold of one run by itself.
fn sound(run: &Run) -> Result<(), Broken> {
    for step in &run.steps {
        let needed = || step.plan.needs.iter().filter_map(|needed| run.steps.get(usize::from(*needed)));
        let name = &step.plan.name;
        match step.state {
            StepState::Pending => must(needed().any(|step| !step.passed()), || format!("{name} does not begin"))?,
            StepState::Skipped => {}
            StepState::Waiting | StepState::Active | StepState::Ended => {
                let success = needed().all(|step| step.latest().and_then(|attempt| attempt.verdict) == Some(Verdict::Success));
                must(success, || format!("{name} has begun, though something that it needs has not passed"))?;
                let ended = step.latest().is_some_and(Attempt::ended);
                must(ended == (step.state == StepState::Ended), || format!("{name} and its attempt disagree"))?;
            }
        }
    }
    let over = run.steps.iter().all(|step| matches!(step.state, StepState::Ended | StepState::Skipped));
    must(run.outcome.is_some() == over, || "a run has ended when its steps have not, or has not when they have".to_owned())?;
    must(run.outcome.is_some() == run.finished_at.is_some(), || "a run has an end without a time".to_owned())?;
    let passed = over && run.steps.iter().all(signalbox_controller_core::Step::passed);
    must((run.outcome == Some(Outcome::Passed)) == passed, || "a run has passed when its steps have not".to_owned())
}
