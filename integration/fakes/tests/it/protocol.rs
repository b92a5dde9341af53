//! What runners speak, word by word.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use signalbox_fakes::gitlab::state::status::Status;
use signalbox_service::testing::eventually;

use crate::yard::Yard;

fn ask(yard: &Yard, method: Method, path: &str) -> RequestBuilder {
    reqwest::Client::new().request(method, format!("{}/api/v4{path}", yard.gitlab.url())).timeout(Duration::from_secs(20))
}

async fn register(yard: &Yard, fields: Value) -> String {
    let mut body = json!({ "token": yard.gitlab.registration_token().expose_secret() });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let answer = ask(yard, Method::POST, "/runners").json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned()
}

async fn request(yard: &Yard, runner: &str) -> Response {
    ask(yard, Method::POST, "/jobs/request").json(&json!({ "token": runner, "info": { "version": "18.5.0" } })).send().await.unwrap()
}

/// The job that a runner gets, once there is one.
async fn job(yard: &Yard, runner: &str) -> Value {
    eventually("a job comes", Duration::from_secs(20), || async {
        let answer = request(yard, runner).await;
        if answer.status() == 201 {
            return Some(answer.json().await.unwrap());
        }
        assert_eq!(answer.status(), 204);
        None
    })
    .await
}

fn header(answer: &Response, name: &str) -> String {
    answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

async fn piece(yard: &Yard, job: &Value, start: usize, text: &str) -> Response {
    let range = format!("{start}-{}", start + text.len().max(1) - 1);
    ask(yard, Method::PATCH, &format!("/jobs/{}/trace", job["id"]))
        .header("job-token", job["token"].as_str().unwrap())
        .header("content-range", range)
        .body(text.to_owned())
        .send()
        .await
        .unwrap()
}

async fn update(yard: &Yard, job: &Value, fields: Value) -> Response {
    let mut body = json!({ "token": job["token"] });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    ask(yard, Method::PUT, &format!("/jobs/{}", job["id"])).json(&body).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn runners_register_in_both_ways_are_verified_and_leave() {
    let yard = Yard::new(|_| ()).await;
    let wrong = ask(&yard, Method::POST, "/runners").json(&json!({ "token": "wrong" })).send().await.unwrap();
    assert_eq!(wrong.status(), 403);
    let old = register(&yard, json!({ "description": "old" })).await;
    let root = yard.gitlab.root_token().expose_secret().to_owned();
    let body = json!({ "runner_type": "project_type", "project_id": yard.project, "tag_list": "fast,big" });
    let made = ask(&yard, Method::POST, "/user/runners").header("private-token", &root).json(&body).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let new = made.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
    assert!(new.starts_with("glrt-"));
    let nobody = ask(&yard, Method::POST, "/user/runners").json(&body).send().await.unwrap();
    assert_eq!(nobody.status(), 401);
    for token in [&old, &new] {
        let verified = ask(&yard, Method::POST, "/runners/verify").json(&json!({ "token": token })).send().await.unwrap();
        assert_eq!(verified.status(), 200);
        let left = ask(&yard, Method::DELETE, "/runners").json(&json!({ "token": token })).send().await.unwrap();
        assert_eq!(left.status(), 204);
        assert_eq!(request(&yard, token).await.status(), 403);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_taken_in_order_and_the_end_only_with_the_whole_log() {
    let yard = Yard::new(|_| ()).await;
    let runner = register(&yard, json!({})).await;
    yard.push("work: {script: [a], allow_failure: {exit_codes: 7}}\n").await;
    let job = job(&yard, &runner).await;
    let first = piece(&yard, &job, 0, "hello ").await;
    assert_eq!(
        (first.status().as_u16(), header(&first, "range"), header(&first, "job-status")),
        (202, "0-6".to_owned(), "running".to_owned())
    );
    let again = piece(&yard, &job, 0, "hello ").await;
    assert_eq!((again.status().as_u16(), header(&again, "range")), (416, "0-6".to_owned()));
    assert_eq!(piece(&yard, &job, 9, "world").await.status(), 416);
    let unplaced = ask(&yard, Method::PATCH, &format!("/jobs/{}/trace", job["id"])).header("job-token", job["token"].as_str().unwrap());
    assert_eq!(unplaced.body("x").send().await.unwrap().status(), 400);
    let stranger = json!({ "id": job["id"], "token": "glcbt-wrong" });
    assert_eq!(piece(&yard, &stranger, 6, "world").await.status(), 403);

    let end = json!({ "state": "failed", "failure_reason": "script_failure", "exit_code": 7, "output": { "checksum": "crc32:0d4a1185", "bytesize": 11 } });
    let early = update(&yard, &job, end.clone()).await;
    assert_eq!((early.status().as_u16(), header(&early, "x-gitlab-trace-update-interval")), (202, "3".to_owned()));
    assert_eq!(piece(&yard, &job, 6, "world").await.status(), 202);
    assert_eq!(update(&yard, &job, end.clone()).await.status(), 200);
    assert_eq!(yard.log("work"), "hello world");
    assert_eq!(yard.pipeline().map(|(_, status, warnings)| (status, warnings)), Some((Status::Success, true)), "this exit code is allowed");
    let late = update(&yard, &job, end).await;
    assert_eq!((late.status().as_u16(), header(&late, "job-status")), (403, "failed".to_owned()));
    assert_eq!(update(&yard, &json!({ "id": 999_999, "token": "x" }), json!({ "state": "success" })).await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_to_a_runner_that_can_do_it_with_all_that_it_must_know() {
    let yard = Yard::new(|_| ()).await;
    let plain = register(&yard, json!({})).await;
    let fast = register(&yard, json!({ "tag_list": "fast,big", "maximum_timeout": 60 })).await;
    yard.push(
        "
work:
  tags: [fast]
  before_script: [b]
  script: [c]
  after_script: [d]
  variables: {RAW: {value: $CI, expand: false}}
  id_tokens: {PROOF: {aud: https://store.example.org}}
  environment: {name: production/eu}
  artifacts: {paths: [out/], when: always, reports: {junit: r.xml}}
  parallel: 2
",
    )
    .await;
    let job = job(&yard, &fast).await;
    assert_eq!(request(&yard, &plain).await.status(), 204, "it lacks what the other one is to have");
    assert_eq!(job["job_info"]["name"], "work 1/2");
    assert_eq!(job["runner_info"]["timeout"], 60);
    assert_eq!(job["steps"][0]["script"], json!(["b", "c"]));
    assert_eq!((&job["steps"][1]["name"], &job["steps"][1]["when"]), (&json!("after_script"), &json!("always")));
    assert_eq!(job["artifacts"].as_array().unwrap().len(), 2);
    assert_eq!(job["git_info"]["refspecs"][1], "+refs/heads/main:refs/remotes/origin/main");
    let rows = job["variables"].as_array().unwrap();
    let variables: BTreeMap<&str, &Value> = rows.iter().map(|row| (row["key"].as_str().unwrap(), row)).collect();
    for (name, value) in [
        ("CI_NODE_INDEX", "1"),
        ("CI_NODE_TOTAL", "2"),
        ("CI_COMMIT_BRANCH", "main"),
        ("CI_PIPELINE_SOURCE", "push"),
        ("CI_PROJECT_PATH", "group/hello"),
        ("CI_ENVIRONMENT_SLUG", "production-eu"),
        ("CI_JOB_NAME", "work 1/2"),
    ] {
        assert_eq!(variables[name]["value"], value, "{name}");
    }
    assert_eq!((&variables["RAW"]["raw"], &variables["CI_JOB_TOKEN"]["masked"]), (&json!(true), &json!(true)));
    assert_eq!(variables["PROOF"]["value"].as_str().unwrap().split('.').count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_without_a_job_waits_until_there_is_one() {
    let yard = Yard::new(|_| ()).await;
    let runner = register(&yard, json!({})).await;
    let nothing = request(&yard, &runner).await;
    let mark = header(&nothing, "x-gitlab-last-update");
    assert_eq!((nothing.status().as_u16(), mark.is_empty()), (204, false));
    let waiting = ask(&yard, Method::POST, "/jobs/request").json(&json!({ "token": runner, "last_update": mark }));
    let waiting = tokio::spawn(waiting.send());
    yard.push("work: {script: [a]}\n").await;
    assert_eq!(waiting.await.unwrap().unwrap().status(), 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_leaves_goes_to_those_that_depend_on_it_and_a_child_is_started() {
    let yard = Yard::new(|_| ()).await;
    let runner = register(&yard, json!({})).await;
    yard.push_with(
        "make: {stage: build, script: [a], artifacts: {paths: [x]}}\nuse: {script: [b]}\nchild: {stage: deploy, trigger: {include: [{local: child.yml}], strategy: depend}}\n",
        &[("child.yml", "inner: {script: [c]}\n")],
    )
    .await;
    let make = job(&yard, &runner).await;
    let path = format!("/jobs/{}/artifacts?artifact_type=archive&artifact_format=zip&expire_in=1+day", make["id"]);
    let form = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.zip\"\r\n\r\nPK-bytes\r\n--B--\r\n";
    let upload = |token: &str| {
        let call = ask(&yard, Method::POST, &path).header("job-token", token).header("content-type", "multipart/form-data; boundary=B");
        call.body(form).send()
    };
    assert_eq!(upload("glcbt-wrong").await.unwrap().status(), 403);
    assert_eq!(upload(make["token"].as_str().unwrap()).await.unwrap().status(), 201);
    assert_eq!(update(&yard, &make, json!({ "state": "success" })).await.status(), 200);
    assert_eq!(upload(make["token"].as_str().unwrap()).await.unwrap().status(), 403, "it has ended");

    let user = job(&yard, &runner).await;
    let given = &user["dependencies"][0];
    assert_eq!((&given["name"], &given["artifacts_file"]["filename"]), (&json!("make"), &json!("a.zip")));
    let fetch = ask(&yard, Method::GET, &format!("/jobs/{}/artifacts", given["id"])).header("job-token", given["token"].as_str().unwrap());
    assert_eq!(fetch.send().await.unwrap().text().await.unwrap(), "PK-bytes");
    assert_eq!(update(&yard, &user, json!({ "state": "success" })).await.status(), 200);

    let inner = job(&yard, &runner).await;
    assert_eq!(inner["job_info"]["name"], "inner");
    assert_eq!(update(&yard, &inner, json!({ "state": "success" })).await.status(), 200);
    yard.wait("the parent's end", |yard| {
        yard.gitlab.with(|state| state.pipelines.values().all(|pipeline| pipeline.status == Status::Success))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_cancelled_is_canceling_until_a_runner_that_can_say_so_has_stopped() {
    let yard = Yard::new(|_| ()).await;
    let runner = register(&yard, json!({})).await;
    for (graceful, forced) in [(true, false), (true, true), (false, false)] {
        yard.push(&format!("work: {{script: ['{graceful} {forced}']}}\n")).await;
        let question = json!({ "token": runner, "info": { "version": "18.5.0", "features": { "cancel_gracefully": graceful } } });
        let job: Value = eventually("a job comes", Duration::from_secs(20), || async {
            let answer = ask(&yard, Method::POST, "/jobs/request").json(&question).send().await.unwrap();
            if answer.status() == 201 { Some(answer.json().await.unwrap()) } else { None }
        })
        .await;
        let id = job["id"].as_u64().unwrap();
        let states = || {
            yard.gitlab.with(|state| {
                let job = &state.jobs[&id];
                (job.status, state.pipelines[&job.pipeline].status)
            })
        };
        let root = yard.gitlab.root_token().expose_secret().to_owned();
        let cancel = format!("/projects/{}/jobs/{id}/cancel", yard.project);
        let told = ask(&yard, Method::POST, &cancel).header("private-token", &root).send().await.unwrap();
        let shown = if graceful { "canceling" } else { "canceled" };
        assert_eq!((told.status().as_u16(), told.json::<Value>().await.unwrap()["status"].as_str()), (201, Some(shown)));
        if graceful {
            assert_eq!(states(), (Status::Canceling, Status::Canceling));
            let said = piece(&yard, &job, 0, "stopping").await;
            assert_eq!((said.status().as_u16(), header(&said, "job-status")), (202, "canceling".to_owned()));
        }
        if forced {
            ask(&yard, Method::POST, &cancel).header("private-token", &root).json(&json!({ "force": true })).send().await.unwrap();
        } else if graceful {
            let end = json!({ "state": "failed", "failure_reason": "script_failure" });
            assert_eq!(update(&yard, &job, end).await.status(), 200);
        }
        assert_eq!(states(), (Status::Canceled, Status::Canceled));
        assert_eq!(header(&piece(&yard, &job, 8, "more").await, "job-status"), "canceled");
    }
}
