//! Sources: whatever way git takes, the commit comes all the way to a host.

use serde_json::json;
use signalbox_contract::api::run::Outcome;
use signalbox_contract::token::Service;
use signalbox_scenarios::{Front, World, WorldOptions, job_file};
use signalbox_service::git::testing::{Fixture, GitServer, Seen, SshServer};
use signalbox_service::testing::free_port;

const TOKEN: &str = "the-token-for-the-source-5b1c";

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_comes_over_ssh_and_over_https_all_the_way_to_a_host() {
    let folder = tempfile::tempdir().expect("a folder");
    let ssh = SshServer::start(&folder.path().join("ssh"), None).await;
    let (by_ssh, by_tls) = (Fixture::new(folder.path(), "by-ssh").await, Fixture::new(folder.path(), "by-tls").await);
    let git = GitServer::start(folder.path()).await;
    git.require(&format!("Bearer {TOKEN}"));
    let front = free_port();
    let sources = format!(
        "[[sources]]\nurl = \"ssh://{}@{}{}\"\nprivate = true\nkey = \"{}\"\nknown_hosts = \"{}\"\n\
         [[sources]]\nurl = \"https://localhost:{}/\"\nprivate = true\ncredential = \"secrets/source\"\nca = \"ca.pem\"\n",
        ssh.user(),
        ssh.address(),
        folder.path().display(),
        ssh.file("client").display(),
        ssh.file("known_hosts").display(),
        front.port(),
    );
    let mut options = WorldOptions { hosts: 1, ..WorldOptions::default() }
        .with_repository("by-ssh", ssh.url(by_ssh.path()).as_str(), "")
        .with_repository("by-tls", &format!("https://localhost:{}/by-tls", front.port()), "")
        .with(Service::VcsWorker, &sources);
    options.secrets.insert("source", TOKEN.to_owned());
    let world = World::with(options).await;
    let _front = Front::open(front, &world.site(), git.address()).await;

    for (name, repository) in [("by-ssh", &by_ssh), ("by-tls", &by_tls)] {
        let text = format!("this came {name}\n");
        let files = [(".signalbox.yaml", job_file("cp text made", &["made"])), ("text", text.clone())];
        let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
        let sha = repository.commit("refs/heads/main", &files).await;
        let run = world.cd(&json!({ "repo": name, "ref": "main", "artifact": "made", "published_name": name })).await;
        let view = world.ends(run, Outcome::Passed).await;
        assert_eq!(view.summary.sha.as_ref(), Some(&sha));
        assert_eq!(world.shown(0, name), Some(text));
    }
    assert!(git.seen().iter().any(Seen::fetches), "it was fetched through the front");
    world.close().await;
}
