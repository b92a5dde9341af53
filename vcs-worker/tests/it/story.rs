//! The ordinary way: a commit is mirrored, shown, read and taken away.

use std::time::Duration;

use serde_json::json;
use signalbox_contract::FailureCode;
use signalbox_contract::api::Answer;
use signalbox_contract::api::vcs::{FileContent, RefsAction};
use signalbox_service::git::testing::{Fixture, Misbehaviour};
use signalbox_service::git::{Access, Checkout, Remote};
use signalbox_service::testing::eventually;
use tokio_util::sync::CancellationToken;

use crate::house::{House, SOON, key};

#[tokio::test]
async fn a_commit_goes_from_its_source_to_an_executor_and_its_ref_is_taken_away() {
    let house = House::open().await;
    let sha = house.source.read("refs/heads/main").await;
    let mut order = house.order("main");
    order["files"] = json!([".signalbox.yaml", "nope"]);
    let result = house.mirror(&order).await;
    assert_eq!((&result.sha, result.ref_name.as_str()), (&sha, "refs/heads/main"));
    let file = |name: &str| result.files.get(&name.parse().expect("a path")).cloned();
    assert_eq!(file(".signalbox.yaml"), Some(FileContent::Text { text: "version: 1\n".to_owned() }));
    assert_eq!(file("nope"), Some(FileContent::Missing));
    assert!(result.transferred.objects >= 4 && result.transferred.bytes > 0, "{:?}", result.transferred);

    let attempt = key();
    let shown = house.publish(attempt, &sha).await;
    assert_eq!(shown.url.as_str(), format!("http://{}/mirrors/team/hello.git", house.address));
    assert_eq!(shown.ref_name.as_str(), format!("refs/heads/cd/{attempt}"));
    assert_eq!(shown.sha, sha);

    let remote = Remote::new(&shown.url).expect("plain").access(Access::Bearer(house.capability("team/hello", &sha).into()));
    let into = house.folder.path().join("work");
    std::fs::create_dir(&into).expect("a folder");
    let order = Checkout {
        remote: &remote,
        ref_name: shown.ref_name.as_str(),
        sha: &sha,
        into: &into,
        depth: None,
        deadline: SOON,
        max_bytes: 1 << 20,
        cancel: CancellationToken::new(),
    };
    house.git().checkout(order).await.expect("checked out");
    assert_eq!(std::fs::read_to_string(into.join("README")).expect("there"), "hello\n");

    for _ in 0..2 {
        assert!(matches!(house.refs(attempt, &sha, RefsAction::Remove).await, Ok(Answer::Done { .. })));
    }
    // The capability ends with its attempt.
    assert!(house.git().ls_remote(&remote, std::slice::from_ref(&shown.ref_name), SOON).await.is_err());
}

#[tokio::test]
async fn what_is_here_already_is_not_fetched_again() {
    let house = House::open().await;
    house.mirror(&house.order("main")).await;
    house.server.forget();
    let again = house.mirror(&house.order("main")).await;
    assert_eq!((again.transferred.objects, again.transferred.bytes), (0, 0));
    assert!(house.server.seen().iter().all(|seen| !seen.fetches()), "no objects were asked for");

    let second = house.source.commit("refs/heads/main", &[("README", "second\n")]).await;
    house.server.forget();
    let mut order = house.order("main");
    order["sha"] = json!(second);
    let result = house.mirror(&order).await;
    assert_eq!(result.sha, second);
    assert!(result.transferred.objects > 0);
    // Who was told of the commit needs not ask for the list of refs by a command of its own.
    assert_eq!(house.server.seen().iter().filter(|seen| seen.lists()).count(), 1);
}

#[tokio::test]
async fn a_ref_may_be_a_branch_a_tag_or_a_full_name() {
    let house = House::open().await;
    let sha = house.source.read("refs/heads/main").await;
    house.source.git(&["tag", "-a", "-m", "first", "v1", "refs/heads/main"], "").await;
    house.source.git(&["update-ref", "refs/changes/45/12345/2", "refs/heads/main"], "").await;
    let other = house.source.commit("refs/heads/both", &[("x", "branch")]).await;
    house.source.git(&["tag", "both", sha.as_str()], "").await;
    for (asked, meant, commit) in [
        ("v1", "refs/tags/v1", &sha),
        ("refs/tags/v1", "refs/tags/v1", &sha),
        ("refs/changes/45/12345/2", "refs/changes/45/12345/2", &sha),
        ("both", "refs/heads/both", &other),
    ] {
        let result = house.mirror(&house.order(asked)).await;
        assert_eq!((result.ref_name.as_str(), &result.sha), (meant, commit), "{asked}");
        let mut told = house.order(asked);
        told["sha"] = json!(commit);
        assert_eq!(house.mirror(&told).await.ref_name.as_str(), meant, "{asked}");
    }
    // Of two, the one that points to the commit is meant.
    let mut order = house.order("both");
    order["sha"] = json!(sha);
    assert_eq!(house.mirror(&order).await.ref_name.as_str(), "refs/tags/both");
    // And one name may become a folder of others.
    house.source.git(&["branch", "-D", "both"], "").await;
    house.source.commit("refs/heads/both/deeper", &[("y", "")]).await;
    house.mirror(&house.order("both/deeper")).await;
}

#[tokio::test]
async fn a_ref_that_moved_a_commit_that_is_gone_and_a_missing_ref_are_told_apart() {
    let house = House::open().await;
    let first = house.source.read("refs/heads/main").await;
    let second = house.source.commit("refs/heads/main", &[("README", "second\n")]).await;
    let mut order = house.order("main");
    order["sha"] = json!(first);
    let failure = house.mirror_fails(&order, FailureCode::RefMoved).await;
    assert!(failure.detail.contains(second.as_str()), "{failure}");
    order["sha"] = json!("1234567890".repeat(4));
    house.mirror_fails(&order, FailureCode::CommitNotFound).await;
    let mut gone = house.order("gone");
    house.mirror_fails(&gone, FailureCode::RefNotFound).await;
    gone["sha"] = json!(first);
    house.mirror_fails(&gone, FailureCode::RefNotFound).await;
    // A moved ref is not published under the old commit's name.
    assert!(matches!(house.refs(key(), &first, RefsAction::Publish).await, Ok(Answer::Failed { .. })));
    assert_eq!(house.mirror(&house.order("main")).await.sha, second);
}

// Threat 32.
#[tokio::test]
async fn a_forced_push_is_followed_and_the_older_commit_can_still_be_shown() {
    let house = House::open().await;
    let first = house.mirror(&house.order("main")).await.sha;
    house.source.git(&["update-ref", "-d", "refs/heads/main"], "").await;
    let other = house.source.commit("refs/heads/main", &[("other", "root")]).await;
    assert_eq!(house.mirror(&house.order("main")).await.sha, other);
    house.publish(key(), &first).await;
    house.publish(key(), &other).await;
}

#[tokio::test]
async fn what_was_asked_for_in_vain_keeps_no_name() {
    let house = House::open().await;
    let slip = json!({ "git": house.server.url("r/helo"), "ref": "main", "name": "team/hello" });
    house.mirror_fails(&slip, FailureCode::SourceNotFound).await;
    house.mirror_fails(&house.order("nowhere"), FailureCode::RefNotFound).await;
    let house = house.reopen(|_| {}).await;
    house.mirror(&house.order("main")).await;
    let problem = house.post::<()>("/repo", key(), &slip).await.expect_err("the name belongs to the one that was fetched");
    assert_eq!((problem.status, problem.code.as_str()), (409, "source-conflict"));
}

#[tokio::test]
async fn two_names_of_one_source_share_a_copy_and_a_name_belongs_to_one_source() {
    let house = House::open().await;
    house.mirror(&house.order("main")).await;
    let mut second = house.order("main");
    second["name"] = json!("other/hello");
    assert_eq!(house.mirror(&second).await.transferred.objects, 0);
    assert_eq!(house.copies().len(), 1);

    let elsewhere = Fixture::new(&house.folder.path().join("server"), "r/else").await;
    elsewhere.commit("refs/heads/main", &[("x", "y")]).await;
    let order = json!({ "git": house.server.url("r/else"), "ref": "main", "name": "team/hello" });
    let problem = house.post::<()>("/repo", key(), &order).await.expect_err("taken");
    assert_eq!((problem.status, problem.code.as_str(), problem.errors[0].field.as_str()), (409, "source-conflict", "name"));
    let failure = problem.failure.expect("what is the matter");
    assert!(failure.detail.contains(&format!("team/hello belongs to {}", house.git_url())), "{failure:?}");
    assert!(failure.hint.contains("correct the `source`"), "{failure:?}");
    // Two spellings of one source are one source.
    let mut spelled = house.order("main");
    spelled["git"] = json!(format!("{}.git/", house.git_url()));
    house.mirror(&spelled).await;
}

#[tokio::test]
async fn a_server_that_wants_the_ending_is_asked_with_it() {
    let house = House::open().await;
    let repo = Fixture::new(&house.folder.path().join("server"), "r/dotted.git").await;
    let sha = repo.commit("refs/heads/main", &[("x", "y")]).await;
    house.server.misbehave(Misbehaviour::WantsSuffix);
    for told in [true, false] {
        let mut order = json!({ "git": house.server.url("r/dotted"), "ref": "main", "name": "dotted" });
        if told {
            order["sha"] = json!(sha);
        }
        assert_eq!(house.mirror(&order).await.sha, sha);
    }
}

#[tokio::test]
async fn those_who_ask_for_the_same_share_one_fetch() {
    let house = House::open().await;
    let sha = house.source.commit("refs/heads/main", &[("big", &"x".repeat(200_000))]).await;
    let mut order = house.order("main");
    order["sha"] = json!(sha);
    let all = (0..8).map(|_| house.mirror(&order));
    let results = futures_util::future::join_all(all).await;
    assert!(results.iter().all(|result| result.sha == sha));
    assert_eq!(house.server.seen().iter().filter(|seen| seen.fetches()).count(), 1);
    assert_eq!(results.iter().filter(|result| result.transferred.objects > 0).count(), 1);
}

#[tokio::test]
async fn files_are_bounded_and_only_plain_ones_are_read() {
    let house = House::open().await;
    let blob = house.source.git(&["hash-object", "-w", "--stdin"], "/etc/passwd").await;
    let blob = blob.trim();
    let inner = house.source.git(&["mktree"], &format!("100755 blob {blob}\tdeep file\n")).await;
    let large = house.source.git(&["hash-object", "-w", "--stdin"], &"x".repeat(65 * 1024)).await;
    let odd = house.source.git(&["hash-object", "-w", "--stdin", "--no-filters"], "").await;
    let tree = format!(
        "100644 blob {blob}\tplain\n120000 blob {blob}\tlink\n040000 tree {}\tdir\n100644 blob {}\tlarge\n100644 blob {}\tempty\n160000 commit {}\tmodule\n",
        inner.trim(),
        large.trim(),
        odd.trim(),
        "1".repeat(40)
    );
    let tree = house.source.git(&["mktree", "--missing"], &tree).await;
    let commit = house.source.git(&["commit-tree", "-m", "x", tree.trim()], "").await;
    house.source.git(&["update-ref", "refs/heads/files", commit.trim()], "").await;
    let mut order = house.order("files");
    order["files"] = json!(["plain", "link", "dir", "dir/deep file", "large", "empty", "module", "link/x"]);
    let result = house.mirror(&order).await;
    let text = |text: &str| FileContent::Text { text: text.to_owned() };
    let expected = [
        ("plain", text("/etc/passwd")),
        ("link", FileContent::Missing),
        ("dir", FileContent::Missing),
        ("dir/deep file", text("/etc/passwd")),
        ("large", FileContent::TooLarge { size: 65 * 1024 }),
        ("empty", text("")),
        ("module", FileContent::Missing),
        ("link/x", FileContent::Missing),
    ];
    for (path, content) in expected {
        assert_eq!(result.files.get(&path.parse().expect("a path")), Some(&content), "{path}");
    }
}

#[tokio::test]
async fn many_small_fetches_are_put_together_in_the_background() {
    let house = House::open().await;
    let mut last = house.mirror(&house.order("main")).await.sha;
    let first = last.clone();
    for count in 0..45 {
        last = house.source.commit("refs/heads/main", &[("count", &count.to_string())]).await;
        let mut order = house.order("main");
        order["sha"] = json!(last);
        house.mirror(&order).await;
    }
    let packs = house.copies()[0].join("objects/pack");
    let count = || {
        std::fs::read_dir(&packs).expect("a folder").flatten().filter(|entry| entry.path().extension().is_some_and(|e| e == "pack")).count()
    };
    eventually("few packs are left", Duration::from_mins(1), || async { (count() < 30).then_some(()) }).await;
    // The first and the last are both still there, and proven.
    house.publish(key(), &first).await;
    house.publish(key(), &last).await;
    let check = house.git().local(&house.copies()[0]).args(["fsck", "--no-dangling"]).run().await;
    check.expect("nothing is missing");
}
