//! A world: the services, a git server, hosts, and somebody who asks.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Method};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use signalbox_contract::api::run::{Accepted, Outcome, RunState, RunView};
use signalbox_contract::token::Service;
use signalbox_contract::{Problem, RunId};
use signalbox_deploy_worker::testing::{Host, HostOptions};
use signalbox_service::client::{CallError, Client};
use signalbox_service::git::testing::{Fixture, GitServer};
use signalbox_service::process::{Bounds, Program};
use signalbox_service::secret::{SecretString, read_secret, write_secret};
use signalbox_service::testing::{eventually, free_port};
use tempfile::TempDir;
use url::Url;

use crate::options::WorldOptions;
use crate::services::{ALL, Services};
use crate::{authority, binary};

/// How long a run may take in a scenario. Only a hanging one takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// A world.
#[derive(Debug)]
pub struct World {
    /// The services.
    pub services: Services,
    /// Where sources come from.
    pub git: GitServer,
    /// The repository `hello`.
    pub repository: Fixture,
    /// All repositories on the git server, by name.
    pub repositories: BTreeMap<&'static str, Fixture>,
    /// The hosts of the environment `test`, named `a`, `b`, ….
    pub hosts: Vec<Host>,
    /// The administrator's token.
    pub token: SecretString,
    controller: Client,
    metrics: BTreeMap<&'static str, SocketAddr>,
    folder: TempDir,
}

impl World {
    /// A world with two hosts.
    pub async fn new() -> Self {
        Self::with(WorldOptions::default()).await
    }

    /// A world with something special.
    ///
    /// # Panics
    /// When it cannot be made.
    #[expect(clippy::expect_used, reason = "a test without its world cannot go on")]
    pub async fn with(options: WorldOptions) -> Self {
        let program = binary::program().await;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        let init = Program::new(program).arg("init").arg(path.join("site")).env("PATH", "/usr/bin:/bin");
        let init = init.run(Bounds::new(PATIENCE)).await.expect("it ends");
        assert!(init.status.success(), "init: {}", String::from_utf8_lossy(&init.stderr));
        let site = path.join("site");
        authority::issue(&site);
        fs::create_dir(site.join("secrets")).expect("a folder");
        for (name, secret) in &options.secrets {
            write_secret(&site.join("secrets").join(name), &SecretString::from(secret.clone())).expect("written");
        }
        let repositories = path.join("repositories");
        let repository = Fixture::new(&repositories, "hello").await;
        let mut fixtures = BTreeMap::from([("hello", repository.clone())]);
        for (name, _) in &options.repositories {
            fixtures.insert(*name, Fixture::new(&repositories, name).await);
        }
        let git = GitServer::start(&repositories).await;
        let options = options.on(&git);
        let mut hosts = Vec::new();
        for name in NAMES.iter().take(options.hosts) {
            let special = HostOptions { force_command: options.force_command.clone(), ..HostOptions::default() };
            hosts.push(Host::start_with(&path.join("hosts"), name, special).await.expect("a host"));
        }
        let listen: BTreeMap<_, _> = ALL.iter().map(|service| (service.as_str(), free_port())).collect();
        let metrics: BTreeMap<_, _> = ALL.iter().map(|service| (service.as_str(), free_port())).collect();
        for service in ALL {
            let mut text = format!("metrics_listen = \"{}\"\n", metrics[service.as_str()]);
            text.push_str(&configuration(service, &listen, &git, &hosts));
            text.push_str(options.besides.get(service.as_str()).map_or("", String::as_str));
            fs::write(site.join(format!("{service}.toml")), text).expect("written");
        }
        let base: Url = format!("https://{}", listen["controller"]).parse().expect("a URL");
        let controller = Client::new(base, Some(&site.join("ca.pem"))).expect("a client");
        let token = read_secret(&site.join("tokens/admin")).expect("a token");
        let mut services = Services::new(program, &site, listen);
        for service in ALL {
            services.start(service).await;
        }
        Self { services, git, repository, repositories: fixtures, hosts, token, controller, metrics, folder }
    }

    /// The folder with the configurations and the data.
    pub fn site(&self) -> PathBuf {
        self.folder.path().join("site")
    }

    /// The folder with everything: configurations, data, the hosts.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a service has counted, as it says it.
    ///
    /// # Panics
    /// When it does not say it.
    #[expect(clippy::expect_used, reason = "a service that cannot be watched is a mistake")]
    pub async fn metrics(&self, service: Service) -> String {
        let base: Url = format!("http://{}", self.metrics[service.as_str()]).parse().expect("a URL");
        let client = Client::new(base, None).expect("a client");
        let mut answer = client.get_stream("/metrics", None, HeaderMap::new()).await.expect("its metrics");
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.expect("all of them") {
            bytes.extend_from_slice(&chunk);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What a host has recorded under a published name, line by line: what was done, its number, its digest, its run, ….
    pub fn activations(&self, host: usize, name: &str) -> Vec<Vec<String>> {
        let path = self.hosts[host].files.join(".signalbox/releases").join(name).join("activations");
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    }

    /// The keys of a run's builds that the local executor took, in order, as often as it took them.
    pub fn builds_begun(&self, run: RunId) -> Vec<String> {
        let (log, prefix) = (self.services.log(Service::LocalExecutor), format!("{run}-"));
        let begun = log.lines().filter(|line| line.contains("build.accepted"));
        begun
            .filter_map(|line| {
                let key = &line[line.find(&prefix)?..];
                let end = key.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-').unwrap_or(key.len());
                Some(key[..end].to_owned())
            })
            .collect()
    }

    /// Where a service is.
    pub fn url(&self, service: Service) -> String {
        format!("https://{}", self.services.listen[service.as_str()])
    }

    /// A client of a service.
    ///
    /// # Panics
    /// Never: the address is one of ours.
    #[expect(clippy::expect_used, reason = "the address is one of ours")]
    pub fn client(&self, service: Service) -> Client {
        let base: Url = self.url(service).parse().expect("a URL");
        Client::new(base, Some(&self.site().join("ca.pem"))).expect("a client")
    }

    /// Commits files to the branch `main` of `hello`.
    pub async fn commit(&self, files: &[(&str, &str)]) {
        self.repository.commit("refs/heads/main", files).await;
    }

    /// Asks the controller.
    ///
    /// # Errors
    /// As the client tells.
    pub async fn ask<R: DeserializeOwned>(&self, method: Method, path: &str, body: Option<&Value>) -> Result<R, CallError> {
        self.controller.json(method, path, Some(&self.token), HeaderMap::new(), body).await
    }

    /// Reads something from the controller.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn get<R: DeserializeOwned>(&self, path: &str) -> R {
        self.ask(Method::GET, path, None).await.unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// Posts something to the controller.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn post<R: DeserializeOwned>(&self, path: &str, body: &Value) -> R {
        self.ask(Method::POST, path, Some(body)).await.unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// Posts something, and gives the problem with which it is refused.
    ///
    /// # Panics
    /// When it is not refused.
    pub async fn refused<B: Serialize>(&self, path: &str, body: &B) -> Problem {
        let body = serde_json::to_value(body).unwrap_or_default();
        match self.ask::<Value>(Method::POST, path, Some(&body)).await {
            Err(error) => error.problem().cloned().unwrap_or_else(|| panic!("POST {path}: {error}")),
            Ok(answer) => panic!("POST {path} was not refused: {answer}"),
        }
    }

    /// `POST /cd` for `hello` at `main`, deploying the artifact `hello`.
    pub async fn deploy_hello(&self) -> RunId {
        self.cd(&json!({ "repo": "hello", "ref": "main", "artifact": "hello" })).await
    }

    /// `POST /cd`.
    pub async fn cd(&self, body: &Value) -> RunId {
        self.post::<Accepted>("/cd", body).await.run
    }

    /// A run, as it is now.
    pub async fn run(&self, run: RunId) -> RunView {
        self.get(&format!("/runs/{run}")).await
    }

    /// Waits until something holds of a run. While a service is away, it waits for that too.
    ///
    /// # Panics
    /// When it does not come to hold.
    pub async fn until(&self, run: RunId, what: &str, holds: impl Fn(&RunView) -> bool) -> RunView {
        let path = format!("/runs/{run}");
        let last = Mutex::new(None);
        let seen = || async {
            let view: RunView = self.ask(Method::GET, &path, None).await.ok()?;
            let (held, over) = (holds(&view), view.summary.state == RunState::Finished);
            assert!(held || !over, "{what}, but the run has ended: {view:#?}");
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(view.clone());
            held.then_some(view)
        };
        let Ok(view) = tokio::time::timeout(PATIENCE, eventually(what, PATIENCE * 2, seen)).await else {
            let last = last.into_inner().unwrap_or_else(PoisonError::into_inner);
            panic!("still waiting until {what}: {last:#?}\n{}", self.logs())
        };
        view
    }

    /// The end of what each service has written to its log.
    pub(crate) fn logs(&self) -> String {
        let logs: Vec<String> = ALL.into_iter().map(|service| format!("--- {service}\n{}", tail(&self.services.log(service)))).collect();
        logs.join("\n")
    }

    /// Waits until the log of a step holds some words.
    ///
    /// # Panics
    /// When it does not come to hold them.
    pub async fn until_log(&self, run: RunId, step: &str, words: &str) {
        let seen = || async { self.step_log(run, step).await.contains(words).then_some(()) };
        eventually(&format!("the log of {step} holds {words:?}"), PATIENCE, seen).await;
    }

    /// Waits until the log of a part of a run's build holds some words.
    ///
    /// # Panics
    /// When it does not come to hold them.
    pub async fn until_part_log(&self, run: RunId, part: &str, words: &str) {
        let path = format!("/runs/{run}/steps/build/log?part={part}");
        let seen = || async { self.text(&path).await.contains(words).then_some(()) };
        eventually(&format!("the log of {part} holds {words:?}"), PATIENCE, seen).await;
    }

    /// Waits until a step's latest attempt is in this phase.
    pub async fn until_step(&self, run: RunId, step: &str, phase: &str) -> RunView {
        self.until(run, &format!("{step} is {phase}"), |view| {
            let step = view.steps.iter().find(|candidate| candidate.name == step);
            step.and_then(|step| step.attempts.last()).is_some_and(|attempt| attempt.phase == phase)
        })
        .await
    }

    /// Waits for a run's end, which must be this one.
    ///
    /// # Panics
    /// When it ends otherwise.
    pub async fn ends(&self, run: RunId, outcome: Outcome) -> RunView {
        let view = self.until(run, "the run is over", |view| view.summary.state == RunState::Finished).await;
        assert_eq!(view.summary.outcome, Some(outcome), "{view:#?}\n{}", self.step_log(run, "build").await);
        view
    }

    /// The whole log of a step, as far as there is one.
    pub async fn step_log(&self, run: RunId, step: &str) -> String {
        self.text(&format!("/runs/{run}/steps/{step}/log")).await
    }

    /// What the controller says there, as text; nothing where it refuses.
    pub async fn text(&self, path: &str) -> String {
        let Ok(mut log) = self.controller.get_stream(path, Some(&self.token), HeaderMap::new()).await else { return String::new() };
        let mut bytes = Vec::new();
        while let Ok(Some(chunk)) = log.chunk().await {
            bytes.extend_from_slice(&chunk);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What a host shows under a published name.
    pub fn shown(&self, host: usize, name: &str) -> Option<String> {
        fs::read_to_string(self.hosts[host].files.join(name)).ok()
    }

    /// Ends everything, and fails if something is left over.
    ///
    /// # Panics
    /// When a service does not end well, or something is left over.
    pub async fn close(mut self) {
        let remains = self.end().await;
        assert!(remains.is_empty(), "{}", remains.join("\n"));
    }

    /// Ends everything but the hosts, and tells what is left over and what did not end well, a sentence each.
    pub async fn end(&mut self) -> Vec<String> {
        let mirrors = self.site().join("data/vcs-worker");
        let tidy = || async { attempt_refs(&mirrors).is_empty().then_some(()) };
        let tidied = tokio::time::timeout(PATIENCE, eventually("no attempt's ref is left in a mirror", PATIENCE * 2, tidy)).await;
        let mut remains = Vec::new();
        if tidied.is_err() {
            remains.push(format!("refs of attempts are left in a mirror: {:?}", attempt_refs(&mirrors)));
        }
        for service in ALL.into_iter().rev() {
            if !self.services.stop(service).await {
                remains.push(format!("the {service} did not end well:\n{}", tail(&self.services.log(service))));
            }
        }
        let work = self.site().join("data/local-executor/work");
        let left: Vec<_> = fs::read_dir(&work).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        if !left.is_empty() {
            remains.push(format!("workspaces are left: {left:?}"));
        }
        remains.extend(programs_in(self.folder.path()).into_iter().map(|program| format!("a program is left: {program}")));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let site = self.site().display().to_string();
        remains.extend(mounts.lines().filter(|mount| mount.contains(&site)).map(|mount| format!("a mount is left: {mount}")));
        for service in ALL {
            let log = self.services.log(service);
            if log.contains("panicked") {
                remains.push(format!("the {service} panicked:\n{}", tail(&log)));
            }
        }
        remains
    }
}

/// The names of a world's hosts.
const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// The refs of attempts that a mirror below a folder shows.
fn attempt_refs(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if entry.is_dir() {
            found.extend(attempt_refs(&entry));
        } else if entry.parent().is_some_and(|parent| parent.ends_with("refs/heads/cd")) {
            found.push(entry);
        }
    }
    found
}

/// The end of a log, for a failed test's message.
pub(crate) fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// The programs that work in a folder and are not the hosts, which end with the world.
fn programs_in(folder: &Path) -> Vec<String> {
    let hosts = folder.join("hosts");
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| {
            let place = fs::read_link(process.path().join("cwd")).ok()?;
            let command = fs::read(process.path().join("cmdline")).ok()?;
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            let ours = place.starts_with(folder) || command.contains(&folder.display().to_string());
            let host = place.starts_with(&hosts) || command.contains(&hosts.display().to_string());
            (ours && !host).then(|| format!("{} {command}", process.path().display()))
        })
        .collect()
}

/// The configuration of a service in a world.
fn configuration(service: Service, listen: &BTreeMap<&'static str, std::net::SocketAddr>, git: &GitServer, hosts: &[Host]) -> String {
    let at = |name: &str| format!("https://{}", listen[name]);
    let common = format!(
        "listen = \"{}\"\ndata = \"data/{service}\"\npublic_keys = \"keys/public.json\"\nca = \"ca.pem\"\n",
        listen[service.as_str()]
    );
    let tls = "[tls]\ncertificate = \"certificate.pem\"\nkey = \"key.pem\"\n";
    let own = match service {
        Service::Controller => format!(
            "vcs_worker = \"{}\"\nartifact_store = \"{}\"\ndeploy_worker = \"{}\"\n{tls}\
             [executors.local]\nurl = \"{}\"\n[repositories.hello]\nsource = \"{}\"\nenvironment = \"test\"\n",
            at("vcs-worker"),
            at("artifact-store"),
            at("deploy-worker"),
            at("local-executor"),
            git.url("hello")
        ),
        Service::VcsWorker => format!("{tls}[[sources]]\nurl = \"http://{}/\"\nprivate = true\n", git.address()),
        Service::ArtifactStore => format!("controller = \"{}\"\n{tls}", at("controller")),
        Service::DeployWorker => {
            let named: Vec<(&str, &Host)> = NAMES.iter().copied().zip(hosts).collect();
            // What is published is run in some stories.
            let environment = Host::environment("test", &named, &["*"]).replacen("root =", "file_mode = \"0755\"\nroot =", 1);
            format!("store = \"{}\"\n{tls}{environment}", at("artifact-store"))
        }
        Service::LocalExecutor => tls.to_owned(),
    };
    format!("{common}{own}")
}
