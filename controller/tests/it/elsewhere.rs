//! Builds at an executor elsewhere: pushed there, begun there by itself, fetched from there.

use reqwest::{Method, StatusCode};
use serde_json::json;
use signalbox_contract::api::Page;
use signalbox_contract::api::delivery::{DeliveryState, DeliverySummary};
use signalbox_contract::api::run::{Accepted, EventView, Outcome, StepState};
use signalbox_contract::api::vcs::{FileContent, Naming};
use signalbox_contract::build::BuildState;
use signalbox_contract::{FailureCode, RunId, Verdict};

use crate::house::{House, Setup, answer, expect, phase, refused};
use crate::stand_ins::forge::SECRET;

/// Starts a run of the repository that is built elsewhere, which deploys.
async fn native(house: &House, branch: &str) -> RunId {
    if branch != "main" {
        house.world.sources().commit(branch, "whatever the executor reads");
    }
    house.cd(&json!({ "repo": "native", "ref": branch, "artifact": "site/hello" })).await
}

fn makes(house: &House, bytes: &[u8]) {
    house.world.far().files.insert(("build".to_owned(), "out/hello".to_owned()), bytes.to_vec());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_built_elsewhere_is_pushed_found_fetched_and_deployed() {
    let house = House::open().await;
    let bytes: Vec<u8> = (0..50_000_u32).map(|n| u8::try_from(n % 251).expect("small")).collect();
    makes(&house, &bytes);
    let run = native(&house, "main").await;
    house.builds(run).await;
    assert_eq!(
        house.world.far().prepared.iter().map(|(_, pushed)| *pushed).collect::<Vec<_>>(),
        [false],
        "first it is asked what is newest"
    );
    let pushed = house.world.sources().pushed.values().next().cloned().expect("a push");
    assert_eq!(pushed.mirror.as_ref().map(AsRef::as_ref), Some("far"));
    assert_eq!((pushed.naming, pushed.original.as_ref().map(ToString::to_string)), (Naming::Same, Some("refs/heads/main".to_owned())));
    house.world.far().ends(run, Verdict::Success);
    let view = house.ends(run, Outcome::Passed).await;
    let attempt = &view.steps[1].attempts[0];
    assert_eq!(
        (attempt.build.as_deref(), attempt.url.as_ref().map(ToString::to_string)),
        (Some("7/1"), Some("https://ci.example.org/7".to_owned()))
    );
    let made = &attempt.artifacts[0];
    assert_eq!((made.name.as_str(), made.size, made.digest), ("site/hello", 50_000, signalbox_service::auth::sha256(&bytes)));
    assert_eq!(view.job, None, "the definition is its executor's business");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_that_breaks_off_is_fetched_again() {
    let house = House::open().await;
    makes(&house, &[b'x'; 5000]);
    house.world.far().breaks = 2;
    let run = native(&house, "main").await;
    house.builds(run).await;
    house.world.far().ends(run, Verdict::Success);
    assert_eq!(house.ends(run, Outcome::Passed).await.steps[1].attempts[0].artifacts[0].size, 5000);
    assert_eq!(house.world.far().breaks, 0);
    house.close().await;
}

// Threat 20.
#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_that_was_not_made_or_is_too_large_fails_with_words() {
    let house = House::with(Setup::default().table("[limits]\nartifacts = \"4KiB\"")).await;
    let run = native(&house, "main").await;
    house.builds(run).await;
    house.world.far().ends(run, Verdict::Success);
    let view = house.ends(run, Outcome::Failed).await;
    let attempt = &view.steps[1].attempts[0];
    let failure = attempt.failure.clone().expect("a failure");
    assert_eq!(failure.code, FailureCode::ArtifactMissing);
    assert!(failure.detail.contains("out/hello") && failure.detail.contains("the part build"), "{failure}");
    assert!(attempt.remarks[0].contains("site/hello"), "{:?}", attempt.remarks);
    makes(&house, &[b'x'; 5000]);
    let run = native(&house, "main").await;
    house.builds(run).await;
    house.world.far().ends(run, Verdict::Success);
    let view = house.ends(run, Outcome::Failed).await;
    let failure = view.steps[1].attempts[0].failure.clone().expect("a failure");
    assert_eq!(failure.code, FailureCode::ArtifactTooLarge);
    assert!(failure.detail.contains("4096"), "{failure}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_a_definition_is_not_pushed_anywhere() {
    let house = House::open().await;
    house.world.sources().holds("bare", FileContent::Missing);
    let run = house.cd(&json!({ "repo": "native", "ref": "bare" })).await;
    let view = house.ends(run, Outcome::Failed).await;
    let failure = view.steps[0].attempts[0].failure.clone().expect("a failure");
    assert_eq!(failure.code, FailureCode::DefinitionMissing);
    assert!(failure.detail.contains(".gitlab-ci.yml") && failure.hint.contains("ci_config"), "{failure}");
    assert!(house.world.sources().pushed.is_empty());
    let problem = refused(house.post("/cd", &json!({ "repo": "native", "ref": "main", "job": "cd" })), 400).await;
    assert!(problem.errors.iter().any(|error| error.field == "job"), "{problem:?}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_never_comes_is_fenced_and_said_to_be_missing() {
    let house = House::with(Setup::default().table("[limits]\nappear = \"1s\"")).await;
    house.world.far().idle = true;
    let run = native(&house, "main").await;
    let view = house.until("it is waited for", run, |view| phase(view) == "expected").await;
    assert_eq!(view.steps[1].reason, "waits for the executor to begin it");
    let view = house.ends(run, Outcome::Failed).await;
    let failure = view.steps[1].attempts[0].failure.clone().expect("a failure");
    assert_eq!(failure.code, FailureCode::BuildNeverCame);
    assert!(failure.detail.contains("far") && !failure.hint.is_empty(), "{failure}");
    assert_eq!(house.world.far().fenced.len(), 1);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_of_what_somebody_else_pushed_is_cancelled_and_ours_is_tried_again() {
    let house = House::open().await;
    makes(&house, b"ours");
    house.world.far().overtaken = Some("77".repeat(20).parse().expect("a commit"));
    let run = native(&house, "main").await;
    let view = house.until("it is tried again", run, |view| view.steps.get(1).is_some_and(|step| step.attempts.len() == 2)).await;
    let first = view.steps[1].attempts[0].clone();
    assert_eq!((first.verdict, first.failure.map(|failure| failure.code)), (Some(Verdict::Lost), Some(FailureCode::BuildLost)));
    assert_eq!(house.world.far().cancelled.len(), 1);
    house.builds(run).await;
    house.world.far().ends(run, Verdict::Success);
    house.ends(run, Outcome::Passed).await;
    house.close().await;
}

async fn swept(house: &House, run: RunId) -> bool {
    let events: Page<EventView> = expect(house.get(&format!("/runs/{run}/events?limit=200")), StatusCode::OK).await;
    events.items.iter().any(|event| event.kind == "swept")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_comes_to_light_only_after_the_end_is_stopped_and_written_down() {
    let house = House::with(Setup::default().table("[limits]\nsettle = \"3s\"")).await;
    makes(&house, b"hello");
    let run = native(&house, "main").await;
    house.builds(run).await;
    house.world.far().ends(run, Verdict::Success);
    let before = house.ends(run, Outcome::Passed).await;
    house.sees("what is there at the end was looked for", async || house.world.far().forgotten.len() == 1).await;
    assert_eq!(house.world.far().cancelled.len(), 0);
    // A start that was repeated has begun this, too, and it is shown only now.
    house.world.far().beside.push("7/9".parse().expect("a build"));
    house.sees("it is stopped", async || house.world.far().beside.is_empty()).await;
    house.sees("it stands in the event log", async || swept(&house, run).await).await;
    assert_eq!(house.run(run).await.steps, before.steps, "what has ended stays as it was");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_stops_every_build_that_was_begun() {
    let house = House::open().await;
    let run = native(&house, "main").await;
    house.builds(run).await;
    // The one that counts does not let itself be stopped the first time, so that the attempt is fenced.
    house.world.far().refusals = 1;
    house.world.far().beside.push("7/9".parse().expect("a build"));
    let _: Accepted = expect(house.post(&format!("/runs/{run}/stop"), &json!({})), StatusCode::ACCEPTED).await;
    house.ends(run, Outcome::Stopped).await;
    {
        let far = house.world.far();
        assert_eq!((far.fenced.len(), far.refusals, far.cancelled.len()), (1, 0, 3), "one is asked twice, the other once");
        assert!(far.beside.is_empty() && far.ended(run), "nothing goes on");
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_of_a_branch_are_built_one_after_the_other_and_two_branches_at_once() {
    let mut house = House::open().await;
    makes(&house, b"hello");
    let first = native(&house, "main").await;
    house.builds(first).await;
    let second = native(&house, "main").await;
    let other = native(&house, "other").await;
    house.builds(other).await;
    let waits = |view: &signalbox_contract::api::run::RunView| view.steps.get(1).is_some_and(|step| step.state == StepState::Waiting);
    let view = house.until("the second waits", second, waits).await;
    assert!(view.steps[1].reason.contains("main"), "{}", view.steps[1].reason);
    // Who holds what is written down.
    house.dies();
    house.comes_back().await;
    assert_eq!(phase(&house.run(second).await), "waiting");
    house.world.far().ends(first, Verdict::Success);
    house.ends(first, Outcome::Passed).await;
    house.builds(second).await;
    for run in [second, other] {
        house.world.far().ends(run, Verdict::Success);
        house.ends(run, Outcome::Passed).await;
    }
    assert_eq!(house.world.far().begun(second), 1);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_waits_for_a_person_says_so() {
    let house = House::open().await;
    let run = native(&house, "main").await;
    house.builds(run).await;
    house.world.far().part(run, "deploy", "last", BuildState::Waiting { why: "for somebody".to_owned() }, "");
    house.world.far().waits(run, "the job deploy waits for somebody to start it");
    let view = house.until("it says so", run, |view| view.steps[1].reason.contains("somebody")).await;
    assert_eq!(view.steps[1].attempts[0].parts[0].name, "the deploy");
    house.world.far().ends(run, Verdict::Failed);
    house.ends(run, Outcome::Failed).await;
    house.close().await;
}

// Threat 20.
#[tokio::test(flavor = "multi_thread")]
async fn a_hook_of_the_gitlab_that_builds_makes_the_look_come_at_once() {
    let forge = "[forges.forge]\nkind = \"gitlab\"\nurl = \"https://ci.example.org/\"";
    let mut house = House::with(Setup::default().table(forge)).await;
    house.stops().await;
    house.world.far().lazy = true;
    house.comes_back().await;
    let run = native(&house, "main").await;
    house.builds(run).await;
    house.world.far().ends(run, Verdict::Failed);
    // Whatever the hook says happened, the executor is asked what did.
    let body = json!({ "id": "1", "kind": "built" });
    let request = house.bare(Method::POST, "/webhooks/forge").header("x-secret", SECRET).json(&body);
    answer(request, StatusCode::NO_CONTENT).await;
    house.ends(run, Outcome::Failed).await;
    let page: Page<DeliverySummary> = expect(house.get("/deliveries"), StatusCode::OK).await;
    assert_eq!((page.items[0].state, page.items[0].reason.as_str()), (DeliveryState::Ignored, "Its executor is looked at."));
    house.close().await;
}

// Threat 20.
#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_claims_an_end_ends_nothing() {
    let forge = "[forges.forge]\nkind = \"gitlab\"\nurl = \"https://ci.example.org/\"";
    let house = House::with(Setup::default().table(forge)).await;
    let run = native(&house, "main").await;
    house.builds(run).await;
    let told = |id: u32| house.bare(Method::POST, "/webhooks/forge").header("x-secret", SECRET).json(&json!({ "id": id, "kind": "built" }));
    for id in 0..20 {
        answer(told(id), StatusCode::NO_CONTENT).await;
    }
    house
        .sees("each is taken up", async || {
            let page: Page<DeliverySummary> = expect(house.get("/deliveries"), StatusCode::OK).await;
            page.items.len() == 20 && page.items.iter().all(|one| one.state == DeliveryState::Ignored)
        })
        .await;
    // The executor was asked, and says that it is still at it.
    assert_eq!(phase(&house.run(run).await), "running");
    house.world.far().ends(run, Verdict::Failed);
    house.ends(run, Outcome::Failed).await;
    house.close().await;
}
