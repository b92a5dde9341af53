//! What a commit may hold, and whose turn it is.

use reqwest::StatusCode;
use serde_json::json;
use signalbox_contract::api::run::{Outcome, Status, StepState};
use signalbox_contract::api::vcs::FileContent;
use signalbox_contract::{FailureCode, RunId, Verdict};

use crate::house::{House, Setup, expect, phase};

/// Runs `hello` on a branch whose commit holds this, and gives the failure with which the mirror step ends.
async fn fails_at_the_mirror(house: &House, file: FileContent, body: serde_json::Value) -> (FailureCode, String) {
    house.world.sources().holds("odd", file);
    let mut asked = json!({ "repo": "hello", "ref": "odd", "artifact": "site/hello" });
    asked.as_object_mut().expect("an object").extend(body.as_object().cloned().unwrap_or_default());
    let run = house.cd(&asked).await;
    let view = house.ends(run, Outcome::Failed).await;
    assert_eq!(view.steps.len(), 1, "there is no plan");
    let failure = view.steps[0].attempts[0].failure.clone().expect("a failure");
    assert_eq!(view.summary.reason, failure.to_string(), "the run says why");
    (failure.code, failure.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_file_that_cannot_be_used_ends_the_run_with_words() {
    let house = House::open().await;
    let text = |text: &str| FileContent::Text { text: text.to_owned() };
    let (code, _) = fails_at_the_mirror(&house, FileContent::Missing, json!({})).await;
    assert_eq!(code, FailureCode::DefinitionMissing);
    let (_, words) = fails_at_the_mirror(&house, FileContent::of(b"version: 1\njobs: \xff\n".to_vec()), json!({})).await;
    assert_eq!(words, ".signalbox.yaml is not UTF-8, at line 2, column 7.");
    // A worker of an older version does not say where.
    for file in [
        FileContent::NotText { line: None, column: None },
        FileContent::TooLarge { size: 70_000 },
        text("version: 3\njobs: {}\n"),
        text(""),
    ] {
        assert_eq!(fails_at_the_mirror(&house, file, json!({})).await.0, FailureCode::DefinitionInvalid);
    }
    let (code, words) = fails_at_the_mirror(&house, text("version: 1\njobs:\n  cd:\n    script: x\n    artefacts: {}\n"), json!({})).await;
    assert_eq!(code, FailureCode::DefinitionInvalid);
    assert!(words.contains("line 5") && words.contains("column 5") && words.contains("artefacts"), "{words}");

    let two = "version: 1\njobs:\n  a: {script: pass}\n  b: {script: pass}\n";
    let (code, words) = fails_at_the_mirror(&house, text(two), json!({})).await;
    assert_eq!(code, FailureCode::JobAmbiguous);
    assert!(words.contains("a, b"), "{words}");
    let (code, words) = fails_at_the_mirror(&house, text(two), json!({ "job": "c" })).await;
    assert_eq!(code, FailureCode::JobNotFound);
    assert!(words.contains("a, b"), "{words}");
    let (code, _) = fails_at_the_mirror(&house, text(two), json!({ "job": "b" })).await;
    assert_eq!(code, FailureCode::ArtifactNotDeclared);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ref_that_is_not_there_ends_the_run_with_what_to_do() {
    let house = House::open().await;
    let run = house.branch("nowhere").await;
    let view = house.ends(run, Outcome::Failed).await;
    assert_eq!(view.summary.reason, "The source has no ref nowhere. Push it first.");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_job_needs_no_name() {
    let house = House::open().await;
    house.world.sources().commit("only", "version: 1\njobs:\n  nightly: {script: pass}\n");
    let run = house.cd(&json!({ "repo": "hello", "ref": "only" })).await;
    assert_eq!(house.ends(run, Outcome::Passed).await.job.as_ref().map(AsRef::as_ref), Some("nightly"));
    house.close().await;
}

// Threat 20.
#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_does_not_make_what_was_asked_for_has_failed() {
    let house = House::open().await;
    house.world.sources().script("idle", "idle");
    let run = house.branch("idle").await;
    let view = house.ends(run, Outcome::Failed).await;
    assert_eq!(view.steps[1].attempts[0].failure.as_ref().map(|failure| failure.code), Some(FailureCode::ArtifactMissing));
    assert!(view.summary.reason.contains("site/hello"), "{}", view.summary.reason);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_says_for_what() {
    let house = House::with(Setup::default().capacity(1)).await;
    house.world.sources().script("slow", "wait");
    let first = house.branch("slow").await;
    house.builds(first).await;
    let second = house.branch("main").await;
    let view = house.until("the second waits", second, |view| view.steps.get(1).is_some_and(|step| step.state == StepState::Waiting)).await;
    assert!(view.steps[1].reason.contains("local"), "{}", view.steps[1].reason);
    let status: Status = expect(house.get("/status"), StatusCode::OK).await;
    assert_eq!(status.queued.len() + status.building.len(), 2, "both are there");

    house.world.builds().queue(first, "no node is free");
    house.until("it says what its executor waits for", first, |view| view.steps[1].reason == "no node is free").await;
    house.world.build_ends(first, Verdict::Success);
    house.ends(first, Outcome::Passed).await;
    house.ends(second, Outcome::Passed).await;
    house.close().await;
}

// Threat 19.
#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_asks_often_does_not_keep_others_waiting() {
    let house = House::with(Setup::default().capacity(1)).await;
    house.world.sources().script("slow", "wait");
    let greedy = json!({ "repo": "hello", "ref": "slow" });
    let mut many = Vec::new();
    for _ in 0..4 {
        many.push(house.cd(&greedy).await);
    }
    house.builds(many[0]).await;
    for run in &many[1..] {
        house.until("it waits", *run, |view| phase(view) == "waiting").await;
    }
    let modest = house.cd(&json!({ "repo": "team/other", "ref": "slow" })).await;
    house.until("it waits", modest, |view| phase(view) == "waiting").await;
    house.world.build_ends(many[0], Verdict::Success);
    house.builds(modest).await;
    for run in &many[1..] {
        assert_eq!(phase(&house.run(*run).await), "waiting", "it came first, and its repository was served just now");
    }
    let mut left: Vec<RunId> = many[1..].to_vec();
    let mut next = modest;
    loop {
        house.builds(next).await;
        assert_eq!(house.world.builds().running(), 1, "there is room for one");
        house.world.build_ends(next, Verdict::Success);
        house.ends(next, Outcome::Passed).await;
        if left.is_empty() {
            break;
        }
        // They came at about the same time: any of them may be the next.
        house.sees("another begins", async || left.iter().any(|run| !house.world.builds().begun(*run).is_empty())).await;
        let begun = left.iter().position(|run| !house.world.builds().begun(*run).is_empty()).expect("one of them");
        next = left.swap_remove(begun);
    }
    house.close().await;
}
