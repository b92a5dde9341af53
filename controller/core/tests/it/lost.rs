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
fn what_a_repeated_start_has_begun_and_only_then_shows_is_looked_for_a_good_while_after_the_end() {
    let mut story = Story::of(main_job());
    story.built();
    let key = story.key(BUILD);
    assert!(matches!(story.act(BUILD, Kind::Forget), Some(Act::Forget(at)) if at.build.is_some()), "what is there now goes at once");
    let sweep = &story.desk.pending(key, Kind::Sweep).expect("it is looked for once more").effect;
    assert_eq!(sweep.due, signalbox_controller_core::after(story.desk.now(), story.desk.limits.settle));
    assert!(sweep.give_up > sweep.due && sweep.act.lane().keeps_time(), "at its time, and not for ever");
    let Act::Sweep(at) = &sweep.act else { panic!("a sweep") };
    assert_eq!((at.anchor.as_deref(), &at.build), (Some("41"), &story.attempt(BUILD).build), "it knows which one counted");

    let (before, entries) = (story.run().steps.clone(), story.run().events);
    assert!(!story.tell(&Event::Swept { key, surplus: Vec::new() }), "nothing is no news");
    assert!(story.tell(&Event::Swept { key, surplus: vec!["43".to_owned()] }));
    assert_eq!((&story.run().steps, story.run().events), (&before, entries + 1), "what has ended stays as it was, and it is written down");
}

#[test]
fn what_was_never_started_and_what_takes_keys_is_not_looked_for_later() {
    let mut story = Story::of(main_job());
    story.fetched();
    story.prepared();
    assert!(story.fails(BUILD, Kind::Publish, FailureCode::SourceDenied));
    assert!(story.act(BUILD, Kind::Sweep).is_none(), "nothing was asked to begin");

    let mut story = Story::of(main_job());
    story.fetched();
    assert!(story.tell(&Event::Prepared { key: story.key(BUILD), anchor: String::new() }), "its builds are found by their keys alone");
    story.published();
    story.started();
    story.ended(Verdict::Success);
    story.sealed();
    assert!(story.act(BUILD, Kind::Forget).is_some() && story.act(BUILD, Kind::Sweep).is_none());
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
