//! What the stage brings: a real Gerrit, told from what the services make of it.

use reqwest::Method;
use serde_json::json;
use signalbox_scenarios::{Account, Gerrit};

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
