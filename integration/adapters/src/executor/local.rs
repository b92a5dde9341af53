//! The local executor, by its HTTP API. It takes our keys, so that a start may be repeated, and it puts artifacts into the
//! attempt's grant itself.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};
use serde::Serialize;
use serde::de::DeserializeOwned;
use signalbox_contract::api::Nothing;
use signalbox_contract::api::executor::log::{COMPLETE, MAX_CHUNK, NEXT};
use signalbox_contract::api::executor::{BuildAccepted, BuildRequest, BuildSource, FenceResult, ObserveRequest, ObserveResult};
use signalbox_contract::build::{BuildState, Observation, Stamp};
use signalbox_contract::token::Service;
use signalbox_contract::{AttemptKey, Code, Failure, FailureCode, Problem, RepoName};
use signalbox_service::auth::{Signer, sha256};
use signalbox_service::client::{Call, CallError, Client, ClientError};
use signalbox_service::secret::ExposeSecret as _;
use url::Url;

use super::{
    Abilities, Anchor, BuildRef, Bytes, Definition, Executor, ExecutorError, Fenced, Finding, Found, Fut, Intent, LogChunk, LogCursor,
    Order, OutputRef, Outputs, Pace, PartRef, Pick, Scope, Severity, Started, Tracked,
};

/// How many attempts one request asks after.
const TOGETHER: usize = 1000;

/// How long the next bytes of a log may take.
const CHUNK: Duration = Duration::from_mins(1);

const ABILITIES: Abilities = Abilities { jobs: true, native: false, keyed: true, outputs: Outputs::Put, pace: PACE };

/// It runs beside us and answers at once.
const PACE: Pace = Pace { quickest: Duration::from_millis(250), slowest: Duration::from_millis(250) };

/// A local executor somewhere.
#[derive(Debug)]
pub struct LocalExecutor {
    client: Client,
    signer: Arc<Signer>,
}

impl LocalExecutor {
    /// The executor at `base`. With `ca`, only certificates of that authority are believed.
    ///
    /// # Errors
    /// When the address may not be called, or the authority's file cannot be used.
    pub fn new(base: Url, ca: Option<&Path>, signer: Arc<Signer>) -> Result<Self, ClientError> {
        Ok(Self { client: Client::new(base, ca)?, signer })
    }

    async fn act<B, R>(&self, path: &str, key: Option<AttemptKey>, body: &B) -> Result<R, CallError>
    where
        B: Serialize + Sync,
        R: DeserializeOwned,
    {
        let call = Call::new(Service::LocalExecutor, Method::POST, path, key);
        self.client.act(&self.signer, &call, body).await
    }

    async fn about<R: DeserializeOwned>(&self, key: &AttemptKey, what: &str) -> Result<R, CallError> {
        self.act(&format!("/builds/{key}/{what}"), Some(*key), &Nothing {}).await
    }

    async fn look(&self, keys: &[AttemptKey]) -> Result<Vec<Observation>, ExecutorError> {
        let mut observations = Vec::with_capacity(keys.len());
        for keys in keys.chunks(TOGETHER) {
            let request = ObserveRequest { keys: keys.to_vec() };
            let result: ObserveResult = self.act("/observe", None, &request).await.map_err(translate)?;
            observations.extend(result.observations);
        }
        Ok(observations)
    }

    async fn read_log(&self, part: &PartRef, from: &LogCursor) -> Result<LogChunk, ExecutorError> {
        let refused = |detail: &str| ExecutorError::Refused(Failure::new(FailureCode::ExecutorRefused, detail));
        let offset: u64 = match from.as_str() {
            "" => 0,
            text => text.parse().map_err(|_| refused("The log's cursor is not one of this executor's."))?,
        };
        let path = format!("/builds/{}/log", part.tracked.key);
        // What a token says of a request is its method, its path without the query, and its body, here of no bytes.
        let token = self
            .signer
            .act(Service::LocalExecutor, &format!("GET {path}"), None, sha256(b""))
            .map_err(|error| ExecutorError::NotSent(error.into()))?;
        let answer = self.client.get_stream(&format!("{path}?from={offset}"), Some(&token), HeaderMap::new()).await;
        let mut download = answer.map_err(translate)?;
        let header = |name| download.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let broken = |what: &str| ExecutorError::Unknown(what.to_owned().into());
        let next: u64 = header(NEXT).and_then(|next| next.parse().ok()).ok_or_else(|| broken("the answer does not say where to go on"))?;
        let complete = header(COMPLETE).is_some_and(|complete| complete == "true");
        let mut bytes = BytesMut::new();
        loop {
            let chunk = tokio::time::timeout(CHUNK, download.chunk()).await.map_err(|_| broken("the log stands still"))?;
            let Some(chunk) = chunk.map_err(translate)? else { break };
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_CHUNK {
                return Err(broken("the answer is longer than was agreed"));
            }
        }
        if next != offset.saturating_add(bytes.len() as u64) {
            return Err(broken("the answer's length and its end do not agree"));
        }
        let next = next.to_string().parse().map_err(|_| broken("the answer does not say where to go on"))?;
        Ok(LogChunk { bytes: bytes.freeze(), next, complete })
    }
}

impl Executor for LocalExecutor {
    fn abilities(&self) -> &Abilities {
        &ABILITIES
    }

    fn prepare<'a>(&'a self, _intent: &'a Intent) -> Fut<'a, Anchor> {
        // Its builds are found by their keys alone.
        Box::pin(async { Ok(Anchor::default()) })
    }

    fn start<'a>(&'a self, order: &'a Order, _anchor: &'a Anchor) -> Fut<'a, Started> {
        Box::pin(async move {
            let request = request(order)?;
            let accepted: BuildAccepted = self.act("/builds", Some(order.key), &request).await.map_err(translate)?;
            Ok(Started::Build(name(accepted.build)?))
        })
    }

    fn find<'a>(&'a self, key: &'a AttemptKey, _anchor: &'a Anchor) -> Fut<'a, Found> {
        Box::pin(async move {
            let seen = self.look(std::slice::from_ref(key)).await?.into_iter().next();
            Ok(match seen {
                // What was fenced or forgotten has a stamp; of what never came there is none, and it may still be on its way.
                None | Some(Observation { state: BuildState::Gone, stamp: Stamp(0), .. }) => Found::NotYet,
                Some(Observation { state: BuildState::Gone, .. }) => Found::Never,
                Some(observation) => Found::One(name(observation.build)?),
            })
        })
    }

    fn observe<'a>(&'a self, _scope: &'a Scope, live: &'a [Tracked]) -> Fut<'a, Vec<Observation>> {
        Box::pin(async move {
            let keys: Vec<AttemptKey> = live.iter().map(|tracked| tracked.key).collect();
            self.look(&keys).await
        })
    }

    fn cancel<'a>(&'a self, tracked: &'a Tracked) -> Fut<'a, ()> {
        Box::pin(async move {
            match self.about::<Nothing>(&tracked.key, "cancel").await {
                // What never came needs no end.
                Ok(Nothing {}) | Err(CallError::Refused(Problem { code: Code::NotFound, .. })) => Ok(()),
                Err(error) => Err(translate(error)),
            }
        })
    }

    fn fence<'a>(&'a self, key: &'a AttemptKey, _anchor: &'a Anchor) -> Fut<'a, Fenced> {
        Box::pin(async move {
            let result: FenceResult = self.about(key, "fence").await.map_err(translate)?;
            Ok(if result.had_started { Fenced::HadStarted } else { Fenced::Never })
        })
    }

    fn log<'a>(&'a self, part: &'a PartRef, from: &'a LogCursor) -> Fut<'a, LogChunk> {
        Box::pin(self.read_log(part, from))
    }

    fn outputs<'a>(&'a self, _tracked: &'a Tracked, _picks: &'a [Pick]) -> Fut<'a, Vec<OutputRef>> {
        // It put them into the grant.
        Box::pin(async { Ok(Vec::new()) })
    }

    fn read<'a>(&'a self, _output: &'a OutputRef) -> Fut<'a, Bytes> {
        Box::pin(async {
            let failure = Failure::new(FailureCode::ExecutorRefused, "The local executor keeps no artifacts; they are in the store.");
            Err(ExecutorError::Refused(failure))
        })
    }

    fn forget<'a>(&'a self, key: &'a AttemptKey, _anchor: &'a Anchor) -> Fut<'a, ()> {
        Box::pin(async move { self.about::<Nothing>(key, "forget").await.map(|Nothing {}| ()).map_err(translate) })
    }

    fn examine<'a>(&'a self, _repos: &'a [RepoName]) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(async {
            // Asking after no build at all proves that it believes what we sign.
            let asked: Result<ObserveResult, CallError> = self.act("/observe", None, &ObserveRequest { keys: Vec::new() }).await;
            let finding = match asked {
                Ok(_) => Finding::new(Severity::Fine, "It takes the controller's calls.", ""),
                Err(error) => {
                    let why = error.problem().map(|problem| problem.detail.clone()).unwrap_or_default();
                    let words = format!("It does not take the controller's calls. {why}");
                    Finding::new(
                        Severity::Error,
                        words.trim_end(),
                        "Give it a copy of the controller's `public.json`, and look at both clocks.",
                    )
                }
            };
            vec![finding]
        })
    }
}

fn request(order: &Order) -> Result<BuildRequest, ExecutorError> {
    let Definition::Job(job) = &order.definition else {
        let failure = Failure::new(FailureCode::ExecutorRefused, "The local executor runs jobs of .signalbox.yaml and nothing else.");
        return Err(ExecutorError::Refused(failure));
    };
    // What Signalbox says of the build stands above what the job says of itself.
    let mut env = job.env.clone();
    env.extend(order.variables.iter().map(|(name, value)| (name.clone(), value.clone())));
    Ok(BuildRequest {
        repo: order.repo.clone(),
        source: BuildSource {
            url: order.source.url.clone(),
            ref_name: order.source.ref_name.clone(),
            sha: order.source.sha.clone(),
            branch: order.source.branch.clone(),
        },
        script: job.script.clone(),
        env,
        artifacts: job.artifacts.clone(),
        deadline: order.deadline,
        timeout: job.timeout,
        store: order.store.clone(),
        read: order.read.expose_secret().to_owned(),
        put: order.put.expose_secret().to_owned(),
    })
}

fn name(build: String) -> Result<BuildRef, ExecutorError> {
    BuildRef::try_from(build).map_err(|invalid| ExecutorError::Unknown(invalid.into()))
}

fn translate(error: CallError) -> ExecutorError {
    match error {
        error @ CallError::NotSent { .. } => ExecutorError::NotSent(error.into()),
        error @ CallError::Unknown { .. } => ExecutorError::Unknown(error.into()),
        CallError::Retry { after, .. } => ExecutorError::Retry { after, why: String::new() },
        CallError::Refused(problem) if problem.status >= 500 => ExecutorError::Unknown(problem.into()),
        CallError::Refused(problem) => {
            let code = if problem.code == Code::NotConfigured { FailureCode::NoSandbox } else { FailureCode::ExecutorRefused };
            ExecutorError::Refused(Failure::new(code, format!("The local executor refused: {problem}")))
        }
    }
}
