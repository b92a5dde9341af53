//! Hosts that lie, flood and set traps.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use signalbox_contract::api::deploy::HostOutcome;
use signalbox_deploy_worker::testing::HostOptions;

use crate::failing::program;
use crate::world::{NAME, World, assert_all, reason};

// Threat 47.
#[tokio::test]
async fn links_that_were_planted_on_the_way_are_not_followed() {
    let world = World::with_hosts(1).await;
    let files = world.hosts[0].files.clone();
    let elsewhere = world.folder.path().join("hosts/elsewhere");
    std::fs::create_dir_all(&elsewhere).expect("a folder");
    std::fs::set_permissions(&elsewhere, std::fs::Permissions::from_mode(0o777)).expect("open to all");
    let mut sequence = 0;
    let places = [".signalbox", ".signalbox/releases", ".signalbox/releases/hello"];
    for place in places {
        let place = files.join(place);
        symlink(&elsewhere, &place).expect("planted");
        sequence += 1;
        let results = world.deploy(b"one", sequence).await;
        assert!(reason(&results[0]).detail.contains("is a link"), "{results:?}");
        assert_eq!(std::fs::read_dir(&elsewhere).expect("readable").count(), 0, "{place:?} was followed");
        std::fs::remove_file(&place).expect("removed");
        // What follows lies in a folder that must be the account's own.
        own_folder(&place, world.hosts[0].uid);
    }
    // A folder in a release's place that is a link is no release.
    assert_all(&world.deploy(b"one", 10).await, &HostOutcome::Switched);
    let release = world.release_folders(0).remove(0);
    let moved = elsewhere.join("moved");
    std::fs::rename(&release, &moved).expect("moved");
    symlink(&moved, &release).expect("planted");
    let results = world.deploy(b"one", 11).await;
    assert_eq!(results[0].outcome, HostOutcome::Switched, "it was brought anew: {results:?}");
    world.end().await;
}

// Threat 47.
#[tokio::test]
async fn what_signalbox_did_not_put_under_the_name_is_left_alone() {
    let world = World::with_hosts(1).await;
    let shown = world.hosts[0].files.join(NAME);
    std::fs::write(&shown, b"precious").expect("written");
    let results = world.deploy(b"one", 1).await;
    assert!(reason(&results[0]).detail.contains("did not put there"), "{results:?}");
    assert_eq!(std::fs::read(&shown).expect("still there"), b"precious");
    std::fs::remove_file(&shown).expect("removed");
    symlink("/etc/hostname", &shown).expect("planted");
    let results = world.deploy(b"one", 2).await;
    assert!(reason(&results[0]).detail.contains("did not put there"), "{results:?}");
    std::fs::remove_file(&shown).expect("removed");
    // A folder where the new link is prepared must not swallow it.
    std::fs::create_dir(world.hosts[0].files.join(".signalbox-hello")).expect("planted");
    let results = world.deploy(b"one", 3).await;
    assert!(reason(&results[0]).detail.contains("link cannot be switched"), "{results:?}");
    assert_eq!(world.shown(0), None);
    std::fs::remove_dir(world.hosts[0].files.join(".signalbox-hello")).expect("removed");
    // The bytes are there already: the next attempt only switches.
    let results = world.deploy(b"one", 4).await;
    assert_all(&results, &HostOutcome::Switched);
    assert_eq!(results[0].bytes, 0);
    world.end().await;
}

// Threat 51.
#[tokio::test]
async fn what_a_hostile_host_says_is_bounded_and_escaped() {
    let answers = [
        // Terminal escapes, and a claim that is no answer.
        "printf 'signalbox 1\\nend switched\\n\\033]0;owned\\007\\n'; printf '\\033[2J\\033[31mred\\n' >&2",
        // Without end, on either stream.
        "yes signalbox",
        "yes complaint >&2",
        // A forged exit status, and ends by signals.
        "exit 255",
        "kill -9 $$",
        "exit 127",
        "printf 'signalbox 1\\nend switched\\n'; exit 3",
        "",
    ];
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).expect("passable");
    let special: Vec<HostOptions> = (0..)
        .zip(answers)
        .map(|(index, answer)| {
            let path = folder.path().join(format!("answer-{index}"));
            program(
                &path,
                &format!("case $SSH_ORIGINAL_COMMAND in *signalbox-ready*) eval \"$SSH_ORIGINAL_COMMAND\"; exit ;; esac\n{answer}"),
            );
            HostOptions { force_command: Some(path), ..HostOptions::default() }
        })
        .collect();
    let world = World::with_special(&special, "step_timeout = \"20s\"", "").await;
    let begun = Instant::now();
    let results = world.deploy(b"one", 1).await;
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    for result in &results {
        let failure = reason(result);
        assert!(failure.detail.len() < 1000 && failure.detail.chars().all(|c| !c.is_control()), "{failure:?}");
    }
    assert!(reason(&results[1]).detail.contains("more than 65536 bytes"), "{results:?}");
    assert!(reason(&results[2]).detail.contains("more than 1048576 bytes"), "{results:?}");
    // They are told of as hosts that cannot be asked, too.
    assert!(world.show().await.shown.iter().all(|host| host.failure.is_some() && host.releases.is_empty()));
    world.end().await;
}

// A login that prints before anything is run is a nuisance, no fault.
// Threat 51.
#[tokio::test]
async fn a_login_that_chatters_is_listened_past() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).expect("passable");
    let path = folder.path().join("chatter");
    program(&path, "echo 'Welcome to this machine!'\necho 'You have mail.' >&2\neval \"$SSH_ORIGINAL_COMMAND\"");
    let world = World::with_special(&[HostOptions { force_command: Some(path), ..HostOptions::default() }], "", "").await;
    assert_all(&world.deploy(b"one", 1).await, &HostOutcome::Switched);
    world.end().await;
}

fn own_folder(path: &Path, uid: u32) {
    std::fs::create_dir(path).expect("a folder");
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(path, Some(uid), Some(uid)).expect("given away");
    }
}
