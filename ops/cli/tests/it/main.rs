//! The command line as it is typed: the real program, its output and its exit codes.

#![expect(clippy::expect_used, reason = "what a test needs and does not get ends it")]

mod blobs;
mod checking;
mod documents;
mod following;
mod json;
mod keys;
mod mistyped;
mod running;
mod tour;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use signalbox_service::process::{Bounds, Program, Running};
use signalbox_service::testing::free_port;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio_util::sync::CancellationToken;

const SERVICES: [&str; 5] = ["controller", "vcs-worker", "artifact-store", "deploy-worker", "local-executor"];

/// What a command said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// The program with these arguments, a home of its own, and these variables.
fn program(home: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Program {
    let program = Program::new(env!("CARGO_BIN_EXE_signalbox")).args(arguments).dir(home).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    variables.iter().fold(program.env("HOME", home), |program, (name, value)| program.env(name, value))
}

async fn say_with(home: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    let output = program(home, arguments, variables).run(Bounds::new(Duration::from_mins(1))).await.expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

async fn say(home: &Path, arguments: &[&str]) -> Said {
    say_with(home, arguments, &[]).await
}

fn home() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

/// A folder that `init` made, with ports of its own.
async fn installed(home: &Path) -> (PathBuf, String) {
    let made = say(home, &["init", "site"]).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let site = home.join("site");
    let ports: Vec<(String, String)> = (7480..7485).map(|port| (format!("127.0.0.1:{port}"), free_port().to_string())).collect();
    for service in SERVICES {
        let path = site.join(service).with_extension("toml");
        let text = std::fs::read_to_string(&path).expect("readable");
        let text = ports.iter().fold(text, |text, (usual, free)| text.replace(usual, free));
        std::fs::write(&path, text).expect("writable");
    }
    (site, format!("http://{}", ports[0].1))
}

/// All services of the folder `site`, once they say that they are ready. `opened` is what a shell opens for them besides.
async fn up(home: &Path, opened: &str) -> Running {
    let up = format!("exec \"$0\" up site --end-with-input --json 2>up.log {opened}");
    let starting = Program::new("/bin/sh").args(["-c", &up, env!("CARGO_BIN_EXE_signalbox")]).dir(home);
    let starting = starting.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", home);
    let mut running = starting.start().expect("it starts");
    let mut lines = BufReader::new(running.stdout.take().expect("its output")).lines();
    let ready = async {
        while let Some(line) = lines.next_line().await.expect("readable") {
            if line.contains("\"ready\": true") {
                return;
            }
        }
        panic!("it ended: {}", std::fs::read_to_string(home.join("up.log")).expect("readable"));
    };
    tokio::time::timeout(Duration::from_mins(1), ready).await.expect("it says that it is ready");
    running
}

#[tokio::test]
async fn init_makes_a_folder_that_is_private_and_checks_clean() {
    let home = home();
    let made = say(home.path(), &["init", "site"]).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(made.out.contains("signalbox up site"), "{}", made.out);
    let site = home.path().join("site");
    assert_eq!(mode(&site), 0o700);
    for secret in ["keys/signing.pem", "tokens/admin", "tokens/admin-store"] {
        assert_eq!(mode(&site.join(secret)), 0o600, "{secret}");
    }
    let token = std::fs::read_to_string(site.join("tokens/admin")).expect("readable");
    assert!(!made.out.contains(token.trim()), "a token is never printed");
    let checked = say(home.path(), &["check-config", "site"]).await;
    assert_eq!((checked.code, checked.out.trim()), (Some(0), "5 files checked, nothing wrong"), "{checked:?}");
}

#[tokio::test]
async fn a_second_init_changes_nothing_and_completes_what_is_missing() {
    let home = home();
    say(home.path(), &["init", "site"]).await;
    let site = home.path().join("site");
    let read = |name: &str| std::fs::read_to_string(site.join(name)).expect("readable");
    let (key, token) = (read("keys/signing.pem"), read("tokens/admin"));
    std::fs::write(site.join("controller.toml"), "# mine\n").expect("writable");
    let again = say(home.path(), &["init", "site"]).await;
    assert_eq!(again.code, Some(0));
    assert!(again.out.contains("nothing was changed"), "{}", again.out);
    std::fs::remove_file(site.join("vcs-worker.toml")).expect("removed");
    let completed = say(home.path(), &["init", "site"]).await;
    assert!(completed.out.contains("vcs-worker.toml") && !completed.out.contains("signing.pem"), "{}", completed.out);
    assert_eq!((read("keys/signing.pem"), read("tokens/admin"), read("controller.toml")), (key, token, "# mine\n".to_owned()));
}

#[tokio::test]
async fn init_leaves_a_folder_alone_that_holds_other_things() {
    let home = home();
    std::fs::create_dir(home.path().join("photos")).expect("made");
    std::fs::write(home.path().join("photos/cat.jpg"), "").expect("written");
    let refused = say(home.path(), &["init", "photos"]).await;
    assert_eq!(refused.code, Some(6));
    assert!(refused.err.contains("photos holds other things already; give a new folder"), "{}", refused.err);
    assert_eq!(std::fs::read_dir(home.path().join("photos")).expect("readable").count(), 1);
}

#[tokio::test]
async fn check_config_reports_all_errors_of_all_files_at_once() {
    let home = home();
    say(home.path(), &["init", "site"]).await;
    let append = |name: &str, lines: &str| {
        let path = home.path().join("site").join(name);
        let text = std::fs::read_to_string(&path).expect("readable");
        std::fs::write(&path, format!("queu = 5\n{text}\n{lines}")).expect("writable");
    };
    append("controller.toml", "[repositories.\"../x\"]\nsource = \"ext::sh -c id\"\n");
    append("artifact-store.toml", "max_blob = 0\n");
    let checked = say(home.path(), &["check-config", "site"]).await;
    assert_eq!(checked.code, Some(6));
    for expected in
        ["site/controller.toml:1: queu: is not known", "repositories.../x", "source", "site/artifact-store.toml:1: queu", "max_blob"]
    {
        assert!(checked.out.contains(expected), "{expected} in {}", checked.out);
    }
    let json = say(home.path(), &["check-config", "site", "--json"]).await;
    let document: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    assert!(document["errors"].as_array().is_some_and(|errors| errors.len() >= 4), "{document}");
    let alone = say(home.path(), &["check-config", "site/controller.toml"]).await;
    assert!(!alone.out.contains("artifact-store"), "{}", alone.out);
}

#[tokio::test]
async fn check_config_finds_a_data_folder_that_cannot_be_used_and_makes_none() {
    let home = home();
    say(home.path(), &["init", "site"]).await;
    let site = home.path().join("site");
    assert_eq!(say(home.path(), &["check-config", "site"]).await.code, Some(0));
    assert!(!site.join("data/controller").exists(), "checking makes nothing");
    std::fs::create_dir_all(site.join("data")).expect("made");
    std::fs::write(site.join("data/controller"), "").expect("written");
    std::fs::create_dir(site.join("data/vcs-worker")).expect("made");
    std::fs::set_permissions(site.join("data/vcs-worker"), std::fs::Permissions::from_mode(0o755)).expect("changed");
    let checked = say(home.path(), &["check-config", "site"]).await;
    assert_eq!(checked.code, Some(6), "{checked:?}");
    for expected in ["site/controller.toml: data: the data folder", "site/vcs-worker.toml: data", "make it 0700", "2 errors in 5 files"] {
        assert!(checked.out.contains(expected), "{expected} in {}", checked.out);
    }
}

#[tokio::test]
async fn a_controller_that_does_not_answer_is_what_the_doctor_finds() {
    let home = home();
    let (site, _) = installed(home.path()).await;
    let token = site.join("tokens/admin").display().to_string();
    let nowhere = format!("http://{}", free_port());
    let said = say_with(home.path(), &["doctor", "--url", &nowhere], &[("SIGNALBOX_TOKEN_FILE", &token)]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("FAULT") && said.out.contains("Is it running") && said.out.contains("1 fault, 0 warnings"), "{}", said.out);
}

#[tokio::test]
async fn check_config_asks_which_service_a_file_is_for() {
    let home = home();
    std::fs::write(home.path().join("ours.toml"), "").expect("written");
    say(home.path(), &["keys", "init", "keys"]).await;
    let asked = say(home.path(), &["check-config", "ours.toml"]).await;
    assert_eq!(asked.code, Some(2));
    assert!(asked.err.contains("--service"), "{}", asked.err);
    let answered = say(home.path(), &["check-config", "ours.toml", "--service", "local-executor"]).await;
    assert_eq!(answered.code, Some(0), "{answered:?}");
}

/// Arguments, variables, the exit code, and a part of what is said.
type Case<'c> = (&'c [&'c str], &'c [(&'c str, &'c str)], i32, &'c str);

#[tokio::test]
async fn a_newcomers_mistakes_get_a_sentence_that_says_what_to_do() {
    let home = home();
    let (site, _) = installed(home.path()).await;
    let token = site.join("tokens/admin").display().to_string();
    let nowhere = format!("http://{}", free_port());
    std::fs::create_dir(home.path().join("photos")).expect("made");
    std::fs::write(home.path().join("photos/cat.jpg"), "").expect("written");
    let cases: [Case<'_>; 15] = [
        (&["status"], &[], 6, "set SIGNALBOX_TOKEN_FILE (or --token-file) to a file that holds one"),
        (&["blobs", "list"], &[], 6, "set SIGNALBOX_STORE_TOKEN_FILE"),
        (&["status"], &[("SIGNALBOX_TOKEN_FILE", "nothing")], 6, "the secret in nothing cannot be read: No such file"),
        (&["status", "--url", &nowhere], &[("SIGNALBOX_TOKEN_FILE", &token)], 6, "Is it running (`signalbox up FOLDER`)?"),
        (&["status", "--url", "http://ci.example.org"], &[("SIGNALBOX_TOKEN_FILE", &token)], 6, "use https://"),
        (&["show", "7"], &[], 2, "is 26 characters of lower-case base32"),
        (&["up", "empty"], &[], 6, "`signalbox init empty` makes one"),
        (
            &["up", "site/controller.toml"],
            &[],
            6,
            "site/controller.toml is a file; give the folder that holds the configurations: `signalbox up site`",
        ),
        (&["up", "photos/cat.jpg"], &[], 6, "photos/cat.jpg is a file; give the folder that holds the configurations\n"),
        (&["up", "photos"], &[], 6, "photos holds other things and no configuration; give the folder that `signalbox init` made"),
        (&["cd", "hello", "--ref", "a..b"], &[], 2, "--ref"),
        (&["status"], &[("SIGNALBOX_URL", ""), ("SIGNALBOX_TOKEN_FILE", "")], 6, "set SIGNALBOX_TOKEN_FILE"),
        (&["blobs", "list"], &[("SIGNALBOX_STORE_URL", ""), ("SIGNALBOX_STORE_TOKEN_FILE", "")], 6, "set SIGNALBOX_STORE_TOKEN_FILE"),
        (&["token", "revoke", "zzz"], &[("SIGNALBOX_CA", "")], 2, "`signalbox token list` shows the ids"),
        (&["token", "revoke", "ey.ey.sig"], &[], 2, "no place on a command line"),
    ];
    for (arguments, variables, code, sentence) in cases {
        let said = say_with(home.path(), arguments, variables).await;
        assert_eq!(said.code, Some(code), "{arguments:?}: {said:?}");
        assert!(said.err.contains(sentence), "{arguments:?}: {}", said.err);
        assert!(said.out.is_empty(), "{arguments:?}: {}", said.out);
    }
    std::fs::set_permissions(site.join("tokens/admin"), std::fs::Permissions::from_mode(0o644)).expect("changed");
    let exposed = say_with(home.path(), &["status"], &[("SIGNALBOX_TOKEN_FILE", &token)]).await;
    assert!(exposed.err.contains("make it 0600"), "{}", exposed.err);
}

#[tokio::test]
async fn settings_come_from_the_users_file_and_its_mistakes_are_named() {
    let home = home();
    let folder = home.path().join(".config/signalbox");
    std::fs::create_dir_all(&folder).expect("made");
    let nowhere = format!("http://{}", free_port());
    std::fs::write(folder.join("token"), "not-a-token\n").expect("written");
    std::fs::set_permissions(folder.join("token"), std::fs::Permissions::from_mode(0o600)).expect("changed");
    std::fs::write(folder.join("cli.toml"), format!("url = \"{nowhere}\"\ntoken_file = \"token\"\n")).expect("written");
    let said = say(home.path(), &["status"]).await;
    assert!(said.err.contains(&format!("no controller answers at {nowhere}")), "{}", said.err);
    std::fs::write(folder.join("cli.toml"), "uri = \"x\"\n").expect("written");
    let said = say(home.path(), &["status"]).await;
    assert!(said.err.contains("cli.toml:1: uri: is not known; did you mean `url`?"), "{}", said.err);
}

#[tokio::test]
async fn a_token_can_be_made_with_the_keys_alone() {
    let home = home();
    assert_eq!(say(home.path(), &["keys", "init", "keys"]).await.code, Some(0));
    let again = say(home.path(), &["keys", "init", "keys"]).await;
    assert_eq!(again.code, Some(6));
    assert!(again.err.contains("nothing was changed"), "{}", again.err);
    let made =
        say(home.path(), &["token", "create", "ci", "--allow", "read,start", "--repos", "team/*", "--keys", "keys", "-o", "token"]).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let file = home.path().join("token");
    assert_eq!(mode(&file), 0o600);
    let token = std::fs::read_to_string(&file).expect("readable");
    assert_eq!(token.trim().split('.').count(), 3, "a JWT");
    assert!(!made.out.contains(token.trim()));
    assert_eq!(say(home.path(), &["keys", "rotate", "keys"]).await.code, Some(0));
    let bad = say(home.path(), &["token", "create", "ci", "--allow", "read", "--repos", "a b", "--keys", "keys"]).await;
    assert_eq!(bad.code, Some(2), "{bad:?}");
}

#[tokio::test]
async fn the_help_is_as_documented() {
    let home = home();
    let said = say(home.path(), &["--help"]).await;
    assert_eq!(said.code, Some(0));
    insta::assert_snapshot!(said.out);
}

#[tokio::test]
async fn there_are_completions() {
    let home = home();
    for shell in ["bash", "fish", "zsh"] {
        let said = say(home.path(), &["completions", shell]).await;
        assert!(said.code == Some(0) && said.out.contains("rollback"), "{shell}");
    }
}

#[tokio::test]
async fn up_starts_all_services_answers_and_ends_with_its_input() {
    let home = home();
    let (site, url) = installed(home.path()).await;
    let mut running = up(home.path(), "").await;

    let token = site.join("tokens/admin").display().to_string();
    let asked = [("SIGNALBOX_URL", url.as_str()), ("SIGNALBOX_TOKEN_FILE", token.as_str())];
    let status = say_with(home.path(), &["status", "--json"], &asked).await;
    assert_eq!(status.code, Some(0), "{status:?}");
    let document: serde_json::Value = serde_json::from_str(&status.out).expect("JSON");
    assert_eq!(document["queued"], serde_json::json!([]));
    let unknown = say_with(home.path(), &["show", "01jd8qk4wmfvt9e3v1n0t2m6xz"], &asked).await;
    assert_eq!(unknown.code, Some(5), "{unknown:?}");
    assert!(unknown.err.contains("Nothing of this name or id is there"), "{}", unknown.err);
    let not_configured = say_with(home.path(), &["cd", "nothing", "--ref", "main"], &asked).await;
    assert_eq!(not_configured.code, Some(5), "{not_configured:?}");

    let none = say_with(home.path(), &["runs", "--repo", "helo"], &asked).await;
    assert_eq!((none.code, none.out.trim()), (Some(0), "no such runs; `signalbox runs` lists all"), "{none:?}");

    // Deliveries are there to be seen; none has come yet.
    let deliveries = say_with(home.path(), &["deliveries", "--state", "failed", "--forge", "gerrit"], &asked).await;
    assert_eq!((deliveries.code, deliveries.out.trim()), (Some(0), "no deliveries that this token may see"), "{deliveries:?}");
    let deliveries = say_with(home.path(), &["--json", "deliveries"], &asked).await;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&deliveries.out).expect("JSON")["items"], serde_json::json!([]));
    for what in ["show", "replay"] {
        let unknown = say_with(home.path(), &["deliveries", what, "7"], &asked).await;
        assert_eq!(unknown.code, Some(5), "{unknown:?}");
    }
    let mixed = say_with(home.path(), &["deliveries", "--state", "failed", "show", "7"], &asked).await;
    assert_eq!(mixed.code, Some(2), "a filter says nothing of one delivery: {mixed:?}");
    let commit = say_with(home.path(), &["cd", "nothing", "--ref", &"a".repeat(40)], &asked).await;
    assert!(commit.code == Some(5) && commit.err.contains("Name the branch or tag that has it"), "{commit:?}");

    // What is there is examined and listed; nothing is at any mirror yet.
    let doctor = say_with(home.path(), &["doctor"], &asked).await;
    assert!(doctor.code == Some(0) && doctor.out.contains("all is well"), "{doctor:?}");
    let report: serde_json::Value = serde_json::from_str(&say_with(home.path(), &["doctor", "--json"], &asked).await.out).expect("JSON");
    assert_eq!(report["worst"], "fine", "{report}");
    for about in ["controller", "VCS worker", "artifact store", "deployment worker", "executor local", "own mirrors", "environments"] {
        assert!(report["findings"].as_array().is_some_and(|found| found.iter().any(|one| one["about"] == about)), "{about}: {report}");
    }
    // A file that is changed counts from the next start, and until then the doctor says so.
    let text = std::fs::read_to_string(site.join("vcs-worker.toml")).expect("readable");
    std::fs::write(site.join("vcs-worker.toml"), format!("{text}\n# changed\n")).expect("written");
    let outdated = say_with(home.path(), &["doctor"], &asked).await;
    assert!(outdated.code == Some(0) && outdated.out.contains("vcs-worker.toml was changed after it started"), "{outdated:?}");
    assert!(outdated.out.contains("Restart it") && outdated.out.contains("0 faults, 1 warning"), "{outdated:?}");
    std::fs::write(site.join("vcs-worker.toml"), text).expect("written");
    let doctor = say_with(home.path(), &["doctor"], &asked).await;
    assert!(doctor.out.contains("all is well"), "{doctor:?}");

    let mirrors = say_with(home.path(), &["mirrors"], &asked).await;
    assert!(mirrors.code == Some(0) && mirrors.out.contains("nothing is at the mirrors"), "{mirrors:?}");
    let old = say_with(home.path(), &["mirrors", "gc"], &asked).await;
    assert!(old.code == Some(0) && old.out.contains("nothing is older"), "{old:?}");

    // A token of other keys is refused, with advice.
    say(home.path(), &["keys", "init", "other"]).await;
    say(home.path(), &["token", "create", "x", "--allow", "all", "--keys", "other", "-o", "wrong"]).await;
    let wrong = home.path().join("wrong").display().to_string();
    let refused = say_with(home.path(), &["status"], &[("SIGNALBOX_URL", &url), ("SIGNALBOX_TOKEN_FILE", &wrong)]).await;
    assert_eq!(refused.code, Some(5), "{refused:?}");
    assert!(refused.err.contains("`signalbox token create` makes a new one"), "{}", refused.err);

    // A second one on the same folder is told who has it.
    let second = say(home.path(), &["up", "site"]).await;
    assert_eq!(second.code, Some(6), "{second:?}");

    let log = std::fs::read_to_string(home.path().join("up.log")).expect("its log");
    assert!(log.contains("INFO") && !log.contains("which tokens are revoked"), "services that start together wait for each other:\n{log}");

    drop(running.stdin.take());
    let status = running.wait_within(Duration::from_mins(1), &CancellationToken::new()).await.expect("it ends");
    assert_eq!(status.code(), Some(0));
}
