//! What fails leaves a host as it was, holds up no other, and can be asked for again.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use signalbox_contract::api::deploy::HostOutcome;
use signalbox_contract::{Code, FailureCode};
use signalbox_deploy_worker::testing::HostOptions;
use signalbox_service::auth::sha256;
use signalbox_service::client::CallError;
use signalbox_service::testing::{eventually, not_run};

use crate::store::Mood;
use crate::world::{NAME, World, assert_all, done, reason};

const LIMIT: Duration = Duration::from_mins(1);

// Threat 50: a host that accepts and says nothing.
#[tokio::test]
async fn a_host_that_hangs_fails_alone_and_in_time() {
    let mut world = World::with(1, "connect_timeout = \"2s\"", "").await;
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let known = std::fs::read_to_string(&world.hosts[0].known_hosts).expect("known hosts");
    let also = known.replace(&format!(":{} ", world.hosts[0].port), &format!(":{port} "));
    std::fs::write(&world.hosts[0].known_hosts, format!("{known}{also}")).expect("written");
    world
        .restart(|config| format!("{config}[[environments.test.hosts]]\nname = \"silent\"\naddress = \"127.0.0.1\"\nport = {port}\n"))
        .await;
    let begun = Instant::now();
    let results = world.deploy(b"one", 1).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(results[0].outcome, HostOutcome::Switched);
    assert_eq!(reason(&results[1]).code, FailureCode::HostUnreachable);
    let shown = world.show().await.shown;
    assert!(shown[0].failure.is_none() && shown[1].failure.is_some());
    world.end().await;
}

// Threat 50: a host that hangs once it is logged in, and one that hangs while it is at work.
#[tokio::test]
async fn a_host_that_hangs_later_fails_in_time_too() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).expect("passable");
    let (login, work) = (folder.path().join("login"), folder.path().join("work"));
    program(&login, "sleep 1000");
    program(&work, "case $SSH_ORIGINAL_COMMAND in *signalbox-ready*) eval \"$SSH_ORIGINAL_COMMAND\" ;; esac\nsleep 1000");
    let special = [login, work].map(|command| HostOptions { force_command: Some(command), ..HostOptions::default() });
    let world = World::with_special(&special, "connect_timeout = \"2s\"\nstep_timeout = \"2s\"", "").await;
    let begun = Instant::now();
    let results = world.deploy(b"one", 1).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(reason(&results[0]).detail.contains("while connecting"), "{results:?}");
    assert!(reason(&results[1]).detail.contains("while switching"), "{results:?}");
    world.end().await;
}

// Threat 49.
#[tokio::test]
async fn a_host_whose_key_is_another_is_not_spoken_to() {
    let world = World::with_hosts(2).await;
    let known = std::fs::read_to_string(&world.hosts[0].known_hosts).expect("known hosts");
    let lines: Vec<&str> = known.lines().collect();
    let key_of = |line: &str| line.split_once(' ').expect("a key").1.to_owned();
    // Each host's key stands under the other's name.
    let swapped =
        format!("[127.0.0.1]:{} {}\n[127.0.0.1]:{} {}\n", world.hosts[0].port, key_of(lines[1]), world.hosts[1].port, key_of(lines[0]));
    std::fs::write(&world.hosts[0].known_hosts, swapped).expect("written");
    for result in world.deploy(b"one", 1).await {
        let failure = reason(&result);
        assert_eq!(failure.code, FailureCode::HostUnreachable);
        let file = world.hosts[0].known_hosts.display().to_string();
        assert!(failure.hint.contains(&file) && failure.detail.contains(&file), "{failure:?}");
        assert!(failure.detail.contains("showed the key SHA256:") && !failure.detail.contains("@@"), "{failure:?}");
        assert!(!failure.detail.contains("ssh-keygen") && !failure.detail.ends_with(".."), "{failure:?}");
    }
    // Nor one whose key is not known at all.
    std::fs::write(&world.hosts[0].known_hosts, "").expect("written");
    for result in world.deploy(b"one", 2).await {
        let failure = reason(&result);
        assert_eq!(failure.code, FailureCode::HostUnreachable);
        assert!(failure.detail.ends_with("is in the file of known hosts."), "{failure:?}");
    }
    assert_eq!(world.hosts[0].logins() + world.hosts[1].logins(), 0);
    assert_eq!(std::fs::read_to_string(&world.hosts[0].known_hosts).expect("readable"), "", "nothing was learned");
    world.end().await;
}

#[tokio::test]
async fn a_full_disk_leaves_the_old_version_and_nothing_half_done() {
    if !rustix::process::geteuid().is_root() {
        return not_run("root, for a small disk");
    }
    let special = [HostOptions { disk: Some(512 * 1024), ..HostOptions::default() }];
    let world = World::with_special(&special, "", "").await;
    assert_all(&world.deploy(b"one", 1).await, &HostOutcome::Switched);
    let results = world.deploy(&vec![7; 2 << 20], 2).await;
    assert!(reason(&results[0]).detail.contains("No space left"), "{results:?}");
    assert_eq!(results[0].digest, None, "it did not come to look");
    assert_eq!(world.shown(0).as_deref(), Some(&b"one"[..]));
    world.assert_nothing_is_staged(0);
    assert_all(&world.deploy(b"two", 3).await, &HostOutcome::Switched);
    world.end().await;
}

#[tokio::test]
async fn a_root_that_cannot_be_written_to_is_told_before_any_byte_is_moved() {
    let world = World::with_hosts(1).await;
    let files = world.hosts[0].files.clone();
    std::fs::set_permissions(&files, std::fs::Permissions::from_mode(0o555)).expect("changed");
    let results = world.deploy(b"one", 1).await;
    assert!(reason(&results[0]).detail.contains("may not be written to"), "{results:?}");
    assert_eq!(world.store.asked(), 0);
    std::fs::set_permissions(&files, std::fs::Permissions::from_mode(0o755)).expect("changed");
    assert_all(&world.deploy(b"one", 2).await, &HostOutcome::Switched);
    world.end().await;
}

#[tokio::test]
async fn bytes_that_were_spoiled_on_the_way_are_found_on_the_host() {
    let world = World::with_hosts(1).await;
    let digest = world.store.put(b"one");
    let mut request = world.request(digest, 1);
    request.published_name = "site-1".parse().expect("a name");
    assert_all(&done(world.ask(&request).await.expect("an answer")), &HostOutcome::Switched);
    // The worker has proven these bytes; then its disk spoils them.
    std::fs::write(world.data().join("cache").join(digest.hex()), b"0ne").expect("spoiled");
    let results = world.deploy(b"one", 1).await;
    assert!(reason(&results[0]).detail.contains(&sha256(b"0ne").to_string()), "{results:?}");
    assert_eq!(world.shown(0), None);
    world.assert_nothing_is_staged(0);
    // They are not believed a second time.
    assert_all(&world.deploy(b"one", 2).await, &HostOutcome::Switched);
    assert_eq!(world.store.asked(), 2);
    world.end().await;
}

#[tokio::test]
async fn a_release_that_rotted_while_it_is_shown_is_healed() {
    let world = World::with_hosts(1).await;
    world.deploy(b"one", 1).await;
    std::fs::write(world.release_folders(0)[0].join(NAME), b"0ne").expect("rotted");
    let results = world.deploy(b"one", 1).await;
    assert_all(&results, &HostOutcome::Switched);
    assert_eq!(world.shown(0).as_deref(), Some(&b"one"[..]));
    world.end().await;
}

// Threat 50.
#[tokio::test]
async fn a_host_that_dies_in_the_middle_shows_the_old_version_and_takes_the_new_one_when_it_is_back() {
    let mut world = World::with_hosts(1).await;
    world.deploy(b"one", 1).await;
    let large = vec![7; 192 << 20];
    let request = world.request(world.store.put(&large), 2);
    let releases = world.releases(0);
    let staged = || async {
        let mut entries = std::fs::read_dir(&releases).ok()?;
        entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(".staging"))).then_some(())
    };
    let mut host = world.hosts.remove(0);
    let dies = async {
        eventually("the upload has begun", LIMIT, staged).await;
        host.down().await;
    };
    let (results, ()) = tokio::join!(async { done(world.ask(&request).await.expect("an answer")) }, dies);
    world.hosts.push(host);
    assert_eq!(reason(&results[0]).code, FailureCode::HostUnreachable);
    assert_eq!(world.shown(0).as_deref(), Some(&b"one"[..]));
    assert!(staged().await.is_some(), "it was killed before it could clean up");
    world.hosts[0].up().await.expect("it comes back");
    let mut again = request.clone();
    again.run = world.run();
    assert_all(&done(world.ask(&again).await.expect("an answer")), &HostOutcome::Switched);
    assert_eq!(world.shown(0).map(|bytes| bytes.len()), Some(large.len()));
    world.assert_nothing_is_staged(0);
    world.end().await;
}

#[tokio::test]
async fn a_store_that_cannot_give_the_bytes_now_is_asked_again() {
    let world = World::with_hosts(1).await;
    let request = world.request(world.store.put(b"one"), 1);
    for mood in [Mood::Busy, Mood::Lying] {
        world.store.be(mood);
        let Err(CallError::Retry { problem: Some(problem), .. }) = world.ask(&request).await else { panic!("it should be asked again") };
        assert_eq!(problem.code, Code::Unavailable);
        assert_eq!(world.shown(0), None);
    }
    world.store.be(Mood::Good);
    assert_all(&done(world.ask(&request).await.expect("an answer")), &HostOutcome::Switched);
    world.end().await;
}

#[tokio::test]
async fn bytes_that_the_store_does_not_have_fail_each_host_that_needs_them() {
    let world = World::with_hosts(1).await;
    let request = world.request(sha256(b"never stored"), 1);
    let results = done(world.ask(&request).await.expect("an answer"));
    assert_eq!(reason(&results[0]).code, FailureCode::ArtifactUnavailable);
    world.end().await;
}

#[tokio::test]
async fn a_connection_that_was_idle_while_the_host_was_restarted_is_made_anew() {
    let mut world = World::with_hosts(1).await;
    assert_all(&world.deploy(b"one", 1).await, &HostOutcome::Switched);
    world.hosts[0].down().await;
    world.hosts[0].up().await.expect("it comes back");
    assert_all(&world.deploy(b"two", 2).await, &HostOutcome::Switched);
    world.end().await;
}

/// Writes a program that the hosts' accounts may run.
pub(crate) fn program(path: &std::path::Path, script: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{script}\n")).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("runnable");
}
