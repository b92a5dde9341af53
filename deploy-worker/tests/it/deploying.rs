//! Bringing artifacts to hosts.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signalbox_contract::api::deploy::HostOutcome;
use signalbox_contract::{Digest, FailureCode};
use signalbox_service::auth::sha256;

use crate::world::{NAME, World, assert_all, done, failed, shown_in};

#[tokio::test]
async fn bytes_come_to_each_host_once_and_are_fetched_once() {
    let world = World::with_hosts(3).await;
    let results = world.deploy(b"one", 1).await;
    assert_all(&results, &HostOutcome::Switched);
    for (index, result) in results.iter().enumerate() {
        assert_eq!(result.host.as_str(), format!("host-{index}"));
        assert_eq!((result.digest, result.previous, result.bytes), (Some(sha256(b"one")), None, 3));
        assert_eq!(world.shown(index).as_deref(), Some(&b"one"[..]));
        let mode = std::fs::metadata(world.hosts[index].files.join(NAME)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        world.assert_nothing_is_staged(index);
    }
    assert_eq!(world.store.asked(), 1, "one download serves all hosts");
    world.end().await;
}

#[tokio::test]
async fn what_is_there_already_is_a_no_op_that_says_so() {
    let world = World::with_hosts(2).await;
    assert_all(&world.deploy(b"one", 1).await, &HostOutcome::Switched);
    let asked = world.store.asked();
    let again = world.deploy(b"one", 2).await;
    assert_all(&again, &HostOutcome::Unchanged);
    assert!(again.iter().all(|result| result.bytes == 0 && result.previous == Some(sha256(b"one"))));
    assert_eq!(world.store.asked(), asked, "nothing is fetched for nothing");
    // The sequence counts all the same: an older one does not come after it.
    let late = world.deploy(b"zero", 1).await;
    assert_all(&late, &HostOutcome::Superseded);
    let newer = late[0].newer.as_ref().expect("what it keeps is told");
    assert!(newer.sequence > 1 && newer.run.is_some(), "{newer:?}");
    world.end().await;
}

#[tokio::test]
async fn an_upgrade_says_what_was_there_and_a_lower_sequence_is_refused() {
    let world = World::with_hosts(1).await;
    world.deploy(b"one", 1).await;
    let upgraded = world.deploy(b"two", 5).await;
    assert_all(&upgraded, &HostOutcome::Switched);
    assert_eq!(upgraded[0].previous, Some(sha256(b"one")));
    let late = world.deploy(b"three", 4).await;
    assert_all(&late, &HostOutcome::Superseded);
    assert_eq!(late[0].digest, Some(sha256(b"two")), "it keeps the later one");
    assert_eq!(world.shown(0).as_deref(), Some(&b"two"[..]));
    world.end().await;
}

#[tokio::test]
async fn only_so_many_releases_are_kept() {
    let world = World::with(1, "", "keep = 3").await;
    for (sequence, bytes) in (1..).zip([b"one", b"two", b"thr", b"fou", b"fiv"]) {
        assert_all(&world.deploy(bytes, sequence).await, &HostOutcome::Switched);
    }
    assert_eq!(world.release_folders(0).len(), 3);
    let shown = world.show().await.shown;
    let release = &shown[0].releases[0];
    assert_eq!((release.name.as_str(), release.digest, release.sequence), (NAME, sha256(b"fiv"), 5));
    assert_eq!(release.kept, [sha256(b"fou"), sha256(b"thr")], "newest first");
    // Many more than fit into the record: it is rewritten, and still right.
    for sequence in 6..=60 {
        let bytes = if sequence % 2 == 0 { b"fou" } else { b"fiv" };
        assert_all(&world.deploy(bytes, sequence).await, &HostOutcome::Switched);
    }
    let record = std::fs::read_to_string(world.releases(0).join("activations")).expect("a record");
    assert!(record.lines().count() < 40, "{record}");
    let release = world.show().await.shown.remove(0).releases.remove(0);
    assert_eq!((release.digest, release.sequence), (sha256(b"fou"), 60));
    assert_eq!(release.kept, [sha256(b"fiv"), sha256(b"thr")]);
    world.end().await;
}

#[tokio::test]
async fn the_environment_tells_what_each_host_shows_since_when_and_by_which_run() {
    let world = World::with_hosts(2).await;
    assert!(world.show().await.shown.iter().all(|host| host.failure.is_none() && host.releases.is_empty()), "nothing is there yet");
    let request = world.request(world.store.put(b"one"), 1);
    done(world.ask(&request).await.expect("an answer"));
    let environment = world.show().await;
    assert_eq!(environment.shown.len(), 2);
    for host in &environment.shown {
        assert_eq!(host.failure, None);
        assert_eq!((host.releases[0].run, host.releases[0].digest), (request.run, request.digest));
    }
    world.end().await;
}

// Threat 52.
#[tokio::test]
async fn the_same_request_twice_at_once_and_again_is_one_deployment() {
    let mut world = World::with_hosts(1).await;
    let request = world.request(world.store.put(&vec![7; 1 << 20]), 1);
    let (one, other) = tokio::join!(world.ask(&request), world.ask(&request));
    let one = done(one.expect("an answer"));
    assert_eq!(one, done(other.expect("an answer")), "both are told the same");
    assert_all(&one, &HostOutcome::Switched);
    // The answer is the stored one, also from another process.
    world.restart(str::to_owned).await;
    assert_eq!(done(world.ask(&request).await.expect("an answer")), one);
    assert_eq!(world.release_folders(0).len(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_name_or_an_environment_that_is_not_configured_is_refused() {
    let world = World::with_hosts(1).await;
    let mut request = world.request(world.store.put(b"one"), 1);
    request.published_name = "other".parse().expect("a name");
    assert_eq!(failed(world.ask(&request).await.expect("an answer")).code, FailureCode::NameNotAllowed);
    let mut request = world.request(world.store.put(b"one"), 1);
    request.environment = "production".parse().expect("a name");
    assert_eq!(failed(world.ask(&request).await.expect("an answer")).code, FailureCode::EnvironmentNotFound);
    let mut request = world.request(world.store.put(b"one"), 1);
    request.published_name = "site-1".parse().expect("a name");
    assert_all(&done(world.ask(&request).await.expect("an answer")), &HostOutcome::Switched);
    world.end().await;
}

// Whoever reads at any moment reads one whole version (D4).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_sees_a_missing_or_a_partial_file() {
    let world = World::with_hosts(1).await;
    let versions: Vec<Vec<u8>> = (0..4_u8).map(|n| vec![n; 100_000 + usize::from(n)]).collect();
    world.deploy(&versions[0], 1).await;
    let files = world.hosts[0].files.clone();
    let over = Arc::new(AtomicBool::new(false));
    let reader = {
        let (over, known): (_, Vec<Digest>) = (Arc::clone(&over), versions.iter().map(|bytes| sha256(bytes)).collect());
        std::thread::spawn(move || {
            let mut reads = 0_u64;
            while !over.load(Ordering::Relaxed) {
                let bytes = shown_in(&files).expect("it is always there");
                assert!(known.contains(&sha256(&bytes)), "{} bytes are no version", bytes.len());
                reads += 1;
            }
            reads
        })
    };
    for sequence in 2..30 {
        let bytes = &versions[usize::try_from(sequence).expect("small") % versions.len()];
        assert_all(&world.deploy(bytes, sequence).await, &HostOutcome::Switched);
    }
    over.store(true, Ordering::Relaxed);
    let reads = reader.join().expect("no bad read");
    assert!(reads > 100, "only {reads} reads");
    world.end().await;
}
