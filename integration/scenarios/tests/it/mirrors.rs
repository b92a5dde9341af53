//! Other ways of showing a commit to whoever builds it: a clean project, and a git server that somebody else keeps.

use serde_json::{Value, json};
use signalbox_contract::api::run::Outcome as Ended;
use signalbox_contract::token::Service;
use signalbox_fakes::gitlab::Outcome;
use signalbox_fakes::gitlab::state::status::Status;
use signalbox_scenarios::{GROUP, Gitlab, World, WorldOptions};
use signalbox_service::secret::ExposeSecret as _;

const DEFINITION: &str = "compile: {script: [make], artifacts: {paths: [out/]}}\n";

/// A GitLab whose jobs leave what the commit is.
async fn gitlab() -> Gitlab {
    let gitlab = Gitlab::start().await;
    gitlab.fake.script(|_, pipeline| Some(Outcome::success().leaving("out/hello", pipeline.sha.as_bytes())));
    gitlab
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_project_with_master_alone_takes_the_place_of_the_one_before() {
    let gitlab = gitlab().await;
    let options = WorldOptions::default().with(Service::Controller, "naming = \"replace\"\n").with_gitlab(&gitlab);
    let world = World::with(options).await;
    let mut projects = Vec::new();
    for (number, ref_name) in ["refs/heads/main", "refs/changes/01/1/1"].into_iter().enumerate() {
        let text = format!("{number}\n");
        let sha = world.repository.commit(ref_name, &[(".gitlab-ci.yml", DEFINITION), ("text", &text)]).await.to_string();
        let run = world.cd(&json!({ "repo": "hello", "ref": ref_name, "artifact": "hello", "executor": "gitlab" })).await;
        world.ends(run, Ended::Passed).await;
        assert_eq!(world.shown(0, "hello"), Some(sha.clone()));
        assert_eq!(gitlab.branches("hello"), ["master"]);
        let pipelines = gitlab.pipelines("hello");
        assert_eq!(pipelines.len(), 1, "{pipelines:#?}");
        assert_eq!((pipelines[0].ref_name.as_str(), pipelines[0].sha.as_str()), ("master", sha.as_str()));
        projects.push(gitlab.fake.with(|state| state.project_at(&format!("{GROUP}/hello")).map(|project| project.id)));
    }
    assert_ne!(projects[0], projects[1], "another project took its place");

    // What is still at work in the old project is stopped first.
    gitlab.fake.script(|_, _| Some(Outcome::hangs()));
    let body = json!({ "repo": "hello", "ref": "main", "executor": "gitlab" });
    let hung = world.cd(&body).await;
    world.until_step(hung, "build", "running").await;
    let pipeline = gitlab.pipelines("hello").pop().expect("a pipeline");
    world.post::<Value>(&format!("/runs/{hung}/stop"), &json!({})).await;
    world.ends(hung, Ended::Stopped).await;
    gitlab.until("hello", "it is cancelled", |found| found.id == pipeline.id && found.status == Status::Canceled).await;
    gitlab.fake.script(|_, pipeline| Some(Outcome::success().leaving("out/hello", pipeline.sha.as_bytes())));
    let run = world.cd(&body).await;
    world.ends(run, Ended::Passed).await;
    world.close().await;
    gitlab.close(&["hello"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_git_server_that_somebody_else_keeps_can_be_what_a_gitlab_builds_from() {
    let gitlab = gitlab().await;
    let project = gitlab.fake.create_project(&format!("{GROUP}/hello")).await.expect("a project");
    let seed =
        json!({ "branch": "main", "commit_message": "begin", "actions": [{ "action": "create", "file_path": "README", "content": "x" }] });
    let answer = reqwest::Client::new()
        .post(format!("{}/api/v4/projects/{project}/repository/commits", gitlab.fake.url()))
        .header("private-token", gitlab.fake.root_token().expose_secret())
        .json(&seed)
        .send()
        .await
        .expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.status());
    let url = gitlab.fake.url();
    let options = WorldOptions::default().with_gitlab_behind("plain", &gitlab).with(
        Service::VcsWorker,
        &format!(
            "[mirrors.plain]\nkind = \"remote\"\nurl = \"{url}/{GROUP}\"\nprivate = true\nusername = \"oauth2\"\n\
                 token_file = \"secrets/gitlab-worker\"\n"
        ),
    );
    let world = World::with(options).await;
    let sha = world.repository.commit("refs/heads/stable", &[(".gitlab-ci.yml", DEFINITION)]).await.to_string();
    let run = world.cd(&json!({ "repo": "hello", "ref": "stable", "artifact": "hello", "executor": "gitlab" })).await;
    world.ends(run, Ended::Passed).await;
    assert_eq!(world.shown(1, "hello"), Some(sha.clone()));
    let ours: Vec<_> = gitlab.pipelines("hello").into_iter().filter(|pipeline| pipeline.sha == sha).collect();
    assert_eq!(ours.len(), 1, "{ours:#?}");
    assert_eq!(ours[0].ref_name, "stable");
    world.close().await;
    gitlab.close(&["hello"]).await;
}
