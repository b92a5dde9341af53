//! What programs get: whatever is typed with `--json`, the answer or the error is JSON.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use signalbox_service::process::{Bounds, Program};
use signalbox_service::testing::free_port;
use tokio_util::sync::CancellationToken;

use super::following::{RUN, cutting_controller};
use super::{Said, home, installed, program, say, say_with, up};

/// Every command, as it is typed in the folder of an installation that runs: the ends that it may come to. Words in
/// capitals are replaced.
const COMMANDS: &[(&str, &[i32])] = &[
    ("cd nothing --ref main", &[5]),
    ("status", &[0]),
    ("runs", &[0]),
    ("show RUN", &[5]),
    ("logs RUN", &[5]),
    ("stop RUN", &[5]),
    ("rerun RUN", &[5]),
    ("blobs list", &[0]),
    ("blobs versions hello", &[0]),
    ("blobs get hello --output got", &[0]),
    ("blobs put hello site/controller.toml", &[0]),
    ("blobs delete hello", &[0]),
    ("blobs scrub", &[0]),
    ("environments", &[0]),
    ("deploy test hello", &[5]),
    ("rollback test hello", &[5]),
    ("deliveries", &[0]),
    ("deliveries show 7", &[5]),
    ("deliveries replay 7", &[5]),
    ("doctor", &[0]),
    ("mirrors", &[0]),
    ("mirrors gc", &[0]),
    ("token create somebody --allow read --repos *", &[0]),
    ("token list", &[0]),
    ("token revoke 01890a5d-ac96-774b-bcce-b302099a8057", &[0]),
    ("init other", &[0]),
    ("up nowhere", &[6]),
    ("controller --config nowhere.toml", &[6]),
    ("vcs-worker --config nowhere.toml", &[6]),
    ("artifact-store --config nowhere.toml", &[6]),
    ("deploy-worker --config nowhere.toml", &[6]),
    ("local-executor --config nowhere.toml", &[6]),
    ("check-config site", &[0]),
    ("keys init keys", &[0]),
    ("keys next keys", &[0]),
    ("keys rotate keys", &[0]),
    ("try --folder site/controller.toml", &[6]),
    ("fake gitlab --data site/controller.toml --listen 127.0.0.1:0", &[6]),
    ("completions bash", &[0]),
];

/// The commands that `help` lists below a command, with theirs.
async fn listed(home: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![String::new()];
    while let Some(command) = waiting.pop() {
        let words: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let help = say(home, &words).await.out;
        let below = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        // A description that is wrapped goes on further to the right.
        let names =
            below.filter(|line| line.starts_with("  ") && !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
        let names: Vec<String> = names.filter(|name| *name != "help").map(|name| format!("{command} {name}").trim().to_owned()).collect();
        let usage = help.lines().find(|line| line.starts_with("Usage:")).unwrap_or_default();
        // A command that can be typed alone, or has none below it, is one itself.
        if names.is_empty() || !usage.contains("<COMMAND>") {
            found.insert(command);
        }
        waiting.extend(names);
    }
    found
}

/// The command of a line in the table: its words up to the first that is no command's.
fn command(line: &str, known: &BTreeSet<String>) -> Option<String> {
    let words: Vec<&str> = line.split(' ').collect();
    (1..=words.len()).rev().map(|count| words[..count].join(" ")).find(|candidate| known.contains(candidate))
}

/// Whether what was said is what a program can read: a document where it went well, else a document that says why not.
fn assert_json(line: &str, said: &Said) {
    if said.code == Some(0) {
        assert!(serde_json::from_str::<Value>(&said.out).is_ok(), "{line}: {said:?}");
        return;
    }
    assert_eq!(said.out, "", "{line}");
    let last = said.err.lines().last().unwrap_or_default();
    let error: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{line}: {said:?}"));
    assert!(error["error"].as_str().is_some_and(|words| !words.is_empty() && !words.starts_with("error")), "{line}: {error}");
    assert_eq!(error["exit_code"].as_i64(), said.code.map(i64::from), "{line}");
    assert_eq!(error["problem"]["code"].is_string(), said.code == Some(5), "what a service refuses is told in its words: {line}: {error}");
}

#[tokio::test]
async fn whatever_is_typed_with_json_the_answer_or_the_error_is_json() {
    let home = home();
    let known = listed(home.path()).await;
    let tried: BTreeSet<String> = COMMANDS.iter().filter_map(|(line, _)| command(line, &known)).collect();
    assert_eq!(tried, known, "each command stands in the table of this test");

    // What cannot be read as a command is said in JSON too.
    for (line, words) in
        [("status --nonsense", "--nonsense"), ("show 7", "26 characters"), ("", "a command is missing"), ("statu", "status")]
    {
        let typed: Vec<&str> = line.split_whitespace().chain(["--json"]).collect();
        let said = say(home.path(), &typed).await;
        assert_eq!(said.code, Some(2), "{said:?}");
        assert_json(line, &said);
        assert!(said.err.contains(words), "{line}: {}", said.err);
    }

    let (site, url) = installed(home.path()).await;
    let store = std::fs::read_to_string(site.join("artifact-store.toml")).expect("readable");
    let store = store.lines().find_map(|line| line.strip_prefix("listen = ")).expect("its address").trim_matches('"').to_owned();
    let mut running = up(home.path(), "").await;
    let file = |name: &str| site.join("tokens").join(name).display().to_string();
    let (admin, admin_store, store) = (file("admin"), file("admin-store"), format!("http://{store}"));
    let asked = [
        ("SIGNALBOX_URL", url.as_str()),
        ("SIGNALBOX_TOKEN_FILE", &admin),
        ("SIGNALBOX_STORE_URL", &store),
        ("SIGNALBOX_STORE_TOKEN_FILE", &admin_store),
    ];
    // What is read and deleted was stored before.
    let in_order = COMMANDS.iter().filter(|(line, _)| line.starts_with("blobs put")).chain(COMMANDS);
    for (line, ends) in in_order {
        let typed: Vec<&str> = line.split(' ').map(|word| if word == "RUN" { RUN } else { word }).chain(["--json"]).collect();
        let said = say_with(home.path(), &typed, &asked).await;
        assert!(said.code.is_some_and(|code| ends.contains(&code)), "{line}: {said:?}");
        assert_json(line, &said);
    }

    // Where nobody answers, that is said in JSON.
    let nowhere = format!("http://{}", free_port());
    for line in ["status", "logs RUN -f", "cd hello --ref main --follow"] {
        let typed: Vec<&str> =
            line.split(' ').map(|word| if word == "RUN" { RUN } else { word }).chain(["--json", "--url", &nowhere]).collect();
        let said = say_with(home.path(), &typed, &asked).await;
        assert_eq!(said.code, Some(6), "{line}: {said:?}");
        assert_json(line, &said);
    }
    drop(running.stdin.take());
    let status = running.wait_within(Duration::from_mins(1), &CancellationToken::new()).await.expect("it ends");
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn a_log_is_an_object_a_line_for_programs() {
    let home = home();
    let (site, _) = installed(home.path()).await;
    let token = site.join("tokens/admin").display().to_string();
    let url = cutting_controller().await;
    let said = say_with(home.path(), &["logs", "-f", RUN, "--json"], &[("SIGNALBOX_URL", &url), ("SIGNALBOX_TOKEN_FILE", &token)]).await;
    let lines: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let line = |text: &str| serde_json::json!({ "step": "build", "attempt": 1, "part": "build", "line": text });
    assert_eq!((said.code, lines), (Some(0), vec![line("one"), line("two")]), "{said:?}");
}

#[tokio::test]
async fn a_service_that_runs_alone_says_in_json_that_it_is_ready() {
    let home = home();
    installed(home.path()).await;
    // Its input ends at once, and so does it.
    let said = say(home.path(), &["artifact-store", "--config", "site/artifact-store.toml", "--end-with-input", "--json"]).await;
    let document: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!((said.code, &document["ready"]), (Some(0), &Value::Bool(true)), "{said:?}");
    assert!(document["services"].as_object().is_some_and(|services| services.len() == 1), "{document}");
}

#[tokio::test]
async fn services_serve_on_when_nobody_reads_what_they_print() {
    let home = home();
    let (site, url) = installed(home.path()).await;
    let up = program(home.path(), &["up", "site", "--end-with-input", "--json"], &[]);
    let mut running = up.own_stderr().start().expect("it starts");
    drop(running.stdout.take());
    let token = site.join("tokens/admin").display().to_string();
    let asked = [("SIGNALBOX_URL", url.as_str()), ("SIGNALBOX_TOKEN_FILE", &token)];
    let answered = async { while say_with(home.path(), &["doctor"], &asked).await.code != Some(0) {} };
    tokio::time::timeout(Duration::from_mins(1), answered).await.expect("all of them are there");
    let status = say_with(home.path(), &["status"], &asked).await;
    assert_eq!(status.code, Some(0), "{status:?}");
    drop(running.stdin.take());
    let status = running.wait_within(Duration::from_mins(1), &CancellationToken::new()).await.expect("it ends");
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn the_demonstration_takes_a_commit_to_a_host_and_says_so_in_one_document() {
    let home = home();
    // As on a machine of somebody's own, where new folders can be read by all.
    let script = "umask 022; exec \"$0\" try --folder try --json </dev/null";
    let tried = Program::new("/bin/sh").args(["-c", script, env!("CARGO_BIN_EXE_signalbox")]).dir(home.path());
    let tried = tried.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", home.path());
    let said = tried.run(Bounds::new(Duration::from_mins(2))).await.expect("it ends");
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success(), "{err}");
    let document: Value = serde_json::from_str(&out).expect("one document");
    assert_eq!(document["run"]["summary"]["outcome"], "passed", "{document}");
    for named in ["token_file", "store_token_file", "repository", "log"] {
        assert!(document[named].as_str().is_some_and(|path| Path::new(path).exists()), "{named}: {document}");
    }
}
