//! Hosts that stop in the middle of a conversation, wherever that is.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signalbox_contract::api::deploy::HostOutcome;
use signalbox_deploy_worker::testing::HostOptions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::failing::program;
use crate::world::{World, assert_all, done, reason};

const WITHOUT_END: u64 = u64::MAX;

/// A way to a host on which each connection carries so many bytes in each direction, and then nothing more. It is not closed.
struct Way {
    port: u16,
    stops: Arc<AtomicBool>,
}

impl Way {
    async fn to(host: u16, from_host: u64, to_host: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let stops = Arc::new(AtomicBool::new(true));
        let stopping = Arc::clone(&stops);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let there = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], host))).await.expect("the host");
                let ((from_us, to_us), (from_there, to_there)) = (stream.into_split(), there.into_split());
                let stops = stopping.load(Ordering::SeqCst);
                let most = |most| if stops { most } else { WITHOUT_END };
                tokio::spawn(carry(from_us, to_there, most(to_host)));
                tokio::spawn(carry(from_there, to_us, most(from_host)));
            }
        });
        Self { port, stops }
    }

    /// New connections carry everything.
    fn opens(&self) {
        self.stops.store(false, Ordering::SeqCst);
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, most: u64) {
    let (mut buffer, mut left) = (vec![0; 16 * 1024], most);
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let passes = usize::try_from(left).map_or(count, |left| left.min(count));
        if to.write_all(&buffer[..passes]).await.is_err() {
            return;
        }
        left -= passes as u64;
        if left == 0 {
            // Neither closed nor read on.
            return std::future::pending().await;
        }
    }
}

/// Makes ways to the first host hosts of their own.
async fn add(world: &mut World, ways: &[Way]) {
    let known = std::fs::read_to_string(&world.hosts[0].known_hosts).expect("known hosts");
    let (mut all, mut hosts) = (known.clone(), String::new());
    for Way { port, .. } in ways {
        all.push_str(&known.replace(&format!(":{} ", world.hosts[0].port), &format!(":{port} ")));
        let _ = writeln!(hosts, "[[environments.test.hosts]]\nname = \"way-{port}\"\naddress = \"127.0.0.1\"\nport = {port}");
    }
    std::fs::write(&world.hosts[0].known_hosts, all).expect("written");
    world.restart(|config| format!("{config}{hosts}")).await;
}

// Threat 50: in the banner, while keys are exchanged, while logging in, while a command begins, while it answers.
#[tokio::test]
async fn a_host_that_stops_after_any_byte_fails_alone_and_in_time() {
    let mut world = World::with(1, "connect_timeout = \"8s\"\nstep_timeout = \"8s\"\ndeploy_timeout = \"20s\"\nparallel = 32", "").await;
    let mut ways = Vec::new();
    for most in [1, 30, 1200, 1900, 2700, 3400, 3700, 4000, 4300] {
        ways.push(Way::to(world.hosts[0].port, most, WITHOUT_END).await);
    }
    add(&mut world, &ways).await;
    let begun = Instant::now();
    let results = world.deploy(b"one", 1).await;
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    assert_eq!(results[0].outcome, HostOutcome::Switched);
    let stages: Vec<String> =
        results[1..].iter().filter(|result| result.outcome != HostOutcome::Unchanged).map(|result| reason(result).detail.clone()).collect();
    // At which stage it was is said. The last of them may have carried just enough.
    assert!(stages.len() >= 7, "{results:?}");
    for stage in ["while connecting", "while switching"] {
        assert!(stages.iter().any(|detail| detail.contains(stage)), "{stage}: {stages:?}");
    }
    for way in &ways {
        way.opens();
    }
    // A connection that had carried just enough may be used once more, and end in the middle of that.
    world.deploy(b"one", 1).await;
    assert_all(&world.deploy(b"one", 1).await, &HostOutcome::Unchanged);
    world.end().await;
}

// Threat 50: in the middle of the bytes.
#[tokio::test]
async fn a_host_that_stops_in_the_middle_of_an_upload_shows_the_old_version_until_it_is_asked_again() {
    let mut world = World::with(1, "connect_timeout = \"8s\"\nstep_timeout = \"8s\"\ndeploy_timeout = \"12s\"", "").await;
    assert_all(&world.deploy(b"one", 1).await, &HostOutcome::Switched);
    let way = Way::to(world.hosts[0].port, WITHOUT_END, 400_000).await;
    // The way takes the place of the host.
    let known = std::fs::read_to_string(&world.hosts[0].known_hosts).expect("known hosts");
    let direct = format!(":{} ", world.hosts[0].port);
    std::fs::write(&world.hosts[0].known_hosts, format!("{known}{}", known.replace(&direct, &format!(":{} ", way.port)))).expect("written");
    let (old, new) = (format!("port = {}\n", world.hosts[0].port), format!("port = {}\n", way.port));
    world.restart(|config| config.replace(&old, &new)).await;

    let large = vec![7; 4 << 20];
    let begun = Instant::now();
    let results = world.deploy(&large, 2).await;
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    assert!(!reason(&results[0]).detail.is_empty() && !reason(&results[0]).hint.is_empty(), "{results:?}");
    assert_eq!(world.shown(0).as_deref(), Some(&b"one"[..]));
    way.opens();
    assert_all(&world.deploy(&large, 2).await, &HostOutcome::Switched);
    assert_eq!(world.shown(0).map(|bytes| bytes.len()), Some(large.len()));
    world.end().await;
}

// Threat 50: after the switch, before the answer.
#[tokio::test]
async fn a_host_that_stops_once_it_has_switched_is_found_switched_when_it_is_asked_again() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).expect("passable");
    let (mute, silent) = (folder.path().join("mute"), folder.path().join("silent"));
    // While `silent` is there, whatever is done is done, and nothing is said of it.
    program(
        &mute,
        &format!(
            "case $SSH_ORIGINAL_COMMAND in *signalbox-ready*) eval \"$SSH_ORIGINAL_COMMAND\"; exit ;; esac\n\
             [ -e {} ] || {{ eval \"$SSH_ORIGINAL_COMMAND\"; exit; }}\n\
             # The first question is answered, so that bytes come.\n\
             answer=$(eval \"$SSH_ORIGINAL_COMMAND\")\n\
             case $answer in *'end missing'*) printf '%s\\n' \"$answer\" ;; *) sleep 1000 ;; esac",
            silent.display()
        ),
    );
    std::fs::write(&silent, "").expect("written");
    let special = [HostOptions { force_command: Some(mute), ..HostOptions::default() }];
    let world = World::with_special(&special, "connect_timeout = \"8s\"\nstep_timeout = \"4s\"\ndeploy_timeout = \"8s\"", "").await;
    let request = world.request(world.store.put(b"one"), 1);
    let results = done(world.ask(&request).await.expect("an answer"));
    assert!(reason(&results[0]).detail.contains("while"), "{results:?}");
    assert_eq!(world.shown(0).as_deref(), Some(&b"one"[..]), "it has switched all the same");

    std::fs::remove_file(&silent).expect("removed");
    let mut again = request;
    again.run = world.run();
    let results = done(world.ask(&again).await.expect("an answer"));
    assert_all(&results, &HostOutcome::Unchanged);
    assert_eq!((results[0].bytes, world.release_folders(0).len()), (0, 1));
    world.end().await;
}
