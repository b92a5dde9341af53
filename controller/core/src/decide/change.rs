//! A change in the making: the run, and what has followed from the change so far.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_contract::api::run::{Outcome, StepState};
use signalbox_contract::api::vcs::RefsAction;
use signalbox_contract::{AttemptKey, Failure, FailureClass, FailureCode, Verdict};

use super::{Decision, Limits, LogEntry, settled};
use crate::attempt::{Attempt, Phase};
use crate::effect::{Act, AtExecutor, Effect, Kind};
use crate::event::{Event, details};
use crate::plan::Work;
use crate::resource::Message;
use crate::run::{INTERRUPTIONS, LOST_RETRIES, Run};

pub(super) struct Change {
    pub(super) run: Run,
    pub(super) now: Timestamp,
    pub(super) limits: Limits,
    effects: Vec<Effect>,
    withdrawn: Vec<String>,
    messages: Vec<Message>,
    log: Vec<LogEntry>,
}

/// How an attempt ends.
pub(super) struct End {
    pub(super) verdict: Verdict,
    pub(super) class: Option<FailureClass>,
    pub(super) failure: Option<Failure>,
}

impl End {
    pub(super) const fn verdict(verdict: Verdict) -> Self {
        Self { verdict, class: None, failure: None }
    }

    pub(super) fn failed(failure: Failure) -> Self {
        Self { verdict: Verdict::Failed, class: Some(failure.code.class()), failure: Some(failure) }
    }
}

impl Change {
    pub(super) const fn new(run: Run, now: Timestamp, limits: Limits) -> Self {
        Self { run, now, limits, effects: Vec::new(), withdrawn: Vec::new(), messages: Vec::new(), log: Vec::new() }
    }

    pub(super) fn decision(mut self) -> Decision {
        self.report();
        self.run.version += 1;
        Decision { run: self.run, effects: self.effects, withdrawn: self.withdrawn, messages: self.messages, log: self.log }
    }

    pub(super) fn log(&mut self, kind: &'static str, principal: Option<String>, body: Value) {
        self.run.events += 1;
        self.log.push(LogEntry { kind, principal, body: details(body) });
    }

    /// Puts the event itself in front of what followed from it.
    pub(super) fn log_first(&mut self, event: &Event) {
        // Our own enums always have a JSON form; an event without one would only lose its details in the log.
        let body = details(serde_json::to_value(event).unwrap_or(Value::Null));
        self.run.events += 1;
        self.log.insert(0, LogEntry { kind: event.word(), principal: event.principal().map(str::to_owned), body });
    }

    pub(super) fn tell(&mut self, message: Message) {
        self.messages.push(message);
    }

    pub(super) fn after(&self, wait: Duration) -> Timestamp {
        self.now.saturating_add(wait).unwrap_or(Timestamp::MAX)
    }

    /// The attempt that the key names, if it is its step's latest and not over.
    pub(super) fn attempt(&mut self, key: &AttemptKey) -> Option<&mut Attempt> {
        let live = self.run.current(key).is_some_and(|attempt| !attempt.ended());
        self.run.steps.get_mut(usize::from(key.step)).filter(|_| live)?.attempts.last_mut()
    }

    pub(super) fn work(&self, key: &AttemptKey) -> Option<&Work> {
        self.run.steps.get(usize::from(key.step)).map(|step| &step.plan.work)
    }

    /// Has something done for the attempt, as long as its time lasts.
    pub(super) fn perform(&mut self, key: AttemptKey, act: Act) {
        let due = if act.kind() == Kind::Sweep { self.after(self.limits.settle) } else { self.now };
        let give_up = match act.kind() {
            Kind::Unpublish | Kind::Forget => self.after(self.limits.clean_up),
            Kind::Sweep => self.after(self.limits.settle.saturating_add(self.limits.clean_up)),
            Kind::Report => self.after(self.limits.report),
            _ => self.run.current(&key).map_or(self.now, |attempt| attempt.deadline),
        };
        self.effects.push(Effect { key, act, due, give_up });
    }

    pub(super) fn withdraw(&mut self, key: &AttemptKey, kind: Kind) {
        let id = format!("{key}/{}", kind.word());
        self.effects.retain(|effect| effect.id() != id);
        self.withdrawn.push(id);
    }

    /// Gives the attempt this much time from now on.
    pub(super) fn allow(&mut self, key: AttemptKey, time: Duration) {
        let deadline = self.after(time);
        if let Some(attempt) = self.attempt(&key) {
            attempt.deadline = deadline;
            self.set_timer(key);
        }
    }

    /// Has the run told when the attempt's time is over.
    pub(super) fn set_timer(&mut self, key: AttemptKey) {
        let Some(deadline) = self.attempt(&key).map(|attempt| attempt.deadline) else { return };
        self.effects.push(Effect { key, act: Act::Deadline, due: deadline, give_up: Timestamp::MAX });
    }

    /// Begins each step whose turn has come, skips those that cannot be reached any more, and ends the run when nothing
    /// is left to do.
    pub(super) fn advance(&mut self) {
        for index in 0..self.run.steps.len() {
            let step = &self.run.steps[index];
            if step.state != StepState::Pending {
                continue;
            }
            let needed = || step.plan.needs.iter().filter_map(|needed| self.run.steps.get(usize::from(*needed)));
            if self.run.stopped_by.is_some() || needed().any(|step| settled(step.state) && !step.passed()) {
                self.run.steps[index].state = StepState::Skipped;
            } else if needed().all(crate::run::Step::passed)
                && let Ok(index) = u16::try_from(index)
            {
                self.begin(index);
            }
        }
        if self.run.outcome.is_none() && self.run.steps.iter().all(|step| settled(step.state)) {
            self.finish();
        }
    }

    /// Ends an attempt: lets go of what it holds, tidies up behind it, and goes on with the run.
    pub(super) fn end(&mut self, key: AttemptKey, end: End) {
        let now = self.now;
        // While it is being published the ref may be there, though its answer has not come.
        let published = self.attempt(&key).is_some_and(|attempt| attempt.published.is_some() || attempt.phase == Phase::Publishing);
        let claimed = self.claimed(&key);
        self.enter(&key, Phase::Ended);
        let Some(attempt) = self.run.steps.get_mut(usize::from(key.step)).and_then(|step| step.attempts.last_mut()) else { return };
        attempt.verdict = Some(end.verdict);
        attempt.class = end.class;
        attempt.failure = end.failure;
        attempt.finished_at = Some(now);
        let (anchor, build) = (attempt.anchor.clone(), attempt.build.clone());
        // Whoever finds builds by their keys alone notes nothing before the start, and makes no two of one key.
        let doubled = attempt.published.is_some() && anchor.as_ref().is_some_and(|anchor| !anchor.is_empty());
        self.withdraw(&key, Kind::Deadline);
        if let Some(Work::Build { executor, .. }) = self.work(&key).cloned() {
            if published && let Some(request) = self.refs_request(&key, RefsAction::Remove) {
                self.perform(key, Act::Unpublish(request));
            }
            // With an anchor, the executor may have been asked to start, so it may keep something.
            if anchor.is_some() {
                let at = AtExecutor { executor, anchor, build };
                if doubled {
                    self.perform(key, Act::Sweep(at.clone()));
                }
                self.perform(key, Act::Forget(at));
            }
        }
        for resource in claimed {
            self.tell(Message::Release { resource, holder: key });
        }
        self.log("attempt_ended", None, json!({ "key": key, "verdict": end.verdict }));
        let step = &mut self.run.steps[usize::from(key.step)];
        step.state = StepState::Ended;
        if end.verdict == Verdict::Lost && self.run.stopped_by.is_none() && self.may_try_again(end.class) {
            self.begin(key.step);
        } else {
            self.advance();
        }
    }

    /// Takes one of the tries that the run has for what was lost, or for what was interrupted, if there is one left.
    const fn may_try_again(&mut self, class: Option<FailureClass>) -> bool {
        let (used, all) = match class {
            Some(FailureClass::Interrupted) => (&mut self.run.interruptions, INTERRUPTIONS),
            _ => (&mut self.run.lost_retries, LOST_RETRIES),
        };
        let left = *used < all;
        if left {
            *used += 1;
        }
        left
    }

    fn finish(&mut self) {
        let failing = self.run.steps.iter().find(|step| !step.passed());
        let (outcome, reason) = match failing {
            None => (Outcome::Passed, String::new()),
            Some(step) => {
                let failure = step.latest().filter(|_| step.state == StepState::Ended).and_then(|attempt| attempt.failure.as_ref());
                let superseded =
                    failure.is_some_and(|failure| matches!(failure.code, FailureCode::SequenceSuperseded | FailureCode::RefMoved));
                let outcome = match step.verdict() {
                    // What had failed before it could be stopped has failed all the same.
                    Some(Verdict::Aborted | Verdict::Lost) if self.run.stopped_by.is_some() => Outcome::Stopped,
                    Some(Verdict::Skipped) if step.state == StepState::Skipped => Outcome::Stopped,
                    Some(Verdict::Unstable) => Outcome::Unstable,
                    Some(Verdict::TimedOut) => Outcome::TimedOut,
                    Some(Verdict::Lost) => Outcome::Lost,
                    Some(Verdict::Aborted) => Outcome::Stopped,
                    Some(Verdict::Skipped) if superseded => Outcome::Superseded,
                    // An executor that skips a build has not built it.
                    Some(Verdict::Skipped | Verdict::Failed | Verdict::Success) | None => Outcome::Failed,
                };
                let reason = match (&self.run.stopped_by, failure) {
                    (Some(by), _) if outcome == Outcome::Stopped => {
                        self.run.stop_reason.as_ref().map_or_else(|| format!("Stopped by {by}."), |why| format!("Stopped: {why}."))
                    }
                    (_, Some(failure)) => failure.to_string(),
                    (_, None) => default_reason(outcome, &step.plan.name),
                };
                (outcome, reason)
            }
        };
        self.run.outcome = Some(outcome);
        self.run.reason = reason;
        self.run.finished_at = Some(self.now);
        let reason = self.run.reason.clone();
        self.log("finished", None, json!({ "outcome": outcome, "reason": reason }));
    }
}

fn default_reason(outcome: Outcome, step: &str) -> String {
    match outcome {
        Outcome::Passed => String::new(),
        Outcome::Failed => format!("The step {step} failed."),
        Outcome::Unstable => format!("The step {step} was unstable."),
        Outcome::Stopped => format!("The step {step} was stopped at its executor."),
        Outcome::TimedOut => format!("The step {step} took longer than it may."),
        Outcome::Lost => format!("Nobody knows how the step {step} ended; it was tried as often as it may be."),
        Outcome::Superseded => "A newer run was deployed before this one came to it.".to_owned(),
    }
}
