//! What a token does not cover is neither seen nor done.

use serde_json::{Value, json};
use signalbox_contract::Code;
use signalbox_contract::api::run::{Accepted, Outcome, Status};
use signalbox_contract::api::token::TokenCreated;
use signalbox_scenarios::{World, WorldOptions, job_file};
use signalbox_service::secret::SecretString;

// Threat 67.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_what_the_token_covers_and_nothing_else() {
    let world = World::with(WorldOptions { hosts: 1, ..WorldOptions::default() }).await;
    world.commit(&[(".signalbox.yaml", &job_file("echo x > hello", &["hello"]))]).await;
    let run = world.deploy_hello().await;
    world.ends(run, Outcome::Passed).await;
    let narrow = json!({
        "principal": "somebody", "audience": "controller", "lifetime": 60,
        "grants": [{ "actions": ["read", "start"], "repos": ["other/*"], "environments": ["other"], "names": ["*"] }],
    });
    let created: TokenCreated = world.post("/tokens", &narrow).await;
    let token = SecretString::from(created.token);
    let client = world.client(signalbox_contract::token::Service::Controller);
    let ask = async |path: &str| client.json::<Value, Value>(http::Method::GET, path, Some(&token), http::HeaderMap::new(), None).await;
    for path in ["", "/events", "/steps/build/log", "/live"] {
        let refused = ask(&format!("/runs/{run}{path}")).await.expect_err("it may not be seen");
        assert_eq!(refused.problem().map(|problem| problem.code), Some(Code::NotFound), "{path}");
    }
    let refused = ask("/environments/test").await.expect_err("it may not be seen");
    assert_eq!(refused.problem().map(|problem| problem.code), Some(Code::NotFound));
    let status: Status = serde_json::from_value(ask("/status").await.expect("a status")).expect("a status");
    assert!(status.builds.is_empty(), "{status:?}");
    let body = json!({ "repo": "hello", "ref": "main" });
    let started = client.json::<Value, Value>(http::Method::POST, "/cd", Some(&token), http::HeaderMap::new(), Some(&body)).await;
    assert_eq!(started.expect_err("not allowed").problem().map(|problem| problem.code), Some(Code::Forbidden));
    world.close().await;
}

// Threat 44.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_cannot_publish_over_what_its_runs_token_does_not_cover() {
    let world = World::with(WorldOptions { hosts: 1, ..WorldOptions::default() }).await;
    world.commit(&[(".signalbox.yaml", &job_file("echo good > theirs", &["theirs"]))]).await;
    let run = world.cd(&json!({ "repo": "hello", "ref": "main" })).await;
    world.ends(run, Outcome::Passed).await;

    world.commit(&[(".signalbox.yaml", &job_file("echo evil > theirs", &["theirs"]))]).await;
    let narrow = json!({
        "principal": "somebody", "audience": "controller", "lifetime": 60,
        "grants": [{ "actions": ["read", "start"], "repos": ["hello"], "artifacts": ["mine"] }],
    });
    let created: TokenCreated = world.post("/tokens", &narrow).await;
    let client = world.client(signalbox_contract::token::Service::Controller);
    let (token, body) = (SecretString::from(created.token), json!({ "repo": "hello", "ref": "main" }));
    let accepted: Accepted =
        client.json(http::Method::POST, "/cd", Some(&token), http::HeaderMap::new(), Some(&body)).await.expect("it may start runs");
    let view = world.ends(accepted.run, Outcome::Failed).await;
    assert!(view.summary.reason.contains("theirs"), "{}", view.summary.reason);

    let deploy: Accepted = world.post("/environments/test/deploy", &json!({ "artifact_id": "theirs", "published_name": "x" })).await;
    world.ends(deploy.run, Outcome::Passed).await;
    assert_eq!(world.shown(0, "x").as_deref(), Some("good\n"));
    world.close().await;
}
