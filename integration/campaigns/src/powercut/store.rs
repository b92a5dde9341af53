//! `PUT` of blobs: the artifact store.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use reqwest::{Method, StatusCode};
use signalbox_artifact_store::{Config, NAME, start};
use signalbox_contract::grant::{Action, Grant};
use signalbox_contract::token::{OperatorClaims, Service};
use signalbox_service::auth::{Signer, init_keys};
use signalbox_service::clock::{Clock as _, SystemClock};
use signalbox_service::config::Reader;
use signalbox_service::secret::{ExposeSecret as _, SecretString};
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::Telemetry;
use signalbox_service::testing::{eventually, free_port};
use tempfile::TempDir;

use super::recorder::Recorder;
use super::recording::Recording;
use super::subject::Subject;

/// A request's name, the name that it is about, and the number and size of its bytes; none, where the name is removed.
type Asked = (&'static str, &'static str, Option<(u64, usize)>);

/// What is asked of the store while it is recorded.
/// Large bodies become files, small ones rows.
const ASKED: [Asked; 6] = [
    ("put-large", "large", Some((1, 300_000))),
    ("put-small", "small", Some((2, 900))),
    ("put-large-again", "large", Some((3, 280_000))),
    ("put-same", "same", Some((3, 280_000))),
    ("put-small-again", "small", Some((4, 40))),
    ("delete-small", "small", None),
];

/// How long a store may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Blobs that were put into a store.
#[derive(Debug)]
pub struct StoredBlobs {
    keys: TempDir,
    token: SecretString,
}

impl StoredBlobs {
    /// Has a store take blobs while it is watched, from its first start to its end.
    ///
    /// # Errors
    /// When that is not possible.
    pub async fn record() -> Result<(Self, Recording)> {
        let folder = tempfile::tempdir()?;
        let keys = folder.path().join("keys");
        init_keys(&keys)?;
        let token = operator(&keys)?;
        let address = free_port();
        let data = folder.path().join("data");
        std::fs::create_dir(&data)?;
        let mut recording = Recording::begin(&data)?;
        let text = format!("listen = \"{address}\"\n{}", configuration(&data.join("store"), &keys.join("public.json")));
        let file = folder.path().join("artifact-store.toml");
        std::fs::write(&file, text)?;
        let program = signalbox_scenarios::program().await;
        let (log, trace) = (folder.path().join("log"), folder.path().join("trace"));
        let recorder = Recorder::start(program, &[NAME, "--config", &file.display().to_string()], &log, &trace, &[]);
        let recorder = recorder?;
        eventually("the store listens", PATIENCE, || async move { tokio::net::TcpStream::connect(address).await.ok() }).await;
        let client = Asker::new(format!("http://{address}"), &token)?;
        for (request, name, value) in ASKED {
            let status = client.ask(request, name, value).await?;
            ensure!(status.is_success(), "{request}: {status}");
        }
        let calls = recorder.end().await?;
        recording.play(calls, acknowledged)?;
        recording.compare()?;
        if let Some(request) =
            ASKED.iter().map(|asked| asked.0).find(|request| !recording.answers.iter().any(|answer| answer.name == *request))
        {
            bail!("the answer to {request} was not recorded");
        }
        Ok((Self { keys: folder, token }, recording))
    }
}

impl Subject for StoredBlobs {
    const NAME: &'static str = "put";

    async fn judge(&self, folder: &Path, acknowledged: &BTreeSet<String>) -> Result<()> {
        let public = self.keys.path().join("keys/public.json");
        let mut reader = Reader::parse("artifact-store.toml", &configuration(&folder.join("store"), &public))?;
        let config = Config::read(&mut reader);
        reader.finish()?;
        let config = config.context("no configuration")?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shutdown = Shutdown::new();
        let started = start(config, listener, SystemClock::shared(), Telemetry::new(NAME), shutdown.clone()).await;
        let judged = match started {
            Ok(()) => look(&Asker::new(format!("http://{address}"), &self.token)?, acknowledged).await,
            Err(error) => Err(anyhow!(error).context("the store does not start")),
        };
        let ended = shutdown.drained(PATIENCE).await;
        judged?;
        ensure!(ended, "the store does not end");
        Ok(())
    }
}

/// What was answered to which request; nothing where it was not done.
fn acknowledged(answer: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(answer);
    let head = head.strip_prefix("HTTP/1.1 2")?;
    let (_, id) = head.split_once("x-request-id: ")?;
    id.split('\r').next().map(str::to_owned)
}

/// Each name shows what was acknowledged last, or what was asked for since; and the store goes on to take blobs.
async fn look(client: &Asker, acknowledged: &BTreeSet<String>) -> Result<()> {
    for name in ["large", "small", "same"] {
        let values: Vec<_> = ASKED.iter().filter(|asked| asked.1 == name).collect();
        let last = values.iter().rposition(|asked| acknowledged.contains(asked.0));
        let mut right: Vec<Option<Vec<u8>>> =
            values[last.unwrap_or(0)..].iter().map(|asked| asked.2.map(|(seed, size)| noise(seed, size))).collect();
        if last.is_none() {
            right.push(None);
        }
        let shown = client.read(name).await?;
        if !right.contains(&shown) {
            let shown = shown.map_or("nothing".to_owned(), |bytes| format!("{} other bytes", bytes.len()));
            bail!("{name} shows {shown}, although {acknowledged:?} had been acknowledged");
        }
    }
    let status = client.ask("put-after", "after", Some((5, 30_000))).await?;
    if !status.is_success() || client.read("after").await? != Some(noise(5, 30_000)) {
        bail!("the store takes nothing more: {status}");
    }
    Ok(())
}

/// Somebody who asks a store.
struct Asker {
    base: String,
    token: String,
    http: reqwest::Client,
}

impl Asker {
    fn new(base: String, token: &SecretString) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().http1_only().timeout(PATIENCE).build()?;
        Ok(Self { base, token: token.expose_secret().to_owned(), http })
    }

    async fn ask(&self, request: &str, name: &str, value: Option<(u64, usize)>) -> Result<StatusCode> {
        let method = if value.is_some() { Method::PUT } else { Method::DELETE };
        let asked = self.http.request(method, format!("{}/blobs/{name}", self.base)).bearer_auth(&self.token);
        let asked = asked.header("x-request-id", request).body(value.map_or_else(Vec::new, |(seed, size)| noise(seed, size)));
        asked.send().await.map(|answer| answer.status()).with_context(|| request.to_owned())
    }

    async fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let asked = self.http.get(format!("{}/blobs/{name}", self.base)).bearer_auth(&self.token);
        let answer = asked.send().await.with_context(|| format!("GET {name}"))?;
        match answer.status() {
            StatusCode::OK => Ok(Some(answer.bytes().await.with_context(|| format!("GET {name}"))?.to_vec())),
            StatusCode::NOT_FOUND => Ok(None),
            status => bail!("GET {name}: {status}"),
        }
    }
}

fn configuration(data: &Path, public: &Path) -> String {
    format!("data = \"{}\"\npublic_keys = \"{}\"\nkeep_free = 0\n", data.display(), public.display())
}

fn operator(keys: &Path) -> Result<SecretString> {
    let signer = Signer::open(keys, SystemClock::shared())?;
    let now = SystemClock.now().as_second();
    let everything = "*".parse()?;
    let claims = OperatorClaims {
        iss: "signalbox".to_owned(),
        sub: "campaign".to_owned(),
        aud: Service::ArtifactStore,
        jti: SystemClock.uuid(),
        iat: now,
        exp: now + 24 * 3600,
        grants: vec![Grant { actions: vec![Action::BlobRead, Action::BlobWrite], artifacts: vec![everything], ..Grant::default() }],
    };
    Ok(signer.operator(&claims)?)
}

/// Bytes that a number determines.
fn noise(seed: u64, size: usize) -> Vec<u8> {
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
