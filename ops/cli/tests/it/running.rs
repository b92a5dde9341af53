//! What runs says where it is, and who it is.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use signalbox_service::process::{Bounds, Program, Running};
use signalbox_service::testing::free_port;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::ChildStdout;
use tokio_util::sync::CancellationToken;

use super::{home, installed, mode, program, say, say_with, up};

/// Starts a program, and waits for a line that holds `sign`: everything up to it, and what reads on, without which the
/// program would end.
async fn started(home: &std::path::Path, arguments: &[&str], sign: &str) -> (Running, String, Lines<BufReader<ChildStdout>>) {
    let mut running = program(home, arguments, &[]).start().expect("it starts");
    let mut lines = BufReader::new(running.stdout.take().expect("its output")).lines();
    let mut said = String::new();
    let found = async {
        while let Some(line) = lines.next_line().await.expect("readable") {
            said.push_str(&line);
            said.push('\n');
            if line.contains(sign) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), found).await.expect("it says so");
    (running, said, lines)
}

#[tokio::test]
async fn a_service_that_was_taken_for_another_says_which_it_is() {
    let home = home();
    let (site, _) = installed(home.path()).await;
    let text = std::fs::read_to_string(site.join("artifact-store.toml")).expect("readable");
    let address = text.lines().find_map(|line| line.strip_prefix("listen = ")).expect("its address").trim_matches('"');
    let alone = ["artifact-store", "--config", "site/artifact-store.toml", "--end-with-input", "--json"];
    let (mut running, _, _lines) = started(home.path(), &alone, "\"ready\": true").await;
    let url = format!("http://{address}");
    for token in ["admin", "admin-store"] {
        let token = site.join("tokens").join(token).display().to_string();
        let said = say_with(home.path(), &["status"], &[("SIGNALBOX_URL", &url), ("SIGNALBOX_TOKEN_FILE", &token)]).await;
        assert_eq!(said.code, Some(6), "{said:?}");
        let words =
            format!("at {url} the artifact-store answers, and not the controller: give the controller's address (SIGNALBOX_URL or --url)");
        assert!(said.err.contains(&words) && said.err.lines().count() == 1, "{}", said.err);
        let run = "01m82j33x4e2h859xktfak5t8y";
        for typed in [&["logs", run][..], &["logs", run, "--tail", "5"], &["show", run], &["cd", "hello", "--ref", "main"], &["runs"]] {
            let said = say_with(home.path(), typed, &[("SIGNALBOX_URL", &url), ("SIGNALBOX_TOKEN_FILE", &token)]).await;
            assert!(said.code == Some(6) && said.err.contains(&words), "{typed:?}: {said:?}");
        }
    }
    drop(running.stdin.take());
    let status = running.wait_within(Duration::from_mins(1), &CancellationToken::new()).await.expect("it ends");
    assert_eq!(status.code(), Some(0));
}

// A folder that somebody left open would lead a build out of its sandbox: the executor is the process that starts it.
#[tokio::test]
async fn what_whoever_starts_it_left_open_is_not_handed_on() {
    let home = home();
    installed(home.path()).await;
    let mut running = up(home.path(), "9</").await;
    let open = |process: u32| std::fs::read_link(format!("/proc/{process}/fd/9")).ok();
    assert_eq!(open(running.id()).as_deref(), Some(std::path::Path::new("/")), "it was left open");
    let tasks = std::fs::read_dir(format!("/proc/{}/task", running.id())).expect("its threads");
    let children: Vec<u32> = tasks
        .flat_map(|task| {
            std::fs::read_to_string(task.expect("a thread").path().join("children"))
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .map(|child| child.parse().expect("a process"))
        .collect();
    assert!(!children.is_empty(), "the executor is one");
    for child in children {
        assert_ne!(open(child).as_deref(), Some(std::path::Path::new("/")), "process {child}");
    }
    drop(running.stdin.take());
    let status = running.wait_within(Duration::from_mins(1), &CancellationToken::new()).await.expect("it ends");
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn the_fake_gitlab_is_of_the_version_and_goes_wrong_as_it_is_told() {
    let home = home();
    let orders = "answers: [{ path: /api/v4/user, fault: { status: 503 }, times: 1 }]\njobs: [{ name: unit, outcome: failed }]\n";
    std::fs::write(home.path().join("orders.yaml"), orders).expect("written");
    let typed = ["fake", "gitlab", "--data", "lab", "--listen", "127.0.0.1:0", "--gitlab-version", "17.3", "--orders", "orders.yaml"];
    let typed = [&typed[..], &["--rate-limit", "3", "--seed", "7", "--json"]].concat();
    let (mut running, said, _lines) = started(home.path(), &typed, "}").await;
    let document: serde_json::Value = serde_json::from_str(&said).expect("one document");
    let url = document["url"].as_str().expect("an address").to_owned();
    let token = std::fs::read_to_string(home.path().join("lab/root-token")).expect("readable").trim().to_owned();
    let ask = async |path: &str| {
        let header = format!("PRIVATE-TOKEN: {token}");
        let curl = Program::new("curl").env("PATH", "/usr/bin:/bin").args(["-sS", "--noproxy", "*", "-w", " %{http_code}", "-H", &header]);
        let said = curl.arg(format!("{url}/api/v4/{path}")).run(Bounds::new(Duration::from_secs(20))).await.expect("it ends");
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        said.rsplit_once(' ').map(|(body, status)| (status.to_owned(), body.to_owned())).expect("a status")
    };
    let (status, version) = ask("version").await;
    assert!(status == "200" && version.contains("17.3.0"), "{version}");
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(ask("user").await.0);
    }
    assert_eq!((&*answers[0], &*answers[1], &*answers[3]), ("503", "200", "429"), "{answers:?}");
    running.kill().await;
    for (file, typed, words) in [
        ("answers: [{ path: /, fault: explode }]", &["--orders", "orders.yaml"][..], "orders.yaml is wrong"),
        ("", &["--orders", "nothing.yaml"], "nothing.yaml cannot be read"),
        ("", &["--gitlab-version", "8.0"], "8.0 is no version that is modelled"),
    ] {
        std::fs::write(home.path().join("orders.yaml"), file).expect("written");
        let refused = say(home.path(), &[&["fake", "gitlab", "--data", "lab", "--listen", "127.0.0.1:0"], typed].concat()).await;
        assert!(refused.code == Some(6) && refused.err.contains(words), "{refused:?}");
    }
}

#[tokio::test]
async fn the_fake_gitlabs_token_stays_the_same_and_is_in_a_file() {
    let home = home();
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let (mut running, said, _lines) =
            started(home.path(), &["fake", "gitlab", "--data", "lab", "--listen", "127.0.0.1:0"], "It forgets").await;
        let file = home.path().join("lab/root-token");
        assert_eq!(mode(&file), 0o600);
        let token = std::fs::read_to_string(&file).expect("readable").trim().to_owned();
        assert!(said.contains("lab/root-token") && said.contains("PRIVATE-TOKEN") && !said.contains(&token), "{said}");
        tokens.push(token);
        running.kill().await;
    }
    let typed = ["fake", "gitlab", "--data", "lab", "--listen", "127.0.0.1:0", "--project", "mirrors/hello", "--json"];
    let (mut running, said, _lines) = started(home.path(), &typed, "}").await;
    let document: serde_json::Value = serde_json::from_str(&said).expect("one document");
    assert!(document["token_file"].as_str().is_some_and(|file| file.ends_with("lab/root-token")), "{document}");
    assert!(!said.contains(&tokens[0]), "a token is in its file and nowhere else: {said}");
    running.kill().await;
    let typed = &typed[..typed.len() - 1];
    let (mut running, said, _lines) = started(home.path(), typed, "It forgets").await;
    assert!(said.contains("its projects are private") && said.contains("private = true"), "{said}");
    let clone = said.lines().find_map(|line| line.trim().strip_prefix("git clone ")).expect("how it is cloned");
    let password = "#!/bin/sh\ncat lab/root-token\n";
    std::fs::write(home.path().join("password"), password).expect("written");
    std::fs::set_permissions(home.path().join("password"), std::fs::Permissions::from_mode(0o700)).expect("changed");
    for (asked, works) in [("./password", true), ("/bin/true", false)] {
        let git = Program::new("git").args(["clone", "--quiet", clone, if works { "copy" } else { "none" }]).dir(home.path());
        let git = git.env("PATH", "/usr/bin:/bin").env("HOME", home.path()).env("GIT_ASKPASS", asked).env("GIT_CONFIG_NOSYSTEM", "1");
        let cloned = git.run(Bounds::new(Duration::from_mins(1))).await.expect("it ends");
        assert_eq!(cloned.status.success(), works, "{}", String::from_utf8_lossy(&cloned.stderr));
    }
    running.kill().await;
    assert!(tokens[0].starts_with("glpat-") && tokens[0] == tokens[1], "it is kept");
    std::fs::write(home.path().join("mine"), "glpat-of-my-own\n").expect("written");
    let exposed = ["fake", "gitlab", "--data", "lab", "--listen", "127.0.0.1:0", "--root-token-file", "mine"];
    let refused = say(home.path(), &exposed).await;
    assert_eq!(refused.code, Some(6), "a token that others may read is none: {refused:?}");
}

#[tokio::test]
async fn who_follows_a_run_whose_source_does_not_answer_is_told_so_while_it_is_tried_again() {
    let home = home();
    let (site, url) = installed(home.path()).await;
    let source = format!("https://{}/team", free_port());
    let add = |file: &str, lines: &str| {
        let text = std::fs::read_to_string(site.join(file)).expect("readable");
        std::fs::write(site.join(file), format!("{text}\n{lines}")).expect("written");
    };
    add("controller.toml", &format!("[repositories.hello]\nsource = \"{source}/hello\"\nexecutor = \"local\"\n"));
    add("vcs-worker.toml", &format!("[[sources]]\nurl = \"{source}\"\nprivate = true\n"));
    let (mut up, _, _lines) = started(home.path(), &["up", "site", "--end-with-input", "--json"], "\"ready\": true").await;

    let token = site.join("tokens/admin").display().to_string();
    let asked = [("SIGNALBOX_URL", url.as_str()), ("SIGNALBOX_TOKEN_FILE", token.as_str())];
    let mut following = program(home.path(), &["cd", "hello", "--ref", "main", "--follow"], &asked).start().expect("it starts");
    let mut lines = BufReader::new(following.stderr.take().expect("its errors")).lines();
    let told = async {
        let run = lines.next_line().await.expect("readable").expect("a line");
        (run, lines.next_line().await.expect("readable").expect("a line"))
    };
    let (run, trouble) = tokio::time::timeout(Duration::from_mins(1), told).await.expect("it is told");
    assert!(trouble.starts_with("mirror: is tried again: ") && trouble.contains("the server cannot be reached"), "{trouble}");
    let run = run.strip_prefix("run ").expect("the run");
    let stopped = say_with(home.path(), &["stop", run], &asked).await;
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    let status = following.wait_within(Duration::from_mins(1), &CancellationToken::new()).await.expect("it ends");
    assert_eq!(status.code(), Some(4), "it was stopped");

    drop(up.stdin.take());
    let status = up.wait_within(Duration::from_mins(1), &CancellationToken::new()).await.expect("it ends");
    assert_eq!(status.code(), Some(0));
}
