//! Surroundings that would have git, ssh and what they start do something else: variables of the process that starts them,
//! and the files and the agent of the user that it runs as.

use std::ffi::OsString;
use std::os::unix::net::UnixListener;

use super::*;
use crate::git::testing::SshServer;
use crate::process::{Bounds, Program};
use crate::testing::not_run;

/// Where the test that runs inside finds what was planted.
const PLANTED: &str = "SIGNALBOX_TEST_PLANTED";

/// Variables that git, curl and ssh act on, each so that what it does leaves `proof` behind, or has every fetch fail.
fn hostile_variables(planted: &Path) -> Vec<(&'static str, OsString)> {
    let proof = planted.join("proof").display().to_string();
    let touch = format!("touch {proof}; false");
    let config = planted.join("home/.gitconfig").into_os_string();
    let mut variables: Vec<(&str, OsString)> =
        ["GIT_SSH_COMMAND", "GIT_SSH", "GIT_ASKPASS", "SSH_ASKPASS", "GIT_PROXY_COMMAND", "GIT_EXTERNAL_DIFF", "GIT_EDITOR", "GIT_PAGER"]
            .map(|name| (name, OsString::from(&touch)))
            .into();
    variables
        .extend(["GIT_TRACE", "GIT_TRACE2", "GIT_TRACE2_EVENT", "GIT_TRACE_PACKET", "GIT_TRACE_CURL"].map(|name| (name, (&proof).into())));
    variables.extend(["http_proxy", "https_proxy", "ALL_PROXY", "HTTPS_PROXY"].map(|name| (name, "http://127.0.0.1:9".into())));
    variables.extend(["GIT_CONFIG", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"].map(|name| (name, config.clone())));
    variables.extend([
        ("GIT_ALLOW_PROTOCOL", "ext:file:fd".into()),
        ("GIT_PROTOCOL_FROM_USER", "1".into()),
        ("GIT_CONFIG_PARAMETERS", format!("'core.hooksPath={}'", planted.join("hooks").display()).into()),
        ("GIT_SSL_NO_VERIFY", "1".into()),
        ("GIT_DIR", "/nonexistent".into()),
        ("GIT_WORK_TREE", "/nonexistent".into()),
        ("GIT_INDEX_FILE", "/nonexistent/index".into()),
        ("GIT_OBJECT_DIRECTORY", "/nonexistent/objects".into()),
        ("GIT_NAMESPACE", "evil".into()),
        ("GIT_EXEC_PATH", planted.join("programs").into()),
        ("GIT_TEMPLATE_DIR", planted.join("template").into()),
        ("SSH_ASKPASS_REQUIRE", "force".into()),
        ("DISPLAY", ":7".into()),
        ("SSH_AUTH_SOCK", planted.join("agent").into()),
        ("HOME", planted.join("home").into()),
        ("XDG_CONFIG_HOME", planted.join("home/.config").into()),
        ("CURL_HOME", planted.join("home").into()),
    ]);
    variables
}

/// A home with configuration of git, curl and ssh that leaves a proof behind, hooks, and programs in git's place.
fn plant(planted: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let proof = planted.join("proof").display().to_string();
    for folder in ["home/.ssh", "home/.config/git", "hooks", "programs", "template/hooks"] {
        std::fs::create_dir_all(planted.join(folder)).expect("a folder");
    }
    let git = format!(
        "[core]\n\tsshCommand = touch {proof}; false\n\taskPass = touch {proof}\n\tfsmonitor = touch {proof}\n\thooksPath = {0}/hooks\n\
         [credential]\n\thelper = !touch {proof}\n[http]\n\tproxy = http://127.0.0.1:9\n[url \"file:///\"]\n\tinsteadOf = http://\n\
         [url \"ext::touch {proof} \"]\n\tinsteadOf = ssh://\n[protocol]\n\tallow = always\n",
        planted.display()
    );
    let ssh = format!(
        "Host *\n  ProxyCommand touch {proof}; false\n  PermitLocalCommand yes\n  LocalCommand touch {proof}\n  StrictHostKeyChecking no\n  \
         UserKnownHostsFile /dev/null\n  BatchMode no\n  Match exec \"touch {proof}\"\n"
    );
    for (path, text) in [
        ("home/.gitconfig", git.as_str()),
        ("home/.config/git/config", git.as_str()),
        ("home/.ssh/config", ssh.as_str()),
        ("home/.curlrc", "proxy = http://127.0.0.1:9\n"),
        ("home/.netrc", "default login evil password evil\n"),
    ] {
        std::fs::write(planted.join(path), text).expect("written");
        std::fs::set_permissions(planted.join(path), std::fs::Permissions::from_mode(0o600)).expect("private");
    }
    for program in [
        "hooks/reference-transaction",
        "hooks/post-checkout",
        "template/hooks/update",
        "programs/git-remote-http",
        "programs/git-index-pack",
    ] {
        std::fs::write(planted.join(program), format!("#!/bin/sh\ntouch {proof}\nexit 1\n")).expect("written");
        std::fs::set_permissions(planted.join(program), std::fs::Permissions::from_mode(0o755)).expect("executable");
    }
}

/// Runs the test `inside` in a process of its own, among what was planted. Whoever it runs as has the planted home there,
/// for ssh looks into the user database and not at `HOME`.
/// Threats 27 and 66.
#[tokio::test]
async fn nothing_that_is_planted_around_the_process_changes_what_git_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let planted = folder.path();
    plant(planted);
    let _agent = UnixListener::bind(planted.join("agent")).expect("an agent");
    let passwd = planted.join("passwd");
    std::fs::write(&passwd, accounts(&planted.join("home"))).expect("written");
    let own_users: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["--user", "--map-current-user", "--keep-caps"] };
    let within = |program: Program| program.env("PATH", "/usr/local/bin:/usr/bin:/bin").arg("--mount").args(own_users);
    let mounting = "mount --bind \"$1\" /etc/passwd && shift && exec \"$@\"";
    let tried = within(Program::new("unshare")).args(["sh", "-c", mounting, "sh"]).arg(&passwd).arg("true").run(Bounds::new(SOON)).await;
    if !tried.is_ok_and(|tried| tried.status.success()) {
        return not_run("namespaces of one's own, by unshare and mount");
    }
    let mut program = within(Program::new("unshare")).args(["sh", "-c", mounting, "sh"]).arg(&passwd).arg("env");
    for (name, value) in hostile_variables(planted) {
        let mut setting = OsString::from(format!("{name}="));
        setting.push(value);
        program = program.arg(setting);
    }
    let program = program.arg(format!("{PLANTED}={}", planted.display())).arg(std::env::current_exe().expect("our own program"));
    let program = program.args(["--ignored", "--exact", "--nocapture", "git::tests::surroundings::among_what_was_planted"]);
    let output = program.run(Bounds::new(SOON * 6)).await.expect("it ran");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// The user database, with the planted home for whoever runs this.
fn accounts(home: &Path) -> String {
    let me = rustix::process::geteuid().as_raw().to_string();
    let known = std::fs::read_to_string("/etc/passwd").expect("accounts");
    let changed = known.lines().map(|line| {
        let mut fields: Vec<&str> = line.split(':').collect();
        let home = home.to_str().expect("plain");
        if fields.len() == 7 && fields[2] == me {
            fields[5] = home;
        }
        fields.join(":") + "\n"
    });
    changed.collect()
}

// Threats 21 and 25.
#[tokio::test]
#[ignore = "is run by the test before, in a process with hostile surroundings"]
async fn among_what_was_planted() {
    let planted = PathBuf::from(std::env::var_os(PLANTED).expect("what was planted"));
    assert!(std::env::var_os("GIT_SSH_COMMAND").is_some() && std::env::var_os("SSH_AUTH_SOCK").is_some());
    let account = Program::new("getent").env("PATH", "/usr/bin:/bin").args(["passwd", &rustix::process::geteuid().as_raw().to_string()]);
    let account = account.run(Bounds::new(SOON)).await.expect("an account");
    assert!(String::from_utf8_lossy(&account.stdout).contains(&planted.join("home").display().to_string()), "the planted home is ours");
    let world = World::new().await;
    let proof = planted.join("proof");
    world.server.require(&format!("Bearer {CANARY}"));
    let bearer = world.remote().access(Access::Bearer(CANARY.into()));
    world.fetch(&bearer, "refs/heads/main").await.expect("fetched over http");
    let error = world.fetch(&world.remote(), "refs/heads/main").await.expect_err("no credential of anybody's was found");
    assert_eq!(error.fault, Fault::Denied, "{}", error.said);
    let file = format!("file://{}", world.source.path().display());
    world
        .git
        .toward(&world.copy(), &world.remote())
        .arg("ls-remote")
        .operands([file])
        .run()
        .await
        .expect_err("a protocol that was planted");

    let server = SshServer::start(&world.path().join("ssh"), None).await;
    let remote = |key: &str, known_hosts: &str| {
        let access = Access::SshKey { key: server.file(key), known_hosts: server.file(known_hosts) };
        Remote::new(&server.url(world.source.path())).expect("plain").access(access)
    };
    world.fetch(&remote("client", "known_hosts"), "refs/heads/main").await.expect("fetched over ssh");
    let error = world.fetch(&remote("client", "wrong_hosts"), "refs/heads/main").await.expect_err("another host key");
    assert_eq!(error.fault, Fault::HostKey, "{}", error.said);
    let error = world.fetch(&remote("stranger", "known_hosts"), "refs/heads/main").await.expect_err("another key");
    assert_eq!(error.fault, Fault::Denied, "{}", error.said);
    assert!(!proof.exists(), "{}", std::fs::read_to_string(&proof).unwrap_or_default());
}

// A server that would like a password is not given one, and nobody is asked.
#[tokio::test]
async fn a_server_that_wants_a_password_ends_the_fetch_at_once() {
    let world = World::new().await;
    let server = SshServer::start_for_passwords(&world.path().join("ssh")).await;
    let access = Access::SshKey { key: server.file("client"), known_hosts: server.file("known_hosts") };
    let remote = Remote::new(&server.url(world.source.path())).expect("plain").access(access);
    let error = world.fetch(&remote, "refs/heads/main").await.expect_err("no password");
    assert_eq!(error.fault, Fault::Denied, "{}", error.said);
    let key = server.file("client").display().to_string();
    crate::testing::eventually("no ssh is left", SOON, || async { processes_naming(&key).is_empty().then_some(()) }).await;
}
