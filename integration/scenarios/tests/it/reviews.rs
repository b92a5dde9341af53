//! Changes in a real Gerrit: built, voted on, submitted, deployed.

use reqwest::Method;
use serde_json::json;
use signalbox_contract::api::run::Outcome;
use signalbox_scenarios::{Account, Gerrit, World, WorldOptions, job_file};

#[tokio::test(flavor = "multi_thread")]
async fn gerrit_takes_changes_and_votes_and_comes_back_with_them() {
    let Some(mut gerrit) = Gerrit::start().await else { return };
    gerrit.project("hello").await;
    let mut workspace = gerrit.clone_of("hello").await;
    workspace.write(&[("greeting", "hello, world\n")]);
    let first = workspace.propose("Greet the world", "").await;
    workspace.write(&[("greeting", "hello, moon\n")]);
    let second = workspace.amend("").await;
    assert_eq!(first.number, second.number);
    assert_eq!(gerrit.patch_set(first.number).await, 2);

    for (sha, vote) in [(&first.sha, -1), (&second.sha, 1)] {
        let review = json!({ "labels": { "Verified": vote }, "message": "from the test" });
        let path = format!("changes/{}/revisions/{sha}/review", first.number);
        gerrit.ask(Account::Robot, Method::POST, &path, Some(&review)).await;
    }
    gerrit.kill().await;
    gerrit.up().await;
    gerrit.until_vote(first.number, 2, 1).await;
    assert_eq!(gerrit.vote(first.number).await, 1);
    assert_eq!(gerrit.votes(first.number).await, [(1, vec![-1]), (2, vec![1])].into());
    gerrit.submit(first.number).await;
    gerrit.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_in_gerrit_is_built_here_voted_on_submitted_and_deployed() {
    let Some(gerrit) = Gerrit::start().await else { return };
    gerrit.project("tool").await;
    let rules = "executor = \"local\"\nforge = \"gerrit\"\nproject = \"tool\"\n[[repositories.tool.on]]\nevent = \"review\"\n\
                 [[repositories.tool.on]]\nevent = \"merged\"\nartifact = \"tool\"\n";
    let options = WorldOptions::default().with_gerrit(&gerrit).with_repository("tool", &gerrit.source("tool"), rules);
    let world = World::with(options).await;

    let mut workspace = gerrit.clone_of("tool").await;
    workspace.write(&[(".signalbox.yaml", &job_file("cp text tool", &["tool"])), ("text", "one\n")]);
    let change = workspace.propose("Make a tool", "").await;
    world.judged(&gerrit, "tool", &change, 1, Outcome::Passed).await;
    assert_eq!(world.shown(0, "tool"), None, "a change under review is not deployed");

    gerrit.submit(change.number).await;
    let run = world.run_at("tool", &gerrit.tip("tool").await).await;
    world.ends(run.id, Outcome::Passed).await;
    for host in 0..2 {
        assert_eq!(world.shown(host, "tool").as_deref(), Some("one\n"));
    }
    world.close().await;
    gerrit.close().await;
}
