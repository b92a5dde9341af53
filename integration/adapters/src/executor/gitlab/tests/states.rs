//! Every state that GitLab knows, and some that it does not.

use serde_json::{Value, json};
use signalbox_contract::build::{BuildState, Stamp};
use signalbox_contract::{FailureClass, Verdict};

use super::world::{SHA, World};
use crate::executor::{Executor as _, ExecutorError, Scope};

fn job(id: u64, name: &str, status: &str) -> Value {
    json!({ "id": id, "name": name, "stage": "build", "status": status })
}

fn why(state: &BuildState) -> &str {
    match state {
        BuildState::Waiting { why } => why,
        other => panic!("it does not wait: {other:?}"),
    }
}

fn end(state: &BuildState) -> (Verdict, Option<FailureClass>, &str) {
    match state {
        BuildState::Ended { verdict, class, reason } => (*verdict, *class, reason),
        other => panic!("it has not ended: {other:?}"),
    }
}

#[tokio::test]
async fn every_state_has_its_meaning_and_unknown_ones_are_not_the_end() {
    for (status, meaning) in [
        ("created", "waiting"),
        ("waiting_for_resource", "waiting"),
        ("preparing", "waiting"),
        ("waiting_for_callback", "waiting"),
        ("pending", "waiting"),
        ("running", "running"),
        ("success", "success"),
        ("failed", "failed"),
        ("canceling", "running"),
        ("canceled", "aborted"),
        ("skipped", "skipped"),
        ("manual", "waiting"),
        ("scheduled", "waiting"),
        ("cancelled", "waiting"),
        ("hibernating", "waiting"),
        ("", "waiting"),
    ] {
        let world = World::new().await;
        let seen = world.shown(json!({ "status": status }), json!([job(1, "compile", status)])).await;
        for state in [&seen.state, &seen.parts[0].state] {
            let found = match state {
                BuildState::Waiting { why } => {
                    assert!(!why.is_empty());
                    "waiting"
                }
                BuildState::Running => "running",
                BuildState::Ended { verdict: Verdict::Success, .. } => "success",
                BuildState::Ended { verdict: Verdict::Failed, .. } => "failed",
                BuildState::Ended { verdict: Verdict::Aborted, .. } => "aborted",
                BuildState::Ended { verdict: Verdict::Skipped, .. } => "skipped",
                other => panic!("{status}: {other:?}"),
            };
            assert_eq!(found, meaning, "{status}");
        }
    }
}

#[tokio::test]
async fn the_word_for_people_decides_nothing() {
    let world = World::new().await;
    let pipeline = json!({ "status": "running", "detailed_status": { "text": "failed", "label": "passed", "group": "success" } });
    assert_eq!(world.shown(pipeline, json!([job(1, "compile", "running")])).await.state, BuildState::Running);
}

#[tokio::test]
async fn a_pipeline_that_waits_for_a_person_says_for_which_job() {
    let world = World::new().await;
    let seen = world.shown(json!({ "status": "manual" }), json!([job(2, "ship it", "manual"), job(1, "compile", "success")])).await;
    assert!(why(&seen.state).contains("by hand") && why(&seen.state).contains("ship it"), "{:?}", seen.state);
}

#[tokio::test]
async fn a_job_that_no_runner_takes_says_so_and_what_it_wants() {
    let world = World::new().await;
    let stuck =
        json!({ "id": 1, "name": "compile", "status": "pending", "created_at": "2026-05-05T11:50:00Z", "tag_list": ["arm", "big"] });
    let seen = world.shown(json!({ "status": "pending" }), json!([stuck])).await;
    for words in ["waited for a runner", "5 minutes", "arm, big"] {
        assert!(why(&seen.state).contains(words), "{:?}", seen.state);
    }
    let fresh = json!({ "id": 1, "name": "compile", "status": "pending", "created_at": "2026-05-05T11:50:00Z", "queued_duration": 2.5 });
    let seen = World::new().await.shown(json!({ "status": "pending" }), json!([fresh])).await;
    assert_eq!(why(&seen.state), "It waits for a runner.", "it was made long ago and is in the queue only now");
}

#[tokio::test]
async fn each_cause_of_a_failure_is_told_and_blamed_on_the_right_one() {
    use FailureClass::{Configuration, Infrastructure, Unknown, Work};
    for (cause, verdict, class, words) in [
        ("script_failure", Verdict::Failed, Work, "its script failed"),
        ("job_execution_timeout", Verdict::TimedOut, Work, "longer than its timeout"),
        ("stuck_or_timeout_failure", Verdict::Failed, Infrastructure, "no runner took it"),
        ("runner_system_failure", Verdict::Failed, Infrastructure, "its runner failed"),
        ("no_matching_runner", Verdict::Failed, Configuration, "no runner with its tags"),
        ("ci_quota_exceeded", Verdict::Failed, Configuration, "minutes"),
        ("gremlins\u{1b}[2J", Verdict::Failed, Unknown, "`gremlins[2J`"),
    ] {
        let world = World::new().await;
        let mut failed = job(1, "compile", "failed");
        failed["failure_reason"] = json!(cause);
        let seen = world.shown(json!({ "status": "failed" }), json!([failed])).await;
        let (found, blamed, reason) = end(&seen.state);
        assert_eq!((found, blamed), (verdict, Some(class)), "{cause}");
        assert!(reason.contains("compile") && reason.contains(words), "{reason}");
    }
}

#[tokio::test]
async fn a_definition_that_cannot_be_used_and_a_pipeline_without_jobs_are_told() {
    let world = World::new().await;
    let errors = "jobs:build config should implement\nthe script: keyword";
    let seen = world.shown(json!({ "status": "failed", "yaml_errors": errors }), json!([])).await;
    let (verdict, class, reason) = end(&seen.state);
    assert_eq!((verdict, class), (Verdict::Failed, Some(FailureClass::Work)));
    assert!(reason.contains("should implement the script: keyword"), "{reason}");
    let seen = World::new().await.shown(json!({ "status": "failed" }), json!([])).await;
    assert!(end(&seen.state).2.contains("no jobs"), "{:?}", seen.state);
    let seen = World::new().await.shown(json!({ "status": "skipped" }), json!([])).await;
    assert!(end(&seen.state).2.contains("[ci skip]"), "{:?}", seen.state);
}

#[tokio::test]
async fn what_may_fail_fails_nothing_and_is_mentioned() {
    let world = World::new().await;
    let mut lint = job(1, "lint", "failed");
    lint["allow_failure"] = json!(true);
    lint["failure_reason"] = json!("script_failure");
    let seen = world.shown(json!({ "status": "success" }), json!([job(2, "compile", "success"), lint])).await;
    let (verdict, _, reason) = end(&seen.state);
    assert_eq!(verdict, Verdict::Success);
    assert!(reason.contains("lint"), "{reason}");
    assert!(seen.parts[0].may_fail && end(&seen.parts[0].state).0 == Verdict::Failed);
}

#[tokio::test]
async fn of_a_job_that_was_tried_again_the_last_try_counts() {
    let world = World::new().await;
    let jobs = json!([job(5, "compile", "success"), job(3, "compile", "failed"), job(1, "compile", "failed")]);
    let seen = world.shown(json!({ "status": "success" }), jobs).await;
    let parts: Vec<&str> = seen.parts.iter().map(|part| part.part.as_str()).collect();
    assert_eq!(parts, ["5"]);
}

#[tokio::test]
async fn a_retry_in_gitlab_makes_newer_observations_of_the_same_build() {
    let world = World::new().await;
    let mut first = job(1, "compile", "failed");
    first["created_at"] = json!("2026-05-05T11:00:00Z");
    first["finished_at"] = json!("2026-05-05T11:01:00Z");
    let failed = world.shown(json!({ "status": "failed", "updated_at": "2026-05-05T11:01:00Z" }), json!([first])).await;
    let mut second = job(2, "compile", "running");
    second["created_at"] = json!("2026-05-05T11:02:00Z");
    let again = world.shown(json!({ "status": "running", "updated_at": "2026-05-05T11:02:01Z" }), json!([second])).await;
    assert_eq!(again.state, BuildState::Running);
    assert!(again.stamp > failed.stamp, "whoever keeps an ended attempt as it was can tell which came first");
}

#[tokio::test]
async fn stamps_rise_with_the_jobs_though_the_pipelines_own_time_stands_still() {
    let world = World::new().await;
    let pipeline = json!({ "status": "running", "updated_at": "2026-05-05T11:00:00.123Z" });
    let mut newest = Stamp::default();
    for states in [["running", "created"], ["success", "created"], ["success", "pending"], ["success", "running"], ["success", "success"]] {
        let jobs = json!([job(2, "test", states[1]), job(1, "compile", states[0])]);
        let seen = world.shown(pipeline.clone(), jobs).await;
        assert!(seen.stamp > newest, "{states:?}");
        newest = seen.stamp;
    }
}

#[tokio::test]
async fn pipelines_that_a_pipeline_starts_are_followed_and_not_without_end() {
    let world = World::new().await;
    let bridge = |id: u64, name: &str, project: u64, pipeline: u64| {
        let downstream = json!({ "id": pipeline, "project_id": project, "status": "running" });
        json!([{ "id": id, "name": name, "stage": "test", "status": "running", "downstream_pipeline": downstream }])
    };
    world.put("GET projects/7/pipelines/70/bridges", &bridge(10, "child", 7, 71));
    world.put("GET projects/7/pipelines/71/jobs", &json!([job(11, "compile", "running")]));
    world.put("GET projects/7/pipelines/71/bridges", &bridge(12, "other", 9, 90));
    world.put("GET projects/9/pipelines/90/jobs", &json!([job(13, "deploy", "pending")]));
    // It leads back to where it began.
    world.put("GET projects/9/pipelines/90/bridges", &bridge(14, "again", 7, 70));
    let seen = world.shown(json!({ "status": "running" }), json!([job(1, "first", "success")])).await;
    let parts: Vec<(&str, &str)> = seen.parts.iter().map(|part| (part.part.as_str(), part.name.as_str())).collect();
    let expected = [
        ("1", "first"),
        ("10", "child"),
        ("11", "child / compile"),
        ("12", "child / other"),
        ("9-13", "child / other / deploy"),
        ("9-14", "child / other / again"),
    ];
    assert_eq!(parts, expected);
}

#[tokio::test]
async fn another_project_that_is_closed_to_us_hides_nothing_else() {
    let world = World::new().await;
    let downstream = json!({ "id": 90, "project_id": 9, "status": "failed" });
    let bridge =
        json!([{ "id": 10, "name": "other", "status": "failed", "failure_reason": "script_failure", "downstream_pipeline": downstream }]);
    world.put("GET projects/7/pipelines/70/bridges", &bridge);
    let seen = world.shown(json!({ "status": "failed" }), json!([job(1, "compile", "success")])).await;
    assert!(end(&seen.state).2.contains("other"), "{:?}", seen.state);
    assert!(!seen.parts[1].has_log, "what only starts another pipeline prints nothing");
}

#[tokio::test]
async fn a_pipeline_that_was_deleted_is_gone_and_one_that_is_not_shown_is_not() {
    let world = World::new().await;
    assert_eq!(world.look().await.state, BuildState::Gone, "its project is there, and it is not");
    world.refuse("GET projects/7", "404 Not Found", &json!({ "message": "404 Project Not Found" }));
    assert_eq!(world.look().await.state, BuildState::Gone, "its group is there, and its project is not");
    world.refuse("GET groups/builds", "404 Not Found", &json!({ "message": "404 Group Not Found" }));
    let seen = world.executor.observe(&Scope::default(), &[world.tracked("7/70")]).await.expect("asked");
    assert_eq!(seen, [], "a token that sees nothing any more says nothing of a build");
}

#[tokio::test]
async fn several_builds_of_a_project_are_asked_for_together() {
    let world = World::new().await;
    let ids: Vec<u64> = (70..80).collect();
    let listed: Vec<Value> =
        ids.iter().map(|id| json!({ "id": id, "sha": SHA, "status": "pending", "updated_at": "2026-05-05T11:59:59Z" })).collect();
    world.put("GET projects/7/pipelines", &json!(listed));
    for id in &ids {
        world.put(&format!("GET projects/7/pipelines/{id}/jobs"), &json!([job(*id, "compile", "pending")]));
        world.put(&format!("GET projects/7/pipelines/{id}/bridges"), &json!([]));
    }
    let live: Vec<_> = ids.iter().map(|id| world.tracked(&format!("7/{id}"))).collect();
    let first = world.executor.observe(&Scope::default(), &live).await.expect("observed");
    assert_eq!(first.len(), ids.len());
    let calls = world.server.seen().len();
    let again = world.executor.observe(&Scope::default(), &live).await.expect("observed");
    assert_eq!(again.len(), ids.len());
    assert_eq!(world.server.seen().len() - calls, 1, "what waits and has not moved costs one question for all");
    assert_eq!(world.calls("GET projects/7/pipelines/70"), 0);
}

#[tokio::test]
async fn one_that_cannot_be_read_does_not_hide_the_others() {
    let world = World::new().await;
    world.show(json!({ "status": "running" }), &json!([]));
    world.put("GET projects/7/pipelines/71", &json!("<html>"));
    let live = [world.tracked("7/70"), world.tracked("7/71"), world.tracked("")];
    let seen = world.executor.observe(&Scope::default(), &live).await.expect("observed");
    let mut states: Vec<_> = seen.iter().map(|seen| (seen.build.as_str(), &seen.state)).collect();
    states.sort_by_key(|(build, _)| (*build).to_owned());
    assert_eq!(states, [("", &BuildState::Gone), ("7/70", &BuildState::Running)]);
    assert!(world.executor.observe(&Scope::default(), &live[1..2]).await.is_err(), "alone, it is an error");
}

#[tokio::test]
async fn what_cannot_be_cancelled_because_it_is_not_shown_is_not_believed_to_have_stopped() {
    let world = World::new().await;
    let tracked = world.tracked("7/70");
    let missing = json!({ "message": "404 Not Found" });
    // The project is there, and the pipeline is not: it was deleted.
    world.refuse("POST projects/7/pipelines/70/cancel", "404 Not Found", &missing);
    world.executor.cancel(&tracked).await.expect("there is nothing to stop");
    // Neither the project nor the group is shown: the token has lost its right, and the pipeline may well run.
    world.refuse("GET projects/7", "404 Not Found", &missing);
    world.refuse("GET groups/builds", "404 Not Found", &missing);
    let hidden = world.executor.cancel(&tracked).await;
    assert!(matches!(hidden, Err(ExecutorError::Retry { .. })), "{hidden:?}");
}
