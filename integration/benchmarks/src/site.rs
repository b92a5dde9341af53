//! An installation as its users have it: made by `signalbox init`, run by `signalbox up`, everything durable.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;
use signalbox_contract::token::Service;
use signalbox_service::client::Client;
use signalbox_service::process::{Bounds, Program, Running};
use signalbox_service::secret::SecretString;
use signalbox_service::testing::free_port;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio_util::sync::CancellationToken;

/// Every service, in the order of the ports that `init` gives them.
const SERVICES: [Service; 5] =
    [Service::Controller, Service::VcsWorker, Service::ArtifactStore, Service::DeployWorker, Service::LocalExecutor];

/// The first of those ports.
const FIRST_PORT: u16 = 7480;

/// How long a start or an end may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// What is written into a configuration besides what `init` makes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Besides {
    /// Keys of the controller's that stand above all tables.
    pub(crate) controller_keys: String,
    /// Tables of the controller's.
    pub(crate) controller: String,
    /// Tables of the VCS worker's.
    pub(crate) vcs_worker: String,
    /// Keys of the artifact store's that stand above all tables.
    pub(crate) artifact_store_keys: String,
}

/// An installation in a folder of its own.
pub(crate) struct Site {
    program: PathBuf,
    home: TempDir,
    addresses: Vec<(Service, std::net::SocketAddr)>,
    running: Option<Running>,
}

impl Site {
    /// Makes one below `place`, and does not start it.
    ///
    /// # Errors
    /// When that cannot be done.
    pub(crate) async fn made(program: &Path, place: &Path, besides: &Besides) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("site-").tempdir_in(place).context("making a folder")?;
        let site =
            Self { program: program.to_owned(), home, addresses: SERVICES.map(|service| (service, free_port())).into(), running: None };
        let made = site.command(&["init", "site"]).run(Bounds::new(PATIENCE)).await.context("running signalbox init")?;
        if !made.status.success() {
            bail!("signalbox init: {}", String::from_utf8_lossy(&made.stderr));
        }
        for service in SERVICES {
            let path = site.folder().join(format!("{service}.toml"));
            let mut text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            for ((_, address), port) in site.addresses.iter().zip(FIRST_PORT..) {
                text = text.replace(&format!("127.0.0.1:{port}"), &address.to_string());
            }
            let (keys, tables) = match service {
                Service::Controller => (besides.controller_keys.as_str(), besides.controller.as_str()),
                Service::VcsWorker => ("", besides.vcs_worker.as_str()),
                Service::ArtifactStore => (besides.artifact_store_keys.as_str(), ""),
                Service::DeployWorker | Service::LocalExecutor => ("", ""),
            };
            std::fs::write(&path, format!("{keys}\n{text}\n{tables}")).with_context(|| path.display().to_string())?;
        }
        Ok(site)
    }

    /// Makes one and starts it.
    ///
    /// # Errors
    /// When that cannot be done.
    pub(crate) async fn started(program: &Path, place: &Path, besides: &Besides) -> Result<Self> {
        let mut site = Self::made(program, place, besides).await?;
        site.start().await?;
        Ok(site)
    }

    fn command(&self, arguments: &[&str]) -> Program {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        Program::new(&self.program).args(arguments).dir(self.home.path()).env("PATH", path).env("HOME", self.home.path())
    }

    /// Starts it, and says how long it took until it said that it is ready.
    ///
    /// # Errors
    /// When it does not get ready.
    pub(crate) async fn start(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        // What it logs is written to a file, as an installation's is.
        let line = ["-c", "exec \"$0\" up site --end-with-input --json 2>>up.log"];
        let mut running = Program::new("/bin/sh")
            .args(line)
            .arg(&self.program)
            .dir(self.home.path())
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.home.path())
            .start()
            .context("starting signalbox")?;
        let mut lines = BufReader::new(running.stdout.take().context("its output")?).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if line.contains("\"ready\": true") {
                    return Ok(());
                }
            }
            bail!("it ended: {}", self.log())
        };
        tokio::time::timeout(PATIENCE, ready).await.context("it does not get ready")??;
        self.running = Some(running);
        Ok(begun.elapsed())
    }

    /// Kills it without warning, all of it.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill().await;
        }
    }

    /// Ends it in good order.
    ///
    /// # Errors
    /// When it does not end, or ends badly.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        if let Some(mut running) = self.running.take() {
            drop(running.stdin.take());
            let status = running.wait_within(PATIENCE, &CancellationToken::new()).await?;
            if !status.success() {
                bail!("it ended with {status}: {}", self.log());
            }
        }
        Ok(())
    }

    /// The end of what it has logged.
    pub(crate) fn log(&self) -> String {
        let text = std::fs::read_to_string(self.home.path().join("up.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// The folder with its configurations and its data.
    pub(crate) fn folder(&self) -> PathBuf {
        self.home.path().join("site")
    }

    /// A folder for whatever a measurement needs besides.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The process that `up` is.
    pub(crate) fn process(&self) -> Option<u32> {
        self.running.as_ref().map(Running::id)
    }

    /// The address of something at a service.
    pub(crate) fn url(&self, service: Service, path: &str) -> String {
        let address = self.addresses.iter().find(|(one, _)| *one == service).map(|(_, address)| address.to_string());
        format!("http://{}{path}", address.unwrap_or_default())
    }

    /// The token with which everything may be done at the controller, or at the artifact store.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn token(&self, service: Service) -> Result<String> {
        let name = if service == Service::ArtifactStore { "admin-store" } else { "admin" };
        let text = std::fs::read_to_string(self.folder().join("tokens").join(name)).context("reading a token")?;
        Ok(text.trim().to_owned())
    }

    /// The header line with that token.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn authorization(&self, service: Service) -> Result<String> {
        Ok(format!("authorization: Bearer {}", self.token(service)?))
    }

    /// Asks a service for a document, or gives it one.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub(crate) async fn ask<R: DeserializeOwned>(
        &self,
        service: Service,
        method: http::Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<R> {
        let client = Client::new(self.url(service, "/").parse()?, None)?;
        let token = SecretString::from(self.token(service)?);
        Ok(client.json(method, path, Some(&token), http::HeaderMap::new(), body).await?)
    }
}
