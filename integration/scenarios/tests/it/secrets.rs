//! Secrets stay where they belong.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::{Value, json};
use signalbox_contract::Code;
use signalbox_contract::api::run::{Accepted, Outcome, Status, TokenCreated};
use signalbox_scenarios::{World, WorldOptions, job_file};
use signalbox_service::secret::{ExposeSecret as _, SecretString};

/// The credential for the source, and a secret that a build gives away. Neither occurs anywhere by chance.
const SOURCE: &str = "canary-source-5f1d0c7be2a94c3d";
const BUILD: &str = "canary/build+9a\"77de41 c0ffee";

/// Every file below a folder, with what it holds. The databases' logs are files like others.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            Ok(kind) if kind.is_file() => found.push((entry.path(), fs::read(entry.path()).unwrap_or_default())),
            _ => {}
        }
    }
    found
}

/// A secret in clear, in base64 wherever it begins, in URLs and in JSON.
fn faces(secret: &str) -> Vec<Vec<u8>> {
    let mut faces = vec![secret.as_bytes().to_vec()];
    faces.push(serde_json::to_string(secret).expect("JSON").trim_matches('"').as_bytes().to_vec());
    faces.push(url::form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>().into_bytes());
    for lead in 0..3 {
        let text = STANDARD_NO_PAD.encode([&vec![b'x'; lead][..], secret.as_bytes()].concat());
        faces.push(text.as_bytes()[4..text.len() - 4].to_vec());
    }
    faces
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Where a secret stands, but for the files that are there to hold it.
fn leaks(world: &World, secret: &str, home: &str) -> Vec<PathBuf> {
    let faces = faces(secret);
    let written = files(&world.site()).into_iter().filter(|(path, _)| !path.ends_with(home));
    written.filter(|(_, bytes)| faces.iter().any(|face| holds(bytes, face))).map(|(path, _)| path).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_secret_is_found_nowhere_else_afterwards() {
    let options = WorldOptions {
        besides: BTreeMap::from([
            ("vcs-worker", "credential = \"secrets/source\"\n".to_owned()),
            ("controller", "[[mask]]\nfile = \"secrets/build\"\n".to_owned()),
        ]),
        secrets: BTreeMap::from([("source", SOURCE.to_owned()), ("build", BUILD.to_owned())]),
        ..WorldOptions::default()
    };
    let world = World::with(options).await;
    world.git.require(&format!("Bearer {SOURCE}"));
    // The build gives its secret away in pieces, so that it never stands in the repository.
    let script = "s='canary/build+9a\"77de'\ns=\"${s}41 c0ffee\"\necho \"plain $s\"\nprintf %s \"xy$s\" | base64\ncp text hello";
    world.commit(&[(".signalbox.yaml", &job_file(script, &["hello"])), ("text", "nothing secret\n")]).await;
    let run = world.deploy_hello().await;
    world.ends(run, Outcome::Passed).await;
    let log = world.step_log(run, "build").await;
    assert!(log.contains("plain ****"), "{log}");
    assert!(world.git.seen().iter().any(|seen| seen.authorization.is_some()), "the credential was used");

    let token = world.token.expose_secret().to_owned();
    let ssh = fs::read_to_string(&world.hosts[0].key).expect("the hosts' key");
    let key = fs::read_to_string(world.site().join("keys/signing.pem")).expect("the signing key");
    let line = |pem: &str| pem.lines().find(|line| !line.starts_with('-')).expect("a line").to_owned();
    for (what, secret, home) in [
        ("the source's credential", SOURCE, "secrets/source"),
        ("the administrator's token", token.as_str(), "tokens/admin"),
        ("the hosts' key", line(&ssh).as_str(), "no file here"),
        ("the key that signs", line(&key).as_str(), "keys/signing.pem"),
    ] {
        assert_eq!(leaks(&world, secret, home), Vec::<PathBuf>::new(), "{what}");
    }
    // What the executor keeps of the log is the build's own words, and goes with the build.
    let masked: Vec<PathBuf> = leaks(&world, BUILD, "secrets/build")
        .into_iter()
        .filter(|path| !path.starts_with(world.site().join("data/local-executor")))
        .collect();
    assert_eq!(masked, Vec::<PathBuf>::new(), "the build's secret");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_what_the_token_covers_and_nothing_else() {
    let world = World::with(WorldOptions { hosts: 1, ..WorldOptions::default() }).await;
    world.commit(&[(".signalbox.yaml", &job_file("echo x > hello", &["hello"]))]).await;
    let run = world.deploy_hello().await;
    world.ends(run, Outcome::Passed).await;
    let narrow = json!({
        "principal": "somebody", "audience": "controller", "lifetime": 60,
        "grants": [{ "actions": ["read", "start"], "repos": ["other/*"], "environments": ["other"], "names": ["*"] }],
    });
    let created: TokenCreated = world.post("/tokens", &narrow).await;
    let token = SecretString::from(created.token);
    let client = world.client(signalbox_contract::token::Service::Controller);
    let ask = async |path: &str| client.json::<Value, Value>(http::Method::GET, path, Some(&token), http::HeaderMap::new(), None).await;
    for path in ["", "/events", "/steps/build/log", "/live"] {
        let refused = ask(&format!("/runs/{run}{path}")).await.expect_err("it may not be seen");
        assert_eq!(refused.problem().map(|problem| problem.code), Some(Code::NotFound), "{path}");
    }
    let refused = ask("/environments/test").await.expect_err("it may not be seen");
    assert_eq!(refused.problem().map(|problem| problem.code), Some(Code::NotFound));
    let status: Status = serde_json::from_value(ask("/status").await.expect("a status")).expect("a status");
    assert!(status.builds.is_empty(), "{status:?}");
    let body = json!({ "repo": "hello", "ref": "main" });
    let started = client.json::<Value, Value>(http::Method::POST, "/cd", Some(&token), http::HeaderMap::new(), Some(&body)).await;
    assert_eq!(started.expect_err("not allowed").problem().map(|problem| problem.code), Some(Code::Forbidden));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_cannot_publish_over_what_its_runs_token_does_not_cover() {
    let world = World::with(WorldOptions { hosts: 1, ..WorldOptions::default() }).await;
    world.commit(&[(".signalbox.yaml", &job_file("echo good > theirs", &["theirs"]))]).await;
    let run = world.cd(&json!({ "repo": "hello", "ref": "main" })).await;
    world.ends(run, Outcome::Passed).await;

    world.commit(&[(".signalbox.yaml", &job_file("echo evil > theirs", &["theirs"]))]).await;
    let narrow = json!({
        "principal": "somebody", "audience": "controller", "lifetime": 60,
        "grants": [{ "actions": ["read", "start"], "repos": ["hello"], "artifacts": ["mine"] }],
    });
    let created: TokenCreated = world.post("/tokens", &narrow).await;
    let client = world.client(signalbox_contract::token::Service::Controller);
    let (token, body) = (SecretString::from(created.token), json!({ "repo": "hello", "ref": "main" }));
    let accepted: Accepted =
        client.json(http::Method::POST, "/cd", Some(&token), http::HeaderMap::new(), Some(&body)).await.expect("it may start runs");
    let view = world.ends(accepted.run, Outcome::Failed).await;
    assert!(view.summary.reason.contains("theirs"), "{}", view.summary.reason);

    let deploy: Accepted = world.post("/environments/test/deploy", &json!({ "artifact_id": "theirs", "published_name": "x" })).await;
    world.ends(deploy.run, Outcome::Passed).await;
    assert_eq!(world.shown(0, "x").as_deref(), Some("good\n"));
    world.close().await;
}
