//! Each failure that one can do something about is told apart.

use signalbox_contract::CommitSha;

use super::*;
use crate::git::testing::Misbehaviour;
use crate::testing::{SmallDisk, eventually, free_port};

#[tokio::test]
async fn what_a_server_refuses_is_told_apart() {
    let world = World::new().await;
    let fault = async |remote: Remote, ref_name: &str| world.fetch(&remote, ref_name).await.expect_err("refused").fault;

    assert_eq!(fault(world.remote(), "refs/heads/nope").await, Fault::NoSuchRef);
    assert_eq!(fault(Remote::new(&world.server.url("nope")).expect("plain"), "refs/heads/main").await, Fault::NotFound);
    assert_eq!(fault(world.remote(), &"a".repeat(40)).await, Fault::NotOurRef);
    let nobody = format!("http://{}/x", free_port()).parse().expect("a URL");
    assert_eq!(fault(Remote::new(&nobody).expect("plain"), "refs/heads/main").await, Fault::Unreachable);
    for (status, wanted) in
        [(401, Fault::Denied), (403, Fault::Denied), (404, Fault::NotFound), (500, Fault::ServerFailed), (503, Fault::ServerFailed)]
    {
        world.server.misbehave(Misbehaviour::Status(status));
        assert_eq!(fault(world.remote(), "refs/heads/main").await, wanted, "{status}");
    }
    world.server.misbehave(Misbehaviour::Garbage);
    let error = world.fetch(&world.remote(), "refs/heads/main").await.expect_err("garbage");
    assert_eq!(error.fault, Fault::NotGit, "{}", error.said);
}

#[tokio::test]
async fn a_missing_or_wrong_credential_is_denied_without_a_prompt() {
    let world = World::new().await;
    world.server.require("Bearer right");
    let wrong = Access::Basic { username: "bot".to_owned(), password: "wrong".into() };
    for access in [Access::Anonymous, Access::Bearer("wrong".into()), wrong] {
        let error = world.fetch(&world.remote().access(access), "refs/heads/main").await.expect_err("denied");
        assert_eq!(error.fault, Fault::Denied, "{}", error.said);
    }
}

#[tokio::test]
async fn the_deadline_ends_git_and_its_helpers() {
    let world = World::new().await;
    let port = world.server.address().port().to_string();
    for how in [Misbehaviour::Hang, Misbehaviour::HangAtObjects] {
        world.server.misbehave(how);
        let error =
            world.fetch_within(&world.remote(), "refs/heads/main", Duration::from_millis(500), 1024 * 1024).await.expect_err("too slow");
        assert_eq!(error.fault, Fault::Timeout);
        eventually("no helper is left", SOON, || async { processes_naming(&format!("127.0.0.1:{port}")).is_empty().then_some(()) }).await;
    }
}

// Threat 32.
#[tokio::test]
async fn one_ref_is_pushed_with_a_lease() {
    let world = World::new().await;
    for config in [["http.receivepack", "true"], ["receive.hideRefs", "refs/keep-around"]] {
        world.source.git(&[&["config"][..], &config].concat(), "").await;
    }
    let first = world.source.read("refs/heads/main").await;
    world.fetch(&world.remote(), "refs/heads/main").await.expect("fetched");
    let remote = world.remote();
    let push = async |ref_name: &str, sha: Option<&CommitSha>, lease: Option<&CommitSha>| {
        let updates = &[Update { ref_name, sha, lease }];
        world.git.push(&world.copy(), Push { remote: &remote, updates, options: &[], deadline: SOON }).await
    };
    push("refs/heads/cd/x", Some(&first), None).await.expect("new");
    assert_eq!(world.source.read("refs/heads/cd/x").await, first);
    push("refs/heads/cd/x", Some(&first), Some(&first)).await.expect("the same again");
    // Somebody else writes in between: what we believe is no longer so.
    let second = world.source.commit("refs/heads/cd/x", &[("b", "")]).await;
    for lease in [Some(&first), None] {
        let error = push("refs/heads/cd/x", Some(&first), lease).await.expect_err("moved");
        assert_eq!(error.fault, Fault::NonFastForward, "{}", error.said);
    }
    assert_eq!(world.source.read("refs/heads/cd/x").await, second);
    let error = push("refs/keep-around/x", Some(&first), None).await.expect_err("hidden");
    assert_eq!(error.fault, Fault::HiddenRef, "{}", error.said);
    push("refs/heads/cd/x", None, Some(&second)).await.expect("taken away");
}

// Threat 33.
#[tokio::test]
async fn several_refs_are_pushed_all_or_none_and_never_many() {
    let world = World::new().await;
    for config in [["http.receivepack", "true"], ["receive.denyNonFastForwards", "true"], ["receive.advertisePushOptions", "false"]] {
        world.source.git(&[&["config"][..], &config].concat(), "").await;
    }
    let first = world.source.read("refs/heads/main").await;
    let second = world.source.commit("refs/heads/main", &[("b", "")]).await;
    world.fetch(&world.remote(), "refs/heads/main").await.expect("fetched");
    let remote = world.remote();
    let push = async |updates: &[Update<'_>], options: &[&str]| {
        world.git.push(&world.copy(), Push { remote: &remote, updates, options, deadline: SOON }).await
    };
    let new = |ref_name| Update { ref_name, sha: Some(&first), lease: None };
    let wrong = Update { ref_name: "refs/heads/main", sha: Some(&first), lease: Some(&first) };
    let error = push(&[new("refs/heads/a"), wrong], &[]).await.expect_err("one of them has moved");
    assert_eq!(error.fault, Fault::NonFastForward, "{}", error.said);
    let back = Update { ref_name: "refs/heads/main", sha: Some(&first), lease: Some(&second) };
    let error = push(&[new("refs/heads/a"), back], &[]).await.expect_err("the server refuses to go back");
    assert_eq!(error.fault, Fault::ForceRefused, "{}", error.said);
    let below = world.git.ls_remote_below(&remote, "refs/heads/", 10, SOON).await.expect("listed");
    assert_eq!(below.iter().map(|shown| shown.name.as_str()).collect::<Vec<_>>(), ["refs/heads/main"], "nothing of it was taken");
    push(&[new("refs/heads/a/1"), new("refs/heads/a/2"), new("refs/heads/b")], &[]).await.expect("three");
    let below = world.git.ls_remote_below(&remote, "refs/heads/a/", 10, SOON).await.expect("listed");
    assert_eq!(below.iter().map(|shown| shown.name.as_str()).collect::<Vec<_>>(), ["refs/heads/a/1", "refs/heads/a/2"]);
    assert_eq!(world.git.ls_remote_below(&remote, "refs/heads/a/", 1, SOON).await.expect("listed").len(), 1);
    let error = push(&[new("refs/heads/a")], &[]).await.expect_err("a branch and a folder of one name");
    assert_eq!(error.fault, Fault::Rejected, "{}", error.said);
    let many = [new("refs/heads/p"), new("refs/heads/q"), new("refs/heads/r"), new("refs/heads/s")];
    assert_eq!(push(&many, &[]).await.expect_err("four").fault, Fault::Local);
    assert_eq!(push(&[], &[]).await.expect_err("none").fault, Fault::Local);
    assert_eq!(push(&[new("refs/heads/p")], &["a\nb"]).await.expect_err("two lines").fault, Fault::Local);
    let error = push(&[new("refs/heads/p")], &["ci.skip"]).await.expect_err("the server takes no options");
    assert_eq!(error.fault, Fault::Rejected, "{}", error.said);
    world.source.git(&["config", "receive.advertisePushOptions", "true"], "").await;
    push(&[new("refs/heads/p")], &["ci.skip"]).await.expect("with an option");
}

#[tokio::test]
async fn refs_are_listed_by_their_full_names_and_tags_by_their_commits() {
    let world = World::new().await;
    let sha = world.source.read("refs/heads/main").await;
    world.source.git(&["tag", "-a", "-m", "x", "v1", "refs/heads/main"], "").await;
    world.source.git(&["update-ref", "refs/other/refs/heads/main2", "refs/heads/main"], "").await;
    let names = ["refs/heads/main", "refs/tags/v1", "refs/heads/nope", "refs/heads/main2"].map(|name| name.parse().expect("a ref"));
    let shown = world.git.ls_remote(&world.remote(), &names, SOON).await.expect("listed");
    let tag = world.source.read("refs/tags/v1").await;
    assert_ne!(tag, sha, "an annotated tag is an object of its own");
    let expected =
        [&sha, &tag].into_iter().zip(&names).map(|(object, name)| Shown { name: name.clone(), sha: sha.clone(), object: object.clone() });
    assert_eq!(shown, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_full_disk_is_said_so() {
    let world = World::new().await;
    let noise = (0..60_000_u64).fold(String::new(), |noise, n| noise + &(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8).to_string());
    world.source.commit("refs/heads/main", &[("noise", &noise)]).await;
    let copy = world.copy();
    let Some(_disk) = SmallDisk::mount(&copy, "size=256k") else { return };
    world.git.init_bare(&copy, 40).await.expect("a repository");
    let error = world.fetch(&world.remote(), "refs/heads/main").await.expect_err("no room");
    assert_eq!(error.fault, Fault::DiskFull, "{}", error.said);
}
