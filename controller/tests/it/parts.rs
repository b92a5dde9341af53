//! Builds that their executor shows in parts, each with a log of its own.

use reqwest::StatusCode;
use serde_json::json;
use signalbox_contract::api::run::Outcome;
use signalbox_contract::build::BuildState;
use signalbox_contract::{FailureClass, RunId, Verdict};

use crate::house::{House, answer, refused};

async fn text(house: &House, run: RunId, part: &str) -> String {
    let path = format!("/runs/{run}/steps/build/log?part={part}");
    answer(house.get(&path), StatusCode::OK).await.text().await.expect("text")
}

async fn begun(house: &House) -> RunId {
    let run = house.cd(&json!({ "repo": "native", "ref": "main" })).await;
    house.builds(run).await;
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn each_part_has_a_log_that_is_read_while_it_is_written_and_kept() {
    let mut house = House::open().await;
    let run = begun(&house).await;
    let long = "0123456789\n".repeat(20_000);
    house.world.far().part(run, "11", "build", BuildState::Running, "compiling\n");
    house.world.far().part(run, "12", "test", BuildState::Running, &long);
    house.world.far().part(run, "13", "deploy", BuildState::Waiting { why: "for somebody".to_owned() }, "");
    house.until("the parts are there", run, |view| view.steps[1].attempts[0].parts.len() == 3).await;
    house.sees("the first part's log", async || text(&house, run, "11").await == "compiling\n").await;
    house.sees("the other's", async || text(&house, run, "12").await.len() == long.len()).await;
    assert_eq!(text(&house, run, "13").await, "", "it has not begun");

    let ended = BuildState::Ended { verdict: Verdict::Failed, class: Some(FailureClass::Work), reason: "exit code 2".to_owned() };
    house.world.far().part(run, "11", "build", ended, "compiling\nit does not compile\n");
    house.world.far().ends(run, Verdict::Failed);
    house.ends(run, Outcome::Failed).await;
    house.dies();
    house.comes_back().await;
    assert_eq!(text(&house, run, "11").await, "compiling\nit does not compile\n");
    assert_eq!(text(&house, run, "12").await, long);
    assert_eq!(text(&house, run, "the%2011").await, "compiling\nit does not compile\n", "by its name, too");
    let all = answer(house.get(&format!("/runs/{run}/steps/build/log?part=11")), StatusCode::OK).await;
    assert_eq!(all.headers()["signalbox-log-complete"], "true");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_the_log_of_several_parts_is_told_which_there_are() {
    let house = House::open().await;
    let run = begun(&house).await;
    house.world.far().part(run, "11", "build", BuildState::Running, "one\n");
    house.until("a part is there", run, |view| view.steps[1].attempts[0].parts.len() == 1).await;
    let path = format!("/runs/{run}/steps/build/log");
    house
        .sees("of one part the log is its log", async || {
            answer(house.get(&path), StatusCode::OK).await.text().await.expect("text") == "one\n"
        })
        .await;
    for part in 12..60 {
        house.world.far().part(run, &part.to_string(), "test", BuildState::Running, "more\n");
    }
    house.until("many parts are there", run, |view| view.steps[1].attempts[0].parts.len() == 49).await;
    let problem = refused(house.get(&path), 400).await;
    let words = &problem.errors[0].detail;
    assert!(words.contains("11 (the 11)") && words.contains("29 more"), "{words}");
    let missing = refused(house.get(&format!("{path}?part=nothing")), 404).await;
    assert!(missing.detail.contains("12 (the 12)"), "{}", missing.detail);
    house.world.far().ends(run, Verdict::Success);
    house.ends(run, Outcome::Passed).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_the_parts_and_the_log_that_tells_most() {
    let house = House::open().await;
    let run = begun(&house).await;
    house.world.far().part(run, "a/1", "build", BuildState::Running, "it does not compile");
    house.world.far().part(run, "<b>", "test", BuildState::Running, "<script>alert(1)</script>");
    house.until("the parts are there", run, |view| view.steps[1].attempts[0].parts.len() == 2).await;
    house.world.far().ends(run, Verdict::Failed);
    house.ends(run, Outcome::Failed).await;
    let page = answer(house.get(&format!("/view/runs/{run}")), StatusCode::OK).await.text().await.expect("a page");
    assert!(page.contains("it does not compile"), "the first that failed: {page}");
    assert!(
        page.contains("/steps/build/log?attempt=1&#38;part=a%2F1") || page.contains("/steps/build/log?attempt=1&amp;part=a%2F1"),
        "{page}"
    );
    assert!(!page.contains("the <b>") && !page.contains("<script>"));
    let log = answer(house.get(&format!("/view/runs/{run}/steps/build/log?attempt=1&part=%3Cb%3E")), StatusCode::OK).await;
    let log = log.text().await.expect("a page");
    assert!(log.contains("alert(1)") && !log.contains("<script>"), "{log}");
    house.close().await;
}
