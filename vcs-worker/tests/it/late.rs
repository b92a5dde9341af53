//! Sources that do not show yet what a forge has told of: a replica that lags behind, a ref that is written after its commit.

use serde_json::{Value, json};
use signalbox_contract::api::Answer;
use signalbox_contract::api::vcs::RepoResult;
use signalbox_contract::{AttemptKey, CommitSha, FailureCode};
use signalbox_service::git::testing::Fixture;

use crate::house::{House, key};

/// The order of a run that a forge began by telling of this commit.
fn announced(house: &House, ref_name: &str, sha: &CommitSha) -> Value {
    let mut order = house.order(ref_name);
    order["sha"] = json!(sha);
    order["announced"] = json!(true);
    order
}

/// It is not there, and is to be asked for again: what is said of it.
async fn is_awaited(house: &House, attempt: AttemptKey, order: &Value) -> String {
    let problem = house.post::<RepoResult>("/repo", attempt, order).await.expect_err("not yet");
    assert!(problem.status == 503 && problem.retry_after.is_some(), "{problem:?}");
    problem.detail
}

async fn comes(house: &House, attempt: AttemptKey, order: &Value, sha: &CommitSha) {
    let answer = house.post::<RepoResult>("/repo", attempt, order).await.expect("an answer");
    assert!(matches!(&answer, Answer::Done { result } if result.sha == *sha), "{answer:?}");
}

/// The repository whose replica the house's source is, with a commit that has not got there yet.
async fn ahead(house: &House, ref_name: &str) -> (Fixture, CommitSha) {
    let primary = Fixture::new(house.folder.path(), "primary").await;
    let replica = house.source.path().display().to_string();
    primary.git(&["fetch", "--quiet", &replica, "+refs/*:refs/*"], "").await;
    let sha = primary.commit(ref_name, &[("README", "ahead\n")]).await;
    (primary, sha)
}

async fn catches_up(house: &House, primary: &Fixture) {
    house.source.git(&["fetch", "--quiet", &primary.path().display().to_string(), "+refs/*:refs/*"], "").await;
}

#[tokio::test]
async fn a_ref_that_somebody_typed_and_nobody_has_is_an_answer_at_once() {
    let house = House::open().await;
    for ref_name in ["refs/heads/none", "refs/changes/45/12345/2", "refs/merge-requests/7/head", "none"] {
        let failure = house.mirror_fails(&house.order(ref_name), FailureCode::RefNotFound).await;
        assert!(failure.hint.contains("Check the ref's name"), "{failure}");
    }
}

#[tokio::test]
async fn a_ref_of_which_a_forge_has_told_is_awaited() {
    let house = House::open().await;
    for ref_name in ["refs/changes/45/12345/2", "refs/merge-requests/7/head", "refs/heads/new"] {
        let (attempt, primary) = (key(), ahead(&house, ref_name).await);
        let order = announced(&house, ref_name, &primary.1);
        let said = is_awaited(&house, attempt, &order).await;
        assert!(said.contains(&format!("has no ref {ref_name} yet")), "{said}");
        catches_up(&house, &primary.0).await;
        comes(&house, attempt, &order, &primary.1).await;
        std::fs::remove_dir_all(primary.0.path()).expect("there");
    }
}

#[tokio::test]
async fn a_replica_that_still_shows_an_older_commit_is_awaited_with_a_copy_and_without() {
    for known in [false, true] {
        let house = House::open().await;
        let old = house.source.read("refs/heads/main").await;
        if known {
            house.mirror(&house.order("main")).await;
        }
        let (primary, sha) = ahead(&house, "refs/heads/main").await;
        let (attempt, order) = (key(), announced(&house, "refs/heads/main", &sha));
        for _ in 0..2 {
            let said = is_awaited(&house, attempt, &order).await;
            assert!(said.contains(&format!("still points to {old}")) && said.contains(sha.as_str()), "{said}");
        }
        catches_up(&house, &primary).await;
        comes(&house, attempt, &order, &sha).await;
    }
}

#[tokio::test]
async fn a_ref_that_is_written_after_its_commit_is_awaited() {
    let house = House::open().await;
    let request = "refs/merge-requests/7/head";
    house.source.git(&["update-ref", request, "refs/heads/main"], "").await;
    let sha = house.source.commit("refs/heads/feature", &[("x", "y")]).await;
    let older = house.source.read(request).await;
    let tree = format!("{sha}^{{tree}}");
    let sha = house.source.git(&["commit-tree", "-p", older.as_str(), "-m", "next", &tree], "").await;
    let sha: CommitSha = sha.trim().parse().expect("a commit");
    house.source.git(&["update-ref", "refs/heads/feature", sha.as_str()], "").await;
    let (attempt, order) = (key(), announced(&house, request, &sha));
    for _ in 0..2 {
        is_awaited(&house, attempt, &order).await;
    }
    house.source.git(&["update-ref", request, sha.as_str()], "").await;
    comes(&house, attempt, &order, &sha).await;
}

#[tokio::test]
async fn a_ref_that_has_moved_on_is_not_awaited_and_what_was_typed_is_never() {
    let house = House::open().await;
    let first = house.source.read("refs/heads/main").await;
    let second = house.source.commit("refs/heads/main", &[("README", "second\n")]).await;
    // In the history of what is shown now.
    let failure = house.mirror_fails(&announced(&house, "main", &first), FailureCode::RefMoved).await;
    assert!(failure.detail.contains(second.as_str()), "{failure}");
    // Beside it: somebody pushed something else by force.
    house.source.git(&["update-ref", "-d", "refs/heads/main"], "").await;
    house.source.commit("refs/heads/main", &[("other", "root")]).await;
    house.mirror_fails(&announced(&house, "main", &second), FailureCode::RefMoved).await;
    // Nobody has told of it, so nobody says that it will ever come.
    let (_, ahead) = ahead(&house, "refs/heads/main").await;
    let mut typed = announced(&house, "main", &ahead);
    typed["announced"] = json!(false);
    house.mirror_fails(&typed, FailureCode::CommitNotFound).await;
}
