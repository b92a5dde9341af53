//! Git over HTTP: who may push what, and what comes of it.

use std::time::Duration;

use http::Method;
use secrecy::ExposeSecret as _;
use serde_json::json;
use signalbox_fakes::gitlab::Outcome;
use signalbox_fakes::gitlab::state::plan::{Plan, PlannedJob};

use super::world::{PATIENCE, Receiver, World};

#[tokio::test]
async fn the_first_branch_becomes_the_default_one_and_is_not_pushed_by_force() {
    let world = World::new().await;
    world.gitlab.create_project("g/p").await.expect("a project");
    let copy = world.copy("g/p", None).await;
    copy.git(&["push", "--quiet", "origin", "main"]).await;
    copy.git(&["commit", "--quiet", "--amend", "-m", "Other"]).await;
    let (fine, said) = copy.try_git(&["push", "--force", "origin", "main"]).await;
    assert!(!fine);
    assert!(said.contains("remote: GitLab: You are not allowed to force push code to a protected branch on this project."), "{said}");
    assert!(said.contains("! [remote rejected] main -> main (pre-receive hook declined)"), "{said}");
    let said = world.ask(Method::PATCH, "/projects/g%2Fp/protected_branches/main", Some(json!({ "allow_force_push": true }))).await;
    assert_eq!((said.status, &said.body["allow_force_push"]), (200, &json!(true)));
    copy.git(&["push", "--quiet", "--force", "origin", "main"]).await;
    let (fine, said) = copy.try_git(&["push", "origin", ":main"]).await;
    assert!(!fine && said.contains("The default branch of a project cannot be deleted."), "{said}");
}

#[tokio::test]
async fn a_token_reaches_as_far_as_its_scopes_and_role() {
    let world = World::new().await;
    let id = world.gitlab.create_project("g/p").await.expect("a project");
    world.copy("g/p", None).await.git(&["push", "--quiet", "origin", "main"]).await;
    let token = |scopes: &[&str], level| world.gitlab.create_project_token(id, scopes, level).expose_secret().to_owned();
    let (reads, developer, guest) = (token(&["read_repository"], 40), token(&["write_repository"], 30), token(&["write_repository"], 10));
    for (token, branch, expected) in [
        (reads.as_str(), "a", "You are not allowed to upload code."),
        (guest.as_str(), "b", "You are not allowed to push code to this project."),
        (developer.as_str(), "main", "You are not allowed to push code to protected branches on this project."),
        ("glpat-nobody", "c", "Authentication failed"),
    ] {
        let copy = world.copy("g/p", Some(token)).await;
        copy.commit("branch", branch, "Something that is not there yet").await;
        copy.git(&[
            "remote",
            "set-url",
            "origin",
            &format!("{}/g/p.git", world.gitlab.url().replacen("http://", &format!("http://x:{token}@"), 1)),
        ])
        .await;
        let (fine, said) = copy.try_git(&["push", "origin", &format!("+HEAD:{branch}")]).await;
        assert!(!fine && said.contains(expected), "{branch}: {said}");
    }
    let said = world.ask_as(&developer, Method::GET, "/projects/g%2Fp", None).await;
    assert_eq!((said.status, &said.body["error"]), (403, &json!("insufficient_scope")));
}

#[tokio::test]
async fn refs_of_its_own_and_what_breaks_a_rule_are_refused_by_git() {
    let world = World::new().await;
    let id = world.gitlab.create_project("g/p").await.expect("a project");
    let copy = world.copy("g/p", None).await;
    copy.git(&["push", "--quiet", "origin", "main"]).await;
    let (fine, said) = copy.try_git(&["push", "origin", "HEAD:refs/merge-requests/1/head"]).await;
    assert!(!fine && said.contains("deny updating a hidden ref"), "{said}");
    world
        .ask(
            Method::PUT,
            &format!("/projects/{id}/push_rule"),
            Some(json!({ "commit_message_regex": "^Bug [0-9]+", "branch_name_regex": "^(main|cd/.*)$" })),
        )
        .await;
    let (fine, said) = copy.try_git(&["push", "origin", "HEAD:feature"]).await;
    assert!(!fine && said.contains("Branch name 'feature' does not follow the pattern"), "{said}");
    copy.commit("a", "b", "No number").await;
    let (fine, said) = copy.try_git(&["push", "origin", "HEAD:cd/1"]).await;
    assert!(!fine && said.contains("Commit message does not follow the pattern '^Bug [0-9]+'"), "{said}");
}

#[tokio::test]
async fn a_push_of_many_branches_starts_four_pipelines_and_is_told_to_nobody() {
    let world = World::new().await;
    world.gitlab.create_project("g/p").await.expect("a project");
    world.gitlab.plan("g/p", Plan::jobs([PlannedJob::new("build", "compile")]));
    world.gitlab.script(|_, _| Some(Outcome::success()));
    let copy = world.copy("g/p", None).await;
    copy.git(&["push", "--quiet", "-o", "ci.skip", "origin", "main"]).await;
    world.gitlab.pushes_followed().await;
    let receiver = Receiver::start();
    world.post("/projects/g%2Fp/hooks", json!({ "url": receiver.url, "push_events": true, "pipeline_events": true })).await;
    copy.git(&["push", "--quiet", "origin", "HEAD:b1", "HEAD:b2", "HEAD:b3", "HEAD:b4", "HEAD:b5", "HEAD:b6"]).await;
    let passed =
        |list: &serde_json::Value| list.as_array().is_some_and(|all| all.len() >= 4 && all.iter().all(|one| one["status"] == "success"));
    world.until("four pipelines pass", "/projects/g%2Fp/pipelines", passed).await;
    copy.git(&["push", "--quiet", "origin", "HEAD:b7"]).await;
    receiver.until("the single branch is told", |one| one.body["ref"] == "refs/heads/b7").await;
    let all = world.get("/projects/g%2Fp/pipelines?per_page=100").await.body;
    let refs: Vec<_> = all.as_array().expect("a list").iter().map(|one| one["ref"].as_str().unwrap_or_default().to_owned()).collect();
    assert!(!refs.contains(&"b5".to_owned()) && !refs.contains(&"b6".to_owned()), "{refs:?}");
    assert!(receiver.arrived().iter().all(|one| one.body["object_kind"] != "push" || one.body["ref"] == "refs/heads/b7"));
}

#[tokio::test]
async fn push_options_skip_give_variables_and_open_merge_requests() {
    let world = World::new().await;
    world.gitlab.create_project("g/p").await.expect("a project");
    world.gitlab.plan("g/p", Plan::jobs([PlannedJob::new("build", "compile")]));
    let copy = world.copy("g/p", None).await;
    copy.git(&["push", "--quiet", "-o", "ci.skip", "origin", "main"]).await;
    let sha = copy.commit("a", "b", "Second\n\nwith words").await;
    copy.git(&[
        "push",
        "--quiet",
        "-o",
        "ci.variable=A=1",
        "-o",
        "merge_request.create",
        "-o",
        "merge_request.target=main",
        "origin",
        "HEAD:topic",
    ])
    .await;
    let list = world.until("a pipeline", "/projects/g%2Fp/pipelines?ref=topic", |list| list[0]["id"].is_u64()).await;
    let variables = world.get(&format!("/projects/g%2Fp/pipelines/{}/variables", list[0]["id"])).await.body;
    assert_eq!(variables[0]["key"], "A");
    let requests = world.until("a merge request", "/projects/g%2Fp/merge_requests?state=opened", |list| list[0]["iid"].is_u64()).await;
    assert_eq!((&requests[0]["title"], &requests[0]["sha"]), (&json!("Second"), &json!(sha)));
    let seen = signalbox_service::testing::eventually("the request's ref", PATIENCE, || async {
        let said = copy.git(&["ls-remote", "origin", "refs/merge-requests/1/head"]).await;
        said.contains(&sha).then_some(said)
    });
    tokio::time::timeout(Duration::from_secs(20), seen).await.expect("it is there");
    assert_eq!(world.get("/projects/g%2Fp/pipelines?ref=main").await.body, json!([]));
}

#[tokio::test]
async fn a_definition_in_the_repository_makes_the_jobs() {
    let world = World::new().await;
    world.gitlab.create_project("g/p").await.expect("a project");
    world.gitlab.script(|_, _| Some(Outcome::success()));
    let copy = world.copy("g/p", None).await;
    copy.commit("ci/more.yml", "unit:\n  stage: test\n  script: [./test]\n", "More").await;
    let text =
        "include: /ci/more.yml\nbuild:\n  stage: build\n  script: [make]\nrelease:\n  script: [ship]\n  rules:\n    - if: $CI_COMMIT_TAG\n";
    copy.commit(".gitlab-ci.yml", text, "Define").await;
    copy.git(&["push", "--quiet", "origin", "main"]).await;
    let list = world.until("it passes", "/projects/g%2Fp/pipelines", |list| list[0]["status"] == "success").await;
    let jobs = world.get(&format!("/projects/g%2Fp/pipelines/{}/jobs", list[0]["id"])).await.body;
    let names: Vec<_> = jobs.as_array().expect("a list").iter().map(|job| job["name"].as_str().unwrap_or_default()).collect();
    assert_eq!(names, ["unit", "build"]);
    let lint = world.post("/projects/g%2Fp/ci/lint", json!({ "content": "build:\n  scrpt: x\n" })).await.body;
    assert_eq!(lint["valid"], false, "{lint}");
}

#[tokio::test]
async fn a_clone_by_the_old_path_finds_a_renamed_project() {
    let world = World::new().await;
    let id = world.gitlab.create_project("g/p").await.expect("a project");
    let copy = world.copy("g/p", None).await;
    copy.git(&["push", "--quiet", "origin", "main"]).await;
    world.ask(Method::PUT, &format!("/projects/{id}"), Some(json!({ "path": "q", "name": "q" }))).await;
    let moved = world.get("/projects/g%2Fp/pipelines?ref=main").await;
    assert_eq!(moved.status, 301);
    assert!(moved.headers["location"].to_str().expect("text").ends_with(&format!("/api/v4/projects/{id}/pipelines?ref=main")));
    let refused = world.post("/projects/g%2Fp/pipeline", json!({ "ref": "main" })).await;
    assert_eq!(refused.status, 405);
    assert!(copy.git(&["ls-remote", "origin"]).await.contains("refs/heads/main"));
}
