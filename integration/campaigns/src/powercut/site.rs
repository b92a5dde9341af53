//! A folder with keys and a configuration, and a service that is watched while it works there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use signalbox_contract::grant::{Action, Grant};
use signalbox_contract::token::{ISSUER, OperatorClaims, Service};
use signalbox_service::auth::{Signer, init_keys};
use signalbox_service::clock::{Clock as _, SystemClock};
use signalbox_service::config::Reader;
use signalbox_service::secret::SecretString;
use signalbox_service::shutdown::Shutdown;
use signalbox_service::testing::{eventually, free_port};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::recorder::Recorder;
use super::recording::{Recording, RecordingError};

/// How long a service may take to start, to answer or to end. Only a hanging one takes so long.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Where a service works, and who may ask it.
#[derive(Debug)]
pub(super) struct Site {
    folder: TempDir,
    /// What signs tokens.
    pub(super) signer: Signer,
}

impl Site {
    /// One with keys, and nothing else.
    pub(super) fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let keys = folder.path().join("keys");
        init_keys(&keys)?;
        let signer = Signer::open(&keys, SystemClock::shared())?;
        Ok(Self { folder, signer })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The beginning of a service's configuration: its data, and the keys.
    pub(super) fn configuration(&self, data: &Path) -> String {
        format!("data = \"{}\"\npublic_keys = \"{}\"\n", data.join("service").display(), self.path().join("keys/public.json").display())
    }

    /// A token of somebody who may do everything with a service.
    pub(super) fn operator(&self, audience: Service) -> Result<SecretString> {
        let now = SystemClock.now().as_second();
        let grant = Grant {
            actions: Action::ALL.to_vec(),
            repos: vec!["*".parse()?],
            artifacts: vec!["*".parse()?],
            environments: vec!["*".parse()?],
            names: vec!["*".parse()?],
        };
        let claims = OperatorClaims {
            iss: ISSUER.to_owned(),
            sub: "campaign".to_owned(),
            aud: audience,
            jti: SystemClock.uuid(),
            iat: now,
            exp: now + 24 * 3600,
            grants: vec![grant],
        };
        Ok(self.signer.operator(&claims)?)
    }

    /// Watches a service from its first start to its end, while it is asked for something by `ask`, which is told where it is.
    /// Answers to the requests in `expected` must be in the recording.
    pub(super) async fn record(
        &self,
        service: Service,
        configuration: impl FnOnce(&Path) -> String,
        expected: &[&str],
        ask: impl AsyncFnOnce(SocketAddr) -> Result<()>,
    ) -> Result<Recording> {
        let (data, address) = (self.path().join("data"), free_port());
        std::fs::create_dir(&data)?;
        let mut recording = Recording::begin(&data)?;
        let file = self.path().join(format!("{service}.toml"));
        std::fs::write(&file, format!("listen = \"{address}\"\n{}", configuration(&data)))?;
        let (log, trace): (PathBuf, PathBuf) = (self.path().join("log"), self.path().join("trace"));
        let program = signalbox_scenarios::program().await;
        let recorder = Recorder::start(program, &[service.as_str(), "--config", &file.display().to_string()], &log, &trace, &[])?;
        eventually("the service listens", PATIENCE, || async move { tokio::net::TcpStream::connect(address).await.ok() }).await;
        ask(address).await?;
        recording.play(recorder.end().await?, acknowledged)?;
        recording.compare()?;
        let answered = |request: &&&str| recording.answers.iter().any(|answer| answer.name == **request);
        if let Some(request) = expected.iter().find(|request| !answered(request)) {
            bail!("the answer to {request} was not recorded");
        }
        Ok(recording)
    }
}

/// How often a recording is made anew before it is an error that none can be used.
const TRIES: usize = 4;

/// Records until the model is what is really there. Of two calls that threads made at the same time, `strace` may tell first the one
/// that was done last; where that makes a difference in the end, as when one thread removes a file that the other makes,
/// the recording shows it, and is of no use.
pub(super) async fn in_order<S>(record: impl AsyncFn() -> Result<(S, Recording)>) -> Result<(S, Recording)> {
    for _ in 1..TRIES {
        match record().await {
            Err(error) if matches!(error.downcast_ref(), Some(RecordingError::Different(_))) => {}
            recorded => return recorded,
        }
    }
    record().await
}

/// The request that was answered, with success and at an end; nothing for all else that a service says.
fn acknowledged(answer: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(answer);
    let head = head.strip_prefix("HTTP/1.1 2")?;
    let (_, id) = head.split_once("x-request-id: ")?;
    id.split('\r').next().map(str::to_owned)
}

/// Reads a configuration by the service's own reader.
pub(super) fn configured<C>(file: &str, text: &str, read: impl FnOnce(&mut Reader) -> Option<C>) -> Result<C> {
    let mut reader = Reader::parse(file, text)?;
    let config = read(&mut reader);
    reader.finish()?;
    config.context("no configuration")
}

/// Starts a service in this process, lets it be judged, and ends it.
pub(super) async fn serving<E: std::error::Error + Send + Sync + 'static>(
    start: impl AsyncFnOnce(TcpListener, Shutdown) -> Result<(), E>,
    judge: impl AsyncFnOnce(SocketAddr) -> Result<()>,
) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, shutdown) = (listener.local_addr()?, Shutdown::new());
    let judged = match start(listener, shutdown.clone()).await {
        Ok(()) => judge(address).await,
        Err(error) => Err(anyhow!(error).context("it does not start")),
    };
    let ended = shutdown.drained(PATIENCE).await;
    judged?;
    ensure!(ended, "it does not end");
    Ok(())
}

/// Somebody who asks by HTTP, one request on one connection after another.
pub(super) fn http() -> Result<reqwest::Client> {
    Ok(reqwest::Client::builder().no_proxy().http1_only().timeout(PATIENCE).build()?)
}
