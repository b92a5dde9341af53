//! `POST /cd`: the controller.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use signalbox_contract::RunId;
use signalbox_contract::api::run::{Accepted, RunView};
use signalbox_contract::token::Service;
use signalbox_controller::{Config, start};
use signalbox_service::clock::SystemClock;
use signalbox_service::secret::{ExposeSecret as _, SecretString};
use signalbox_service::telemetry::Telemetry;

use super::recording::Recording;
use super::site::{Site, configured, http, in_order, serving};
use super::subject::Subject;

/// What is asked of the controller: each is a request's name and its `Idempotency-Key`.
const ASKED: [&str; 4] = ["cd-1", "cd-2", "cd-3", "cd-4"];

/// Nobody listens there: the controller accepts all the same.
const NOBODY: &str = "http://127.0.0.1:1";

/// Runs that were accepted.
#[derive(Debug)]
pub struct AcceptedRuns {
    site: Site,
    token: SecretString,
    runs: Vec<RunId>,
}

impl AcceptedRuns {
    /// Has a controller accept runs while it is watched, from its first start to its end.
    ///
    /// # Errors
    /// When that is not possible.
    pub async fn record() -> Result<(Self, Recording)> {
        in_order(Self::recorded).await
    }

    async fn recorded() -> Result<(Self, Recording)> {
        let site = Site::new()?;
        let token = site.operator(Service::Controller)?;
        let runs = Mutex::new(Vec::new());
        let ask = async |address| {
            for request in ASKED {
                let run = order(address, &token, request).await?;
                runs.lock().unwrap_or_else(PoisonError::into_inner).push(run);
            }
            Ok(())
        };
        let recording = site.record(Service::Controller, |data| configuration(&site, data), &ASKED, ask).await?;
        let runs = runs.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((Self { site, token, runs }, recording))
    }

    /// What was acknowledged is there, is found again by its key, and nothing is there twice.
    async fn look(&self, address: SocketAddr, acknowledged: &BTreeSet<String>) -> Result<()> {
        let get = async |path: &str| -> Result<Value> {
            let asked = http()?.get(format!("http://{address}{path}")).bearer_auth(self.token.expose_secret());
            let answer = asked.send().await.with_context(|| format!("GET {path}"))?;
            ensure!(answer.status().is_success(), "GET {path}: {}", answer.status());
            Ok(answer.json().await?)
        };
        for (request, run) in ASKED.into_iter().zip(&self.runs) {
            if acknowledged.contains(request) {
                let view: RunView = serde_json::from_value(get(&format!("/runs/{run}")).await?)?;
                ensure!(view.summary.id == *run, "{run} is another one");
            }
        }
        let mut all = BTreeSet::new();
        for (request, run) in ASKED.into_iter().zip(&self.runs) {
            let again = order(address, &self.token, request).await?;
            ensure!(again == *run || !acknowledged.contains(request), "{request} is asked again and makes another run");
            all.insert(again);
        }
        let status = get("/status").await?;
        let builds = status["builds"].as_object().context("no builds in the status")?;
        let shown: BTreeSet<RunId> = builds.keys().filter_map(|id| id.parse().ok()).collect();
        ensure!(shown == all, "there are {} runs, and not the {} that were asked for", shown.len(), all.len());
        Ok(())
    }
}

impl Subject for AcceptedRuns {
    const NAME: &'static str = "accept";

    async fn judge(&self, folder: &Path, acknowledged: &BTreeSet<String>) -> Result<()> {
        let config = configured("controller.toml", &configuration(&self.site, folder), Config::read)?;
        serving(
            async |listener, shutdown| start(config, listener, SystemClock::shared(), Telemetry::new("controller"), shutdown).await,
            async |address| self.look(address, acknowledged).await,
        )
        .await
    }
}

/// Asks for a run, under the request's name as its key.
async fn order(address: SocketAddr, token: &SecretString, request: &str) -> Result<RunId> {
    let body = json!({ "repo": "hello", "ref": "main", "artifact": request, "environment": "test" });
    let asked = http()?.post(format!("http://{address}/cd")).bearer_auth(token.expose_secret()).json(&body);
    let answer = asked.header("x-request-id", request).header("idempotency-key", request).send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    ensure!(status.is_success(), "{request}: {status} {text}");
    Ok(serde_json::from_str::<Accepted>(&text)?.run)
}

fn configuration(site: &Site, data: &Path) -> String {
    format!(
        "{}keys = \"{}\"\nvcs_worker = \"{NOBODY}\"\nartifact_store = \"{NOBODY}\"\ndeploy_worker = \"{NOBODY}\"\n\
         [executors.local]\nurl = \"{NOBODY}\"\n[repositories.hello]\nsource = \"https://git.example.org/hello\"\nenvironment = \"test\"\n",
        site.configuration(data),
        site.path().join("keys").display()
    )
}
