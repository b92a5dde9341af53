//! Going back to a kept release.

use signalbox_contract::FailureCode;
use signalbox_contract::api::deploy::{ActivateRequest, HostOutcome};
use signalbox_service::auth::sha256;

use crate::world::{NAME, World, assert_all, done, failed, reason};

#[tokio::test]
async fn going_back_shows_what_was_shown_before_and_moves_no_byte() {
    let world = World::with_hosts(2).await;
    world.deploy(b"one", 1).await;
    world.deploy(b"two", 2).await;
    let asked = world.store.asked();
    let back = done(world.activate(None, 3).await);
    assert_all(&back, &HostOutcome::Switched);
    assert!(
        back.iter().all(|result| result.bytes == 0 && result.digest == Some(sha256(b"one")) && result.previous == Some(sha256(b"two")))
    );
    assert_eq!(world.shown(1).as_deref(), Some(&b"one"[..]));
    assert_eq!(world.store.asked(), asked);
    // It was an activation: what was deployed before it does not come back late.
    assert_all(&world.deploy(b"two", 2).await, &HostOutcome::Superseded);
    let release = world.show().await.shown.remove(0).releases.remove(0);
    assert_eq!((release.digest, release.sequence), (sha256(b"one"), 3));
    world.end().await;
}

#[tokio::test]
async fn asking_again_to_go_back_does_not_go_back_further() {
    let world = World::with_hosts(2).await;
    world.deploy(b"one", 1).await;
    world.deploy(b"two", 2).await;
    // One host was switched by an attempt whose answer was lost; the next attempt has another key and the same sequence.
    done(world.activate(None, 3).await);
    let again = done(world.activate(None, 3).await);
    assert_all(&again, &HostOutcome::Unchanged);
    assert_eq!(world.shown(0).as_deref(), Some(&b"one"[..]));
    world.end().await;
}

#[tokio::test]
async fn a_kept_release_can_be_named_by_its_digest() {
    let world = World::with_hosts(1).await;
    for (sequence, bytes) in (1..).zip([b"one", b"two", b"thr"]) {
        world.deploy(bytes, sequence).await;
    }
    assert_all(&done(world.activate(Some(sha256(b"one")), 4).await), &HostOutcome::Switched);
    assert_eq!(world.shown(0).as_deref(), Some(&b"one"[..]));
    // And back from there: the one that was shown before it.
    assert_all(&done(world.activate(None, 5).await), &HostOutcome::Switched);
    assert_eq!(world.shown(0).as_deref(), Some(&b"thr"[..]));
    world.end().await;
}

// Threat 53.
#[tokio::test]
async fn a_release_that_rotted_or_is_gone_on_one_host_is_refused_before_any_host_is_switched() {
    let world = World::with_hosts(2).await;
    world.deploy(b"one", 1).await;
    world.deploy(b"two", 2).await;
    let kept = world.release_folders(1).remove(0);
    std::fs::write(kept.join(NAME), b"0ne").expect("rotted");
    let failure = failed(world.activate(None, 3).await);
    assert_eq!(failure.code, FailureCode::ReleaseNotFound);
    assert!(failure.detail.contains("host-1"), "{failure}");
    std::fs::remove_dir_all(kept).expect("gone");
    let failure = failed(world.activate(Some(sha256(b"one")), 4).await);
    assert_eq!(failure.code, FailureCode::ReleaseNotFound);
    for host in 0..2 {
        assert_eq!(world.shown(host).as_deref(), Some(&b"two"[..]), "host {host} was not touched");
    }
    // Deploying it anew heals it.
    assert_all(&world.deploy(b"one", 5).await, &HostOutcome::Switched);
    world.end().await;
}

#[tokio::test]
async fn hosts_that_do_not_agree_what_was_before_are_not_switched() {
    let mut world = World::with_hosts(2).await;
    world.deploy(b"one", 1).await;
    world.hosts[1].down().await;
    let results = world.deploy(b"two", 2).await;
    assert_eq!(reason(&results[1]).code, FailureCode::HostUnreachable);
    world.hosts[1].up().await.expect("it comes back");
    world.deploy(b"thr", 3).await;
    let failure = failed(world.activate(None, 4).await);
    assert_eq!(failure.code, FailureCode::ReleaseNotFound);
    assert!(failure.detail.contains("host-0") && failure.detail.contains("host-1"), "{failure}");
    for host in 0..2 {
        assert_eq!(world.shown(host).as_deref(), Some(&b"thr"[..]));
    }
    world.end().await;
}

#[tokio::test]
async fn with_nothing_before_there_is_nothing_to_go_back_to() {
    let world = World::with_hosts(1).await;
    let never = failed(world.activate(None, 1).await);
    assert_eq!(never.code, FailureCode::ReleaseNotFound);
    assert!(never.detail.starts_with(&format!("Nothing was ever deployed as {NAME} on host-0.")), "{never}");
    assert!(never.hint.contains("`signalbox environments test` shows what is deployed there"), "{never}");
    world.deploy(b"one", 2).await;
    let alone = failed(world.activate(None, 3).await);
    assert_eq!(alone.code, FailureCode::ReleaseNotFound);
    assert!(alone.detail.contains(&format!("no release of {NAME} before the present one")), "{alone}");
    assert_eq!(failed(world.activate(Some(sha256(b"two")), 4).await).code, FailureCode::ReleaseNotFound);
    world.end().await;
}

#[tokio::test]
async fn a_host_that_is_down_does_not_keep_the_others_from_going_back() {
    let mut world = World::with_hosts(2).await;
    world.deploy(b"one", 1).await;
    world.deploy(b"two", 2).await;
    world.hosts[0].down().await;
    let request = ActivateRequest {
        published_name: NAME.parse().expect("a name"),
        environment: "test".parse().expect("a name"),
        digest: None,
        sequence: 3,
        run: world.run(),
    };
    let results = done(world.ask_to_activate(&request).await);
    assert_eq!(reason(&results[0]).code, FailureCode::HostUnreachable);
    assert_eq!(results[1].outcome, HostOutcome::Switched);
    assert_eq!(world.shown(0).as_deref(), Some(&b"two"[..]));
    assert_eq!(world.shown(1).as_deref(), Some(&b"one"[..]));
    world.end().await;
}
