//! What git is told, and what it is not.

use super::*;
use crate::git::testing::Misbehaviour;
use crate::testing::eventually;

// Threat 21.
#[tokio::test]
async fn an_operand_is_never_an_option() {
    let world = World::new().await;
    let proof = world.path().join("proof");
    let option = format!("--upload-pack=touch {}", proof.display());
    let path = world.source.path().display().to_string();
    let command = world.git.local(&world.copy()).env("GIT_ALLOW_PROTOCOL", "file").arg("ls-remote");
    command.operands([option.as_str(), path.as_str()]).run().await.expect_err("no such remote");
    assert!(!proof.exists());
}

#[tokio::test]
async fn git_sees_our_environment_and_nothing_else() {
    let world = World::new().await;
    let remote = world.remote().access(Access::Bearer(CANARY.into()));
    // An alias runs a shell, which prints what it sees.
    let printed = world.git.toward(&world.copy(), &remote).args(["-c", "alias.look=!env", "look"]).run().await.expect("printed");
    let printed = String::from_utf8_lossy(&printed);
    let has = |line: &str| printed.lines().any(|printed| printed == line);
    for line in [
        "GIT_ALLOW_PROTOCOL=http",
        "GIT_CONFIG_NOSYSTEM=1",
        "GIT_CONFIG_GLOBAL=/dev/null",
        "GIT_TERMINAL_PROMPT=0",
        "GIT_ASKPASS=/bin/false",
        "LC_ALL=C",
        "GIT_CONFIG_KEY_0=core.hooksPath",
    ] {
        assert!(has(line), "{line} in {printed}");
    }
    let home = printed.lines().find_map(|line| line.strip_prefix("HOME=")).expect("a home");
    assert_eq!(std::fs::read_dir(home).expect("a folder").count(), 0);
    // Cargo puts these into the environment of every test.
    assert!(!printed.contains("CARGO"), "{printed}");
    assert!(!printed.contains("GIT_TRACE"), "{printed}");
}

// Threat 22.
#[tokio::test]
async fn only_the_protocol_of_the_remote_is_allowed_whatever_the_repository_says() {
    let world = World::new().await;
    let proof = world.path().join("proof");
    for protocol in ["ext", "file", "fd", "empty-home"] {
        let key = format!("protocol.{protocol}.allow");
        world.git.local(&world.copy()).args(["config", &key, "always"]).run().await.expect("configured");
    }
    let ext = format!("ext::touch {}", proof.display());
    let file = format!("file://{}", world.source.path().display());
    for url in [ext.as_str(), "EXT::touch x", "fd::3", file.as_str(), "git://127.0.0.1/x", "ssh://127.0.0.1/x"] {
        for command in [world.git.toward(&world.copy(), &world.remote()), world.git.local(&world.copy())] {
            let error = command.arg("ls-remote").operands([url]).run().await.expect_err(url);
            assert!(error.said.contains("not allowed") || error.said.contains("find remote helper"), "{url}: {}", error.said);
        }
    }
    assert!(!proof.exists());
}

// Threat 27.
#[tokio::test]
async fn nothing_that_a_repository_configures_is_run() {
    let world = World::new().await;
    let proof = world.path().join("proof");
    let touch = format!("touch {}", proof.display());
    for key in ["core.fsmonitor", "core.sshCommand", "core.askPass", "credential.helper", "core.gitProxy", "uploadpack.packObjectsHook"] {
        world.git.local(&world.copy()).args(["config", key, &touch]).run().await.expect("configured");
    }
    let hooks = world.copy().join("hooks");
    std::fs::create_dir_all(&hooks).expect("a folder");
    for hook in ["reference-transaction", "post-checkout", "pre-auto-gc", "update"] {
        use std::os::unix::fs::PermissionsExt as _;
        let path = hooks.join(hook);
        std::fs::write(&path, format!("#!/bin/sh\n{touch}\n")).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
    }
    world.server.require("Bearer nobody has this");
    world.fetch(&world.remote(), "refs/heads/main").await.expect_err("denied");
    let ssh = Remote::new(&"ssh://127.0.0.1:1/x".parse().expect("a URL")).expect("plain");
    world.fetch(&ssh, "refs/heads/main").await.expect_err("nobody there");
    assert!(!proof.exists());
}

// Threat 65.
#[tokio::test]
async fn a_token_reaches_the_server_and_no_command_line() {
    let world = World::new().await;
    world.server.require(&format!("Bearer {CANARY}"));
    let remote = world.remote().access(Access::Bearer(CANARY.into()));
    world.fetch(&remote, "refs/heads/main").await.expect("let in");

    world.server.misbehave(Misbehaviour::Hang);
    world.server.forget();
    let port = world.server.address().port().to_string();
    let fetch = world.fetch_within(&remote, "refs/heads/main", SOON, 1024 * 1024);
    let look = eventually("git asks the server", SOON, || async { (!world.server.seen().is_empty()).then_some(()) });
    tokio::select! {
        _ = fetch => panic!("the server hangs"),
        () = look => {}
    }
    // The future is dropped by now; while it ran, the helper's command line named the port.
    world.server.misbehave(Misbehaviour::Hang);
    let fetch = world.fetch_within(&remote, "refs/heads/main", SOON, 1024 * 1024);
    let look = eventually("a process that names the server", SOON, || async {
        let lines = processes_naming(&port);
        (!lines.is_empty()).then_some(lines)
    });
    let lines = tokio::select! {
        _ = fetch => panic!("the server hangs"),
        lines = look => lines,
    };
    assert!(lines.iter().all(|line| !line.contains(CANARY) && !line.contains("c4nary")), "{lines:?}");
    eventually("all of them are gone", SOON, || async { processes_naming(&port).is_empty().then_some(()) }).await;
}

#[tokio::test]
async fn a_password_is_sent_as_basic_has_it() {
    let world = World::new().await;
    world.server.require("Basic Ym90OnBhc3M=");
    let access = Access::Basic { username: "bot".to_owned(), password: "pass".into() };
    world.fetch(&world.remote().access(access), "refs/heads/main").await.expect("let in");
}

// Threat 25.
#[tokio::test]
async fn a_redirect_is_not_followed_and_the_other_host_sees_nothing() {
    let world = World::new().await;
    let other = GitServer::start(&world.path().join("server")).await;
    let remote = world.remote().access(Access::Bearer(CANARY.into()));
    for (status, to) in [(301, other.url("").to_string()), (302, other.url("").to_string()), (307, "file:///".to_owned())] {
        world.server.misbehave(Misbehaviour::Redirect(status, to.trim_end_matches('/').to_owned()));
        let error = world.fetch(&remote, "refs/heads/main").await.expect_err("redirected");
        assert_eq!(error.fault, Fault::Redirects, "{}", error.said);
    }
    assert!(other.seen().is_empty());
}

// Threat 26.
#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_used() {
    let world = World::new().await;
    let mut url = world.server.url("hello");
    // This name has no address; only the pinned one makes it work.
    url.set_host(Some("git.invalid")).expect("a host");
    let remote = Remote::new(&url).expect("plain");
    assert_eq!(world.fetch(&remote, "refs/heads/main").await.expect_err("no address").fault, Fault::Unreachable);
    let pinned = remote.clone().pinned(vec!["127.0.0.1".parse().expect("an address")]);
    world.fetch(&pinned, "refs/heads/main").await.expect("fetched");
    let elsewhere = remote.pinned(vec!["127.0.0.2".parse().expect("an address"), "::1".parse().expect("an address")]);
    assert_eq!(world.fetch(&elsewhere, "refs/heads/main").await.expect_err("nobody there").fault, Fault::Unreachable);
}

#[tokio::test]
async fn protocol_two_is_spoken() {
    let world = World::new().await;
    world.fetch(&world.remote(), "refs/heads/main").await.expect("fetched");
    assert!(world.server.seen().iter().all(|seen| seen.protocol.as_deref() == Some("version=2")));
    assert!(world.server.seen().iter().any(testing::Seen::fetches));
}

#[tokio::test]
async fn a_url_that_is_not_plain_makes_no_remote() {
    for url in [
        "ext::sh",
        "file:///etc",
        "http://user@host/x",
        "https://u:p@host/x",
        "ssh://-oProxyCommand=id/x",
        "ssh://-x@host/y",
        "http://h/a'b",
    ] {
        let refused = url.parse().map_or(true, |url| Remote::new(&url).is_err());
        assert!(refused, "{url}");
    }
}

#[tokio::test]
async fn git_is_new_enough_here_and_its_home_must_be_empty() {
    let world = World::new().await;
    assert!(world.git.version().await.expect("a version") >= OLDEST);
    std::fs::write(world.path().join("empty-home/.gitconfig"), "[core]\n").expect("written");
    assert!(Git::new(&world.path().join("empty-home")).is_err());
}

#[tokio::test]
async fn a_checkout_has_the_files_and_knows_no_remote() {
    let world = World::new().await;
    let sha = world
        .source
        .commit("refs/heads/main", &[("a/b", "text\n"), (".gitmodules", "[submodule \"x\"]\n\tpath = x\n\turl = https://evil.invalid/\n")])
        .await;
    world.server.require(&format!("Bearer {CANARY}"));
    let remote = world.remote().access(Access::Bearer(CANARY.into()));
    let into = world.path().join("work");
    std::fs::create_dir(&into).expect("a folder");
    let order = Checkout {
        remote: &remote,
        ref_name: "refs/heads/main",
        sha: &sha,
        into: &into,
        depth: None,
        deadline: SOON,
        max_bytes: 1024 * 1024,
        cancel: CancellationToken::new(),
    };
    world.git.checkout(order.clone()).await.expect("checked out");
    assert_eq!(std::fs::read_to_string(into.join("a/b")).expect("there"), "text\n");
    let config = std::fs::read_to_string(into.join(".git/config")).expect("there");
    assert!(!config.contains("remote") && !config.contains("http"), "{config}");

    let other = world.source.commit("refs/heads/other", &[("c", "")]).await;
    let again = world.path().join("again");
    std::fs::create_dir(&again).expect("a folder");
    let error = world.git.checkout(Checkout { sha: &other, into: &again, depth: Some(1), ..order }).await.expect_err("another commit");
    assert_eq!(error.fault, Fault::NoSuchObject);
}
