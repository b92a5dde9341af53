//! Connections to hosts.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use signalbox_contract::api::deploy::HostOutcome;
use signalbox_deploy_worker::testing::HostOptions;
use signalbox_service::testing::eventually;

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
