//! Webhooks that are seen to, and a GitLab that is looked over.

use std::path::Path;

use serde_json::{Value, json};
use signalbox_contract::RepoName;
use signalbox_service::secret::{SecretString, write_secret};
use url::Url;

use super::super::tend::{MOST, Tending};
use super::super::{GitLabExecutor, HookTerms, Severity, Tally};
use super::world::World;
use crate::executor::{Executor as _, ExecutorError};
use crate::forge::Secrets;

const HOOKS: &str = "GET projects/7/hooks";
const CREATE: &str = "POST projects/7/hooks";
const EDIT: &str = "PUT projects/7/hooks/3";
const TEST: &str = "POST projects/7/hooks/3/test/pipeline_events";

const WELL: Tally = Tally { well: 1, troubled: 0 };
const TROUBLED: Tally = Tally { well: 0, troubled: 1 };

fn url() -> Url {
    Url::parse("https://signalbox.example/webhooks/gitlab").expect("a URL")
}

fn terms() -> HookTerms {
    let secrets = |secret: &str| Secrets::from(vec![SecretString::from(secret)]);
    HookTerms { url: url(), secrets: secrets("s3cret"), signing: secrets("whsec_x") }
}

/// A world, and an executor in it whose projects are to have a webhook, which can be edited and tried.
async fn hooked(terms: HookTerms) -> (World, GitLabExecutor) {
    let world = World::new().await;
    let executor = world.executor.clone().with_hook(terms);
    world.put(EDIT, &hook("executable", true));
    world.put(TEST, &json!({ "message": "201 Created" }));
    (world, executor)
}

/// What it does now and then.
async fn sees_to_all(executor: &GitLabExecutor) -> Tally {
    executor.tend_hooks(Some(&[repo()])).await
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
    let (world, executor) = hooked(terms()).await;
    world.put(HOOKS, &json!([]));
    world.put(CREATE, &hook("executable", true));
    assert_eq!(sees_to_all(&executor).await, WELL);
    let made = world.body(CREATE);
    assert_eq!((&made["token"], &made["signing_token"]), (&json!("s3cret"), &json!("whsec_x")));
    world.put(HOOKS, &json!([hook("executable", true)]));
    assert_eq!(sees_to_all(&executor).await, WELL);
    assert_eq!((world.calls(CREATE), world.calls(EDIT), world.calls(TEST)), (1, 0, 1));
}

#[tokio::test]
async fn a_hook_that_gitlab_disabled_is_tried_so_that_it_works_again() {
    let (world, executor) = hooked(terms()).await;
    world.put(HOOKS, &json!([hook("executable", true)]));
    assert_eq!(sees_to_all(&executor).await, WELL);
    world.put(HOOKS, &json!([hook("disabled", true)]));
    assert_eq!(sees_to_all(&executor).await, WELL);
    assert_eq!((world.calls(EDIT), world.calls(TEST)), (1, 2));
    world.refuse(TEST, "422 Unprocessable Entity", &json!({ "message": "Invalid url given" }));
    assert_eq!(sees_to_all(&executor).await, TROUBLED);
    world.put("GET version", &json!({ "version": "18.3.0-ee" }));
    let findings = executor.doctor(&[repo()], Some(&url())).await;
    assert!(findings.iter().any(|finding| finding.detail.contains("Invalid url given")), "{findings:#?}");
}

#[tokio::test]
async fn a_server_that_cannot_sign_is_noticed_and_one_that_can_is_made_to() {
    let mut old = hook("executable", true);
    old.as_object_mut().expect("an object").remove("signing_token_present");
    let (world, executor) = hooked(HookTerms { secrets: Secrets::default(), ..terms() }).await;
    world.put(HOOKS, &json!([old]));
    world.put(EDIT, &old);
    assert_eq!(sees_to_all(&executor).await, TROUBLED);

    let (world, executor) = hooked(terms()).await;
    world.put(HOOKS, &json!([old]));
    world.put(EDIT, &old);
    // It has the secret, which is all that it can have.
    assert_eq!((sees_to_all(&executor).await, sees_to_all(&executor).await), (WELL, WELL));
    assert_eq!(world.calls(EDIT), 1);
    world.put(HOOKS, &json!([hook("executable", false)]));
    assert_eq!(sees_to_all(&executor).await, WELL);
    assert_eq!(world.calls(EDIT), 2);
}

#[tokio::test]
async fn a_secret_that_was_replaced_in_its_file_is_written_into_the_hooks_that_there_are_and_into_new_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("secret");
    write_secret(&file, &"first".into()).expect("written");
    let secrets = Secrets::read(vec![file.clone()]).expect("readable");
    let (world, executor) = hooked(HookTerms { secrets, ..terms() }).await;
    world.put(HOOKS, &json!([hook("executable", true)]));
    assert_eq!((sees_to_all(&executor).await, sees_to_all(&executor).await), (WELL, WELL));
    assert_eq!((world.calls(EDIT), &world.body(EDIT)["token"]), (1, &json!("first")));

    replace(&file, "second");
    // Also where only some are seen to, those with a secret that is good no more are among them.
    assert_eq!(executor.tend_hooks(None).await, WELL);
    assert_eq!((world.calls(EDIT), &world.body(EDIT)["token"]), (2, &json!("second")));
    world.put(HOOKS, &json!([]));
    world.put(CREATE, &hook("executable", true));
    assert_eq!(sees_to_all(&executor).await, WELL);
    assert_eq!(world.body(CREATE)["token"], json!("second"));

    // One that could not be written is written later.
    world.put(HOOKS, &json!([hook("executable", true)]));
    replace(&file, "third");
    world.refuse(EDIT, "403 Forbidden", &json!({ "message": "403 Forbidden" }));
    assert_eq!(sees_to_all(&executor).await, TROUBLED);
    world.put(EDIT, &hook("executable", true));
    assert_eq!((sees_to_all(&executor).await, sees_to_all(&executor).await), (WELL, WELL));
    assert_eq!((world.calls(EDIT), &world.body(EDIT)["token"]), (4, &json!("third")));
}

fn replace(file: &Path, secret: &str) {
    let aside = file.with_extension("aside");
    write_secret(&aside, &secret.into()).expect("written");
    std::fs::rename(&aside, file).expect("moved");
}

#[tokio::test]
async fn a_hook_that_somebody_else_made_is_left_as_it_is_though_it_leads_to_us() {
    let theirs = |name: Value| {
        let mut hook = hook("disabled", false);
        (hook["id"], hook["name"], hook["push_events"]) = (json!(9), name, json!(true));
        hook
    };
    // Ours is told by its name; in versions without names, by what it sends.
    for (name, ours) in [(json!("Deploys"), json!("Signalbox")), (json!(null), json!(null)), (json!(""), json!("Signalbox"))] {
        let (world, executor) = hooked(terms()).await;
        let mut made = hook("executable", true);
        made["name"] = ours;
        world.put(HOOKS, &json!([theirs(name.clone())]));
        world.put(CREATE, &made);
        assert_eq!(sees_to_all(&executor).await, WELL);
        assert_eq!(world.body(CREATE)["name"], "Signalbox");
        world.put(HOOKS, &json!([theirs(name.clone()), made, { "id": 4, "url": url(), "name": "Signalbox" }]));
        world.put("DELETE projects/7/hooks/4", &json!({}));
        assert_eq!(sees_to_all(&executor).await, WELL);
        let touched = ["PUT projects/7/hooks/9", "DELETE projects/7/hooks/9"].map(|call| world.calls(call));
        assert_eq!((touched, world.calls("DELETE projects/7/hooks/4")), ([0, 0], 1));
        world.put("GET version", &json!({ "version": "18.3.0-ee" }));
        let findings = executor.doctor(&[repo()], Some(&url())).await;
        let said = findings.iter().find(|finding| finding.detail.contains("(number 9)")).expect("it is told of");
        assert!(said.severity == Severity::Warning && !said.hint.is_empty(), "{said:?}");
        assert!(findings.iter().any(|finding| finding.detail.starts_with("The webhook is there")), "{findings:#?}");
    }
}

#[tokio::test]
async fn a_gitlab_that_fails_is_said_to_be_left_alone_with_why_and_since_when() {
    let world = World::new().await;
    world.refuse("GET groups/builds", "502 Bad Gateway", &json!({ "message": "GitLab is not responding" }));
    let order = world.order(signalbox_contract::api::vcs::Naming::Run, true);
    for _ in 0..6 {
        world.executor.gitlab().group("builds").await.expect_err("it is down");
    }
    let error = world.executor.prepare(&order.intent()).await.expect_err("it is not asked");
    assert!(matches!(error, ExecutorError::Retry { after: Some(_), .. }), "{error:?}");
    assert!(error.to_string().contains("5 calls in a row have failed (it answered 502 Bad Gateway)"), "{error}");
    let findings = world.executor.doctor(&[], None).await;
    let words = "has failed 5 times in a row since 2026-05-05T1";
    assert!(findings[0].severity == Severity::Warning && findings[0].detail.contains(words), "{findings:?}");
}

#[test]
fn what_is_said_about_a_hook_while_it_is_seen_to_is_not_lost() {
    let tending = Tending::new(terms());
    let due = || tending.due(false).into_iter().map(|(project, _)| project).collect::<Vec<_>>();
    tending.used(7);
    let (_, before) = tending.due(false).remove(0);
    // It went wrong after it was looked at: that it was well says nothing.
    tending.mend(7);
    tending.settle(7, &before, Some(before.clone().seen_to(1, None)));
    assert_eq!(due(), [7]);
    let (_, before) = tending.due(false).remove(0);
    tending.settle(7, &before, Some(before.clone().seen_to(1, None)));
    assert!(due().is_empty());
    // It was built in after it was seen to be gone: it is looked for once more, and then believed to be.
    let (_, before) = tending.due(true).remove(0);
    tending.used(7);
    tending.settle(7, &before, None);
    assert_eq!(due(), [7]);
    let (_, before) = tending.due(false).remove(0);
    tending.settle(7, &before, None);
    assert!(tending.due(true).is_empty());
}

#[test]
fn no_more_projects_are_kept_than_are_seen_to() {
    let tending = Tending::new(terms());
    for project in 0..=MOST as u64 {
        tending.mend(project);
    }
    tending.used(u64::MAX);
    assert_eq!(tending.due(true).len(), MOST);
    tending.mend(0);
    assert_eq!(tending.due(true).len(), MOST);
}

#[tokio::test]
async fn what_is_wrong_with_a_setup_is_found_with_what_to_do() {
    let world = World::new().await;
    world.put("GET version", &json!({ "version": "18.3.0-ee" }));
    let token = json!({ "name": "x", "scopes": ["read_api"], "active": true, "expires_at": "2026-05-10" });
    world.put("GET personal_access_tokens/self", &token);
    let project = json!({
        "id": 7, "path_with_namespace": "builds/team/hello", "builds_access_level": "disabled", "visibility": "public", "public_jobs": true,
        "auto_devops_enabled": true, "auto_cancel_pending_pipelines": "enabled",
        "ci_pipeline_variables_minimum_override_role": "maintainer", "permissions": { "project_access": { "access_level": 20 }, "group_access": null },
    });
    world.put("GET projects/builds%2Fteam%2Fhello", &project);
    world.put("GET projects/7/hooks", &json!([hook("disabled", true)]));
    let variables = json!([{ "key": "A", "protected": true }, { "key": "B", "protected": false }, { "key": "C", "protected": true }]);
    world.put("GET projects/7/variables", &variables);
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
    found(Severity::Warning, "cancels older ones");
    found(Severity::Warning, "2 CI/CD variables of builds/team/hello are protected");
    found(Severity::Warning, "does not let the token's role set variables");
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
