//! Each failure that one can do something about is told apart.

use signalbox_contract::CommitSha;

use super::*;
use crate::git::testing::Misbehaviour;
use crate::testing::{eventually, free_port};

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
        world.git.push(&world.copy(), Push { remote: &remote, ref_name, sha, lease, deadline: SOON }).await
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

#[tokio::test]
async fn refs_are_listed_by_their_full_names_and_tags_by_their_commits() {
    let world = World::new().await;
    let sha = world.source.read("refs/heads/main").await;
    world.source.git(&["tag", "-a", "-m", "x", "v1", "refs/heads/main"], "").await;
    world.source.git(&["update-ref", "refs/other/refs/heads/main2", "refs/heads/main"], "").await;
    let names = ["refs/heads/main", "refs/tags/v1", "refs/heads/nope", "refs/heads/main2"].map(|name| name.parse().expect("a ref"));
    let shown = world.git.ls_remote(&world.remote(), &names, SOON).await.expect("listed");
    let expected: Vec<Shown> = names[..2].iter().map(|name| Shown { name: name.clone(), sha: sha.clone() }).collect();
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn a_full_disk_is_said_so() {
    use crate::process::{Bounds, Program};
    let world = World::new().await;
    let noise = (0..60_000_u64).fold(String::new(), |noise, n| noise + &(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8).to_string());
    world.source.commit("refs/heads/main", &[("noise", &noise)]).await;
    let mount = |args: &[&str]| Program::new(args[0]).env("PATH", "/usr/bin:/bin").args(&args[1..]).run(Bounds::new(SOON));
    let copy = world.copy();
    let folder = copy.to_str().expect("plain");
    let mounted = mount(&["mount", "-t", "tmpfs", "-o", "size=256k", "none", folder]).await;
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        println!("not run: only root may mount a small disk");
        return;
    }
    world.git.init_bare(&copy, 40).await.expect("a repository");
    let fetched = world.fetch(&world.remote(), "refs/heads/main").await;
    mount(&["umount", "-l", folder]).await.expect("unmounted");
    let error = fetched.expect_err("no room");
    assert_eq!(error.fault, Fault::DiskFull, "{}", error.said);
}
