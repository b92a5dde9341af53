//! Pipelines in the scripted mode.

use http::Method;
use serde_json::json;
use signalbox_fakes::gitlab::Outcome;
use signalbox_fakes::gitlab::fault::PipelineFault;
use signalbox_fakes::gitlab::state::plan::{Plan, PlannedJob, When};

use super::world::{Receiver, World};

fn statuses(jobs: &serde_json::Value) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = jobs
        .as_array()
        .expect("a list")
        .iter()
        .map(|job| (job["name"].as_str().expect("a name").to_owned(), job["status"].as_str().expect("a status").to_owned()))
        .collect();
    all.sort();
    all
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, status)| ((*name).to_owned(), (*status).to_owned())).collect()
}

#[tokio::test]
async fn a_push_makes_a_pipeline_whose_jobs_go_as_scripted() {
    let world = World::new().await;
    let made = world.post("/groups", json!({ "name": "g", "path": "g" })).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = world.post("/projects", json!({ "name": "p", "namespace_id": made.body["id"] })).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.body["default_branch"], json!(null));
    world.gitlab.plan("g/p", Plan::jobs([PlannedJob::new("build", "compile"), PlannedJob::new("test", "unit")]));
    world.gitlab.script(|job, _| {
        Some(match job.plan.name.as_str() {
            "compile" => Outcome::success().saying("compiling\ndone\n").leaving("out/hello", "#!/bin/sh\necho hello\n"),
            _ => Outcome::failure("script_failure")
                .reporting("<testsuite><testcase name='a'/><testcase name='b'><failure/></testcase></testsuite>"),
        })
    });
    let receiver = Receiver::start();
    let hook = json!({ "url": receiver.url, "token": "s3cret", "pipeline_events": true, "job_events": true, "push_events": true });
    assert_eq!(world.post("/projects/g%2Fp/hooks", hook).await.status, 201);

    let copy = world.copy("g/p", None).await;
    let sha = copy.git(&["rev-parse", "HEAD"]).await.trim().to_owned();
    copy.git(&["push", "--quiet", "origin", "main"]).await;

    let path = format!("/projects/g%2Fp/pipelines?sha={sha}&ref=main");
    let found = world.until("the pipeline fails", &path, |list| list[0]["status"] == "failed").await;
    let id = found[0]["id"].as_u64().expect("an id");
    let one = world.get(&format!("/projects/g%2Fp/pipelines/{id}")).await.body;
    assert_eq!(one["source"], "push");
    assert_eq!(one["detailed_status"]["label"], "failed");
    let jobs = world.get(&format!("/projects/g%2Fp/pipelines/{id}/jobs")).await.body;
    assert_eq!(statuses(&jobs), pairs(&[("compile", "success"), ("unit", "failed")]));
    let compile = jobs.as_array().expect("a list").iter().find(|job| job["name"] == "compile").expect("the job")["id"].clone();
    let trace = world.get(&format!("/projects/g%2Fp/jobs/{compile}/trace")).await.body;
    assert_eq!(trace, json!("compiling\ndone\n"));
    let file = world.get(&format!("/projects/g%2Fp/jobs/{compile}/artifacts/out/hello")).await;
    assert_eq!((file.status, file.body), (200, json!("#!/bin/sh\necho hello\n")));
    let report = world.get(&format!("/projects/g%2Fp/pipelines/{id}/test_report")).await.body;
    assert_eq!((&report["total_count"], &report["failed_count"]), (&json!(2), &json!(1)));
    assert_eq!(world.get("/projects/g%2Fp").await.body["default_branch"], "main");

    let told = receiver.until("the hook hears of the failure", |one| one.body["object_attributes"]["status"] == "failed").await;
    assert_eq!(told.headers["x-gitlab-event"], "Pipeline Hook");
    assert_eq!(told.headers["x-gitlab-token"], "s3cret");
    assert!(told.headers.contains_key("idempotency-key"));
    assert_eq!(told.body["builds"].as_array().map(Vec::len), Some(2));
    let job = receiver.until("the hook hears of a job", |one| one.body["build_status"] == "success").await;
    assert_eq!((&job.headers["x-gitlab-event"], &job.body["object_kind"]), (&http::HeaderValue::from_static("Job Hook"), &json!("build")));
    assert_eq!(job.body["commit"]["id"], json!(id));
    let push = receiver.until("the hook hears of the push", |one| one.body["object_kind"] == "push").await;
    assert_eq!(push.body["checkout_sha"], json!(sha));
    world.gitlab.stop().await;
}

#[tokio::test]
async fn a_failed_job_is_retried_in_the_same_pipeline_under_a_new_id() {
    let world = World::new().await;
    world.gitlab.create_project("g/p").await.expect("a project");
    world.gitlab.plan("g/p", Plan::jobs([PlannedJob::new("build", "compile"), PlannedJob::new("test", "unit")]));
    world.gitlab.script(|job, _| {
        Some(if job.plan.name == "compile" && job.attempt == 0 { Outcome::failure("script_failure") } else { Outcome::success() })
    });
    let copy = world.copy("g/p", None).await;
    copy.git(&["push", "--quiet", "origin", "main"]).await;
    let list = world.until("it fails", "/projects/g%2Fp/pipelines", |list| list[0]["status"] == "failed").await;
    let id = list[0]["id"].clone();
    let jobs = world.get(&format!("/projects/g%2Fp/pipelines/{id}/jobs")).await.body;
    assert_eq!(statuses(&jobs), pairs(&[("compile", "failed"), ("unit", "skipped")]));
    assert_eq!(world.post(&format!("/projects/g%2Fp/pipelines/{id}/retry"), json!({})).await.status, 201);
    world.until("it passes", &format!("/projects/g%2Fp/pipelines/{id}"), |one| one["status"] == "success").await;
    let all = world.get(&format!("/projects/g%2Fp/pipelines/{id}/jobs?include_retried=true")).await.body;
    assert_eq!(statuses(&all), pairs(&[("compile", "failed"), ("compile", "success"), ("unit", "success")]));
}

#[tokio::test]
async fn a_protected_variable_is_not_there_for_a_branch_that_is_not_protected() {
    let world = World::new().await;
    world.gitlab.create_project("g/p").await.expect("a project");
    for (key, protected) in [("SECRET", true), ("PLAIN", false)] {
        let variable = json!({ "key": key, "value": "12345678", "protected": protected });
        assert_eq!(world.post("/projects/g%2Fp/variables", variable).await.status, 201);
    }
    world.gitlab.script(|_, _| Some(Outcome::success()));
    let copy = world.copy("g/p", None).await;
    let rule = |variable: &str| format!("{{script: [make], rules: [{{if: ${variable}}}]}}");
    copy.commit(".gitlab-ci.yml", &format!("secret: {}\nplain: {}\n", rule("SECRET"), rule("PLAIN")), "Define").await;
    copy.git(&["push", "--quiet", "origin", "main"]).await;
    copy.git(&["push", "--quiet", "origin", "HEAD:refs/heads/cd/1"]).await;
    for (branch, jobs) in [("main", vec!["plain", "secret"]), ("cd/1", vec!["plain"])] {
        let path = format!("/projects/g%2Fp/pipelines?ref={}", branch.replace('/', "%2F"));
        let found = world.until("it is built", &path, |list| list[0]["status"] == "success").await;
        let made = world.get(&format!("/projects/g%2Fp/pipelines/{}/jobs", found[0]["id"])).await.body;
        let names: Vec<String> = statuses(&made).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, jobs, "{branch}");
    }
}

#[tokio::test]
async fn what_waits_for_somebody_blocks_and_what_is_cancelled_ends() {
    let world = World::new().await;
    world.gitlab.create_project("g/p").await.expect("a project");
    world.gitlab.plan(
        "g/p",
        Plan::jobs([
            PlannedJob::new("build", "compile"),
            PlannedJob::new("release", "ask").when(When::Manual).blocking(),
            PlannedJob::new("ship", "ship"),
        ]),
    );
    world.gitlab.script(|job, _| Some(if job.plan.name == "ship" { Outcome::hangs() } else { Outcome::success() }));
    let copy = world.copy("g/p", None).await;
    copy.git(&["push", "--quiet", "origin", "main"]).await;
    let list = world.until("it waits", "/projects/g%2Fp/pipelines", |list| list[0]["status"] == "manual").await;
    let id = list[0]["id"].clone();
    let jobs = world.get(&format!("/projects/g%2Fp/pipelines/{id}/jobs?scope[]=manual")).await.body;
    let ask = jobs[0]["id"].clone();
    assert_eq!(world.post(&format!("/projects/g%2Fp/jobs/{ask}/play"), json!({})).await.status, 200);
    let path = format!("/projects/g%2Fp/pipelines/{id}");
    world.until("it ships", &path, |one| one["status"] == "running").await;
    let again = world.post(&format!("/projects/g%2Fp/jobs/{ask}/play"), json!({})).await;
    assert_eq!((again.status, again.body), (400, json!({ "message": "Unplayable Job" })));
    let said = world.ask(Method::POST, &format!("{path}/cancel"), None).await;
    assert_eq!((said.status, &said.body["status"]), (200, &json!("canceled")));
    assert_eq!(world.ask(Method::POST, &format!("{path}/cancel"), None).await.status, 200);
}

#[tokio::test]
async fn children_and_pipelines_elsewhere_are_followed_and_end_what_waits_for_them() {
    let world = World::new().await;
    let lib = world.gitlab.create_project("g/lib").await.expect("a project");
    world.gitlab.create_project("g/p").await.expect("a project");
    world.gitlab.plan("g/lib", Plan::jobs([PlannedJob::new("test", "library")]));
    world.gitlab.plan(
        "g/p",
        Plan::jobs([
            PlannedJob::new("a", "child").with_child(vec![PlannedJob::new("x", "inner")], true),
            PlannedJob::new("b", "other").with_downstream("g/lib", None, true),
        ]),
    );
    world.gitlab.script(|job, _| Some(if job.plan.name == "library" { Outcome::failure("script_failure") } else { Outcome::success() }));
    let elsewhere = world.copy("g/lib", None).await;
    elsewhere.git(&["push", "--quiet", "-o", "ci.skip", "origin", "main"]).await;
    world.copy("g/p", None).await.git(&["push", "--quiet", "origin", "main"]).await;
    let list = world.until("it fails", "/projects/g%2Fp/pipelines", |list| list[0]["status"] == "failed").await;
    assert_eq!(list.as_array().map(Vec::len), Some(1), "children are not listed: {list}");
    let bridges = world.get(&format!("/projects/g%2Fp/pipelines/{}/bridges", list[0]["id"])).await.body;
    assert_eq!(statuses(&bridges), pairs(&[("child", "success"), ("other", "failed")]));
    let other = bridges.as_array().expect("a list").iter().find(|one| one["name"] == "other").expect("it");
    assert_eq!(other["downstream_pipeline"]["project_id"], json!(lib));
    assert_eq!(other["failure_reason"], "downstream_pipeline_failed");
    let children = world.get("/projects/g%2Fp/pipelines?source=parent_pipeline").await.body;
    assert_eq!(children.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_pipeline_by_the_api_needs_a_name_and_the_right_to_give_variables() {
    let world = World::new().await;
    let id = world.gitlab.create_project("g/p").await.expect("a project");
    world.gitlab.plan("g/p", Plan::jobs([PlannedJob::new("build", "compile")]));
    let copy = world.copy("g/p", None).await;
    copy.git(&["push", "--quiet", "-o", "ci.skip", "origin", "main"]).await;
    let sha = copy.git(&["rev-parse", "HEAD"]).await.trim().to_owned();
    let start = format!("/projects/{id}/pipeline");
    let by_sha = world.post(&start, json!({ "ref": sha })).await;
    assert_eq!((by_sha.status, by_sha.body), (400, json!({ "message": { "base": ["Reference not found"] } })));
    let without = world.post(&start, json!({})).await;
    assert_eq!((without.status, without.body), (400, json!({ "error": "ref is missing" })));
    world
        .ask(Method::PUT, &format!("/projects/{id}"), Some(json!({ "ci_pipeline_variables_minimum_override_role": "no_one_allowed" })))
        .await;
    let given = json!({ "ref": "main", "variables": [{ "key": "A", "value": "1" }] });
    let refused = world.post(&start, given.clone()).await;
    assert_eq!(refused.body, json!({ "message": { "base": ["Insufficient permissions to set pipeline variables"] } }));
    world.ask(Method::PUT, &format!("/projects/{id}"), Some(json!({ "ci_pipeline_variables_minimum_override_role": "developer" }))).await;
    let made = world.post(&start, given).await;
    assert_eq!((made.status, &made.body["source"]), (201, &json!("api")));
    let variables = world.get(&format!("/projects/{id}/pipelines/{}/variables", made.body["id"])).await.body;
    assert_eq!((&variables[0]["key"], &variables[0]["value"]), (&json!("A"), &json!("1")));
    world.gitlab.plan(
        "g/p",
        Plan::None(
            "Pipeline will not run for the selected trigger. The rules configuration prevented any jobs from being added to the pipeline."
                .to_owned(),
        ),
    );
    let filtered = world.post(&start, json!({ "ref": "main" })).await;
    assert_eq!(filtered.status, 400);
    let latest = world.get(&format!("/projects/{id}/pipelines/latest?ref=other")).await;
    assert_eq!(latest.status, 403);
}

#[tokio::test]
async fn a_wrong_definition_makes_a_failed_pipeline_without_jobs() {
    let world = World::new().await;
    world.gitlab.create_project("g/p").await.expect("a project");
    world.gitlab.plan("g/p", Plan::Invalid("jobs:build config contains unknown keys: scrpt".to_owned()));
    world.copy("g/p", None).await.git(&["push", "--quiet", "origin", "main"]).await;
    let list = world.until("it is there", "/projects/g%2Fp/pipelines", |list| list[0]["status"] == "failed").await;
    let one = world.get(&format!("/projects/g%2Fp/pipelines/{}", list[0]["id"])).await.body;
    assert_eq!(one["yaml_errors"], "jobs:build config contains unknown keys: scrpt");
    let jobs = world.get(&format!("/projects/g%2Fp/pipelines/{}/jobs", list[0]["id"])).await.body;
    assert_eq!(jobs, json!([]));
}

#[tokio::test]
async fn a_pipeline_can_be_ordered_to_hang_for_ever() {
    let world = World::new().await;
    world.gitlab.create_project("g/p").await.expect("a project");
    world.gitlab.plan("g/p", Plan::jobs([PlannedJob::new("build", "compile")]));
    world.gitlab.script(|_, _| Some(Outcome::success()));
    world.gitlab.faults().pipelines(PipelineFault::Hung);
    world.copy("g/p", None).await.git(&["push", "--quiet", "origin", "main"]).await;
    let list = world.until("it is there", "/projects/g%2Fp/pipelines", |list| list[0]["status"] == "created").await;
    let said = world.ask(Method::POST, &format!("/projects/g%2Fp/pipelines/{}/cancel", list[0]["id"]), None).await;
    assert_eq!(said.body["status"], "canceled");
}
