//! A worker of one's own, for the time of a test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use signalbox_contract::api::Answer;
use signalbox_contract::api::vcs::{RefsAction, RefsResult, RepoResult};
use signalbox_contract::token::{Capability, Service};
use signalbox_contract::{AttemptKey, CommitSha, Failure, FailureCode, Problem, RunId};
use signalbox_service::auth::{Signer, init_keys, sha256};
use signalbox_service::clock::{Clock as _, SharedClock, SystemClock};
use signalbox_service::config::Reader;
use signalbox_service::git::Git;
use signalbox_service::git::testing::{Fixture, GitServer};
use signalbox_service::http::bind;
use signalbox_service::ledger::Ledger;
use signalbox_service::secret::ExposeSecret as _;
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::Telemetry;
use signalbox_service::testing::{eventually, free_port};
use signalbox_vcs_worker::{Config, start};
use tempfile::TempDir;

pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A worker that serves, and a git server with the repository `r/hello` that it may fetch.
pub(crate) struct House {
    pub(crate) folder: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) signer: Signer,
    pub(crate) server: GitServer,
    pub(crate) source: Fixture,
    http: reqwest::Client,
    shutdown: Shutdown,
    settings: String,
    clock: SharedClock,
    /// The attempt whose ref was shown last.
    shown: Mutex<Option<AttemptKey>>,
}

impl House {
    /// A worker that may fetch from the server's `/r`, without a credential.
    pub(crate) async fn open() -> Self {
        Self::with("", "").await
    }

    /// A worker with further settings, of its own and of its source; `{server}` in them is the git server's address.
    pub(crate) async fn with(settings: &str, source_settings: &str) -> Self {
        Self::with_clock(settings, source_settings, SystemClock::shared()).await
    }

    /// The same, in its own time.
    pub(crate) async fn with_clock(settings: &str, source_settings: &str, clock: SharedClock) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("server");
        let source = Fixture::new(&root, "r/hello").await;
        source.commit("refs/heads/main", &[("README", "hello\n"), (".signalbox.yaml", "version: 1\n")]).await;
        let server = GitServer::start(&root).await;
        let entry = format!("[[sources]]\nurl = \"http://{}/r/\"\nprivate = true\n{source_settings}\n", server.address());
        init_keys(&folder.path().join("keys")).expect("keys");
        let signer = Signer::open(&folder.path().join("keys"), Arc::clone(&clock)).expect("a signer");
        let settings = format!("{settings}\n{entry}").replace("{server}", &server.address().to_string());
        let (address, shutdown) = serve(folder.path(), &settings, Arc::clone(&clock)).await;
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { folder, address, signer, server, source, http, shutdown, settings, clock, shown: Mutex::default() }
    }

    /// Ends the worker, which must leave nothing running, and starts it again on the same folder.
    pub(crate) async fn reopen(mut self, meanwhile: impl FnOnce(&Path)) -> Self {
        self.http = reqwest::Client::builder().no_proxy().build().expect("a client");
        assert!(self.shutdown.drained(SOON).await, "something did not end");
        meanwhile(&self.data());
        (self.address, self.shutdown) = serve(self.folder.path(), &self.settings, Arc::clone(&self.clock)).await;
        self
    }

    /// Ends the worker, and keeps everything else.
    pub(crate) async fn vacate(mut self) -> Self {
        self.http = reqwest::Client::builder().no_proxy().build().expect("a client");
        assert!(self.shutdown.drained(SOON).await, "something did not end");
        self
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The source's URL.
    pub(crate) fn git_url(&self) -> String {
        self.server.url("r/hello").to_string()
    }

    /// The ordinary request to mirror a ref of the source under the name `team/hello`.
    pub(crate) fn order(&self, ref_name: &str) -> Value {
        json!({ "git": self.git_url(), "ref": ref_name, "name": "team/hello" })
    }

    /// Posts a request as the controller does, and waits for its end.
    pub(crate) async fn post<R: DeserializeOwned>(&self, path: &str, key: AttemptKey, body: &impl Serialize) -> Result<Answer<R>, Problem> {
        eventually("the work ends", SOON * 2, || async {
            match self.post_once(path, key, body).await {
                Ok(Answer::Working { .. }) => None,
                other => Some(other),
            }
        })
        .await
    }

    pub(crate) async fn post_once<R: DeserializeOwned>(
        &self,
        path: &str,
        key: AttemptKey,
        body: &impl Serialize,
    ) -> Result<Answer<R>, Problem> {
        let body = serde_json::to_vec(body).expect("JSON");
        let token = self.signer.act(Service::VcsWorker, &format!("POST {path}"), Some(key), sha256(&body)).expect("a token");
        let request = self.http.post(format!("http://{}{path}", self.address)).bearer_auth(token.expose_secret());
        let request = request.header("content-type", "application/json").header("prefer", "wait=20").body(body);
        let response = request.send().await.expect("an answer");
        let status = response.status();
        let bytes = response.bytes().await.expect("a body");
        if status.is_success() {
            return Ok(serde_json::from_slice(&bytes).expect("an answer"));
        }
        Err(serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("{status}: no problem: {}", String::from_utf8_lossy(&bytes))))
    }

    /// Mirrors, which must work.
    pub(crate) async fn mirror(&self, body: &Value) -> RepoResult {
        match self.post("/repo", key(), body).await {
            Ok(Answer::Done { result }) => result,
            other => panic!("{other:?}"),
        }
    }

    /// Mirrors, which must fail like this. The failure says what to do.
    pub(crate) async fn mirror_fails(&self, body: &Value, code: FailureCode) -> Failure {
        match self.post::<RepoResult>("/repo", key(), body).await {
            Ok(Answer::Failed { failure }) => {
                assert_eq!(failure.code, code, "{failure}");
                assert!(!failure.hint.is_empty() || code == FailureCode::SourceAddress, "{failure}");
                failure
            }
            other => panic!("{other:?}"),
        }
    }

    /// Shows or takes away an attempt's ref.
    pub(crate) async fn refs(&self, key: AttemptKey, sha: &CommitSha, action: RefsAction) -> Result<Answer<RefsResult>, Problem> {
        self.post("/refs", key, &json!({ "name": "team/hello", "sha": sha, "action": action })).await
    }

    pub(crate) async fn publish(&self, key: AttemptKey, sha: &CommitSha) -> RefsResult {
        match self.refs(key, sha, RefsAction::Publish).await {
            Ok(Answer::Done { result }) => {
                *self.shown.lock().expect("not poisoned") = Some(key);
                result
            }
            other => panic!("{other:?}"),
        }
    }

    /// Shows or takes away an attempt's ref at a configured mirror.
    pub(crate) async fn refs_at(&self, mirror: &str, key: AttemptKey, sha: &CommitSha, more: Value) -> Result<Answer<RefsResult>, Problem> {
        let mut body = json!({ "name": "team/hello", "sha": sha, "action": "publish", "mirror": mirror });
        for (field, value) in more.as_object().into_iter().flatten() {
            body[field] = value.clone();
        }
        self.post("/refs", key, &body).await
    }

    /// Shows an attempt's ref at a configured mirror, which must work.
    pub(crate) async fn publish_at(&self, mirror: &str, key: AttemptKey, sha: &CommitSha, more: Value) -> RefsResult {
        match self.refs_at(mirror, key, sha, more).await {
            Ok(Answer::Done { result }) => result,
            other => panic!("{other:?}"),
        }
    }

    /// Shows an attempt's ref at a configured mirror, which must fail like this and say what to do.
    pub(crate) async fn publish_fails_at(&self, mirror: &str, sha: &CommitSha, more: Value, code: FailureCode) -> Failure {
        match self.refs_at(mirror, key(), sha, more).await {
            Ok(Answer::Failed { failure }) => {
                assert_eq!(failure.code, code, "{failure}");
                assert!(!failure.hint.is_empty(), "{failure}");
                failure
            }
            other => panic!("{other:?}"),
        }
    }

    /// An empty repository that takes pushes, on the same server.
    pub(crate) async fn mirror_at(&self, path: &str) -> Fixture {
        let mirror = Fixture::new(&self.folder.path().join("server"), path).await;
        mirror.git(&["config", "http.receivepack", "true"], "").await;
        mirror
    }

    /// Reads something, as the controller does.
    pub(crate) async fn get<R: DeserializeOwned>(&self, path: &str) -> R {
        let answer = self.ask_for(path).await;
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().await.expect("an answer")
    }

    /// The problem with which reading something is refused.
    pub(crate) async fn get_problem(&self, path: &str) -> Problem {
        self.ask_for(path).await.json().await.expect("a problem")
    }

    async fn ask_for(&self, path: &str) -> reqwest::Response {
        let plain = path.split('?').next().unwrap_or_default();
        let token = self.signer.act(Service::VcsWorker, &format!("GET {plain}"), None, sha256(b"")).expect("a token");
        let request = self.http.get(format!("http://{}{path}", self.address)).bearer_auth(token.expose_secret());
        request.send().await.expect("an answer")
    }

    /// Asks for something that no ledger keeps.
    pub(crate) async fn act<R: DeserializeOwned>(&self, path: &str, body: &Value) -> R {
        let answer = self.ask_to(path, body).await;
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().await.expect("an answer")
    }

    /// The problem with which it is refused.
    pub(crate) async fn act_problem(&self, path: &str, body: &Value) -> Problem {
        self.ask_to(path, body).await.json().await.expect("a problem")
    }

    async fn ask_to(&self, path: &str, body: &Value) -> reqwest::Response {
        let body = serde_json::to_vec(body).expect("JSON");
        let token = self.signer.act(Service::VcsWorker, &format!("POST {path}"), None, sha256(&body)).expect("a token");
        let request = self.http.post(format!("http://{}{path}", self.address)).bearer_auth(token.expose_secret());
        request.header("content-type", "application/json").body(body).send().await.expect("an answer")
    }

    /// Whether the worker has written down that the attempt's ref is to go.
    pub(crate) async fn removal_is_written(&self, attempt: AttemptKey) -> bool {
        let (clock, shutdown) = (SystemClock::shared(), Shutdown::new());
        let ledger = Ledger::open(&self.data(), clock, shutdown.clone()).await.expect("a ledger");
        let found = ledger.find("POST /refs remove", &attempt).await.expect("readable");
        assert!(shutdown.drained(SOON).await, "the sweep ends");
        ledger.close().await;
        found.is_some()
    }

    /// A capability to read a repository, of the attempt whose ref was shown last.
    pub(crate) fn capability(&self, repo: &str, sha: &CommitSha) -> String {
        let cap = Capability::ReadRepo { repo: repo.parse().expect("a name"), sha: sha.clone() };
        let expires = SystemClock.now() + Duration::from_mins(10);
        let attempt = self.shown.lock().expect("not poisoned").unwrap_or_else(key);
        self.signer.capability(Service::VcsWorker, attempt, cap, expires).expect("a token").expose_secret().to_owned()
    }

    /// Git for the executor's side.
    pub(crate) fn git(&self) -> Git {
        Git::for_tests(&self.folder.path().join("reader"))
    }

    /// The copies on the worker's disk.
    pub(crate) fn copies(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.data().join("copies")).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }

    pub(crate) const fn http(&self) -> &reqwest::Client {
        &self.http
    }
}

async fn serve(folder: &Path, settings: &str, clock: SharedClock) -> (SocketAddr, Shutdown) {
    let file = folder.join("vcs-worker.toml");
    let address = free_port();
    std::fs::write(&file, format!("listen = \"{address}\"\ndata = \"data\"\n{settings}")).expect("written");
    let config = Config::load(&file).unwrap_or_else(|errors| panic!("{errors}"));
    let shutdown = Shutdown::new();
    let listener = bind(address).expect("a free port");
    start(config, listener, clock, Telemetry::new("vcs-worker"), shutdown.clone()).await.expect("started");
    (address, shutdown)
}

/// The errors of a configuration with these sources.
pub(crate) fn config_errors(settings: &str) -> String {
    let mut reader = Reader::parse("vcs-worker.toml", settings).expect("TOML");
    let _ = Config::read(&mut reader);
    reader.finish().map_or_else(|errors| errors.to_string(), |()| String::new())
}

/// A key of a new attempt.
pub(crate) fn key() -> AttemptKey {
    AttemptKey { run: RunId::from_uuid(SystemClock.uuid()), step: 0, attempt: 1 }
}
