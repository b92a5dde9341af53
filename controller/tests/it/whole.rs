//! One `POST /cd` from beginning to end.

use reqwest::StatusCode;
use serde_json::json;
use signalbox_contract::Verdict;
use signalbox_contract::api::Page;
use signalbox_contract::api::run::{EventView, Outcome, RunSummary, Status, StepState};
use signalbox_contract::job::VariableName;

use crate::house::{House, SOURCE, answer, expect};
use crate::stand_ins::At;

#[tokio::test(flavor = "multi_thread")]
async fn one_post_mirrors_builds_stores_and_deploys() {
    let house = House::open().await;
    house.world.builds().says = b"hello from the build\n".to_vec();
    let run = house.branch("main").await;
    let view = house.ends(run, Outcome::Passed).await;
    let names: Vec<&str> = view.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["mirror", "build", "deploy"]);
    assert!(view.steps.iter().all(|step| step.state == StepState::Ended && step.verdict == Some(Verdict::Success)));
    let digest = view.steps[1].attempts[0].artifacts[0].digest;
    assert_eq!(house.world.hosts().shows("test", "hello"), Some(digest), "it was deployed to the default environment");
    assert_eq!(view.steps[2].attempts[0].hosts.len(), 2);

    let status: Status = expect(house.get("/status"), StatusCode::OK).await;
    assert_eq!((status.finished.as_slice(), status.queued.len(), status.building.len()), ([run].as_slice(), 0, 0));
    assert_eq!(status.builds[&run].number, 1);
    let runs: Page<RunSummary> = expect(house.get("/runs?repo=hello&ref=main&state=finished"), StatusCode::OK).await;
    assert_eq!(runs.items.len(), 1);
    let events: Page<EventView> = expect(house.get(&format!("/runs/{run}/events")), StatusCode::OK).await;
    let words: Vec<&str> = events.items.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!((words.first(), words.last()), (Some(&"accepted"), Some(&"finished")), "{words:?}");
    assert!(events.items.iter().zip(1..).all(|(event, n)| event.n == n), "numbered without a gap");
    assert_eq!(events.items[0].principal.as_deref(), Some("tester"));
    let log = answer(house.get(&format!("/runs/{run}/steps/build/log")), StatusCode::OK).await;
    assert_eq!(log.headers()["signalbox-log-complete"], "true");
    assert_eq!(log.text().await.expect("a log"), "hello from the build\n");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_said_is_filled_in_and_what_is_said_holds() {
    let house = House::open().await;
    let by_url = json!({ "repo": format!("{SOURCE}.git"), "ref": "main", "artifact": "site/hello" });
    let run = house.cd(&by_url).await;
    let view = house.ends(run, Outcome::Passed).await;
    let summary = &view.summary;
    assert_eq!(summary.repo.as_ref().map(AsRef::as_ref), Some("hello"), "a URL is as good as a name");
    assert_eq!(summary.published_name.as_ref().map(AsRef::as_ref), Some("hello"), "the artifact's last part");
    assert_eq!(view.executor.as_ref().map(AsRef::as_ref), Some("local"));
    assert_eq!(view.job.as_ref().map(AsRef::as_ref), Some("cd"));

    let said = json!({
        "repo": "hello", "ref": "refs/heads/main", "artifact": "site/hello", "environment": "production",
        "published_name": "shop", "executor": "spare", "job": "cd", "inputs": { "COLOUR": "red" },
    });
    let run = house.cd(&said).await;
    let view = house.ends(run, Outcome::Passed).await;
    assert_eq!(view.executor.as_ref().map(AsRef::as_ref), Some("spare"));
    assert!(house.world.hosts().shows("production", "shop").is_some());
    let request = house.world.builds().request(run);
    let variable = |name: &str| request.env.get(&name.parse::<VariableName>().expect("a name")).cloned();
    assert_eq!(variable("COLOUR").as_deref(), Some("red"));
    assert_eq!(variable("SIGNALBOX_RUN"), Some(run.to_string()));
    assert_eq!(variable("CICD_ACTIVITY_SEQUENCE").as_deref(), Some("2"));
    assert_eq!(variable("CICD_GIT_BRANCH").as_deref(), Some("main"));
    assert_eq!(request.source.branch.as_str(), "main");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_artifact_nothing_is_deployed() {
    let house = House::open().await;
    let run = house.cd(&json!({ "repo": "team/other", "ref": "main" })).await;
    let view = house.ends(run, Outcome::Passed).await;
    assert_eq!(view.steps.len(), 2);
    assert_eq!(house.world.asked(At::Deploy, "deploy"), 0);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_behind_at_the_workers_is_tidied_up() {
    let house = House::open().await;
    let run = house.branch("main").await;
    house.ends(run, Outcome::Passed).await;
    house.sees("the ref is taken away", async || house.world.sources().shown.is_empty()).await;
    house.sees("the executor may forget it", async || house.world.builds().forgotten.len() == 1).await;
    assert_eq!(house.world.done(At::Store, "close"), 1);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_passed_is_deployed() {
    let house = House::open().await;
    for (script, outcome) in [("fail", Outcome::Failed), ("unstable", Outcome::Unstable), ("vanish", Outcome::Lost)] {
        house.world.sources().script(script, script);
        let run = house.branch(script).await;
        let view = house.ends(run, outcome).await;
        assert_eq!(view.steps[2].state, StepState::Skipped, "{script}");
        assert!(!view.summary.reason.is_empty(), "{script}");
        let tries = if script == "vanish" { 3 } else { 1 };
        assert_eq!(view.steps[1].attempts.len(), tries, "{script}: only what was lost is tried again, and only twice");
    }
    assert_eq!(house.world.asked(At::Deploy, "deploy"), 0);
    assert!(house.world.blobs().shown.is_empty(), "nothing was published either");
    house.close().await;
}
