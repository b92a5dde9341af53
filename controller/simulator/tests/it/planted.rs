//! Classic mistakes, planted one at a time. A simulator that does not find them would prove nothing.

use jiff::Timestamp;
use signalbox_contract::build::{BuildState, Observation, Stamp};
use signalbox_contract::{AttemptKey, Verdict};
use signalbox_controller_core::decide::{Decision, Limits, Refusal};
use signalbox_controller_core::dispatcher::Settlement;
use signalbox_controller_core::lease::Lease;
use signalbox_controller_core::{Act, Effect, Event, Message, Run, decide};
use signalbox_simulator::{Failure, Row, Settings, Wiring, play, shorten};

/// How many histories each mistake may take until it is found.
const PATIENCE: u64 = 2_000;

/// The history in which a mistake is found.
fn found(what: &str, wiring: &dyn Wiring) -> Failure {
    let Err(found) = play(wiring, Settings::default(), 0..PATIENCE) else { panic!("{what} is not found") };
    println!("{what}: found in history {}, as: {}", found.seed, found.broken);
    found
}

struct EffectsBeforeTheyAreWritten;

impl Wiring for EffectsBeforeTheyAreWritten {
    fn writes_first(&self) -> bool {
        false
    }
}

#[test]
fn an_effect_that_is_performed_before_it_is_written_is_found() {
    found("effects before they are written", &EffectsBeforeTheyAreWritten);
}

struct StaleLooks;

impl Wiring for StaleLooks {
    fn seen(&self, observation: Observation) -> Observation {
        Observation { stamp: Stamp(u64::MAX), ..observation }
    }
}

#[test]
fn a_stale_look_that_is_taken_for_a_new_one_is_found() {
    found("stale looks", &StaleLooks);
}

struct NoFencing;

impl Wiring for NoFencing {
    fn holds(&self, row: &Row, lease: Lease) -> bool {
        row.id == lease.id
    }
}

#[test]
fn a_lease_without_fencing_is_found() {
    found("a lease without fencing", &NoFencing);
}

struct AbortedHasPassed;

impl Wiring for AbortedHasPassed {
    fn seen(&self, observation: Observation) -> Observation {
        match observation.state {
            BuildState::Ended { verdict: Verdict::Aborted, class, reason } => {
                Observation { state: BuildState::Ended { verdict: Verdict::Success, class, reason }, ..observation }
            }
            _ => observation,
        }
    }
}

#[test]
fn an_aborted_build_that_counts_as_passed_is_found() {
    found("aborted counts as passed", &AbortedHasPassed);
}

struct KeyForgottenAtRetry;

impl Wiring for KeyForgottenAtRetry {
    fn key(&self, effect: &Effect, tries: u32) -> AttemptKey {
        let begins = matches!(effect.act, Act::Start(_) | Act::Deploy(_) | Act::Activate(_));
        let attempt = if begins && tries > 0 { effect.key.attempt + 50 } else { effect.key.attempt };
        AttemptKey { attempt, ..effect.key }
    }
}

#[test]
fn a_key_that_is_forgotten_at_a_retry_is_found() {
    found("a key forgotten at retry", &KeyForgottenAtRetry);
}

/// A mistake in what is decided.
struct Decides<F>(F);

impl<F: Fn(&Run, &Event, &mut Decision) + Sync> Wiring for Decides<F> {
    fn decide(&self, run: &Run, event: &Event, now: Timestamp, limits: &Limits) -> Result<Option<Decision>, Refusal> {
        let mut decision = decide(run, event, now, limits)?;
        if let Some(decision) = &mut decision {
            (self.0)(run, event, decision);
        }
        Ok(decision)
    }
}

#[test]
fn a_holder_that_is_never_released_is_found() {
    let mistake = |_: &Run, event: &Event, decision: &mut Decision| {
        if matches!(event, Event::EffectFailed { .. }) {
            decision.messages.retain(|message| !matches!(message, Message::Release { .. }));
        }
    };
    found("a holder never released", &Decides(mistake));
}

#[test]
fn an_attempt_that_is_not_fenced_when_its_start_is_unclear_is_found() {
    let mistake = |_: &Run, event: &Event, decision: &mut Decision| {
        let lost = matches!(event, Event::Found { build: None, .. });
        for effect in decision.effects.iter_mut().filter(|effect| lost && matches!(effect.act, Act::Fence(_))) {
            // As if it were over with that: the effect is there, but it does nothing.
            if let Act::Fence(at) = effect.act.clone() {
                effect.act = Act::Cancel(at);
            }
        }
    };
    found("no fence", &Decides(mistake));
}

#[test]
fn a_deadline_that_nobody_is_told_of_is_found() {
    let mistake = |_: &Run, event: &Event, decision: &mut Decision| {
        if matches!(event, Event::Started { .. }) {
            decision.effects.retain(|effect| effect.act != Act::Deadline);
            decision.withdrawn.extend(decision.run.latest_key(1).map(|key| format!("{key}/deadline")));
        }
    };
    found("a deadline without a timer", &Decides(mistake));
}

#[test]
fn what_a_failed_build_made_is_found_when_it_is_published() {
    let mistake = |_: &Run, _: &Event, decision: &mut Decision| {
        for effect in &mut decision.effects {
            if let Act::Seal { publish, .. } = &mut effect.act {
                *publish = true;
            }
        }
    };
    found("a failed build is published", &Decides(mistake));
}

#[test]
fn tries_without_an_end_are_found() {
    let mistake = |_: &Run, _: &Event, decision: &mut Decision| decision.run.lost_retries = 0;
    found("tries without an end", &Decides(mistake));
}

#[test]
fn a_number_that_does_not_rise_is_found() {
    let mistake = |_: &Run, _: &Event, decision: &mut Decision| {
        for effect in &mut decision.effects {
            match &mut effect.act {
                Act::Deploy(request) => request.sequence = 1,
                Act::Activate(request) => request.sequence = 1,
                _ => {}
            }
        }
    };
    found("an activation's number does not rise", &Decides(mistake));
}

#[test]
fn a_run_that_is_not_told_to_its_forge_again_is_found() {
    let mistake = |run: &Run, _: &Event, decision: &mut Decision| {
        if run.outcome.is_none() && decision.run.outcome.is_some() {
            decision.effects.retain(|effect| !matches!(effect.act, Act::Report { .. }));
        }
    };
    found("the end is not reported", &Decides(mistake));
}

struct LostAnswerIsDone;

impl Wiring for LostAnswerIsDone {
    fn settlement(&self, settlement: Settlement) -> Settlement {
        match settlement {
            Settlement::Later { .. } => Settlement::Done,
            other => other,
        }
    }
}

#[test]
fn an_effect_that_counts_as_done_when_its_answer_is_lost_is_found() {
    found("a lost answer counts as done", &LostAnswerIsDone);
}

struct NobodyLooks;

impl Wiring for NobodyLooks {
    fn looks(&self) -> bool {
        false
    }
}

#[test]
fn events_without_looking_are_found() {
    found("nobody looks", &NobodyLooks);
}

#[test]
fn what_breaks_a_law_is_told_in_a_short_story() {
    let failure = found("aborted counts as passed", &AbortedHasPassed);
    let story = shorten(&AbortedHasPassed, Settings::default(), &failure);
    let rest = story.iter().position(|line| line.contains("nothing goes wrong")).unwrap_or(story.len());
    assert!((1..120).contains(&rest), "{rest} lines:\n{}", story.join("\n"));
}
