//! `PUT` of blobs: the artifact store.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::{Method, StatusCode};
use signalbox_artifact_store::{Config, NAME, start};
use signalbox_contract::token::Service;
use signalbox_service::clock::SystemClock;
use signalbox_service::secret::{ExposeSecret as _, SecretString};
use signalbox_service::telemetry::Telemetry;

use super::recording::Recording;
use super::site::{Site, configured, http, in_order, serving};
use super::subject::Subject;
use crate::dice::Dice;

/// A request's name, the name that it is about, and the number and size of its bytes; none, where the name is removed.
type Asked = (&'static str, &'static str, Option<(u64, usize)>);

/// What is asked of the store while it is recorded. Large bodies become files, small ones rows.
const ASKED: [Asked; 6] = [
    ("put-large", "large", Some((1, 300_000))),
    ("put-small", "small", Some((2, 900))),
    ("put-large-again", "large", Some((3, 280_000))),
    ("put-same", "same", Some((3, 280_000))),
    ("put-small-again", "small", Some((4, 40))),
    ("delete-small", "small", None),
];

/// Blobs that were put into a store.
#[derive(Debug)]
pub struct StoredBlobs {
    site: Site,
    token: SecretString,
}

impl StoredBlobs {
    /// Has a store take blobs while it is watched, from its first start to its end.
    ///
    /// # Errors
    /// When that is not possible.
    pub async fn record() -> Result<(Self, Recording)> {
        in_order(Self::recorded).await
    }

    async fn recorded() -> Result<(Self, Recording)> {
        let site = Site::new()?;
        let token = site.operator(Service::ArtifactStore)?;
        let names = ASKED.map(|asked| asked.0);
        let ask = async |address| {
            let client = Asker::new(address, &token)?;
            for (request, name, value) in ASKED {
                let status = client.ask(request, name, value).await?;
                ensure!(status.is_success(), "{request}: {status}");
            }
            Ok(())
        };
        let configuration = |data: &Path| format!("{}keep_free = 0\n", site.configuration(data));
        let recording = site.record(Service::ArtifactStore, configuration, &names, ask).await?;
        Ok((Self { site, token }, recording))
    }
}

impl Subject for StoredBlobs {
    const NAME: &'static str = "put";

    async fn judge(&self, folder: &Path, acknowledged: &BTreeSet<String>) -> Result<()> {
        let text = format!("{}keep_free = 0\n", self.site.configuration(folder));
        let config = configured("artifact-store.toml", &text, Config::read)?;
        serving(
            async |listener, shutdown| start(config, listener, SystemClock::shared(), Telemetry::new(NAME), shutdown).await,
            async |address| look(&Asker::new(address, &self.token)?, acknowledged).await,
        )
        .await
    }
}

/// Each name shows what was acknowledged last, or what was asked for since; and the store goes on to take blobs.
async fn look(client: &Asker, acknowledged: &BTreeSet<String>) -> Result<()> {
    for name in ["large", "small", "same"] {
        let values: Vec<_> = ASKED.iter().filter(|asked| asked.1 == name).collect();
        let last = values.iter().rposition(|asked| acknowledged.contains(asked.0));
        let mut right: Vec<Option<Vec<u8>>> =
            values[last.unwrap_or(0)..].iter().map(|asked| asked.2.map(|(seed, size)| Dice::new(seed).bytes(size))).collect();
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
    ensure!(
        status.is_success() && client.read("after").await? == Some(Dice::new(5).bytes(30_000)),
        "the store takes nothing more: {status}"
    );
    Ok(())
}

/// Somebody who asks a store.
struct Asker {
    base: String,
    token: String,
    http: reqwest::Client,
}

impl Asker {
    fn new(address: SocketAddr, token: &SecretString) -> Result<Self> {
        Ok(Self { base: format!("http://{address}"), token: token.expose_secret().to_owned(), http: http()? })
    }

    async fn ask(&self, request: &str, name: &str, value: Option<(u64, usize)>) -> Result<StatusCode> {
        let method = if value.is_some() { Method::PUT } else { Method::DELETE };
        let asked = self.http.request(method, format!("{}/blobs/{name}", self.base)).bearer_auth(&self.token);
        let asked = asked.header("x-request-id", request).body(value.map_or_else(Vec::new, |(seed, size)| Dice::new(seed).bytes(size)));
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
