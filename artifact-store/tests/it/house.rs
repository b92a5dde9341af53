//! A store of one's own, for the time of a test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use signalbox_artifact_store::{Config, start};
use signalbox_contract::api::Answer;
use signalbox_contract::grant::{Action, Glob, Grant};
use signalbox_contract::token::{Capability, OperatorClaims, Service};
use signalbox_contract::{AttemptKey, Digest, Problem, RunId};
use signalbox_service::auth::{Signer, init_keys, sha256};
use signalbox_service::clock::{Clock as _, SystemClock};
use signalbox_service::config::Reader;
use signalbox_service::secret::ExposeSecret as _;
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::{Telemetry, init_logging};
use tempfile::TempDir;

/// A store that serves, on a folder that goes with the test.
pub(crate) struct House {
    pub(crate) folder: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) signer: Arc<Signer>,
    pub(crate) http: reqwest::Client,
    pub(crate) telemetry: Telemetry,
    shutdown: Shutdown,
    settings: String,
}

impl House {
    /// A store with settings that suit tests.
    pub(crate) async fn open() -> Self {
        Self::with("").await
    }

    /// A store with further settings.
    pub(crate) async fn with(settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::at(folder, settings).await
    }

    /// A store on a folder that is prepared already.
    pub(crate) async fn at(folder: TempDir, settings: &str) -> Self {
        init_logging("artifact-store");
        let keys = folder.path().join("keys");
        if !keys.exists() {
            init_keys(&keys).expect("keys");
        }
        let signer = Arc::new(Signer::open(&keys, SystemClock::shared()).expect("a signer"));
        let (address, shutdown, telemetry) = serve(folder.path(), settings).await;
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { folder, address, signer, http, telemetry, shutdown, settings: settings.to_owned() }
    }

    /// Ends the store and starts it again on the same folder; in between, `meanwhile` may do what it likes.
    pub(crate) async fn reopen(self, meanwhile: impl FnOnce(&Path)) -> Self {
        let (folder, settings) = self.close().await;
        meanwhile(&folder.path().join("data"));
        Self::at(folder, &settings).await
    }

    /// Ends the store, which must leave nothing running.
    pub(crate) async fn close(self) -> (TempDir, String) {
        let Self { folder, http, shutdown, settings, .. } = self;
        drop(http);
        assert!(shutdown.drained(Duration::from_secs(30)).await, "something did not end");
        (folder, settings)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A token that allows these actions on the artifacts that a pattern covers.
    pub(crate) fn token(&self, actions: &[Action], artifacts: &str) -> String {
        let now = SystemClock.now().as_second();
        let glob: Glob = artifacts.parse().expect("a pattern");
        let claims = OperatorClaims {
            iss: "signalbox".to_owned(),
            sub: "tester".to_owned(),
            aud: Service::ArtifactStore,
            jti: SystemClock.uuid(),
            iat: now,
            exp: now + 3600,
            grants: vec![Grant { actions: actions.to_vec(), artifacts: vec![glob], ..Grant::default() }],
        };
        self.signer.operator(&claims).expect("a token").expose_secret().to_owned()
    }

    pub(crate) fn all(&self) -> String {
        self.token(&[Action::BlobRead, Action::BlobWrite], "*")
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path)).bearer_auth(self.all())
    }

    pub(crate) async fn put(&self, name: &str, bytes: impl Into<reqwest::Body>) -> Response {
        self.request(Method::PUT, &format!("/blobs/{name}")).body(bytes).send().await.expect("an answer")
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.expect("an answer")
    }

    pub(crate) async fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let response = self.get(&format!("/blobs/{name}")).await;
        match response.status() {
            StatusCode::OK => Some(response.bytes().await.expect("the bytes").to_vec()),
            StatusCode::NOT_FOUND => None,
            other => panic!("{other}"),
        }
    }

    pub(crate) fn capability(&self, key: AttemptKey, cap: Capability) -> String {
        let now = SystemClock.now();
        let end = now.checked_add(Duration::from_mins(10)).expect("a moment");
        let token = self.signer.capability(Service::ArtifactStore, key, cap, end).expect("a token");
        token.expose_secret().to_owned()
    }

    /// Asks for an act, as the controller does.
    pub(crate) async fn act<R: DeserializeOwned>(&self, path: &str, key: AttemptKey, body: &impl Serialize) -> Answer<R> {
        let response = self.raw_act(path, key, body).await;
        let status = response.status();
        let text = response.text().await.expect("a body");
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).expect("an answer")
    }

    pub(crate) async fn raw_act(&self, path: &str, key: AttemptKey, body: &impl Serialize) -> Response {
        self.raw_text(path, key, &serde_json::to_string(body).expect("JSON")).await
    }

    pub(crate) async fn raw_text(&self, path: &str, key: AttemptKey, body: &str) -> Response {
        let token = self.signer.act(Service::ArtifactStore, &format!("POST {path}"), Some(key), sha256(body.as_bytes())).expect("a token");
        self.http
            .post(self.url(path))
            .bearer_auth(token.expose_secret())
            .header("content-type", "application/json")
            .header("prefer", "wait=20")
            .body(body.to_owned())
            .send()
            .await
            .expect("an answer")
    }

    /// How many files there are in the folders of the store.
    pub(crate) fn files(&self) -> (usize, usize) {
        let count = |path: PathBuf| std::fs::read_dir(path).expect("a folder").count();
        let blobs = std::fs::read_dir(self.data().join("blobs")).expect("a folder");
        (count(self.data().join("incoming")), blobs.map(|fan| count(fan.expect("an entry").path())).sum())
    }

    /// The file of a blob.
    pub(crate) fn file(&self, digest: &Digest) -> PathBuf {
        file(&self.data(), digest)
    }
}

/// Where a blob's file is.
pub(crate) fn file(data: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    data.join("blobs").join(&hex[..2]).join(&hex[2..])
}

async fn serve(folder: &Path, settings: &str) -> (SocketAddr, Shutdown, Telemetry) {
    let base = "keep_free = 0\nkeep_unreferenced = \"0s\"\ncollect_every = \"1s\"\n";
    let shown = folder.display();
    let defaults: String =
        base.lines().filter(|line| !settings.contains(line.split(' ').next().expect("a key"))).collect::<Vec<_>>().join("\n");
    let text = format!("data = \"{shown}/data\"\npublic_keys = \"{shown}/keys/public.json\"\n{defaults}\n{settings}\n");
    let mut reader = Reader::parse("artifact-store.toml", &text).expect("TOML");
    let config = Config::read(&mut reader);
    reader.finish().expect("a valid configuration");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (shutdown, telemetry) = (Shutdown::new(), Telemetry::new("artifact-store"));
    start(config.expect("a configuration"), listener, SystemClock::shared(), telemetry.clone(), shutdown.clone()).await.expect("a store");
    (address, shutdown, telemetry)
}

/// The problem that a response holds.
pub(crate) async fn problem(response: Response) -> Problem {
    let text = response.text().await.expect("a body");
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("not a problem: {text}"))
}

/// Bytes that no other call gives.
pub(crate) fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// An attempt of a new run.
pub(crate) fn attempt() -> AttemptKey {
    AttemptKey { run: RunId::from_uuid(SystemClock.uuid()), step: 1, attempt: 1 }
}
