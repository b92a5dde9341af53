//! What is tried again: what is the matter is known meanwhile, and at the end.

use signalbox_contract::api::run::Outcome;
use signalbox_contract::{Failure, FailureClass, FailureCode, Verdict};
use signalbox_controller_core::effect::Kind;
use signalbox_controller_core::{Event, Phase, view};

use crate::story::{BUILD, DEPLOY, MIRROR, Story};

fn down() -> Failure {
    Failure::new(FailureCode::SourceUnreachable, "The source answered 503.").hint("See whether it is up.")
}

fn troubled(story: &mut Story, step: u16, kind: Kind, failure: Option<Failure>) -> bool {
    story.tell(&Event::Troubled { key: story.key(step), kind, failure })
}

fn reason(story: &Story, step: u16) -> String {
    view::view(story.run(), Vec::new()).steps[usize::from(step)].reason.clone()
}

#[test]
fn the_same_trouble_is_written_once() {
    let (mut story, step) = Story::reach(&Phase::Fetching);
    assert!(troubled(&mut story, step, Kind::Fetch, Some(down())));
    assert!(!troubled(&mut story, step, Kind::Fetch, Some(down())));
    assert_eq!(reason(&story, step), "is tried again: The source answered 503. See whether it is up.");
    assert!(troubled(&mut story, step, Kind::Fetch, None), "it is over");
    assert_eq!(reason(&story, step), "");
}

#[test]
fn the_trouble_is_the_reason_when_the_time_is_over() {
    let (mut story, step) = Story::reach(&Phase::Fetching);
    assert!(troubled(&mut story, step, Kind::Fetch, Some(down())));
    story.late(step);
    assert_eq!((story.verdict(step), story.outcome()), (Some(Verdict::TimedOut), Some(Outcome::TimedOut)));
    assert_eq!(story.run().reason, "The source answered 503. See whether it is up.");
    let attempt = story.attempt(step);
    assert_eq!(attempt.class, Some(FailureClass::Infrastructure));
    assert_eq!(attempt.failure.as_ref().map(|failure| failure.code), Some(FailureCode::DeadlinePassed));
    story.is_over();
}

#[test]
fn the_trouble_of_any_phase_is_the_reason_when_the_time_is_over() {
    let found = Phase::Finding { offered: false };
    for (phase, kind) in [
        (Phase::Preparing, Kind::Prepare),
        (Phase::Publishing, Kind::Publish),
        (Phase::Starting, Kind::Start),
        (found, Kind::Find),
        (Phase::Fencing { then: Verdict::Lost }, Kind::Fence),
        (Phase::Sealing { verdict: Verdict::Success, class: None, reason: String::new() }, Kind::Seal),
        (Phase::Deploying, Kind::Deploy),
    ] {
        let (mut story, step) = Story::reach(&phase);
        assert!(troubled(&mut story, step, kind, Some(down())), "{phase:?}");
        let first = story.key(step);
        story.late(step);
        if story.run().current(&first).is_some_and(|attempt| !attempt.ended()) {
            assert!(story.fenced(), "{phase:?}");
        }
        let attempt = &story.run().steps[usize::from(step)].attempts[0];
        let told = attempt.failure.as_ref().map(ToString::to_string).unwrap_or_default();
        assert!(told.contains("The source answered 503. See whether it is up."), "{phase:?}: {told}");
    }
}

#[test]
fn a_trouble_ends_with_its_phase() {
    let (mut story, _) = Story::reach(&Phase::Publishing);
    assert!(!troubled(&mut story, BUILD, Kind::Prepare, Some(down())), "what is over is no trouble");
    assert!(troubled(&mut story, BUILD, Kind::Publish, Some(down())));
    story.published();
    assert_eq!((reason(&story, BUILD).as_str(), story.phase(BUILD)), ("", "starting"));
    story.late(BUILD);
    assert!(story.fenced());
    assert_eq!(story.run().reason, "The time that it may take is over.");
}

#[test]
fn nobody_is_told_of_the_trouble_of_what_was_stopped_or_has_ended() {
    let (mut story, _) = Story::reach(&Phase::Fetching);
    assert!(troubled(&mut story, MIRROR, Kind::Fetch, Some(down())));
    assert!(story.stop().is_ok());
    assert_eq!((story.outcome(), story.run().reason.as_str()), (Some(Outcome::Stopped), "Stopped by bob."));
    assert!(!troubled(&mut story, MIRROR, Kind::Fetch, Some(down())));
}

#[test]
fn hosts_that_may_show_what_came_too_late_are_kept_in_mind() {
    let (mut story, _) = Story::reach(&Phase::Deploying);
    assert!(troubled(&mut story, DEPLOY, Kind::Deploy, Some(down())));
    assert!(story.fails(DEPLOY, Kind::Deploy, FailureCode::DeadlinePassed));
    assert_eq!(story.outcome(), Some(Outcome::TimedOut));
    assert_eq!(story.run().reason, "The source answered 503. See whether it is up.");
    story.is_over();
}
