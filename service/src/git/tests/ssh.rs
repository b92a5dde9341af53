//! ssh, with nothing but the key and the host key that are given.

use super::*;
use crate::git::testing::SshServer;
use crate::testing::eventually;

impl World {
    fn ssh(&self, server: &SshServer, key: &str, known_hosts: &str) -> Remote {
        let access = Access::SshKey { key: server.file(key), known_hosts: server.file(known_hosts) };
        Remote::new(&server.url(self.source.path())).expect("plain").access(access)
    }
}

// Threat 49.
#[tokio::test]
async fn only_the_pinned_host_key_and_the_given_key_count() {
    let world = World::new().await;
    // A blank and marks in a path must survive the shell that git starts ssh with.
    let server = SshServer::start(&world.path().join("it's an sshd"), None).await;
    world.fetch(&world.ssh(&server, "client", "known_hosts"), "refs/heads/main").await.expect("fetched");

    let error = world.fetch(&world.ssh(&server, "client", "wrong_hosts"), "refs/heads/main").await.expect_err("another host key");
    assert_eq!(error.fault, Fault::HostKey, "{}", error.said);
    let file = server.file("wrong_hosts").display().to_string();
    assert!(error.said.contains("showed the key SHA256:") && error.said.contains(&file), "{}", error.said);
    for theirs in ["@@", "WARNING", "ssh-keygen", "NASTY"] {
        assert!(!error.said.contains(theirs), "{theirs}: {}", error.said);
    }
    let error = world.fetch(&world.ssh(&server, "client", "nothing"), "refs/heads/main").await.expect_err("no host key");
    assert_eq!(error.fault, Fault::HostKey, "{}", error.said);
    assert!(error.said.starts_with("no ") && error.said.ends_with(" is in the file of known hosts"), "{}", error.said);
    let error = world.fetch(&world.ssh(&server, "stranger", "known_hosts"), "refs/heads/main").await.expect_err("another key");
    assert_eq!(error.fault, Fault::Denied, "{}", error.said);
    let error = world.fetch(&world.ssh(&server, "client", "known_hosts"), "refs/heads/nope").await.expect_err("no such ref");
    assert_eq!(error.fault, Fault::NoSuchRef, "{}", error.said);
    let elsewhere = Remote::new(&server.url(&world.path().join("nope"))).expect("plain");
    let access = Access::SshKey { key: server.file("client"), known_hosts: server.file("known_hosts") };
    let error = world.fetch(&elsewhere.access(access), "refs/heads/main").await.expect_err("no such repository");
    assert_eq!(error.fault, Fault::NotFound, "{}", error.said);
}

#[tokio::test]
async fn the_checked_address_is_used_and_the_host_key_looked_up_by_name() {
    let world = World::new().await;
    let server = SshServer::start(&world.path().join("ssh"), None).await;
    let mut url = server.url(world.source.path());
    url.set_host(Some("git.invalid")).expect("a host");
    let access = Access::SshKey { key: server.file("client"), known_hosts: server.file("known_hosts") };
    let remote = Remote::new(&url).expect("plain").access(access).pinned(vec!["127.0.0.1".parse().expect("an address")]);
    world.fetch(&remote, "refs/heads/main").await.expect("fetched");
}

#[tokio::test]
async fn the_deadline_ends_ssh_too() {
    let world = World::new().await;
    let server = SshServer::start(&world.path().join("ssh"), Some("sleep 1000")).await;
    let remote = world.ssh(&server, "client", "known_hosts");
    let error = world.fetch_within(&remote, "refs/heads/main", Duration::from_secs(2), 1024 * 1024).await.expect_err("too slow");
    assert_eq!(error.fault, Fault::Timeout);
    let key = server.file("client").display().to_string();
    eventually("no ssh is left", SOON, || async { processes_naming(&key).is_empty().then_some(()) }).await;
}
