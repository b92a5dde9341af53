//! Workers that are away, busy, broken or slow.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use signalbox_contract::api::run::{Outcome, RunView};
use signalbox_contract::{Failure, FailureCode, Verdict};

use crate::house::{House, Setup};
use crate::stand_ins::{At, Mood};

const EACH: [At; 4] = [At::Vcs, At::Executor, At::Store, At::Deploy];

/// A run waits while a worker is like this, and goes on when it is well again.
async fn waits_while(mood: Mood) {
    join_all(EACH.map(|at| waits_for(at, mood.clone()))).await;
}

async fn waits_for(at: At, mood: Mood) {
    let house = House::open().await;
    house.world.is(at, mood.clone());
    let run = house.branch("main").await;
    house.sees("it is asked again", async || house.world.calls(at) > 2).await;
    assert_eq!(house.run(run).await.summary.outcome, None, "{at:?} {mood:?}");
    house.world.is(at, Mood::Well);
    let view = house.ends(run, Outcome::Passed).await;
    assert!(view.steps.iter().all(|step| step.attempts.len() == 1), "{at:?}: nothing was tried anew");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_waits_for_a_worker_that_has_too_much_to_do() {
    waits_while(Mood::Overloaded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_waits_for_a_worker_that_fails() {
    waits_while(Mood::Broken).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_waits_while_another_program_answers_in_a_workers_place() {
    waits_while(Mood::Babbling).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_waits_for_a_worker_that_is_away() {
    let house = House::open().await;
    for at in EACH {
        house.world.sources().script("slow", "wait");
        let run = house.branch(if at == At::Vcs { "main" } else { "slow" }).await;
        if at != At::Vcs {
            house.builds(run).await;
        }
        house.world.goes_away(at).await;
        if at != At::Vcs {
            house.world.build_ends(run, Verdict::Success);
        }
        // What was asked for in the meantime is still to be had.
        assert_eq!(house.run(run).await.summary.outcome, None);
        house.world.comes_back(at);
        let view = house.ends(run, Outcome::Passed).await;
        assert!(view.steps.iter().all(|step| step.attempts.len() == 1), "{at:?}: nothing was tried anew");
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_at_it_for_long_is_asked_now_and_then() {
    let house = House::open().await;
    house.world.is(At::Deploy, Mood::Dawdling);
    let run = house.branch("main").await;
    house.sees("it is asked", async || house.world.calls(At::Deploy) >= 1).await;
    let begun = Instant::now();
    house.sees("it is asked again", async || house.world.calls(At::Deploy) >= 6).await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "five more times within {:?}", begun.elapsed());
    house.world.is(At::Deploy, Mood::Well);
    house.ends(run, Outcome::Passed).await;
    assert_eq!(house.world.done(At::Deploy, "deploy"), 1);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_fails_is_asked_less_and_less_often() {
    let house = House::open().await;
    house.world.is(At::Vcs, Mood::Broken);
    let run = house.branch("main").await;
    house.sees("it is asked", async || house.world.calls(At::Vcs) >= 1).await;
    let begun = Instant::now();
    house.sees("it is asked again", async || house.world.calls(At::Vcs) >= 5).await;
    assert!(begun.elapsed() >= Duration::from_millis(1400), "four more times within {:?}", begun.elapsed());
    house.world.is(At::Vcs, Mood::Well);
    house.ends(run, Outcome::Passed).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_hangs_does_not_hold_up_another() {
    let house = House::open().await;
    house.world.sources().script("slow", "wait");
    let stuck = house.branch("slow").await;
    house.builds(stuck).await;
    house.world.is(At::Executor, Mood::Hanging);
    for _ in 0..2 {
        let run = house.cd(&serde_json::json!({ "repo": "hello", "ref": "main", "executor": "spare" })).await;
        house.ends(run, Outcome::Passed).await;
    }
    house.world.is(At::Executor, Mood::Well);
    house.world.build_ends(stuck, Verdict::Success);
    // A newer run built for the same repository, but deployed nothing.
    house.ends(stuck, Outcome::Passed).await;
    house.close().await;
}

/// A run ends when its budget is over, and says why.
async fn gives_up(limits: &str, at: At, mood: Mood) -> RunView {
    let house = House::with(Setup::default().table(&format!("[limits]\n{limits}"))).await;
    house.world.is(at, mood);
    let run = house.branch("main").await;
    let view = house.ended(run).await;
    assert!(matches!(view.summary.outcome, Some(Outcome::Failed | Outcome::TimedOut)), "{view:#?}");
    assert!(!view.summary.reason.is_empty());
    house.close().await;
    view
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_is_over_ends_the_run_with_a_reason() {
    let fetch = [Mood::Broken, Mood::Hanging, Mood::Dawdling].map(|mood| gives_up("fetch = \"1s\"", At::Vcs, mood));
    let store = gives_up("settle = \"1s\"", At::Store, Mood::Overloaded);
    let deploy = gives_up("deploy = \"1s\"", At::Deploy, Mood::Broken);
    let build = gives_up("build = \"1s\"\nbuild_slack = \"1s\"\nsettle = \"1s\"", At::Executor, Mood::Broken);
    let (_, stored, _, _) = tokio::join!(join_all(fetch), store, deploy, build);
    assert_eq!(stored.steps[1].verdict, Some(Verdict::Failed), "what could not be stored has not passed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_takes_too_long_is_cancelled() {
    let house = House::with(Setup::default().table("[limits]\nbuild = \"1s\"\nbuild_slack = \"1s\"")).await;
    house.world.sources().script("slow", "wait");
    let run = house.branch("slow").await;
    house.ends(run, Outcome::TimedOut).await;
    {
        let builds = house.world.builds();
        assert_eq!(builds.cancelled, builds.begun(run));
    }
    assert_eq!(house.world.asked(At::Deploy, "deploy"), 0);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_for_good_is_told_as_it_was_said() {
    let house = House::open().await;
    house.world.is(At::Vcs, Mood::Failing(Failure::new(FailureCode::SourceDenied, "The source refused.").hint("Look at its rights.")));
    let run = house.branch("main").await;
    let view = house.ends(run, Outcome::Failed).await;
    assert_eq!(view.summary.reason, "The source refused. Look at its rights.");
    assert_eq!(house.world.asked(At::Vcs, "fetch"), 1, "it is not tried again");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_the_matter_is_told_while_it_is_tried_again_and_when_its_time_is_over() {
    let house = House::with(Setup::default().table("[limits]\nfetch = \"4s\"")).await;
    let down = Failure::new(FailureCode::SourceUnreachable, "The source git.example.org answered 503.").hint("See whether it is up.");
    house.world.is(At::Vcs, Mood::Trying(down.clone()));
    let run = house.branch("main").await;
    let trying = house.until("it is said why", run, |view| !view.steps[0].reason.is_empty()).await;
    assert_eq!(trying.steps[0].reason, "is tried again: The source git.example.org answered 503. See whether it is up.");
    assert_eq!(trying.summary.outcome, None);
    let view = house.ended(run).await;
    assert_eq!(view.summary.reason, "The source git.example.org answered 503. See whether it is up.");
    let attempt = view.steps[0].attempts.last().expect("it was tried");
    let failure = attempt.failure.as_ref().expect("it is said why");
    assert_eq!((&failure.detail, &failure.hint), (&down.detail, &down.hint));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_the_matter_is_not_told_of_what_came_after_it() {
    let house = House::open().await;
    house.world.is(At::Vcs, Mood::Trying(Failure::new(FailureCode::SourceUnreachable, "The source is away.")));
    let run = house.branch("main").await;
    house.until("it is said why", run, |view| !view.steps[0].reason.is_empty()).await;
    house.world.is(At::Vcs, Mood::Well);
    let view = house.ends(run, Outcome::Passed).await;
    assert!(view.steps.iter().all(|step| step.reason.is_empty()), "{view:#?}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_hangs_is_named_when_its_time_is_over() {
    let view = gives_up("fetch = \"1s\"", At::Vcs, Mood::Hanging).await;
    assert!(view.summary.reason.starts_with("The source https://git.example.org/hello was still being fetched"), "{view:#?}");
    assert!(view.summary.reason.contains("[limits]"), "it is said what can be done");
}
