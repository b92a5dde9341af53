//! Deployments, of what was built and of what is there; who comes first; and rolling back.

use signalbox_contract::api::deploy::{HostOutcome, HostResult, NewerActivation};
use signalbox_contract::api::run::{Outcome, RerunFrom};
use signalbox_contract::{Failure, FailureCode, RunId, Verdict};
use signalbox_controller_core::effect::Kind;
use signalbox_controller_core::plan::Request;
use signalbox_controller_core::resource::{Granted, ResourceKey};
use signalbox_controller_core::{Act, Event, Phase};

use crate::sample::{digest, environment, executor, failure, host, main_job, named, target};
use crate::story::{BUILD, DEPLOY, Story};

fn deploy_what_is_there() -> Request {
    Request::Deploy { artifact: named("hello"), target: target("test", "hello") }
}

fn roll_back() -> Request {
    Request::Rollback { target: target("test", "hello"), digest: None }
}

/// Two runs of the main job. The older one is built when the newer one has its environment.
fn overtaken() -> Story {
    let mut story = Story::of(main_job());
    let older = story.id();
    story.tracking();
    story.another(main_job());
    story.built();
    let newer = story.id();
    story.id = Some(older);
    story.ended(Verdict::Success);
    story.sealed();
    assert_eq!(story.phase(DEPLOY), "waiting", "the environment is taken");
    story.id = Some(newer);
    story
}

fn older(story: &mut Story) {
    story.id = Some(crate::sample::run_id(1));
}

#[test]
fn what_is_in_the_store_is_deployed_by_the_digest_that_its_name_shows() {
    let mut story = Story::of(deploy_what_is_there());
    assert_eq!(story.phase(0), "resolving");
    assert!(story.tell(&Event::Resolved { key: story.key(0), digest: digest(9) }));
    assert!(matches!(story.act(0, Kind::Deploy), Some(Act::Deploy(request)) if request.digest == digest(9)));
    story.deployed(0, &[HostOutcome::Unchanged]);
    assert_eq!(story.outcome(), Some(Outcome::Passed));
    story.is_over();
}

#[test]
fn a_rerun_deploys_the_same_bytes_even_if_the_name_shows_others_by_now() {
    let mut story = Story::of(deploy_what_is_there());
    assert!(story.tell(&Event::Resolved { key: story.key(0), digest: digest(9) }));
    assert!(story.fails(0, Kind::Deploy, FailureCode::HostsFailed));
    assert!(story.rerun(RerunFrom::Failed).is_ok());
    assert!(matches!(story.act(0, Kind::Deploy), Some(Act::Deploy(request)) if request.digest == digest(9)));
}

#[test]
fn a_name_that_shows_nothing_fails_the_run() {
    let mut story = Story::of(deploy_what_is_there());
    assert!(story.fails(0, Kind::Resolve, FailureCode::ArtifactUnavailable));
    assert_eq!(story.outcome(), Some(Outcome::Failed));
    story.is_over();
    let mut story = Story::of(deploy_what_is_there());
    story.late(0);
    assert_eq!(story.outcome(), Some(Outcome::TimedOut));
    story.is_over();
    let mut story = Story::of(deploy_what_is_there());
    assert!(story.stop().is_ok());
    assert_eq!(story.outcome(), Some(Outcome::Stopped));
    story.is_over();
}

#[test]
fn a_rollback_is_an_activation_with_a_number_of_its_own() {
    let mut story = Story::of(main_job());
    story.passes();
    story.another(roll_back());
    let Some(Act::Activate(request)) = story.act(0, Kind::Activate) else { panic!("it is activated") };
    assert_eq!((request.sequence, request.digest), (2, None));
    story.deployed(0, &[HostOutcome::Switched]);
    assert_eq!(story.outcome(), Some(Outcome::Passed));
    story.is_over();
}

#[test]
fn a_release_that_is_not_there_any_more_fails_the_rollback() {
    let mut story = Story::of(roll_back());
    assert!(story.fails(0, Kind::Activate, FailureCode::ReleaseNotFound));
    assert_eq!(story.outcome(), Some(Outcome::Failed));
    story.is_over();
}

#[test]
fn one_host_that_fails_fails_the_run_and_says_which() {
    let (mut story, _) = Story::reach(&Phase::Deploying);
    let failed = HostOutcome::Failed { failure: failure(FailureCode::WorkerUnavailable) };
    story.deployed(DEPLOY, &[HostOutcome::Switched, failed]);
    assert_eq!((story.verdict(DEPLOY), story.outcome()), (Some(Verdict::Failed), Some(Outcome::Failed)));
    assert!(story.run().reason.contains("1 of 2 hosts") && story.run().reason.contains("host-2"), "{}", story.run().reason);
    assert_eq!(story.attempt(DEPLOY).hosts.len(), 2);
    story.is_over();
}

#[test]
fn a_run_that_was_overtaken_is_superseded_unless_it_is_rerun() {
    let mut story = overtaken();
    story.deployed(DEPLOY, &[HostOutcome::Switched]);
    older(&mut story);
    assert_eq!((story.verdict(DEPLOY), story.outcome()), (Some(Verdict::Skipped), Some(Outcome::Superseded)));
    story.is_over();
    assert!(story.rerun(RerunFrom::Failed).is_ok());
    assert!(matches!(story.act(DEPLOY, Kind::Deploy), Some(Act::Deploy(request)) if request.sequence == 3));
    story.deployed(DEPLOY, &[HostOutcome::Switched]);
    assert_eq!(story.outcome(), Some(Outcome::Passed));
}

#[test]
fn a_newer_run_that_may_have_changed_some_hosts_supersedes_an_older_one_all_the_same() {
    let mut partly = overtaken();
    let failed = HostOutcome::Failed { failure: failure(FailureCode::WorkerUnavailable) };
    partly.deployed(DEPLOY, &[HostOutcome::Switched, failed]);
    let mut unclear = overtaken();
    assert!(unclear.fails(DEPLOY, Kind::Deploy, FailureCode::HostsFailed));
    let mut late = overtaken();
    late.late(DEPLOY);
    for mut story in [partly, unclear, late] {
        older(&mut story);
        assert_eq!(story.outcome(), Some(Outcome::Superseded));
    }
}

#[test]
fn a_newer_run_that_changed_nothing_supersedes_nobody() {
    let mut refused = overtaken();
    assert!(refused.fails(DEPLOY, Kind::Deploy, FailureCode::NameNotAllowed));
    let mut failed = overtaken();
    failed.deployed(DEPLOY, &[HostOutcome::Failed { failure: failure(FailureCode::WorkerUnavailable) }]);
    for mut story in [refused, failed] {
        older(&mut story);
        assert_eq!(story.phase(DEPLOY), "deploying");
    }
}

#[test]
fn a_host_with_a_later_activation_supersedes_the_run() {
    let (mut story, _) = Story::reach(&Phase::Deploying);
    assert!(story.fails(DEPLOY, Kind::Deploy, FailureCode::SequenceSuperseded));
    assert_eq!(story.outcome(), Some(Outcome::Superseded));
    story.is_over();
}

#[test]
fn what_another_installation_put_on_a_host_is_named_with_what_to_do() {
    let (mut story, _) = Story::reach(&Phase::Deploying);
    let theirs: RunId = "01m82j33x4e2h859xktfak5t8y".parse().expect("a run");
    let newer = Some(NewerActivation { sequence: 41, run: Some(theirs) });
    let kept = HostResult { newer, ..host("web1", HostOutcome::Superseded) };
    let key = story.key(DEPLOY);
    assert!(story.tell(&Event::Deployed { key, hosts: vec![kept] }));
    assert_eq!(story.outcome(), Some(Outcome::Superseded));
    let steps = &story.run().steps;
    let failure = steps[usize::from(DEPLOY)].latest().and_then(|attempt| attempt.failure.as_ref()).expect("it says why");
    for words in ["web1 keeps activation 41 of run 01m82j33x4e2h859xktfak5t8y", "would be number 1:", "Another installation"] {
        assert!(failure.detail.contains(words), "{words}: {failure:?}");
    }
    let rerun = format!("`signalbox rerun {}`", story.id());
    for words in ["a root of its own", "touch data/controller/restored", rerun.as_str()] {
        assert!(failure.hint.contains(words), "{words}: {failure:?}");
    }
}

#[test]
fn two_names_of_one_environment_do_not_supersede_each_other() {
    let mut story = Story::of(deploy_what_is_there());
    assert!(story.tell(&Event::Resolved { key: story.key(0), digest: digest(1) }));
    let first = story.id();
    story.another(Request::Deploy { artifact: named("other"), target: target("test", "other") });
    let second = story.id();
    assert_eq!(story.phase(0), "waiting", "the environment is changed by one at a time");
    story.id = Some(first);
    story.deployed(0, &[HostOutcome::Switched]);
    story.id = Some(second);
    assert_eq!(story.phase(0), "resolving");
}

fn granted(story: &Story, step: u16, resource: ResourceKey) -> Event {
    Event::Granted(Granted { key: story.key(step), resource, fence: 99, newest: None })
}

#[test]
fn a_grant_that_comes_too_late_is_given_back() {
    let (mut story, _) = Story::reach(&Phase::Publishing);
    let event = granted(&story, BUILD, executor("local"));
    assert!(!story.tell(&event), "one that is told of twice is kept");
    assert_eq!(story.desk.resource(&executor("local")).holders(), 1);
    assert!(story.tell(&granted(&story, BUILD, environment("test"))), "one that was never asked for is given back");
    assert_eq!(story.phase(BUILD), "publishing");
    assert!(story.stop().is_ok());
    assert!(story.tell(&event), "one for an attempt that is over is given back");
    story.is_over();
}

#[test]
fn a_grant_for_another_run_is_none_of_this_ones_business() {
    let (mut story, _) = Story::reach(&Phase::Publishing);
    let foreign = granted(&story, BUILD, executor("local"));
    story.another(main_job());
    assert!(!story.tell(&foreign));
    assert_eq!(story.desk.resource(&executor("local")).holders(), 1, "its place stays its own");
}

#[test]
fn what_failed_on_hosts_names_each_of_them_once() {
    let (mut story, _) = Story::reach(&Phase::Deploying);
    let failed = |detail: &str| HostOutcome::Failed { failure: Failure::new(FailureCode::HostsFailed, detail) };
    story.deployed(DEPLOY, &[failed("host-1: the disk is full."), failed("host-2 cannot be reached."), failed("host-33 is not meant.")]);
    let reason = &story.run().reason;
    assert_eq!(
        reason,
        "3 of 3 hosts could not be switched. host-1: the disk is full. host-2 cannot be reached. host-3: host-33 is not meant."
    );
}
