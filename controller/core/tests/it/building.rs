//! One POST /cd, from the request to the hosts; and builds that do not pass.

use signalbox_contract::api::deploy::HostOutcome;
use signalbox_contract::api::run::{Outcome, RunState, StepState};
use signalbox_contract::build::BuildState;
use signalbox_contract::{FailureClass, FailureCode, Verdict};
use signalbox_controller_core::effect::Kind;
use signalbox_controller_core::plan::Request;
use signalbox_controller_core::{Act, Event, Lane, Phase};

use crate::sample::{build_only, cd, digest, executor, made, main_job, reviewed, sha};
use crate::story::{BUILD, DEPLOY, MIRROR, Story};

#[test]
fn one_post_mirrors_builds_stores_and_deploys() {
    let mut story = Story::of(main_job());
    assert_eq!((story.phase(MIRROR), story.run().state()), ("fetching", RunState::Queued));
    assert!(matches!(story.act(MIRROR, Kind::Fetch), Some(Act::Fetch { request, .. }) if request.sha.is_none()));

    story.fetched();
    assert_eq!((story.phase(BUILD), story.run().state()), ("preparing", RunState::Building));
    assert!(matches!(story.act(BUILD, Kind::Prepare), Some(Act::Prepare(intent)) if intent.branch.as_str() == "main"));

    story.prepared();
    assert_eq!(story.attempt(BUILD).anchor.as_deref(), Some("41"), "what was newest is known before anything can begin");
    assert!(matches!(story.act(BUILD, Kind::Publish), Some(Act::Publish(_))));

    story.published();
    let Some(Act::Start(order)) = story.act(BUILD, Kind::Start) else { panic!("the start follows the anchor") };
    assert_eq!((order.anchor.as_deref(), order.branch.as_str()), (Some("41"), "main"));

    story.started();
    assert!(story.observed(1, BuildState::Running));
    story.ended(Verdict::Success);
    assert!(matches!(story.act(BUILD, Kind::Seal), Some(Act::Seal { publish: true, .. })));
    assert_eq!(story.run().steps[2].state, StepState::Pending, "what is not stored yet is not deployed");

    story.sealed();
    let Some(Act::Deploy(request)) = story.act(DEPLOY, Kind::Deploy) else { panic!("the deployment follows the build") };
    assert_eq!((request.digest, request.sequence), (digest(5), 1));
    assert_eq!(story.desk.resource(&executor("local")).holders(), 0, "the place at the executor is free again");

    story.deployed(DEPLOY, &[HostOutcome::Switched, HostOutcome::Unchanged]);
    assert_eq!((story.outcome(), story.run().state()), (Some(Outcome::Passed), RunState::Finished));
    story.is_over();
    let tidying: Vec<&str> = story.desk.effects.values().map(|pending| pending.effect.act.kind().word()).collect();
    assert_eq!(tidying, ["forget", "sweep", "unpublish"]);
}

#[test]
fn only_a_ref_of_which_a_forge_has_told_is_worth_waiting_for() {
    let asked = Story::of(Request::Cd(Box::new(cd("hello", None))));
    let told = Story::of(Request::Cd(Box::new(reviewed(cd("hello", None)))));
    for (story, expected) in [(asked, (None, false)), (told, (Some(sha(7)), true))] {
        let Some(Act::Fetch { request, .. }) = story.act(MIRROR, Kind::Fetch) else { panic!("it is fetched") };
        assert_eq!((request.sha.clone(), request.announced), expected);
    }
}

#[test]
fn without_an_artifact_nothing_is_deployed() {
    let mut story = Story::of(build_only());
    story.built();
    assert_eq!(story.outcome(), Some(Outcome::Passed));
    story.is_over();
}

#[test]
fn nothing_but_success_is_deployed() {
    let ends = [
        (Verdict::Failed, Outcome::Failed),
        (Verdict::Unstable, Outcome::Unstable),
        (Verdict::Aborted, Outcome::Stopped),
        (Verdict::Skipped, Outcome::Failed),
        (Verdict::TimedOut, Outcome::TimedOut),
    ];
    for (verdict, outcome) in ends {
        let mut story = Story::of(main_job());
        story.tracking();
        story.ended(verdict);
        assert!(matches!(story.act(BUILD, Kind::Seal), Some(Act::Seal { publish: false, .. })), "{verdict:?} is not published");
        story.sealed();
        assert_eq!((story.verdict(BUILD), story.verdict(DEPLOY)), (Some(verdict), Some(Verdict::Skipped)));
        assert_eq!(story.outcome(), Some(outcome), "{verdict:?}");
        story.is_over();
    }
}

#[test]
fn an_artifact_that_was_asked_for_and_not_made_fails_the_run() {
    let mut story = Story::of(main_job());
    story.tracking();
    story.ended(Verdict::Success);
    assert!(story.tell(&Event::Sealed { key: story.key(BUILD), artifacts: vec![made("other", 1)], remarks: Vec::new() }));
    assert_eq!(story.outcome(), Some(Outcome::Failed));
    assert_eq!(story.attempt(BUILD).failure.as_ref().map(|failure| failure.code), Some(FailureCode::ArtifactMissing));
    story.is_over();
}

#[test]
fn an_effect_that_fails_ends_its_attempt_and_the_run() {
    let cases = [
        (Phase::Fetching, Kind::Fetch, FailureCode::RefNotFound),
        (Phase::Publishing, Kind::Publish, FailureCode::WorkerUnavailable),
        (Phase::Preparing, Kind::Prepare, FailureCode::ExecutorUnreachable),
        (Phase::Starting, Kind::Start, FailureCode::ExecutorRefused),
        (Phase::Deploying, Kind::Deploy, FailureCode::EnvironmentNotFound),
    ];
    for (phase, kind, code) in cases {
        let (mut story, step) = Story::reach(&phase);
        assert!(story.fails(step, kind, code), "{phase:?}");
        assert_eq!((story.verdict(step), story.outcome()), (Some(Verdict::Failed), Some(Outcome::Failed)), "{phase:?}");
        assert_eq!(story.attempt(step).class, Some(code.class()));
        assert!(!story.fails(step, kind, code), "an attempt that is over stays as it is");
        story.is_over();
    }
}

#[test]
fn a_ref_that_may_have_been_published_is_removed() {
    let (mut story, _) = Story::reach(&Phase::Publishing);
    story.fails(BUILD, Kind::Publish, FailureCode::WorkerUnavailable);
    assert!(story.desk.effects.values().any(|pending| matches!(pending.effect.act, Act::Unpublish(_))));
}

#[test]
fn a_start_that_its_executor_was_still_at_when_its_time_was_over_is_fenced_before_it_fails() {
    let (mut story, _) = Story::reach(&Phase::Starting);
    assert!(story.fails(BUILD, Kind::Start, FailureCode::DeadlinePassed));
    assert_eq!(story.phase(BUILD), "stopping", "it may begin the build a moment later");
    assert!(story.fenced());
    assert_eq!(story.attempt(BUILD).failure.as_ref().map(|failure| failure.code), Some(FailureCode::DeadlinePassed));
}

#[test]
fn a_start_that_was_given_up_may_have_come_through_and_is_fenced_before_it_fails() {
    let (mut story, _) = Story::reach(&Phase::Starting);
    assert!(story.fails(BUILD, Kind::Start, FailureCode::ExecutorUnreachable));
    assert_eq!(story.phase(BUILD), "stopping");
    assert!(story.fenced());
    assert_eq!(story.outcome(), Some(Outcome::Failed));
    assert_eq!(story.attempt(BUILD).failure.as_ref().map(|failure| failure.code), Some(FailureCode::ExecutorUnreachable));
    story.is_over();
}

#[test]
fn a_build_that_cannot_be_stored_has_not_passed_and_one_that_failed_keeps_its_reason() {
    for (verdict, expected) in
        [(Verdict::Success, Verdict::Failed), (Verdict::Unstable, Verdict::Unstable), (Verdict::TimedOut, Verdict::TimedOut)]
    {
        let sealing = Phase::Sealing { verdict, class: None, reason: String::new() };
        let (mut failing, _) = Story::reach(&sealing);
        assert!(failing.fails(BUILD, Kind::Seal, FailureCode::WorkerUnavailable));
        let (mut late, _) = Story::reach(&sealing);
        late.late(BUILD);
        for story in [failing, late] {
            assert_eq!(story.verdict(BUILD), Some(expected));
            story.is_over();
        }
    }
}

#[test]
fn an_older_observation_never_overwrites_a_newer_one() {
    let mut story = Story::of(main_job());
    story.tracking();
    assert!(story.observed(3, BuildState::Running));
    assert!(!story.observed(2, BuildState::Waiting { why: "no room".to_owned() }));
    assert!(story.observed(9, BuildState::Running), "that nothing has changed since is news");
    assert!(!story.observed(8, BuildState::Ended { verdict: Verdict::Success, class: None, reason: String::new() }));
    assert!(!story.observed(9, BuildState::Running), "twice is once");
    assert_eq!(story.phase(BUILD), "running");
}

#[test]
fn what_an_executor_says_of_a_failure_is_shown() {
    let mut story = Story::of(main_job());
    story.tracking();
    let state =
        BuildState::Ended { verdict: Verdict::Failed, class: Some(FailureClass::Work), reason: "The script ended with 2.".to_owned() };
    assert!(story.observed(1, state));
    story.sealed();
    assert_eq!((story.run().reason.as_str(), story.attempt(BUILD).class), ("The script ended with 2.", Some(FailureClass::Work)));
}

#[test]
fn no_two_acts_of_a_run_have_one_id_and_each_has_a_lane() {
    let mut story = Story::of(main_job());
    story.passes();
    assert!(story.desk.effects.iter().all(|(id, pending)| *id == pending.effect.id()));
    assert!(Lane::ALL.iter().all(|lane| !lane.word().is_empty()));
}
