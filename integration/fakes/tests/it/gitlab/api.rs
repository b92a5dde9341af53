//! The API's conventions, projects that come and go, statuses, limits and faults.

use std::time::Duration;

use http::Method;
use secrecy::ExposeSecret as _;
use serde_json::json;
use signalbox_fakes::gitlab::Outcome;
use signalbox_fakes::gitlab::fault::AnswerFault;
use signalbox_fakes::gitlab::options::{RateLimit, Version};
use signalbox_fakes::gitlab::state::plan::{Plan, PlannedJob};

use super::world::World;

#[tokio::test]
async fn what_a_caller_may_not_see_is_not_there_and_a_bad_token_is_refused() {
    let world = World::new().await;
    world.gitlab.create_project("g/p").await.expect("a project");
    let stranger = world.gitlab.create_token("stranger", &["api"]).expose_secret().to_owned();
    let hidden = world.ask_as(&stranger, Method::GET, "/projects/g%2Fp", None).await;
    assert_eq!((hidden.status, hidden.body), (404, json!({ "message": "404 Project Not Found" })));
    let bad = world.ask_as("glpat-bad", Method::GET, "/projects/g%2Fp", None).await;
    assert_eq!((bad.status, bad.body), (401, json!({ "message": "401 Unauthorized" })));
    let reads = world.gitlab.create_token("root", &["read_api"]).expose_secret().to_owned();
    assert_eq!(world.ask_as(&reads, Method::GET, "/projects/g%2Fp", None).await.status, 200);
    assert_eq!(world.ask_as(&reads, Method::POST, "/projects", Some(json!({ "name": "x" }))).await.status, 403);
    let own = world.ask_as(&reads, Method::GET, "/personal_access_tokens/self", None).await;
    assert_eq!(own.body["scopes"], json!(["read_api"]));
}

#[tokio::test]
async fn lists_come_in_pages_with_links() {
    let world = World::new().await;
    for name in ["a", "b", "c", "d", "e"] {
        world.gitlab.create_project(&format!("g/{name}")).await.expect("a project");
    }
    let first = world.get("/projects?per_page=2").await;
    let head = |name: &str| first.headers[name].to_str().expect("text").to_owned();
    assert_eq!((head("x-total"), head("x-total-pages"), head("x-next-page")), ("5".into(), "3".into(), "2".into()));
    assert!(head("link").contains(&format!("<{}?page=2", world.url("/projects"))), "{}", head("link"));
    assert!(head("link").contains("page=2&per_page=2>; rel=\"next\""), "{}", head("link"));
    let keyset = world.get("/projects?pagination=keyset&order_by=id&sort=asc&per_page=4").await;
    assert!(keyset.headers["link"].to_str().expect("text").ends_with("rel=\"next\""));
    assert!(!keyset.headers.contains_key("x-total"));
}

#[tokio::test]
async fn deleting_marks_and_renames_and_only_the_second_time_is_for_good() {
    let world = World::new().await;
    let id = world.gitlab.create_project("g/p").await.expect("a project");
    let group = world.gitlab.create_group("g");
    let delete = |query: &'static str| world.ask(Method::DELETE, query, None);
    assert_eq!(delete("/projects/g%2Fp").await.status, 202);
    let marked = world.get(&format!("/projects/{id}")).await.body;
    assert_eq!(marked["path_with_namespace"], json!(format!("g/p-deletion_scheduled-{id}")));
    assert_ne!(marked["marked_for_deletion_on"], json!(null));
    let again = world.ask(Method::DELETE, &format!("/projects/{id}"), None).await;
    assert_eq!((again.status, again.body), (400, json!({ "message": "Project has been already marked for deletion" })));
    assert_eq!(world.post("/projects", json!({ "name": "p", "namespace_id": group })).await.status, 201, "the path is free at once");
    let path = format!("/projects/{id}?permanently_remove=true&full_path=");
    let wrong = world.ask(Method::DELETE, &format!("{path}g%2Fp"), None).await;
    assert_eq!(wrong.body["message"], "`full_path` is incorrect. You must enter the complete path for the project.");
    let right = world.ask(Method::DELETE, &format!("{path}g%2Fp-deletion_scheduled-{id}"), None).await;
    assert_eq!(right.status, 202);
    world.until("it is gone", &format!("/projects/{id}"), |body| body["message"] == "404 Project Not Found").await;
}

#[tokio::test]
async fn on_an_old_server_a_deleted_project_keeps_its_path_until_it_is_destroyed() {
    let world = World::with(|mut options| {
        options.deletion_delay = Duration::from_millis(300);
        options.version(Version(17, 2))
    })
    .await;
    world.gitlab.create_project("g/p").await.expect("a project");
    let group = world.gitlab.create_group("g");
    assert_eq!(world.ask(Method::DELETE, "/projects/g%2Fp", None).await.status, 202);
    assert_eq!(world.get("/projects/g%2Fp").await.status, 404);
    let new = json!({ "name": "p", "namespace_id": group });
    let taken = world.post("/projects", new.clone()).await;
    assert_eq!((taken.status, &taken.body["message"]["path"]), (400, &json!(["has already been taken"])));
    signalbox_service::testing::eventually("the path is free", super::world::PATIENCE, || async {
        (world.post("/projects", new.clone()).await.status == 201).then_some(())
    })
    .await;
}

#[tokio::test]
async fn statuses_make_a_pipeline_of_their_own_and_an_old_server_refuses_a_repetition() {
    let world = World::with(|options| options.version(Version(17, 11))).await;
    let id = world.gitlab.create_project("g/p").await.expect("a project");
    let copy = world.copy("g/p", None).await;
    copy.git(&["push", "--quiet", "-o", "ci.skip", "origin", "main"]).await;
    let sha = copy.git(&["rev-parse", "HEAD"]).await.trim().to_owned();
    let path = format!("/projects/{id}/statuses/{sha}");
    let first = world.post(&path, json!({ "state": "pending", "name": "signalbox", "target_url": "https://ci.example/1" })).await;
    assert_eq!((first.status, &first.body["ref"]), (201, &json!("main")), "{first:?}");
    let again = world.post(&path, json!({ "state": "pending", "name": "signalbox" })).await;
    assert_eq!(again.status, 400);
    assert_eq!(
        again.body["message"],
        "Cannot transition status via :enqueue from :pending (Reason(s): Status cannot transition via \"enqueue\")"
    );
    let passed = world.post(&path, json!({ "state": "success", "name": "signalbox" })).await;
    assert_eq!((passed.status, &passed.body["id"]), (201, &first.body["id"]));
    let list = world.get(&format!("/projects/{id}/pipelines")).await.body;
    assert_eq!((&list[0]["source"], &list[0]["status"]), (&json!("external"), &json!("success")));
    let statuses = world.get(&format!("/projects/{id}/repository/commits/{sha}/statuses")).await.body;
    assert_eq!(statuses.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn artifacts_may_be_elsewhere_and_no_token_need_go_there() {
    let world = World::with(|mut options| {
        options.redirects_artifacts = true;
        options
    })
    .await;
    world.gitlab.create_project("g/p").await.expect("a project");
    world.gitlab.plan("g/p", Plan::jobs([PlannedJob::new("build", "compile")]));
    world.gitlab.script(|_, _| Some(Outcome::success().leaving("out", "bytes")));
    world.copy("g/p", None).await.git(&["push", "--quiet", "origin", "main"]).await;
    world.until("it passes", "/projects/g%2Fp/pipelines", |list| list[0]["status"] == "success").await;
    let said = world.get("/projects/g%2Fp/jobs/artifacts/main/raw/out?job=compile").await;
    assert_eq!(said.status, 302);
    let to = said.headers["location"].to_str().expect("text").to_owned();
    assert!(!to.starts_with(&world.gitlab.url()));
    let bytes = reqwest::Client::builder().no_proxy().build().expect("a client").get(to).send().await.expect("it answers");
    assert_eq!(bytes.text().await.expect("a body"), "bytes");
    assert!(world.gitlab.seen_by_storage().iter().all(|headers| !headers.contains_key("private-token")));
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_again() {
    let world = World::with(|mut options| {
        options.rate_limit = Some(RateLimit { requests: 2, period: Duration::from_mins(1) });
        options
    })
    .await;
    assert_eq!(world.get("/version").await.headers["ratelimit-remaining"], "1");
    world.get("/version").await;
    let refused = world.get("/version").await;
    assert_eq!(refused.status, 429);
    assert!(refused.headers.contains_key("retry-after") && refused.headers.contains_key("ratelimit-resettime"));
}

#[tokio::test]
async fn an_answer_can_be_lost_although_what_was_asked_for_is_done() {
    let world = World::new().await;
    world.gitlab.create_project("g/p").await.expect("a project");
    world.gitlab.plan("g/p", Plan::jobs([PlannedJob::new("build", "compile")]));
    world.copy("g/p", None).await.git(&["push", "--quiet", "-o", "ci.skip", "origin", "main"]).await;
    world.gitlab.faults().answer(Some(Method::POST), "/pipeline", AnswerFault::Lost, 1);
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let token = world.gitlab.root_token().expose_secret().to_owned();
    let start = client.post(world.url("/projects/g%2Fp/pipeline")).header("PRIVATE-TOKEN", &token).json(&json!({ "ref": "main" }));
    assert!(start.send().await.is_err(), "no answer arrives");
    let list = world.get("/projects/g%2Fp/pipelines").await.body;
    assert_eq!(list.as_array().map(Vec::len), Some(1), "and yet it was done");
    world.gitlab.faults().answer(None, "/pipelines", AnswerFault::Cut, 1);
    let cut = client.get(world.url("/projects/g%2Fp/pipelines")).header("PRIVATE-TOKEN", &token).send().await.expect("a head");
    assert_eq!(cut.status(), 200);
    assert!(cut.bytes().await.is_err(), "the body is cut");
    world.gitlab.faults().answer(None, "/pipelines", AnswerFault::Status(502), 1);
    assert_eq!(world.get("/projects/g%2Fp/pipelines").await.status, 502);
    assert_eq!(world.get("/projects/g%2Fp/pipelines").await.status, 200);
}

#[tokio::test]
async fn a_jobs_identity_can_be_checked_with_the_public_keys() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    let world = World::new().await;
    let id = world.gitlab.create_project("g/p").await.expect("a project");
    world.gitlab.plan("g/p", Plan::jobs([PlannedJob::new("build", "compile")]));
    world.copy("g/p", None).await.git(&["push", "--quiet", "origin", "main"]).await;
    let list = world.until("a pipeline", "/projects/g%2Fp/pipelines", |list| list[0]["id"].is_u64()).await;
    let jobs = world.get(&format!("/projects/g%2Fp/pipelines/{}/jobs", list[0]["id"])).await.body;
    let token = world.gitlab.id_token(jobs[0]["id"].as_u64().expect("an id"), "https://store.example").await.expect("a token");
    let parts: Vec<&str> = token.expose_secret().split('.').collect();
    let part = |at: usize| BASE64.decode(parts[at]).expect("base64");
    let claims: serde_json::Value = serde_json::from_slice(&part(1)).expect("claims");
    assert_eq!((&claims["project_id"], &claims["ref_protected"]), (&json!(id.to_string()), &json!("true")));
    assert_eq!(claims["sub"], "project_path:g/p:ref_type:branch:ref:main");
    let keys: serde_json::Value =
        reqwest::get(format!("{}/oauth/discovery/keys", world.gitlab.url())).await.expect("it answers").json().await.expect("keys");
    let number = |name: &str| BASE64.decode(keys["keys"][0][name].as_str().expect("text")).expect("base64");
    let key = aws_lc_rs::signature::RsaPublicKeyComponents { n: number("n"), e: number("e") };
    let signed = format!("{}.{}", parts[0], parts[1]);
    key.verify(&aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &part(2)).expect("it is signed");
}
