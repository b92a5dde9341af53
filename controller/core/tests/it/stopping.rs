//! Somebody stops a run, or its time is over.

use signalbox_contract::api::deploy::HostOutcome;
use signalbox_contract::api::run::{Outcome, RerunFrom, RunState};
use signalbox_contract::build::BuildState;
use signalbox_contract::{FailureClass, FailureCode, Verdict};
use signalbox_controller_core::effect::Kind;
use signalbox_controller_core::{Act, Event, Phase};

use crate::sample::{main_job, published};
use crate::story::{BUILD, DEPLOY, MIRROR, Story};

#[test]
fn a_run_is_stopped_at_once_while_nothing_runs_elsewhere() {
    for phase in [Phase::Fetching, Phase::Publishing, Phase::Preparing] {
        let (mut story, step) = Story::reach(&phase);
        assert!(story.stop().is_ok());
        assert_eq!((story.verdict(step), story.outcome()), (Some(Verdict::Aborted), Some(Outcome::Stopped)), "{phase:?}");
        assert_eq!(story.run().reason, "Stopped by bob.");
        story.is_over();
    }
}

#[test]
fn a_start_that_is_stopped_is_fenced_first() {
    for phase in [Phase::Starting, Phase::Finding { offered: false }] {
        let (mut story, _) = Story::reach(&phase);
        assert!(story.stop().is_ok());
        assert_eq!((story.phase(BUILD), story.run().state()), ("stopping", RunState::Stopping), "{phase:?}");
        let key = story.key(BUILD);
        assert!(!story.tell(&Event::Started { key, build: Some("42".to_owned()) }), "an answer that comes now is too late");
        assert!(!story.tell(&Event::Found { key, build: Some("42".to_owned()), surplus: Vec::new() }));
        assert!(story.fenced());
        assert_eq!(story.outcome(), Some(Outcome::Stopped));
        story.is_over();
    }
}

#[test]
fn a_cancelled_build_is_never_deployed() {
    for verdict in [Verdict::Aborted, Verdict::Success, Verdict::Failed, Verdict::Lost] {
        let mut story = Story::of(main_job());
        story.tracking();
        assert!(story.stop().is_ok());
        assert!(matches!(story.act(BUILD, Kind::Cancel), Some(Act::Cancel(at)) if at.build.as_deref() == Some("42")));
        story.ended(verdict);
        assert!(matches!(story.act(BUILD, Kind::Seal), Some(Act::Seal { publish: false, .. })));
        story.sealed();
        assert_eq!((story.verdict(BUILD), story.verdict(DEPLOY)), (Some(Verdict::Aborted), Some(Verdict::Skipped)));
        assert_eq!(story.outcome(), Some(Outcome::Stopped));
        story.is_over();
        assert!(story.rerun(RerunFrom::Failed).is_ok());
        assert_eq!(story.phase(BUILD), "preparing", "it is built anew");
    }
}

#[test]
fn what_was_stopped_did_not_fail() {
    let cancelled = |verdict| BuildState::Ended { verdict, class: Some(FailureClass::Work), reason: "It was cancelled.".to_owned() };
    for end in [cancelled(Verdict::Aborted), cancelled(Verdict::Failed), BuildState::Gone] {
        let mut ours = Story::of(main_job());
        ours.tracking();
        assert!(ours.stop().is_ok());
        assert!(ours.observed(2, end));
        ours.sealed();
        assert_eq!((&ours.attempt(BUILD).failure, ours.attempt(BUILD).class), (&None, None), "the run says who stopped it");
        assert_eq!(ours.run().reason, "Stopped by bob.");
    }
    let mut theirs = Story::of(main_job());
    theirs.tracking();
    assert!(theirs.observed(2, cancelled(Verdict::Aborted)));
    theirs.sealed();
    let failure = theirs.attempt(BUILD).failure.as_ref();
    assert_eq!(failure.map(|failure| failure.code), Some(FailureCode::BuildStopped), "by somebody at the executor");
    assert_eq!((theirs.outcome(), &*theirs.run().reason), (Some(Outcome::Stopped), "It was cancelled."));
    let mut late = Story::of(main_job());
    late.tracking();
    late.late(BUILD);
    assert!(late.observed(2, cancelled(Verdict::Aborted)));
    late.sealed();
    let failure = late.attempt(BUILD).failure.as_ref().expect("it is said why");
    assert_eq!((failure.code, &*failure.detail), (FailureCode::DeadlinePassed, "The time that it may take is over."));
}

#[test]
fn a_build_that_does_not_stop_is_fenced() {
    let mut late = Story::of(main_job());
    late.tracking();
    assert!(late.stop().is_ok());
    late.late(BUILD);
    let mut refused = Story::of(main_job());
    refused.tracking();
    assert!(refused.stop().is_ok());
    assert!(refused.fails(BUILD, Kind::Cancel, FailureCode::ExecutorRefused));
    for mut story in [late, refused] {
        assert_eq!(story.phase(BUILD), "stopping");
        assert!(matches!(story.act(BUILD, Kind::Fence), Some(Act::Fence(_))));
        assert!(story.fenced());
        assert_eq!((story.verdict(BUILD), story.outcome()), (Some(Verdict::Aborted), Some(Outcome::Stopped)));
        story.is_over();
    }
}

#[test]
fn a_run_that_is_stopped_while_it_is_stored_does_not_deploy() {
    let (mut story, _) = Story::reach(&Phase::Sealing { verdict: Verdict::Success, class: None, reason: String::new() });
    assert!(story.stop().is_ok());
    story.sealed();
    assert_eq!((story.verdict(BUILD), story.verdict(DEPLOY)), (Some(Verdict::Success), Some(Verdict::Skipped)));
    assert_eq!(story.outcome(), Some(Outcome::Stopped));
    story.is_over();
}

#[test]
fn a_deployment_that_has_begun_comes_to_its_end() {
    for (result, outcome) in [(HostOutcome::Switched, Outcome::Passed), (HostOutcome::Superseded, Outcome::Superseded)] {
        let (mut story, _) = Story::reach(&Phase::Deploying);
        assert!(story.stop().is_ok());
        assert_eq!(story.run().state(), RunState::Stopping);
        story.deployed(DEPLOY, &[result]);
        assert_eq!(story.outcome(), Some(outcome));
        story.is_over();
    }
}

#[test]
fn a_run_that_waits_gives_up_its_place_in_the_queue() {
    let mut story = Story::default();
    for _ in 0..3 {
        story.another(main_job());
        story.fetched();
    }
    assert_eq!(story.phase(BUILD), "waiting", "the executor has two places");
    assert!(story.stop().is_ok());
    assert_eq!(story.outcome(), Some(Outcome::Stopped));
    assert_eq!(story.desk.resources.values().map(|resource| resource.claims().count()).sum::<usize>(), 2);
}

#[test]
fn a_run_is_stopped_once_and_reruns_only_when_it_is_over() {
    let (mut story, _) = Story::reach(&Phase::Starting);
    assert!(story.rerun(RerunFrom::Start).is_err());
    assert!(story.stop().is_ok());
    assert!(story.stop().is_err(), "it is being stopped");
    assert!(story.fenced());
    assert!(story.stop().is_err(), "it is over");
}

#[test]
fn a_deadline_ends_what_nobody_else_knows_of() {
    for phase in [Phase::Fetching, Phase::Publishing, Phase::Preparing, Phase::Deploying] {
        let (mut story, step) = Story::reach(&phase);
        story.late(step);
        assert_eq!((story.verdict(step), story.outcome()), (Some(Verdict::TimedOut), Some(Outcome::TimedOut)), "{phase:?}");
        story.is_over();
    }
}

#[test]
fn a_deadline_fences_what_an_executor_may_have() {
    for phase in [Phase::Starting, Phase::Finding { offered: false }] {
        let (mut story, _) = Story::reach(&phase);
        story.late(BUILD);
        assert_eq!(story.phase(BUILD), "stopping", "{phase:?}");
        assert!(story.fenced());
        assert_eq!((story.verdict(BUILD), story.outcome()), (Some(Verdict::TimedOut), Some(Outcome::TimedOut)), "{phase:?}");
        story.is_over();
    }
}

#[test]
fn a_build_whose_time_is_over_is_cancelled_and_then_timed_out_whatever_it_says() {
    for verdict in [Verdict::Aborted, Verdict::Failed, Verdict::Success] {
        let mut story = Story::of(main_job());
        story.tracking();
        story.late(BUILD);
        assert!(matches!(story.act(BUILD, Kind::Cancel), Some(Act::Cancel(_))));
        story.ended(verdict);
        story.sealed();
        assert_eq!((story.verdict(BUILD), story.outcome()), (Some(Verdict::TimedOut), Some(Outcome::TimedOut)));
        story.is_over();
    }
}

#[test]
fn a_fence_that_does_not_come_through_does_not_hold_the_run_for_ever() {
    let mut late = Story::reach(&Phase::Starting).0;
    assert!(late.stop().is_ok());
    late.late(BUILD);
    let mut failed = Story::reach(&Phase::Starting).0;
    assert!(failed.stop().is_ok());
    assert!(failed.fails(BUILD, Kind::Fence, FailureCode::ExecutorUnreachable));
    for story in [late, failed] {
        assert_eq!(story.outcome(), Some(Outcome::Stopped));
        assert!(story.attempt(BUILD).failure.is_some(), "it is said that nobody could make sure");
        story.is_over();
    }
}

#[test]
fn a_place_that_never_comes_free_is_not_waited_for_for_ever() {
    let mut story = Story::default();
    for _ in 0..3 {
        story.another(main_job());
        story.fetched();
    }
    story.late(BUILD);
    assert_eq!((story.verdict(BUILD), story.outcome()), (Some(Verdict::TimedOut), Some(Outcome::TimedOut)));
}

#[test]
fn a_timer_that_comes_too_early_is_set_again() {
    let (mut story, _) = Story::reach(&Phase::Publishing);
    let key = story.key(BUILD);
    story.tell(&Event::DeadlinePassed { key });
    assert_eq!(story.phase(BUILD), "publishing");
    story.late(BUILD);
    story.is_over();
}

#[test]
fn what_comes_after_the_end_changes_nothing() {
    let (mut story, _) = Story::reach(&Phase::Publishing);
    assert!(story.stop().is_ok());
    let key = story.key(BUILD);
    assert!(!story.tell(&Event::Published { key, at: published() }));
    assert!(!story.observed(1, BuildState::Running));
    assert!(!story.tell(&Event::DeadlinePassed { key }));
    assert!(!story.fails(MIRROR, Kind::Fetch, FailureCode::Internal));
}
