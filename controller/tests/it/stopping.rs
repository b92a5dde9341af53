//! Stopping, running again, coming too late.

use reqwest::StatusCode;
use serde_json::json;
use signalbox_contract::api::run::{Accepted, Outcome, RunAction, RunState, StepState};
use signalbox_contract::{Code, RunId, Verdict};

use crate::house::{House, Setup, expect, phase, refused};
use crate::stand_ins::{At, Mood};

async fn stop(house: &House, run: RunId) {
    let accepted: Accepted = expect(house.post(&format!("/runs/{run}/stop"), &json!({})), StatusCode::ACCEPTED).await;
    assert_eq!(accepted.run, run);
}

async fn rerun(house: &House, run: RunId, from: &str) {
    let _: Accepted = expect(house.post(&format!("/runs/{run}/rerun"), &json!({ "from": from })), StatusCode::ACCEPTED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_stopped_while_it_is_mirrored() {
    let house = House::open().await;
    house.world.is(At::Vcs, Mood::Hanging);
    let run = house.branch("main").await;
    house.sees("it is asked", async || house.world.calls(At::Vcs) > 0).await;
    stop(&house, run).await;
    let view = house.ends(run, Outcome::Stopped).await;
    assert_eq!(view.summary.reason, "Stopped by tester.");
    assert_eq!(view.actions, [RunAction::Rerun]);
    house.world.is(At::Vcs, Mood::Well);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_stopped_while_it_waits_for_a_place() {
    let house = House::with(Setup::default().capacity(1)).await;
    house.world.sources().script("slow", "wait");
    let first = house.branch("slow").await;
    house.builds(first).await;
    // Not before: whichever of two is mirrored first takes the place.
    let second = house.branch("slow").await;
    house.until("it waits", second, |view| phase(view) == "waiting").await;
    stop(&house, second).await;
    house.ends(second, Outcome::Stopped).await;
    assert!(house.world.builds().begun(second).is_empty());
    house.world.build_ends(first, Verdict::Success);
    house.ends(first, Outcome::Passed).await;
    let third = house.branch("main").await;
    house.ends(third, Outcome::Passed).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_stopped_while_it_is_built() {
    let house = House::open().await;
    house.world.sources().script("slow", "wait");
    let run = house.branch("slow").await;
    house.builds(run).await;
    stop(&house, run).await;
    let view = house.ends(run, Outcome::Stopped).await;
    assert_eq!(view.steps[2].state, StepState::Skipped);
    {
        let builds = house.world.builds();
        assert_eq!(builds.cancelled, builds.begun(run));
    }
    assert_eq!(house.world.asked(At::Deploy, "deploy"), 0);
    assert_eq!(refused(house.post(&format!("/runs/{run}/stop"), &json!({})), 409).await.code, Code::NotAllowedNow);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_stopped_while_what_it_made_is_stored() {
    let house = House::open().await;
    house.world.is(At::Store, Mood::Overloaded);
    let run = house.branch("main").await;
    house.sees("it is asked", async || house.world.calls(At::Store) > 0).await;
    stop(&house, run).await;
    assert_eq!(house.run(run).await.summary.state, RunState::Stopping);
    refused(house.post(&format!("/runs/{run}/stop"), &json!({})), 409).await;
    house.world.is(At::Store, Mood::Well);
    house.ends(run, Outcome::Stopped).await;
    assert_eq!(house.world.asked(At::Deploy, "deploy"), 0);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_has_begun_is_not_torn_apart() {
    let house = House::open().await;
    house.world.is(At::Deploy, Mood::Dawdling);
    let run = house.branch("main").await;
    house.until("it deploys", run, |view| phase(view) == "deploying").await;
    stop(&house, run).await;
    house.world.is(At::Deploy, Mood::Well);
    house.ended(run).await;
    assert!(house.world.hosts().shows("test", "hello").is_some(), "what is said of it is what the hosts show");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_is_stopped_once_its_executor_is_back() {
    let house = House::open().await;
    house.world.sources().script("slow", "wait");
    let run = house.branch("slow").await;
    house.builds(run).await;
    house.world.goes_away(At::Executor).await;
    stop(&house, run).await;
    assert_eq!(house.run(run).await.summary.state, RunState::Stopping);
    house.world.comes_back(At::Executor);
    house.ends(run, Outcome::Stopped).await;
    assert_eq!(house.world.builds().running(), 0);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_executor_never_comes_back_can_be_stopped_all_the_same() {
    let house = House::with(Setup::default().table("[limits]\nsettle = \"1s\"")).await;
    house.world.sources().script("slow", "wait");
    let run = house.branch("slow").await;
    house.builds(run).await;
    house.world.goes_away(At::Executor).await;
    stop(&house, run).await;
    house.ends(run, Outcome::Stopped).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rerun_repeats_what_did_not_pass_and_nothing_else() {
    let house = House::open().await;
    house.world.hosts().stuck = Some("web2");
    let run = house.branch("main").await;
    let view = house.ends(run, Outcome::Failed).await;
    assert!(view.summary.reason.contains("1 of 2 hosts") && view.summary.reason.contains("web2"), "{}", view.summary.reason);
    house.world.hosts().stuck = None;
    rerun(&house, run, "failed").await;
    let view = house.ends(run, Outcome::Passed).await;
    let tries: Vec<usize> = view.steps.iter().map(|step| step.attempts.len()).collect();
    assert_eq!(tries, [1, 1, 2]);
    assert_eq!(view.summary.number, 1, "it is the same run");
    refused(house.post(&format!("/runs/{run}/rerun"), &json!({})), 409).await;

    rerun(&house, run, "start").await;
    let view = house.ends(run, Outcome::Passed).await;
    let tries: Vec<usize> = view.steps.iter().map(|step| step.attempts.len()).collect();
    assert_eq!(tries, [1, 2, 3], "a commit that was proven stays proven");
    let first = view.steps[2].attempts[0].clone();
    assert_eq!(first.verdict, Some(Verdict::Failed), "what ended stays as it was");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_goes_on_cannot_be_rerun() {
    let house = House::open().await;
    house.world.sources().script("slow", "wait");
    let run = house.branch("slow").await;
    house.builds(run).await;
    assert_eq!(refused(house.post(&format!("/runs/{run}/rerun"), &json!({})), 409).await.code, Code::NotAllowedNow);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_could_not_be_mirrored_reads_the_source_again() {
    let house = House::open().await;
    house.world.sources().commit("broken", "version: 7\n");
    let run = house.branch("broken").await;
    house.ends(run, Outcome::Failed).await;
    house.world.sources().script("broken", "pass");
    rerun(&house, run, "failed").await;
    let view = house.ends(run, Outcome::Passed).await;
    assert_eq!(view.steps[0].attempts.len(), 2);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_run_does_not_go_over_a_newer_one_unless_it_is_asked_again() {
    let house = House::open().await;
    house.world.sources().script("slow", "wait");
    let older = house.branch("slow").await;
    house.builds(older).await;
    let newer = house.branch("main").await;
    house.ends(newer, Outcome::Passed).await;
    let shown = house.world.hosts().shows("test", "hello");
    house.world.build_ends(older, Verdict::Success);
    let view = house.ends(older, Outcome::Superseded).await;
    assert!(view.summary.reason.contains("newer"), "{}", view.summary.reason);
    assert_eq!(house.world.hosts().shows("test", "hello"), shown);
    rerun(&house, older, "failed").await;
    house.ends(older, Outcome::Passed).await;
    assert_ne!(house.world.hosts().shows("test", "hello"), shown, "now it was meant");
    house.close().await;
}
