//! How pipelines begin, are found, and are kept from beginning.

use std::time::Duration;

use serde_json::{Value, json};
use signalbox_contract::FailureCode;
use signalbox_contract::api::vcs::Naming;

use super::world::{OTHER_SHA, SHA, World};
use crate::executor::{Definition, Executor as _, ExecutorError, Fenced, Found, NativeBuild, Order, Started};
use crate::gitlab::tests::server::answer;

const CREATE: &str = "POST projects/7/pipeline";
const LIST: &str = "GET projects/7/pipelines";

fn pipeline(id: u64, status: &str, source: &str, ref_name: &str) -> Value {
    json!({ "id": id, "status": status, "sha": SHA, "source": source, "ref": ref_name })
}

fn build(name: &str) -> Started {
    Started::Build(name.parse().expect("a name"))
}

fn words(error: ExecutorError) -> String {
    match error {
        ExecutorError::Refused(failure) => failure.to_string(),
        other => panic!("not a refusal: {other:?}"),
    }
}

#[tokio::test]
async fn a_run_is_started_on_its_own_branch_with_its_variables() {
    let world = World::new().await;
    world.put(CREATE, &pipeline(70, "created", "api", &world.branch()));
    assert_eq!(world.start(&world.order(Naming::Run, true)).await.expect("started"), build("7/70"));
    assert_eq!(world.calls(CREATE), 1);
}

#[tokio::test]
async fn a_project_that_lets_nobody_set_variables_is_built_without() {
    let world = World::new().await;
    let refusal = json!({ "message": { "base": ["Insufficient permissions to set pipeline variables"] } });
    world.refuse(CREATE, "400 Bad Request", &refusal);
    world.then(CREATE, "201 Created", &pipeline(70, "created", "api", &world.branch()));
    assert_eq!(world.start(&world.order(Naming::Run, true)).await.expect("started"), build("7/70"));
    assert_eq!(world.calls(CREATE), 2);
}

#[tokio::test]
async fn what_is_there_already_is_not_started_again() {
    let world = World::new().await;
    world.put(LIST, &json!([pipeline(70, "running", "api", &world.branch())]));
    assert_eq!(world.start(&world.order(Naming::Run, true)).await.expect("found"), build("7/70"));
    assert_eq!(world.calls(CREATE), 0);
}

#[tokio::test]
async fn a_push_that_gitlab_skipped_is_no_build_of_ours() {
    let world = World::new().await;
    world.put(LIST, &json!([pipeline(69, "skipped", "push", &world.branch())]));
    world.put(CREATE, &pipeline(70, "created", "api", &world.branch()));
    assert_eq!(world.start(&world.order(Naming::Run, true)).await.expect("started"), build("7/70"));
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_its_pipeline_is_found() {
    let world = World::new().await;
    world.put_raw(CREATE, Vec::new());
    let order = world.order(Naming::Run, true);
    let anchor = world.anchor(&order).await;
    assert!(matches!(world.executor.start(&order, &anchor).await, Err(ExecutorError::Unknown(_))));
    world.put("GET projects/7/repository/branches/cd%2F", &json!({}));
    let branch = format!("GET projects/7/repository/branches/{}", world.branch().replace('/', "%2F"));
    world.put(&branch, &json!({ "name": world.branch(), "commit": { "id": SHA } }));
    assert_eq!(world.executor.find(&order.key, &anchor).await.expect("searched"), Found::NotYet);
    world.put(LIST, &json!([pipeline(70, "pending", "api", &world.branch())]));
    assert_eq!(world.executor.find(&order.key, &anchor).await.expect("found"), Found::One("7/70".parse().expect("a name")));
}

#[tokio::test]
async fn of_two_on_one_branch_the_older_counts() {
    let world = World::new().await;
    let order = world.order(Naming::Run, true);
    let anchor = world.anchor(&order).await;
    world.put(LIST, &json!([pipeline(71, "running", "api", &world.branch()), pipeline(70, "running", "api", &world.branch())]));
    let found = world.executor.find(&order.key, &anchor).await.expect("found");
    let (counts, surplus) = ("7/70".parse().expect("a name"), vec!["7/71".parse().expect("a name")]);
    assert_eq!(found, Found::Many { counts, surplus });
}

#[tokio::test]
async fn what_still_goes_on_beside_the_one_that_counted_is_named_when_its_attempt_is_over() {
    let world = World::new().await;
    let order = world.order(Naming::Run, true);
    let anchor = world.anchor(&order).await;
    let on = |id, status| pipeline(id, status, "api", &world.branch());
    world.put(LIST, &json!([on(73, "success"), on(72, "running"), on(71, "pending"), on(70, "running")]));
    let counted = "7/70".parse().expect("a name");
    let surplus = world.executor.surplus(&order.key, &anchor, Some(&counted)).await.expect("looked for");
    assert_eq!(surplus, ["7/71".parse().expect("a name"), "7/72".parse().expect("a name")], "not the one that counted, nor what is over");
}

#[tokio::test]
async fn under_a_shared_name_only_what_names_the_attempt_is_surplus_of_it() {
    let world = World::new().await;
    let order = world.order(Naming::Same, false);
    let anchor = world.anchor(&order).await;
    let names = |run: &str, attempt: &str| {
        json!([
            { "key": "SIGNALBOX_RUN", "value": run },
            { "key": "SIGNALBOX_STEP", "value": "1" },
            { "key": "SIGNALBOX_ATTEMPT", "value": attempt },
        ])
    };
    let run = order.key.run.to_string();
    world.put(
        LIST,
        &json!([
            pipeline(66, "running", "push", "main"),
            pipeline(65, "running", "api", "main"),
            pipeline(64, "running", "api", "main"),
            pipeline(63, "running", "api", "main"),
        ]),
    );
    world.put("GET projects/7/pipelines/63/variables", &names("another", "1"));
    world.put("GET projects/7/pipelines/64/variables", &names(&run, "2"));
    world.put("GET projects/7/pipelines/65/variables", &names(&run, "1"));
    let surplus = world.executor.surplus(&order.key, &anchor, None).await.expect("looked for");
    assert_eq!(surplus, ["7/65".parse().expect("a name")]);
}

#[tokio::test]
async fn of_a_project_that_is_gone_nothing_goes_on_and_of_one_that_is_hidden_nobody_knows() {
    let world = World::new().await;
    let order = world.order(Naming::Run, true);
    let anchor = world.anchor(&order).await;
    world.refuse("GET projects/7", "404 Not Found", &json!({ "message": "404 Project Not Found" }));
    world.put("GET groups/builds", &json!({ "id": 1, "full_path": "builds" }));
    assert_eq!(world.executor.surplus(&order.key, &anchor, None).await.expect("gone"), []);
    world.refuse("GET groups/builds", "404 Not Found", &json!({ "message": "404 Group Not Found" }));
    let hidden = world.executor.surplus(&order.key, &anchor, None).await;
    assert!(matches!(hidden, Err(ExecutorError::Retry { .. })), "{hidden:?}");
}

#[tokio::test]
async fn a_push_under_the_original_name_starts_by_itself_and_is_told_from_others() {
    let world = World::new().await;
    world.put(LIST, &json!([pipeline(60, "success", "push", "main")]));
    let order = world.order(Naming::Same, true);
    let anchor = world.anchor(&order).await;
    assert_eq!(world.executor.start(&order, &anchor).await.expect("offered"), Started::Offered);
    assert_eq!(world.calls(CREATE), 0);
    assert_eq!(world.executor.find(&order.key, &anchor).await.expect("searched"), Found::NotYet, "the one below the anchor is older");
    let mut other = pipeline(62, "running", "push", "main");
    other["sha"] = json!(OTHER_SHA);
    let schedule = pipeline(61, "running", "schedule", "main");
    world.put(LIST, &json!([pipeline(63, "running", "push", "main"), other, schedule, pipeline(60, "success", "push", "main")]));
    assert_eq!(world.executor.find(&order.key, &anchor).await.expect("found"), Found::One("7/63".parse().expect("a name")));
}

#[tokio::test]
async fn a_commit_that_was_there_already_is_started_by_hand_and_another_attempts_pipeline_is_left_alone() {
    let world = World::new().await;
    let order = world.order(Naming::Same, false);
    let anchor = world.anchor(&order).await;
    let theirs = json!([{ "key": "SIGNALBOX_RUN", "value": "another" }]);
    world.put(LIST, &json!([pipeline(64, "running", "api", "main")]));
    world.put("GET projects/7/pipelines/64/variables", &theirs);
    world.put(CREATE, &pipeline(65, "created", "api", "main"));
    assert_eq!(world.executor.start(&order, &anchor).await.expect("started"), build("7/65"));
    world.put(LIST, &json!([pipeline(65, "running", "api", "main"), pipeline(64, "running", "api", "main")]));
    let ours = json!([
        { "key": "SIGNALBOX_RUN", "value": order.key.run.to_string() },
        { "key": "SIGNALBOX_STEP", "value": "1" },
        { "key": "SIGNALBOX_ATTEMPT", "value": "1" },
    ]);
    world.put("GET projects/7/pipelines/65/variables", &ours);
    assert_eq!(world.executor.find(&order.key, &anchor).await.expect("found"), Found::One("7/65".parse().expect("a name")));
}

#[tokio::test]
async fn a_pipeline_of_another_commit_is_cancelled_and_shown_as_what_it_is() {
    let world = World::new().await;
    let mut other = pipeline(70, "created", "api", &world.branch());
    other["sha"] = json!(OTHER_SHA);
    world.put(CREATE, &other);
    world.put("POST projects/7/pipelines/70/cancel", &other);
    assert_eq!(world.start(&world.order(Naming::Run, true)).await.expect("started"), build("7/70"));
    assert_eq!(world.calls("POST projects/7/pipelines/70/cancel"), 1);
    // Whoever looks at it sees by its commit that it is not ours, and has ours tried again.
    let seen = world.shown(json!({ "status": "canceled", "sha": OTHER_SHA }), json!([])).await;
    assert_eq!(seen.sha, Some(OTHER_SHA.parse().expect("a commit")));
}

#[tokio::test]
async fn a_branch_that_gitlab_does_not_know_yet_is_waited_for_and_one_that_is_gone_is_not() {
    let world = World::new().await;
    world.refuse(CREATE, "400 Bad Request", &json!({ "message": { "base": ["Reference not found"] } }));
    let commit = format!("GET projects/7/repository/commits/{}", world.branch().replace('/', "%2F"));
    world.put(&commit, &json!({ "id": SHA }));
    let order = world.order(Naming::Run, true);
    assert!(matches!(world.start(&order).await, Err(ExecutorError::Retry { after: Some(_), .. })));
    world.refuse(&commit, "404 Not Found", &json!({ "message": "404 Commit Not Found" }));
    let said = words(world.start(&order).await.expect_err("refused"));
    assert!(said.contains("Reference not found"), "{said}");
}

#[tokio::test]
async fn each_reason_why_there_is_no_pipeline_is_told_in_words() {
    for (said, code, hint) in [
        ("Missing CI config file", FailureCode::DefinitionMissing, "Add a `.gitlab-ci.yml`"),
        (
            "Pipeline will not run for the selected trigger. The rules configuration prevented any jobs",
            FailureCode::DefinitionInvalid,
            "rules",
        ),
        ("jobs:build config contains unknown keys: scrpt", FailureCode::DefinitionInvalid, "editor"),
        ("Unknown input arguments: colour", FailureCode::DefinitionInvalid, "inputs"),
    ] {
        let world = World::new().await;
        world.refuse(CREATE, "400 Bad Request", &json!({ "message": { "base": [said] } }));
        let error = world.start(&world.order(Naming::Run, true)).await.expect_err("refused");
        assert!(matches!(&error, ExecutorError::Refused(failure) if failure.code == code), "{error:?}");
        let words = words(error);
        assert!(words.contains(said) && words.contains(hint), "{words}");
    }
}

#[tokio::test]
async fn what_cannot_be_built_is_refused_before_anything_is_made() {
    let world = World::new().await;
    let mut order = world.order(Naming::Run, true);
    order.source.project = Some("8".to_owned());
    assert!(words(world.start(&order).await.expect_err("refused")).contains("another project"));
    let mut order = world.order(Naming::Run, true);
    let spec = serde_json::from_value(json!({ "script": "true" })).expect("a job");
    order.definition = Definition::Job(spec);
    assert!(words(world.start(&order).await.expect_err("refused")).contains(".gitlab-ci.yml"));
    let off = json!({ "id": 7, "path_with_namespace": "builds/team/hello", "builds_access_level": "disabled" });
    world.put("GET projects/builds%2Fteam%2Fhello", &off);
    world.refuse(LIST, "403 Forbidden", &json!({ "message": "403 Forbidden" }));
    assert!(words(world.start(&world.order(Naming::Run, true)).await.expect_err("refused")).contains("switched off"));
    assert_eq!(world.calls(CREATE), 0);
}

#[tokio::test]
async fn a_pipeline_that_can_never_come_is_said_to_be_so() {
    let world = World::new().await;
    let order = world.order(Naming::Same, true);
    let anchor = world.anchor(&order).await;
    world.put("GET projects/7", &json!({ "id": 7, "path_with_namespace": "builds/team/hello", "archived": true }));
    assert!(words(world.executor.find(&order.key, &anchor).await.expect_err("refused")).contains("archived"));
}

#[tokio::test]
async fn a_token_that_is_refused_is_told_from_one_without_a_scope_and_from_one_without_a_right() {
    for (status, body, said) in [
        ("401 Unauthorized", json!({ "message": "401 Unauthorized" }), "does not accept"),
        ("403 Forbidden", json!({ "error": "insufficient_scope", "scope": "api" }), "lacks a scope: api"),
        ("403 Forbidden", json!({ "message": "403 Forbidden" }), "role Developer"),
    ] {
        let world = World::new().await;
        world.refuse(CREATE, status, &body);
        let words = words(world.start(&world.order(Naming::Run, true)).await.expect_err("refused"));
        assert!(words.contains(said), "{words}");
    }
}

#[tokio::test]
async fn a_fence_takes_the_branch_away_and_says_what_had_got_in() {
    let world = World::new().await;
    let order = world.order(Naming::Run, true);
    let anchor = world.anchor(&order).await;
    let delete = format!("DELETE projects/7/repository/branches/{}", world.branch().replace('/', "%2F"));
    world.put_raw(&delete, answer("204 No Content", "", ""));
    assert_eq!(world.executor.fence(&order.key, &anchor).await.expect("fenced"), Fenced::Never);
    assert_eq!(world.calls(&delete), 1);
    assert_eq!(world.executor.find(&order.key, &anchor).await.expect("searched"), Found::Never);
    world.put(LIST, &json!([pipeline(70, "running", "api", &world.branch())]));
    assert_eq!(world.executor.fence(&order.key, &anchor).await.expect("fenced"), Fenced::HadStarted);
    world.refuse(&delete, "403 Forbidden", &json!({ "message": "403 Forbidden" }));
    assert_eq!(world.executor.fence(&order.key, &anchor).await.expect("the mirror removes it"), Fenced::HadStarted);
}

#[tokio::test]
async fn a_project_that_the_mirror_has_yet_to_make_is_no_obstacle_to_preparing() {
    let world = World::new().await;
    world.refuse("GET projects/builds%2Fteam%2Fhello", "404 Not Found", &json!({ "message": "404 Project Not Found" }));
    let order = world.order(Naming::Run, true);
    let anchor = world.anchor(&order).await;
    let project = json!({ "id": 7, "path_with_namespace": "builds/team/hello" });
    world.put("GET projects/builds%2Fteam%2Fhello", &project);
    world.put(CREATE, &pipeline(70, "created", "api", &world.branch()));
    assert_eq!(world.executor.start(&order, &anchor).await.expect("started"), build("7/70"));
}

#[tokio::test]
async fn a_question_that_is_cut_before_a_start_leaves_nothing_unclear() {
    for question in ["GET projects/builds%2Fteam%2Fhello", LIST] {
        let world = World::new().await;
        let order = world.order(Naming::Run, true);
        let anchor = world.anchor(&order).await;
        world.put_raw(question, Vec::new());
        let cut = world.executor.start(&order, &anchor).await;
        assert!(matches!(cut, Err(ExecutorError::NotSent(_))), "{question}: {cut:?}");
        assert_eq!(world.calls(CREATE), 0);
    }
}

#[tokio::test]
async fn a_start_that_shows_no_pipeline_for_long_was_lost_on_its_way() {
    for (naming, patience) in [(Naming::Run, 16), (Naming::Same, 76)] {
        let world = World::new().await;
        world.put_raw(CREATE, Vec::new());
        let order = world.order(naming, false);
        let anchor = world.anchor(&order).await;
        assert!(matches!(world.executor.start(&order, &anchor).await, Err(ExecutorError::Unknown(_))));
        let branch = format!("GET projects/7/repository/branches/{}", world.branch().replace('/', "%2F"));
        world.put(&branch, &json!({ "name": world.branch(), "commit": { "id": SHA } }));
        assert_eq!(world.executor.find(&order.key, &anchor).await.expect("searched"), Found::NotYet);
        world.clock.advance(Duration::from_secs(patience));
        assert_eq!(world.executor.find(&order.key, &anchor).await.expect("searched"), Found::Never, "{naming:?}");
        // One that a push begins is waited for, for as long as its run says.
        let world = World::new().await;
        let order = world.order(Naming::Same, true);
        let anchor = world.anchor(&order).await;
        assert_eq!(world.executor.start(&order, &anchor).await.expect("offered"), Started::Offered);
        world.clock.advance(Duration::from_mins(10));
        assert_eq!(world.executor.find(&order.key, &anchor).await.expect("searched"), Found::NotYet);
    }
}

/// An order with an input, which is among its variables too.
fn with_input(world: &World) -> Order {
    let mut order = world.order(Naming::Run, true);
    let input = ("COLOUR".parse().expect("a name"), "red".to_owned());
    order.definition = Definition::Native(NativeBuild { name: None, inputs: [input.clone()].into_iter().collect() });
    order.variables.extend([input]);
    order
}

#[tokio::test]
async fn inputs_are_variables_and_only_where_it_is_said_inputs_of_the_definition() {
    let world = World::new().await;
    world.put(CREATE, &pipeline(70, "created", "api", &world.branch()));
    let order = with_input(&world);
    assert_eq!(world.start(&order).await.expect("started"), build("7/70"));
    let body = world.body(CREATE);
    let is_set = |body: &Value| body["variables"].as_array().is_some_and(|all| all.iter().any(|one| one["key"] == "COLOUR"));
    assert!(is_set(&body) && body.get("inputs").is_none_or(|inputs| inputs == &json!({})), "{body}");

    let mut world = World::new().await;
    world.executor = world.executor.with_typed_inputs(true);
    world.put(CREATE, &pipeline(70, "created", "api", &world.branch()));
    world.put("GET version", &json!({ "version": "18.3.0" }));
    let order = with_input(&world);
    assert_eq!(world.start(&order).await.expect("started"), build("7/70"));
    let body = world.body(CREATE);
    assert!(!is_set(&body) && body["inputs"] == json!({ "COLOUR": "red" }), "{body}");
    // A version that would take no notice of them builds nothing.
    world.put("GET version", &json!({ "version": "17.9.2" }));
    let order = with_input(&world);
    let said = words(world.start(&order).await.expect_err("refused"));
    assert!(said.contains("17.9.2") && said.contains("18.1"), "{said}");
}

#[tokio::test]
async fn a_run_with_inputs_is_not_built_without_them() {
    let world = World::new().await;
    world.refuse(CREATE, "400 Bad Request", &json!({ "message": { "base": ["Insufficient permissions to set pipeline variables"] } }));
    let order = with_input(&world);
    let said = words(world.start(&order).await.expect_err("refused"));
    assert!(said.contains("Maintainer") && said.contains("inputs"), "{said}");
    assert_eq!(world.calls(CREATE), 1);
}
