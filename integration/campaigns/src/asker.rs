//! Somebody who asks for runs and does not give up when nobody answers for a while.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method};
use serde::de::DeserializeOwned;
use serde_json::Value;
use signalbox_contract::RunId;
use signalbox_contract::api::Page;
use signalbox_contract::api::run::{Accepted, RunState, RunSummary, RunView};
use signalbox_contract::change::Origin;
use signalbox_contract::token::Service;
use signalbox_scenarios::World;
use signalbox_service::client::{CallError, Client};
use signalbox_service::secret::SecretString;

/// Between two tries, and between two looks.
const PAUSE: Duration = Duration::from_millis(150);

/// Somebody who asks the controller.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    client: Client,
    token: SecretString,
    /// How long something may take before it counts as lost.
    patience: Duration,
}

impl Asker {
    pub(crate) fn new(world: &World, patience: Duration) -> Self {
        Self { client: world.client(Service::Controller), token: world.token.clone(), patience }
    }

    /// Asks until there is an answer, and says why there is none.
    async fn ask<R: DeserializeOwned>(&self, method: Method, path: &str, headers: HeaderMap, body: Option<&Value>) -> Result<R, String> {
        let begun = Instant::now();
        loop {
            let error: CallError = match self.client.json(method.clone(), path, Some(&self.token), headers.clone(), body).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !error.may_pass() || begun.elapsed() > self.patience {
                return Err(format!("{method} {path}: {error}"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Reads something.
    pub(crate) async fn get<R: DeserializeOwned>(&self, path: &str) -> Result<R, String> {
        self.ask(Method::GET, path, HeaderMap::new(), None).await
    }

    /// `POST /cd` under a key: an answer that was lost is asked for again, and is the same.
    pub(crate) async fn cd(&self, body: &Value, key: &str) -> Result<RunId, String> {
        let key = HeaderValue::try_from(key).map_err(|error| error.to_string())?;
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static("idempotency-key"), key)]);
        self.ask::<Accepted>(Method::POST, "/cd", headers, Some(body)).await.map(|accepted| accepted.run)
    }

    /// Waits for a run's end.
    pub(crate) async fn ended(&self, run: RunId) -> Result<RunView, String> {
        let begun = Instant::now();
        loop {
            let view: RunView = self.get(&format!("/runs/{run}")).await?;
            if view.summary.state == RunState::Finished {
                return Ok(view);
            }
            if begun.elapsed() > self.patience {
                let steps: Vec<String> =
                    view.steps.iter().filter_map(|step| step.attempts.last()).map(|last| format!("{}: {}", last.key, last.phase)).collect();
                return Err(format!("run {run} of {:?} has not ended: {steps:?}", view.summary.repo));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// How long something may take before it counts as lost.
    pub(crate) const fn patience(&self) -> Duration {
        self.patience
    }

    /// The runs of a commit among the newest of a repository.
    pub(crate) async fn runs_at(&self, repo: &str, sha: &str) -> Result<Vec<RunSummary>, String> {
        let page: Page<RunSummary> = self.get(&format!("/runs?repo={repo}&limit=50")).await?;
        Ok(page.items.into_iter().filter(|run| commit_of(run).as_deref() == Some(sha)).collect())
    }

    /// All runs of a repository.
    pub(crate) async fn runs(&self, repo: &str) -> Result<Vec<RunSummary>, String> {
        let (mut runs, mut cursor) = (Vec::new(), String::new());
        loop {
            let page: Page<RunSummary> = self.get(&format!("/runs?repo={repo}&limit=200{cursor}")).await?;
            runs.extend(page.items);
            let Some(next) = page.next else { return Ok(runs) };
            cursor = format!("&cursor={next}");
        }
    }
}

/// The commit that a run is for, which a forge names before it is fetched.
pub(crate) fn commit_of(run: &RunSummary) -> Option<String> {
    let named = match &run.origin {
        Origin::Review(head) => Some(head.sha.to_string()),
        _ => None,
    };
    named.or_else(|| run.sha.as_ref().map(ToString::to_string))
}
