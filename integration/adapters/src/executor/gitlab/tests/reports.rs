//! What the tests of a build said, as its executor keeps it.

use std::time::Duration;

use serde_json::{Value, json};
use signalbox_contract::build::{BuildState, PartState, TestCounts};
use signalbox_contract::{FailureClass, Verdict};

use super::world::World;
use crate::executor::{Executor as _, LogCursor, PartRef};
use crate::gitlab::tests::server::answer;

const REPORT: &str = "GET projects/7/pipelines/70/test_report";

fn job(artifacts: &Value) -> Value {
    json!([{ "id": 1, "name": "compile", "stage": "build", "status": "success", "artifacts": artifacts }])
}

fn uploaded() -> Value {
    job(&json!([{ "file_type": "junit", "filename": "junit.xml.gz" }]))
}

fn report(case: &Value) -> Value {
    json!({
        "total_count": 3, "success_count": 1, "failed_count": 1, "skipped_count": 1, "error_count": 0, "total_time": 1.5,
        "test_suites": [{ "name": "compile", "test_cases": [case, { "status": "success", "name": "x" }, 7] }],
    })
}

fn of_tests(parts: &[PartState]) -> Option<&PartState> {
    parts.iter().find(|part| part.part == "tests")
}

async fn log(world: &World) -> String {
    let part = PartRef { tracked: world.tracked("7/70"), part: "tests".to_owned() };
    let chunk = world.executor.log(&part, &LogCursor::default()).await.expect("read");
    assert!(chunk.complete);
    String::from_utf8_lossy(&chunk.bytes).into_owned()
}

#[tokio::test]
async fn what_tests_said_is_a_part_with_counts_and_a_log() {
    let world = World::new().await;
    world.put(REPORT, &report(&json!({ "status": "failed", "name": "adds", "classname": "Sums\u{1b}[31m" })));
    let seen = world.shown(json!({ "status": "failed" }), job(&json!([]))).await;
    let tests = of_tests(&seen.parts).expect("there were tests");
    let reason = "3 tests: 1 passed, 1 failed, 1 were skipped.".to_owned();
    assert_eq!(tests.state, BuildState::Ended { verdict: Verdict::Failed, class: Some(FailureClass::Work), reason });
    assert_eq!(tests.tests, Some(TestCounts { total: 3, failed: 1, errors: 0, skipped: 1, took_ms: Some(1500) }));
    assert!(log(&world).await.contains("FAILED: compile: Sums[31m adds"));
}

#[tokio::test]
async fn a_report_that_was_uploaded_is_waited_for_and_one_that_never_comes_is_told_of() {
    let world = World::new().await;
    world.put(REPORT, &json!({ "total_count": 0, "test_suites": [] }));
    let seen = world.shown(json!({ "status": "success" }), uploaded()).await;
    assert_eq!(seen.state, BuildState::Running, "what has ended stays as it was when it ended");
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(world.look().await.state, BuildState::Running);
    world.put(REPORT, &report(&json!({ "status": "failed", "name": "adds" })));
    let seen = world.look().await;
    assert!(matches!(seen.state, BuildState::Ended { verdict: Verdict::Success, .. }), "{:?}", seen.state);
    assert_eq!(of_tests(&seen.parts).and_then(|part| part.tests).map(|tests| tests.total), Some(3));

    let world = World::new().await;
    world.refuse(REPORT, "500 Internal Server Error", &json!({ "message": "500 Internal Server Error" }));
    assert_eq!(world.shown(json!({ "status": "success" }), uploaded()).await.state, BuildState::Running);
    world.clock.advance(Duration::from_secs(61));
    let seen = world.look().await;
    assert!(matches!(seen.state, BuildState::Ended { verdict: Verdict::Success, .. }), "the jobs have passed: {:?}", seen.state);
    let part = of_tests(&seen.parts).expect("it is told of");
    assert!(part.may_fail && !part.has_log && part.tests.is_none(), "{part:?}");
    assert!(matches!(&part.state, BuildState::Ended { reason, .. } if reason.contains("does not tell what they say")), "{part:?}");
}

#[tokio::test]
async fn where_nothing_was_uploaded_no_report_is_waited_for() {
    let world = World::new().await;
    world.refuse(REPORT, "500 Internal Server Error", &json!({ "message": "500 Internal Server Error" }));
    let seen = world.shown(json!({ "status": "success" }), job(&json!([{ "file_type": "archive" }]))).await;
    assert!(matches!(seen.state, BuildState::Ended { verdict: Verdict::Success, .. }), "{:?}", seen.state);
    assert_eq!(of_tests(&seen.parts), None);
}

#[tokio::test]
async fn of_a_report_that_is_too_large_or_of_another_type_the_sums_are_kept() {
    let huge = format!(r#"{{"total_count":3,"test_suites":["{}"]}}"#, "x".repeat(9 << 20));
    for body in [huge.as_str(), r#"["html"]"#, r#"{"total_count":"many"}"#] {
        let world = World::new().await;
        world.put_raw(REPORT, answer("200 OK", "", body));
        let total = json!({ "time": -1.0, "count": u64::MAX, "success": 1, "failed": 0, "skipped": 2, "error": 0, "suite_error": null });
        let summary = json!({ "total": total, "test_suites": [{ "name": "compile", "total_count": 3 }] });
        world.put("GET projects/7/pipelines/70/test_report_summary", &summary);
        let seen = world.shown(json!({ "status": "success" }), uploaded()).await;
        let part = of_tests(&seen.parts).expect("the sums");
        assert_eq!(part.tests, Some(TestCounts { total: u32::MAX, failed: 0, errors: 0, skipped: 2, took_ms: None }));
        assert!(log(&world).await.contains("1 passed, 2 were skipped"));
    }
}
