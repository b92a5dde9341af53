//! One `POST /cd` from beginning to end.

use reqwest::StatusCode;
use serde_json::{Value, json};
use signalbox_contract::api::Page;
use signalbox_contract::api::run::{EventView, Outcome, RunState, RunSummary, Status, StepState};
use signalbox_contract::api::vcs::FileContent;
use signalbox_contract::job::VariableName;
use signalbox_contract::{FailureCode, Verdict};

use crate::house::{House, SOURCE, Setup, answer, expect, phase};
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
