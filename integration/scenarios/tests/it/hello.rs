//! A real project from Debian: built, stored, deployed, run on its hosts, upgraded, rolled back.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use signalbox_contract::api::run::{Accepted, Outcome};
use signalbox_deploy_worker::testing::Host;
use signalbox_scenarios::{World, hello_source};
use signalbox_service::process::{Bounds, Program};

/// A checkout gives files the times at which they were written; equal times keep `make` from making anew what the
/// archive brings, with tools that may not be there; the manual page is made of the program, by such a tool.
const DEFINITION: &str = "\
version: 1
jobs:
  cd:
    script: |
      find . -type f -exec touch -d @1000000000 {} +
      ./configure --quiet
      make --silent HELP2MAN='touch hello.1-t; :'
      ./hello --version | head -n 1
    artifacts:
      hello: hello
    timeout: 10m
";

#[tokio::test(flavor = "multi_thread")]
async fn gnu_hello_is_built_deployed_run_upgraded_and_rolled_back() {
    let Some(source) = hello_source().await else { return };
    let world = World::new().await;
    let tree = tempfile::tempdir().expect("a folder");
    copy(&source, tree.path()).await;
    std::fs::write(tree.path().join(".signalbox.yaml"), DEFINITION).expect("written");
    commit(&world, tree.path(), "GNU hello as Debian has it").await;

    let first = world.deploy_hello().await;
    world.ends(first, Outcome::Passed).await;
    assert!(world.step_log(first, "build").await.contains("hello (GNU Hello)"));
    for host in &world.hosts {
        assert_eq!(run_on(host, "hello").await, "Hello, world!\n");
    }

    let program = tree.path().join("src/hello.c");
    let text = std::fs::read_to_string(&program).expect("the program");
    std::fs::write(&program, text.replace("Hello, world!", "Hello, signalbox!")).expect("written");
    commit(&world, tree.path(), "Greet the signal box").await;
    let second = world.deploy_hello().await;
    world.ends(second, Outcome::Passed).await;
    for host in &world.hosts {
        assert_eq!(run_on(host, "hello").await, "Hello, signalbox!\n");
    }

    let rollback: Accepted = world.post("/environments/test/rollback", &json!({ "published_name": "hello" })).await;
    world.ends(rollback.run, Outcome::Passed).await;
    for host in &world.hosts {
        assert_eq!(run_on(host, "hello").await, "Hello, world!\n");
    }
    world.close().await;
}

/// Copies what a folder holds into another.
pub(crate) async fn copy(from: &Path, to: &Path) {
    let copied =
        Program::new("cp").arg("-a").arg(from.join(".")).arg(to).env("PATH", "/usr/bin:/bin").run(Bounds::new(Duration::from_mins(1)));
    assert!(copied.await.expect("it runs").status.success());
}

async fn commit(world: &World, tree: &Path, message: &str) {
    let tree = format!("--work-tree={}", tree.display());
    world.repository.git(&["--git-dir=.", &tree, "add", "--all", "--force", "."], "").await;
    let who = ["-c", "user.name=Tester", "-c", "user.email=tester@example.org", "-c", "commit.gpgsign=false"];
    let what = ["--git-dir=.", &tree, "commit", "--quiet", "-m", message];
    world.repository.git(&[&who[..], &what[..]].concat(), "").await;
}

/// What the deployed program says, run on the host as its account.
pub(crate) async fn run_on(host: &Host, name: &str) -> String {
    let ssh = Program::new("ssh")
        .args(["-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i"])
        .arg(&host.key)
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", host.known_hosts.display()))
        .args(["-p", &host.port.to_string(), &format!("{}@127.0.0.1", host.user)])
        .arg(host.root.join(name))
        .env("PATH", "/usr/bin:/bin");
    let said = ssh.run(Bounds::new(Duration::from_secs(30))).await.expect("ssh runs");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8_lossy(&said.stdout).into_owned()
}
