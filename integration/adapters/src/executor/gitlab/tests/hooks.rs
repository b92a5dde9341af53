//! Webhooks that are seen to, and a GitLab that is looked over.

use serde_json::{Value, json};
use signalbox_contract::RepoName;
use url::Url;

use super::super::Severity;
use super::world::World;
use crate::gitlab::{HookEvents, HookWish};

const HOOKS: &str = "GET projects/builds%2Fteam%2Fhello/hooks";
const CREATE: &str = "POST projects/builds%2Fteam%2Fhello/hooks";
const EDIT: &str = "PUT projects/builds%2Fteam%2Fhello/hooks/3";
const TEST: &str = "POST projects/builds%2Fteam%2Fhello/hooks/3/test/pipeline_events";

fn url() -> Url {
    Url::parse("https://signalbox.example/webhooks/gitlab").expect("a URL")
}

fn wish() -> HookWish {
    HookWish { url: url(), secret: Some("s3cret".into()), signing: Some("whsec_x".into()), events: HookEvents::BUILDS, rewrite: false }
}

fn hook(alert: &str, signs: bool) -> Value {
    json!({
        "id": 3, "url": url(), "pipeline_events": true, "job_events": true, "push_events": false, "enable_ssl_verification": true,
        "alert_status": alert, "signing_token_present": signs, "token_present": true,
    })
}

fn repo() -> RepoName {
    "team/hello".parse().expect("a name")
}

#[tokio::test]
async fn a_hook_is_made_once_and_tried() {
    let world = World::new().await;
    world.put(HOOKS, &json!([]));
    world.put(CREATE, &hook("executable", true));
    world.put(TEST, &json!({ "message": "201 Created" }));
    let state = world.executor.ensure_hook(&repo(), &wish()).await.expect("made");
    assert!(state.changed && state.signs && state.trouble.is_none(), "{state:?}");
    world.put(HOOKS, &json!([hook("executable", true)]));
    let state = world.executor.ensure_hook(&repo(), &wish()).await.expect("seen to");
    assert!(!state.changed, "{state:?}");
    assert_eq!((world.calls(CREATE), world.calls(TEST)), (1, 1));
}

#[tokio::test]
async fn a_hook_that_gitlab_disabled_is_tried_so_that_it_works_again() {
    let world = World::new().await;
    world.put(HOOKS, &json!([hook("disabled", true)]));
    world.put(TEST, &json!({ "message": "201 Created" }));
    assert_eq!(world.executor.ensure_hook(&repo(), &wish()).await.expect("seen to").trouble, None);
    assert_eq!(world.calls(TEST), 1);
    world.refuse(TEST, "422 Unprocessable Entity", &json!({ "message": "Invalid url given" }));
    let trouble = world.executor.ensure_hook(&repo(), &wish()).await.expect("seen to").trouble.expect("told");
    assert!(trouble.contains("Invalid url given"), "{trouble}");
}

#[tokio::test]
async fn a_server_that_cannot_sign_is_noticed_and_one_that_can_is_made_to() {
    let world = World::new().await;
    let mut old = hook("executable", true);
    old.as_object_mut().expect("an object").remove("signing_token_present");
    world.put(HOOKS, &json!([old]));
    let state = world.executor.ensure_hook(&repo(), &wish()).await.expect("seen to");
    assert!(!state.signs && !state.changed, "{state:?}");
    world.put(HOOKS, &json!([hook("executable", false)]));
    world.put(EDIT, &hook("executable", true));
    world.put(TEST, &json!({}));
    let state = world.executor.ensure_hook(&repo(), &wish()).await.expect("seen to");
    assert!(state.signs && state.changed, "{state:?}");
}

#[tokio::test]
async fn what_is_wrong_with_a_setup_is_found_with_what_to_do() {
    let world = World::new().await;
    world.put("GET version", &json!({ "version": "18.3.0-ee" }));
    let token = json!({ "name": "x", "scopes": ["read_api"], "active": true, "expires_at": "2026-05-10" });
    world.put("GET personal_access_tokens/self", &token);
    let project = json!({
        "id": 7, "path_with_namespace": "builds/team/hello", "builds_access_level": "disabled", "visibility": "public", "public_jobs": true,
        "auto_devops_enabled": true, "permissions": { "project_access": { "access_level": 20 }, "group_access": null },
    });
    world.put("GET projects/builds%2Fteam%2Fhello", &project);
    world.put("GET projects/7/hooks", &json!([hook("disabled", true)]));
    let findings = world.executor.doctor(&[repo()], Some(&url())).await;
    let found = |severity: Severity, words: &str| {
        let is_it = |finding: &&crate::executor::Finding| finding.severity == severity && finding.detail.contains(words);
        assert!(findings.iter().any(|finding| is_it(&finding)), "{words}: {findings:#?}");
    };
    found(Severity::Error, "do not include api");
    found(Severity::Error, "less than Developer");
    found(Severity::Error, "switched off");
    found(Severity::Warning, "ends on 2026-05-10");
    found(Severity::Warning, "Auto DevOps");
    found(Severity::Warning, "Everybody may see");
    found(Severity::Warning, "disabled the webhook");
    found(Severity::Fine, "GitLab 18.3.0-ee");
    assert!(findings.iter().all(|finding| finding.severity != Severity::Error || !finding.hint.is_empty()));
}

#[tokio::test]
async fn a_gitlab_that_is_none_is_said_to_be_none() {
    let world = World::new().await;
    world.put_raw("GET version", b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>".to_vec());
    let findings = world.executor.doctor(&[], None).await;
    assert_eq!(findings.len(), 1);
    assert!(findings[0].severity == Severity::Error && findings[0].detail.contains("page for people"), "{findings:?}");
}
