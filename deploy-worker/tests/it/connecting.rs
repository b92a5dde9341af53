//! Connections to hosts.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use signalbox_contract::api::deploy::HostOutcome;
use signalbox_deploy_worker::testing::HostOptions;
use signalbox_service::process::{Bounds, Output, Program};
use signalbox_service::testing::{eventually, not_run};

use crate::failing::program;
use crate::world::{World, assert_all, done};

#[tokio::test]
async fn a_connection_is_kept_warm_and_closed_when_nobody_uses_it() {
    let mut world = World::with_hosts(1).await;
    for sequence in 1..=4 {
        assert_all(&world.deploy(&sequence.to_string().into_bytes(), sequence).await, &HostOutcome::Switched);
    }
    assert_eq!(world.hosts[0].logins(), 1, "one login serves all");
    world.restart(|config| format!("idle_timeout = \"1s\"\n{config}")).await;
    assert_all(&world.deploy(b"4", 5).await, &HostOutcome::Unchanged);
    assert_eq!(world.hosts[0].logins(), 2);
    let sockets = world.data().join("ssh");
    eventually("the connection is closed", Duration::from_secs(30), || async {
        (std::fs::read_dir(&sockets).expect("the folder").count() == 0).then_some(())
    })
    .await;
    assert_all(&world.deploy(b"4", 6).await, &HostOutcome::Unchanged);
    assert_eq!(world.hosts[0].logins(), 3);
    world.end().await;
}

#[tokio::test]
async fn a_host_whose_server_comes_up_a_moment_later_is_waited_for() {
    let mut world = World::with_hosts(1).await;
    let mut host = world.hosts.remove(0);
    host.down().await;
    // What stands in the host's place hangs up on the first who comes; then the server is there.
    let place = eventually("the port is free", Duration::from_secs(30), || async {
        tokio::net::TcpListener::bind(("127.0.0.1", host.port)).await.ok()
    })
    .await;
    let comes_up = async {
        drop(place.accept().await.expect("somebody comes"));
        drop(place);
        host.up().await.expect("the host comes up");
    };
    let (results, ()) = tokio::join!(world.deploy(b"one", 1), comes_up);
    assert_all(&results, &HostOutcome::Switched);
    world.end().await;
}

// An administrator ends a session, or a host short of memory kills what runs there.
#[tokio::test]
async fn what_is_killed_in_the_middle_of_a_deployment_is_run_again() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).expect("writable for the hosts");
    let victims = [("session", "$PPID"), ("script", "$$")];
    let marks = victims.map(|(name, _)| folder.path().join(format!("{name}-was-killed")));
    let special = [0, 1].map(|index| {
        let ((name, process), mark) = (victims[index], marks[index].display());
        let command = folder.path().join(name);
        let kill = format!("[ -e {mark} ] || {{ : > {mark}; kill -9 {process}; exit 1; }}");
        program(
            &command,
            &format!("case $SSH_ORIGINAL_COMMAND in *signalbox-ready*) ;; *) {kill} ;; esac\nexec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\""),
        );
        HostOptions { force_command: Some(command), ..HostOptions::default() }
    });
    let world = World::with_special(&special, "", "").await;
    assert_all(&world.deploy(b"one", 1).await, &HostOutcome::Switched);
    assert!(marks.iter().all(|mark| mark.exists()), "each of them was killed once");
    world.end().await;
}

// OpenSSH's server allows ten sessions over one connection; more must wait, not fail.
#[tokio::test]
async fn many_deployments_at_once_share_one_connection() {
    let world = World::with_hosts(1).await;
    let mut each = Vec::new();
    for index in 0..24 {
        let mut request = world.request(world.store.put(format!("site {index}").as_bytes()), 1);
        request.published_name = format!("site-{index}").parse().expect("a name");
        let world = &world;
        each.push(async move { done(world.ask(&request).await.expect("an answer")) });
    }
    for results in futures_util::future::join_all(each).await {
        assert_all(&results, &HostOutcome::Switched);
    }
    assert_eq!(world.hosts[0].logins(), 1);
    assert_eq!(world.show().await.shown[0].releases.len(), 24);
    world.end().await;
}

#[tokio::test]
async fn control_sockets_lie_where_nobody_else_can_reach_them() {
    use std::os::unix::fs::MetadataExt as _;
    let world = World::with_hosts(1).await;
    world.deploy(b"one", 1).await;
    let folder = world.data().join("ssh");
    assert_eq!(std::fs::metadata(&folder).expect("the folder").mode() & 0o777, 0o700);
    assert_eq!(std::fs::read_dir(&folder).expect("the folder").count(), 1);
    world.end().await;
}

/// Gives a process a copy of `/etc` that it may change, sees that one can be overlaid, and becomes the process. The first
/// argument is an empty folder.
const OWN_ETC: &str = r#"set -e
mount -t tmpfs -o mode=0755 none "$1"
cp -a /etc "$1/etc"
mount --bind "$1/etc" /etc
mkdir "$1/upper" "$1/work" "$1/seen"
mount -t overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" none "$1/seen"
shift
exec "$@""#;

/// Says to the test `with_an_etc_of_its_own` that it has one.
const HAS_OWN_ETC: &str = "SIGNALBOX_TEST_HAS_OWN_ETC";

/// The machine's own accounts are not for a test to touch, so the test `with_an_etc_of_its_own` is run with a copy.
#[tokio::test]
async fn a_host_keeps_its_account_when_the_machine_gets_another() {
    if !rustix::process::geteuid().is_root() {
        return not_run("root, for hosts with an account of their own");
    }
    let this = std::env::current_exe().expect("our own program");
    if !with_own_etc(&["true".as_ref()]).await.status.success() {
        return not_run("overlayfs, by unshare and mount");
    }
    let args = ["--ignored", "--exact", "--nocapture", "connecting::with_an_etc_of_its_own"].map(AsRef::as_ref);
    let output = with_own_etc(&[&[this.as_os_str()], &args[..]].concat()).await;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

async fn with_own_etc(command: &[&OsStr]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let program = Program::new("unshare").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env(HAS_OWN_ETC, "yes");
    let program = program.args(["--mount", "sh", "-c", OWN_ETC, "sh"]).arg(folder.path()).args(command);
    program.run(Bounds::new(Duration::from_mins(2))).await.expect("it ran")
}

#[tokio::test]
#[ignore = "is run by the test before, in a process with an /etc of its own"]
async fn with_an_etc_of_its_own() {
    std::env::var_os(HAS_OWN_ETC).expect("an /etc of our own");
    let mut world = World::with_hosts(1).await;
    assert_all(&world.deploy(b"one", 1).await, &HostOutcome::Switched);
    for file in ["/etc/passwd", "/etc/group"] {
        let new = format!("{file}+");
        std::fs::copy(file, &new).expect("copied");
        std::fs::rename(&new, file).expect("renamed, as useradd does");
    }
    // The connection that stands knows the account already; another has to look it up.
    world.restart(str::to_owned).await;
    assert_all(&world.deploy(b"two", 2).await, &HostOutcome::Switched);
    assert_eq!(world.hosts[0].logins(), 2);
    world.end().await;
}
