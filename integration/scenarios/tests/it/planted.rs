//! A secret that is planted wherever one may be is found nowhere else afterwards, nor on the way.

use std::fs;
use std::path::Path;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use signalbox_contract::RunId;
use signalbox_contract::api::Page;
use signalbox_contract::api::run::{Outcome, RunState};
use signalbox_contract::token::Service;
use signalbox_fakes::gitlab::Outcome as Ended;
use signalbox_scenarios::{Gitlab, Planted, SERVICES, Watch, World, WorldOptions, files, job_file, leaks_in_files, leaks_in_texts};
use signalbox_service::client::{CallError, Client};
use signalbox_service::git::testing::{Fixture, GitServer, SshServer};
use signalbox_service::secret::{ExposeSecret as _, SecretString};
use signalbox_service::testing::free_port;

/// What is in the files that only their owner may read. None occurs anywhere by chance.
const SECRETS: [(&str, &str); 7] = [
    ("source", "canary-source-5f1d0c7be2a94c3d"),
    ("basic", "canary-basic-83c1:f07d+e55a/91"),
    ("build", "canary/build+9a\"77de41 c0ffee"),
    ("forge", "glpat-canary-forge-2a5b6c7d8e"),
    ("hook", "canary-hook-b61d7f33e0c94a58"),
    ("gerrit", "canary-gerrit/7d0c2b+4e19a6=="),
    ("path", "canarypath4c8e1b7a90f3d256"),
];

/// What others send that are mistaken, or mean it: in a query, in a header, in a path, in what a pipeline was given.
const QUERY: &str = "canary-query-0d5e8a17c3b942f6";
const HEADER: &str = "canary-header-6e2f9b04a7d1583c";
const FORGED: &str = "canaryforged91d4e7a2b60c85f3";
const VARIABLE: &str = "canary-variable-a8f1c60e4b2d97";

const GITLAB_JOB: &str = "compile: {script: [make]}\n";

/// A line of a key that no other key has.
fn line(pem: &Path) -> String {
    let pem = fs::read_to_string(pem).expect("a key");
    let lines: Vec<&str> = pem.lines().filter(|line| !line.starts_with('-')).collect();
    // An OpenSSH key begins with what all of them share, and its last line may be short.
    let last = lines[lines.len().saturating_sub(2)..].iter().max_by_key(|line| line.len());
    last.map(|line| line.trim_end_matches('=').to_owned()).expect("a line")
}

/// Everything that has a secret to lose.
struct Stage {
    world: World,
    gitlab: Gitlab,
    basic: GitServer,
    _ssh: SshServer,
    _folder: tempfile::TempDir,
    planted: Vec<Planted>,
}

impl Stage {
    async fn set() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let gitlab = Gitlab::start().await;
        gitlab.fake.script(|_, _| Some(Ended::success().saying("made\n".to_owned())));
        let ssh = SshServer::start(&folder.path().join("ssh"), None).await;
        let by_ssh = Fixture::new(folder.path(), "by-ssh").await;
        let by_password = Fixture::new(folder.path(), "by-password").await;
        for repository in [&by_ssh, &by_password] {
            repository.commit("refs/heads/main", &[(".signalbox.yaml", &job_file("cp .signalbox.yaml made", &["made"]))]).await;
        }
        let basic = GitServer::start(folder.path()).await;
        let secret = |name: &str| SECRETS.iter().find(|(known, _)| *known == name).expect("it is planted").1;
        basic.require(&format!("Basic {}", encoded(&format!("reader:{}", secret("basic")))));
        let worker = format!(
            "credential = \"secrets/source\"\n\
             [[sources]]\nurl = \"http://{}/\"\nprivate = true\nusername = \"reader\"\ncredential = \"secrets/basic\"\n\
             [[sources]]\nurl = \"ssh://{}@{}{}\"\nprivate = true\nkey = \"{}\"\nknown_hosts = \"{}\"\n",
            basic.address(),
            ssh.user(),
            ssh.address(),
            folder.path().display(),
            ssh.file("client").display(),
            ssh.file("known_hosts").display()
        );
        // This Gerrit is never there: what is said of that is looked at too.
        let controller = format!(
            "[[mask]]\nfile = \"secrets/build\"\n\
             [forges.lab]\nkind = \"gitlab\"\nurl = \"{}\"\ntoken_file = \"secrets/forge\"\nsecret_files = [\"secrets/hook\"]\nresync = \"5s\"\n\
             [forges.gerrit]\nkind = \"gerrit\"\nurl = \"http://{}\"\nuser = \"robot\"\npassword_file = \"secrets/gerrit\"\n\
             secret_files = [\"secrets/path\"]\nresync = \"5s\"\n",
            gitlab.fake.url(),
            free_port()
        );
        let mut options = WorldOptions::default()
            .with(Service::VcsWorker, &worker)
            .with(Service::Controller, &controller)
            .with_gitlab(&gitlab)
            .with_repository("by-ssh", ssh.url(by_ssh.path()).as_str(), "")
            .with_repository("by-password", basic.url("by-password").as_str(), "");
        options.secrets.extend(SECRETS.map(|(name, secret)| (name, secret.to_owned())));
        let (mirror, executor) = (gitlab.worker.expose_secret().to_owned(), gitlab.controller.expose_secret().to_owned());
        let key = line(&ssh.file("client"));
        let world = World::with(options).await;
        world.git.require(&format!("Bearer {}", secret("source")));

        let site = world.site();
        let at = |what, secret: &str, home: &str| Planted::new(what, secret).at(site.join(home));
        let token = |name: &str| fs::read_to_string(site.join("tokens").join(name)).expect("a token").trim().to_owned();
        let mut planted: Vec<Planted> =
            SECRETS.iter().map(|(name, secret)| at(name, secret, &format!("secrets/{name}")).given_to_git()).collect();
        // What the executor keeps of a build's log is the build's own words, and goes with the build.
        planted[2] = planted[2].clone().at(site.join("data/local-executor"));
        planted.extend([
            at("the mirror's token", &mirror, "secrets/gitlab-worker").given_to_git(),
            at("the executor's token", &executor, "secrets/gitlab-controller"),
            at("the administrator's token", &token("admin"), "tokens/admin"),
            at("the administrator's token for the store", &token("admin-store"), "tokens/admin-store"),
            at("the key that signs", &line(&site.join("keys/signing.pem")), "keys/signing.pem"),
            at("the services' own key", &line(&site.join("key.pem")), "key.pem"),
            at("the hosts' key", &line(&world.hosts[0].key), "no file here").at(&world.hosts[0].key),
            Planted::new("the source's ssh key", &key),
            Planted::new("a token in a query", QUERY),
            Planted::new("a token in a header", HEADER),
            Planted::new("a forged secret in a path", FORGED),
            Planted::new("a pipeline's variable", VARIABLE),
        ]);
        Self { world, gitlab, basic, _ssh: ssh, _folder: folder, planted }
    }
}

fn encoded(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// What a service answers, whatever it is.
async fn said(client: &Client, path: &str, token: Option<&SecretString>, headers: HeaderMap) -> String {
    match client.get_stream(path, token, headers).await {
        Ok(mut answer) => {
            let mut text = format!("{:?}", answer.headers());
            // A stream goes on for as long as somebody reads it: what is there already is what counts.
            while let Ok(Ok(Some(chunk))) = tokio::time::timeout(Duration::from_millis(500), answer.chunk()).await {
                text.push_str(&String::from_utf8_lossy(&chunk));
            }
            text
        }
        Err(error) => refused(&error),
    }
}

fn refused(error: &CallError) -> String {
    let problem = error.problem().map(|problem| serde_json::to_string(problem).expect("JSON")).unwrap_or_default();
    format!("{error} {error:?} {problem}")
}

fn header(name: &'static str, value: &str) -> (HeaderName, HeaderValue) {
    (HeaderName::from_static(name), HeaderValue::try_from(value).expect("a header"))
}

/// The hooks of the two forges, genuine and forged.
async fn deliver(client: &Client, secret: impl Fn(&str) -> &'static str) -> Vec<(String, String)> {
    let variables = json!([{ "key": "PASSWORD", "value": VARIABLE }]);
    let pipeline = json!({
        "object_kind": "pipeline", "object_attributes": { "id": 7, "ref": "main", "status": "success", "variables": variables },
        "project": { "id": 1, "path_with_namespace": "mirrors/hello" },
    });
    let event =
        json!({ "type": "ref-updated", "eventCreatedOn": 1_700_000_000, "refUpdate": { "project": "x", "refName": "refs/heads/main" } });
    let hook = |token: &str| HeaderMap::from_iter([header("x-gitlab-event", "Pipeline Hook"), header("x-gitlab-token", token)]);
    let genuine = format!("/webhooks/gerrit/{}", secret("path"));
    let forged = format!("/webhooks/gerrit/{FORGED}");
    let mut answers = Vec::new();
    for (name, path, headers, body, taken) in [
        ("GitLab's hook", "/webhooks/lab", hook(secret("hook")), &pipeline, true),
        ("a forged hook of GitLab", "/webhooks/lab", hook(HEADER), &pipeline, false),
        ("Gerrit's hook", &genuine, HeaderMap::new(), &event, true),
        ("a forged hook of Gerrit", &forged, HeaderMap::new(), &event, false),
    ] {
        let answer = client.json::<Value, serde::de::IgnoredAny>(Method::POST, path, None, headers, Some(body)).await;
        assert_eq!(answer.is_ok(), taken, "{name}: {answer:?}");
        answers.push((name.to_owned(), answer.as_ref().map_or_else(refused, |_| String::new())));
    }
    answers
}

/// All that can be read of a run and around it.
async fn answers(world: &World, runs: &[RunId]) -> Vec<(String, String)> {
    let client = world.client(Service::Controller);
    let mut paths: Vec<String> =
        ["/status", "/runs", "/deliveries", "/environments", "/environments/test", "/tokens", "/mirrors", "/doctor"]
            .into_iter()
            .chain(["/", "/view/environments", "/view/deliveries", "/health/ready", "/schemas/signalbox.json"])
            .map(str::to_owned)
            .collect();
    for run in runs {
        let of_run = ["", "/events", "/live", "/steps/build/log"].map(|rest| format!("/runs/{run}{rest}"));
        paths.extend(of_run.into_iter().chain([format!("/view/runs/{run}"), format!("/view/runs/{run}/steps/build/log")]));
    }
    let deliveries: Page<Value> = world.get("/deliveries").await;
    assert!(deliveries.items.len() >= 2, "the hooks are written down");
    for delivery in deliveries.items {
        paths.extend([format!("/deliveries/{}", delivery["id"]), format!("/view/deliveries/{}", delivery["id"])]);
    }
    let mut texts = Vec::new();
    for path in paths {
        let text = said(&client, &path, Some(&world.token), HeaderMap::new()).await;
        assert!(!text.contains("unauthenticated"), "{path} is read: {text}");
        texts.push((path, text));
    }
    // What nobody may say, and nobody repeats.
    let mistaken = SecretString::from(HEADER);
    for path in [format!("/status?token={QUERY}"), format!("/runs/{QUERY}"), format!("/sign-in?token={QUERY}"), format!("/{QUERY}")] {
        let headers = HeaderMap::from_iter([header("x-token", HEADER), header("cookie", &format!("signalbox={HEADER}"))]);
        texts.push((format!("the refusal of {}", path.replace(QUERY, "…")), said(&client, &path, Some(&mistaken), headers).await));
    }
    for service in SERVICES {
        texts.push((format!("what the {service} counts"), world.metrics(service).await));
        let client = world.client(service);
        texts.push((
            format!("the refusal of the {service}"),
            said(&client, &format!("/x?token={QUERY}"), Some(&mistaken), HeaderMap::new()).await,
        ));
    }
    texts
}

// Threats 11 and 65.
#[tokio::test(flavor = "multi_thread")]
async fn a_planted_secret_is_found_nowhere_else_neither_afterwards_nor_on_the_way() {
    let stage = Stage::set().await;
    let Stage { world, planted, .. } = &stage;
    let secret = |name: &str| SECRETS.iter().find(|(known, _)| *known == name).expect("it is planted").1;
    // The build gives its secret away in pieces, so that it never stands in the repository.
    let script = "s='canary/build+9a\"77de'\ns=\"${s}41 c0ffee\"\necho \"plain $s\"\nprintf %s \"xy$s\" | base64\ncp text hello";
    world.commit(&[(".signalbox.yaml", &job_file(script, &["hello"])), ("text", "nothing\n"), (".gitlab-ci.yml", GITLAB_JOB)]).await;
    // What a build has in its own memory and shows of it there is its own affair.
    let watched: Vec<Planted> = planted.iter().filter(|secret| secret.what != "build").cloned().collect();
    let watch = Watch::begin(watched);
    let mut runs = Vec::new();
    for (repo, artifact) in [("hello", "hello"), ("by-ssh", "made"), ("by-password", "made")] {
        let body = json!({ "repo": repo, "ref": "main", "artifact": artifact, "published_name": repo, "executor": "local" });
        runs.push(world.cd(&body).await);
    }
    runs.push(world.cd(&json!({ "repo": "hello", "ref": "main", "executor": "gitlab" })).await);
    for run in &runs {
        world.ends(*run, Outcome::Passed).await;
    }
    let log = world.step_log(runs[0], "build").await;
    assert!(log.contains("plain ****"), "{log}");
    let shown = |git: &GitServer| git.seen().iter().any(|seen| seen.authorization.is_some());
    assert!(shown(&world.git) && shown(&stage.basic), "the credentials were used");

    // What is refused is told in words, and words could repeat what they should not.
    world.git.require("Bearer another");
    stage.basic.require("Basic another");
    for repo in ["hello", "by-password"] {
        let run = world.cd(&json!({ "repo": repo, "ref": "main", "executor": "local" })).await;
        world.until(run, "the run is over", |view| view.summary.state == RunState::Finished).await;
        runs.push(run);
    }
    let mut texts = deliver(&world.client(Service::Controller), secret).await;
    texts.extend(answers(world, &runs).await);
    assert_eq!(leaks_in_texts(planted, &texts), Vec::<String>::new(), "in answers");
    assert_eq!(watch.end().into_iter().collect::<Vec<_>>(), Vec::<String>::new(), "in what programs show");

    let written = files(world.folder());
    assert_eq!(leaks_in_files(planted, &written), Vec::<String>::new(), "in files");
    // Tokens for one request, and capabilities, are made when they are used, and kept by nobody.
    let (tokens, others): (Vec<_>, Vec<_>) =
        written.into_iter().map(|(path, text)| (path.display().to_string(), text)).partition(|(path, _)| path.contains("/tokens/"));
    assert!(leaks_in_texts(&[], &tokens).len() == 2, "a token is known when it is seen");
    assert_eq!(leaks_in_texts(&[], &others), Vec::<String>::new(), "signed tokens in files");
    let Stage { world, gitlab, .. } = stage;
    world.close().await;
    gitlab.close(&["hello"]).await;
}
