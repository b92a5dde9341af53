//! What comes in is checked, bounded and made harmless.

use super::*;
use crate::git::testing::Misbehaviour;

// Threat 29.
#[tokio::test]
async fn broken_objects_are_refused() {
    let world = World::new().await;
    // A tree with an entry `.git`, which would be written over a repository's own folder.
    let blob = world.source.git(&["hash-object", "-w", "--stdin"], "evil").await;
    let tree = world.source.git(&["mktree"], &format!("100644 blob {}\t.git\n", blob.trim())).await;
    let commit = world.source.git(&["commit-tree", "-m", "evil", tree.trim()], "").await;
    world.source.git(&["update-ref", "refs/heads/evil", commit.trim()], "").await;
    let error = world.fetch(&world.remote(), "refs/heads/evil").await.expect_err("broken");
    assert_eq!(error.fault, Fault::BrokenObjects, "{}", error.said);
    let left = world.git.local(&world.copy()).args(["for-each-ref"]).run().await.expect("listed");
    assert!(left.is_empty(), "no ref was written");
}

// Threat 29.
#[tokio::test]
async fn a_server_that_sends_without_end_is_cut_off_at_the_limit() {
    let world = World::new().await;
    world.server.misbehave(Misbehaviour::Endless(1_000_000));
    let limit = 3 * 1024 * 1024;
    let error = world.fetch_within(&world.remote(), "refs/heads/main", SOON * 3, limit).await.expect_err("too much");
    assert_eq!(error.fault, Fault::TooLarge, "{}", error.said);
    let packs = std::fs::read_dir(world.copy().join("objects/pack")).expect("a folder");
    let bytes: u64 = packs.flatten().map(|entry| entry.metadata().map_or(0, |file| file.len())).sum();
    assert!(bytes <= limit, "{bytes}");
}

// Threat 29.
#[tokio::test]
async fn a_pack_that_would_need_too_much_memory_is_refused() {
    let world = World::new().await;
    world.server.misbehave(Misbehaviour::Endless(u32::MAX / 2));
    let error = world.fetch_within(&world.remote(), "refs/heads/main", SOON * 3, 1024 * 1024).await.expect_err("too much");
    assert_eq!(error.fault, Fault::TooLarge, "{}", error.said);
}

#[tokio::test]
async fn a_server_without_the_smart_protocol_is_not_walked_file_by_file() {
    let world = World::new().await;
    // What a plain file server would answer: the list of refs is enough to begin with the files.
    world.source.git(&["update-server-info"], "").await;
    let root = world.source.path().to_owned();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let files = axum::Router::new().fallback_service(tower_http::services::ServeDir::new(root));
    #[expect(clippy::disallowed_methods, reason = "a test's server needs no deadlines against clients that stall")]
    tokio::spawn(async move { axum::serve(listener, files).await });
    let remote = Remote::new(&format!("http://{address}/").parse().expect("a URL")).expect("plain");
    let error = world.fetch(&remote, "refs/heads/main").await.expect_err("not smart");
    assert_eq!(error.fault, Fault::NotGit, "{}", error.said);
}

// Threat 30.
#[tokio::test]
async fn what_a_server_says_is_escaped_bounded_and_scrubbed() {
    let world = World::new().await;
    let mut words = format!("\u{1b}]0;owned\u{7} your token is {CANARY} \u{202e} ").into_bytes();
    words.extend([b'x'; 5000]);
    world.server.misbehave(Misbehaviour::Complaint(words));
    let error = world.fetch(&world.remote().access(Access::Bearer(CANARY.into())), "refs/heads/main").await.expect_err("refused");
    assert!(!error.said.contains(CANARY), "{}", error.said);
    assert!(error.said.contains("[redacted]"), "{}", error.said);
    assert!(error.said.chars().all(|character| !character.is_control() && character != '\u{202e}'), "{}", error.said);
    assert!(error.said.len() < 1200);
}

// Threat 65.
#[test]
fn a_credential_is_scrubbed_in_each_of_its_forms() {
    let access = Access::Basic { username: "bot".to_owned(), password: CANARY.into() };
    let remote = Remote::new(&"https://example.org/x".parse().expect("a URL")).expect("plain").access(access);
    let pair = remote::base64(format!("bot:{CANARY}").as_bytes());
    for form in [CANARY.to_owned(), pair, remote::base64(CANARY.as_bytes()), "c4nary-Token%2Fwith%2Bmarks".to_owned()] {
        let said = said::harmless(&format!("before {form} after"), &remote.secrets());
        assert_eq!(said, "before [redacted] after");
    }
}
