//! A run is rerun: new attempts of the same plan for the same source.

use signalbox_contract::api::deploy::HostOutcome;
use signalbox_contract::api::run::{Outcome, RerunFrom};
use signalbox_contract::{Code, FailureCode, Problem, Verdict};
use signalbox_controller_core::effect::Kind;
use signalbox_controller_core::{Act, Phase, Refusal};

use crate::sample::{digest, main_job, named};
use crate::story::{BUILD, DEPLOY, MIRROR, Story};

#[test]
fn a_rerun_from_what_failed_keeps_source_plan_and_old_attempts() {
    let mut story = Story::of(main_job());
    story.tracking();
    story.ended(Verdict::Failed);
    story.sealed();
    let before = story.run().clone();
    assert!(story.rerun(RerunFrom::Failed).is_ok());
    let after = story.run();
    assert_eq!((after.sha.as_ref(), after.outcome), (before.sha.as_ref(), None));
    assert_eq!(after.steps[0], before.steps[0], "the source is not fetched again");
    assert_eq!(after.steps[1].attempts[0], before.steps[1].attempts[0]);
    assert_eq!((story.key(BUILD).attempt, story.phase(BUILD)), (2, "preparing"));
    assert!(story.run().line > before.line, "what it makes is newer");
}

#[test]
fn a_rerun_of_a_failed_deployment_does_not_build_again() {
    let (mut story, _) = Story::reach(&Phase::Deploying);
    assert!(story.fails(DEPLOY, Kind::Deploy, FailureCode::HostsFailed));
    assert!(story.rerun(RerunFrom::Failed).is_ok());
    assert_eq!(story.key(BUILD).attempt, 1);
    assert!(matches!(story.act(DEPLOY, Kind::Deploy), Some(Act::Deploy(request)) if request.digest == digest(5) && request.sequence == 2));
    story.deployed(DEPLOY, &[HostOutcome::Switched]);
    assert_eq!(story.outcome(), Some(Outcome::Passed));
}

#[test]
fn a_rerun_from_the_start_builds_and_deploys_again_what_was_proven() {
    let mut story = Story::of(main_job());
    story.passes();
    assert!(story.rerun(RerunFrom::Failed).is_err(), "nothing failed");
    assert!(story.rerun(RerunFrom::Start).is_ok());
    assert_eq!((story.key(MIRROR).attempt, story.key(BUILD).attempt), (1, 2));
    story.prepared();
    story.published();
    story.started();
    story.ended(Verdict::Success);
    story.sealed();
    story.deployed(DEPLOY, &[HostOutcome::Switched]);
    assert_eq!((story.key(DEPLOY).attempt, story.outcome()), (2, Some(Outcome::Passed)));
    story.is_over();
}

#[test]
fn a_rerun_of_a_mirror_that_failed_fetches_again() {
    let (mut story, _) = Story::reach(&Phase::Fetching);
    assert!(story.fails(MIRROR, Kind::Fetch, FailureCode::SourceUnreachable));
    assert!(story.rerun(RerunFrom::Start).is_ok());
    assert_eq!((story.key(MIRROR).attempt, story.phase(MIRROR)), (2, "fetching"));
    story.fetched();
    assert_eq!(story.phase(BUILD), "preparing");
}

#[test]
fn a_rerun_may_lose_as_many_builds_as_the_run_could() {
    let mut story = Story::of(main_job());
    story.fetched();
    for _ in 0..2 {
        for _ in 0..3 {
            story.prepared();
            story.published();
            story.started();
            story.ended(Verdict::Lost);
            story.sealed();
        }
        assert_eq!(story.outcome(), Some(Outcome::Lost));
        assert!(story.rerun(RerunFrom::Failed).is_ok());
    }
    assert_eq!(story.key(BUILD).attempt, 7);
}

#[test]
fn a_run_is_not_rerun_for_ever() {
    let (mut story, _) = Story::reach(&Phase::Fetching);
    assert!(story.fails(MIRROR, Kind::Fetch, FailureCode::SourceUnreachable));
    for _ in 1..100 {
        assert!(story.rerun(RerunFrom::Failed).is_ok());
        assert!(story.fails(MIRROR, Kind::Fetch, FailureCode::SourceUnreachable));
    }
    assert!(story.rerun(RerunFrom::Failed).is_err());
}

#[test]
fn a_rerun_publishes_only_what_whoever_asked_for_it_may_publish() {
    let mut story = Story::of(main_job());
    story.passes();
    for (from, patterns) in [(RerunFrom::Start, ["hell"].as_slice()), (RerunFrom::Start, &[])] {
        let refused = story.rerun_with(from, patterns).expect_err("it publishes `hello`");
        assert_eq!(refused, Refusal::NotGranted(named("hello")));
        assert_eq!(Problem::from(refused).code, Code::Forbidden);
    }
    assert!(story.rerun_with(RerunFrom::Start, &["other", "hel*"]).is_ok());
    let (mut story, _) = Story::reach(&Phase::Deploying);
    assert!(story.fails(DEPLOY, Kind::Deploy, FailureCode::HostsFailed));
    assert!(story.rerun_with(RerunFrom::Failed, &["other"]).is_err(), "the same holds wherever it begins again");
    assert!(story.outcome().is_some(), "what was refused changes nothing");
}

#[test]
fn a_plan_that_is_resolved_anew_is_resolved_with_the_rights_of_whoever_asked_for_it() {
    let (mut story, _) = Story::reach(&Phase::Fetching);
    assert!(story.fails(MIRROR, Kind::Fetch, FailureCode::SourceUnreachable));
    assert!(story.rerun_with(RerunFrom::Start, &["other"]).is_ok(), "what it publishes is not known yet");
    let Some(Act::Fetch { order, .. }) = story.act(MIRROR, Kind::Fetch) else { panic!("it is fetched") };
    assert_eq!(order.artifacts, [named("other")]);
    story.fetched();
    let failure = story.attempt(MIRROR).failure.clone().expect("it may not publish `hello`");
    assert_eq!(failure.code, FailureCode::ArtifactNotAllowed);
}
