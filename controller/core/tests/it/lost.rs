//! Answers that do not come, and builds of which nobody knows how they ended.

use signalbox_contract::api::run::Outcome;
use signalbox_contract::build::BuildState;
use signalbox_contract::{FailureClass, FailureCode, Verdict};
use signalbox_controller_core::effect::Kind;
use signalbox_controller_core::{Act, Event, Phase};

use crate::sample::main_job;
use crate::story::{BUILD, Story};

#[test]
fn a_start_whose_answer_was_lost_is_searched_for_and_goes_on_when_it_is_found() {
    let (mut story, _) = Story::reach(&Phase::Finding { offered: false });
    assert!(matches!(story.act(BUILD, Kind::Find), Some(Act::Find(at)) if at.anchor.as_deref() == Some("41")));
    assert!(story.act(BUILD, Kind::Start).is_none(), "it is not started twice");
    assert!(story.tell(&Event::Found { key: story.key(BUILD), build: Some("42".to_owned()), surplus: Vec::new() }));
    assert_eq!(story.phase(BUILD), "queued");
    assert_eq!(story.attempt(BUILD).build.as_deref(), Some("42"));
}

#[test]
fn an_answer_that_comes_after_all_is_as_good_as_a_search() {
    let (mut story, _) = Story::reach(&Phase::Finding { offered: false });
    assert!(story.tell(&Event::Started { key: story.key(BUILD), build: Some("42".to_owned()) }));
    assert_eq!(story.phase(BUILD), "queued");
    assert!(!story.tell(&Event::Found { key: story.key(BUILD), build: None, surplus: Vec::new() }), "an older search changes nothing");
}

#[test]
fn a_start_that_is_not_found_is_fenced_and_tried_again_under_another_key() {
    let (mut story, _) = Story::reach(&Phase::Finding { offered: false });
    let first = story.key(BUILD);
    assert!(story.tell(&Event::Found { key: first, build: None, surplus: Vec::new() }));
    assert_eq!(story.phase(BUILD), "stopping");
    assert_eq!(story.key(BUILD), first, "nothing new begins before it is sure that the old one never runs");
    assert!(story.fenced());
    assert_eq!(story.run().steps[1].attempts[0].verdict, Some(Verdict::Lost));
    assert_eq!((story.key(BUILD).attempt, story.phase(BUILD)), (2, "preparing"));
    assert!(!story.tell(&Event::Started { key: first, build: Some("42".to_owned()) }), "the old key is dead");
}

#[test]
fn a_search_that_fails_is_a_search_that_found_nothing() {
    let (mut story, _) = Story::reach(&Phase::Finding { offered: false });
    assert!(story.fails(BUILD, Kind::Find, FailureCode::ExecutorUnreachable));
    assert!(story.fenced());
    assert_eq!(story.key(BUILD).attempt, 2);
}

#[test]
fn a_lost_build_is_tried_again_twice_and_no_more() {
    let mut story = Story::of(main_job());
    story.fetched();
    for attempt in 1..=3_u16 {
        story.prepared();
        story.published();
        story.started();
        assert_eq!(story.key(BUILD).attempt, attempt);
        assert!(story.observed(1, BuildState::Gone));
        assert!(story.tell(&Event::Sealed { key: story.key(BUILD), artifacts: Vec::new(), remarks: Vec::new() }));
    }
    assert_eq!((story.verdict(BUILD), story.outcome()), (Some(Verdict::Lost), Some(Outcome::Lost)));
    story.is_over();
}

#[test]
fn a_second_try_that_passes_makes_the_run_pass() {
    let mut story = Story::of(main_job());
    story.tracking();
    story.ended(Verdict::Lost);
    story.sealed();
    story.prepared();
    story.published();
    story.started();
    story.ended(Verdict::Success);
    story.sealed();
    assert_eq!(story.phase(2), "deploying");
    assert_eq!(story.run().steps[1].attempts.len(), 2, "both stay readable");
}

#[test]
fn what_is_lost_while_it_is_stopped_is_not_tried_again() {
    let (mut story, _) = Story::reach(&Phase::Finding { offered: false });
    assert!(story.tell(&Event::Found { key: story.key(BUILD), build: None, surplus: Vec::new() }));
    assert!(story.stop().is_ok());
    assert!(story.fenced());
    assert_eq!((story.key(BUILD).attempt, story.outcome()), (1, Some(Outcome::Stopped)));
    story.is_over();
}

#[test]
fn a_lost_build_is_tried_again_even_if_its_log_could_not_be_kept() {
    let mut story = Story::of(main_job());
    story.tracking();
    assert!(story.observed(1, BuildState::Gone));
    assert!(story.fails(BUILD, Kind::Seal, FailureCode::WorkerUnavailable));
    assert_eq!(story.key(BUILD).attempt, 2);
}

#[test]
fn what_an_executor_interrupts_that_is_stopped_in_good_order_uses_up_no_try() {
    let interrupted = || BuildState::Ended {
        verdict: Verdict::Lost,
        class: Some(FailureClass::Interrupted),
        reason: "The executor was stopped.".to_owned(),
    };
    let mut story = Story::of(main_job());
    story.fetched();
    for attempt in 1..=11_u16 {
        assert_eq!((story.key(BUILD).attempt, story.run().lost_retries), (attempt, 0));
        story.prepared();
        story.published();
        story.started();
        assert!(story.observed(1, interrupted()));
        story.sealed();
    }
    assert_eq!(story.outcome(), Some(Outcome::Lost), "but not for ever");
    assert_eq!(story.attempt(BUILD).failure.as_ref().map(|failure| failure.detail.as_str()), Some("The executor was stopped."));
    story.is_over();
}
