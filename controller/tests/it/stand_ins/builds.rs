//! The executors. A build does what its script says, in a word: `pass`, `fail`, `unstable`, `vanish` (the executor knows
//! nothing of it any more), `idle` (it passes and makes nothing), or `wait`: it runs until the test ends it.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::HeaderMap;
use serde::Deserialize;
use signalbox_contract::api::Nothing;
use signalbox_contract::api::executor::log::{COMPLETE, MAX_CHUNK, NEXT};
use signalbox_contract::api::executor::{BuildAccepted, BuildRequest, FenceResult, ObserveRequest, ObserveResult};
use signalbox_contract::build::{BuildState, Observation, Stamp};
use signalbox_contract::{AttemptKey, Code, FailureClass, Problem, RunId, Verdict};
use signalbox_service::auth::Act;
use signalbox_service::http::Json;

use super::{At, Desk, World, refusal};

struct Build {
    at: At,
    request: BuildRequest,
    state: BuildState,
    stamp: u64,
    log: Vec<u8>,
}

/// What the executors know.
#[derive(Default)]
pub(crate) struct Builds {
    known: BTreeMap<AttemptKey, Build>,
    fenced: Vec<AttemptKey>,
    /// The keys of the builds that were cancelled, and of those that were forgotten when we said so.
    pub(crate) cancelled: Vec<AttemptKey>,
    pub(crate) forgotten: Vec<AttemptKey>,
    /// What every build writes at its start.
    pub(crate) says: Vec<u8>,
    /// How many bytes of a log are answered at once; all that is allowed, if none is given.
    pub(crate) piece: Option<usize>,
    /// How many observations were asked for.
    pub(crate) looks: u32,
}

impl Builds {
    fn of(&mut self, run: RunId) -> &mut Build {
        self.known.values_mut().rfind(|build| build.key_run() == Some(run)).expect("a build of the run")
    }

    /// The keys of the builds of a run that ever began.
    pub(crate) fn begun(&self, run: RunId) -> Vec<AttemptKey> {
        self.known.keys().filter(|key| key.run == run).copied().collect()
    }

    /// How many builds run now.
    pub(crate) fn running(&self) -> usize {
        self.known.values().filter(|build| build.state == BuildState::Running).count()
    }

    /// What the controller asked for, for the latest build of a run.
    pub(crate) fn request(&mut self, run: RunId) -> BuildRequest {
        self.of(run).request.clone()
    }

    /// A build writes.
    pub(crate) fn write(&mut self, run: RunId, bytes: &[u8]) {
        self.of(run).log.extend_from_slice(bytes);
    }

    /// A build that waits has something to say of it.
    pub(crate) fn queue(&mut self, run: RunId, why: &str) {
        self.of(run).state = BuildState::Waiting { why: why.to_owned() };
        self.of(run).stamp += 1;
    }

    /// The executor forgets all that it knows of a run's builds.
    pub(crate) fn forget(&mut self, run: RunId) {
        self.known.retain(|key, _| key.run != run);
    }
}

impl World {
    /// A build that waits ends; one that passes makes what it declared.
    pub(crate) fn build_ends(&self, run: RunId, verdict: Verdict) {
        let mut builds = self.builds();
        let key = builds.begun(run).last().copied().expect("a build of the run");
        builds.of(run).conclude(verdict);
        if verdict.passed() {
            self.made(key, &builds.of(run).request);
        }
    }

    /// Each commit gives other bytes.
    fn made(&self, key: AttemptKey, request: &BuildRequest) {
        for name in request.artifacts.keys() {
            self.blobs().put(key, name.clone(), request.source.sha.as_str().as_bytes());
        }
    }
}

impl Build {
    fn key_run(&self) -> Option<RunId> {
        self.request.env.iter().find(|(name, _)| name.as_str() == "SIGNALBOX_RUN").and_then(|(_, run)| run.parse().ok())
    }

    fn conclude(&mut self, verdict: Verdict) {
        let class = (!verdict.passed()).then_some(FailureClass::Work);
        let reason = if verdict.passed() { String::new() } else { format!("The script ended as {verdict:?}.") };
        self.state = BuildState::Ended { verdict, class, reason };
        self.stamp += 1;
    }
}

pub(super) fn router() -> Router<Desk> {
    Router::new()
        .route("/builds", post(start))
        .route("/observe", post(observe))
        .route("/builds/{key}/log", get(log))
        .route("/builds/{key}/cancel", post(cancel))
        .route("/builds/{key}/fence", post(fence))
        .route("/builds/{key}/forget", post(forget))
}

async fn start(State(desk): State<Desk>, act: Act<BuildRequest>) -> Response {
    if let Err(answer) = desk.mood().await {
        return answer;
    }
    let Some(key) = act.key else { return refusal(Problem::new(Code::Forbidden)) };
    let mut builds = desk.world.builds();
    if builds.fenced.contains(&key) {
        return refusal(Problem::new(Code::NotAllowedNow).detail("The attempt was fenced."));
    }
    let accepted = Json(BuildAccepted { build: format!("build-{}", key.attempt) }).into_response();
    if builds.known.contains_key(&key) {
        return accepted;
    }
    let (at, request, log) = (desk.at, act.body, builds.says.clone());
    let mut build = Build { at, request, state: BuildState::Running, stamp: 1, log };
    match build.request.script.as_str() {
        "pass" | "idle" => build.conclude(Verdict::Success),
        "fail" => build.conclude(Verdict::Failed),
        "unstable" => build.conclude(Verdict::Unstable),
        "vanish" => build.state = BuildState::Gone,
        _ => {}
    }
    if matches!(build.request.script.as_str(), "pass" | "unstable") {
        desk.world.made(key, &build.request);
    }
    builds.known.insert(key, build);
    accepted
}

async fn observe(State(desk): State<Desk>, act: Act<ObserveRequest>) -> Response {
    let at = desk.at;
    desk.look(|world| {
        let mut builds = world.builds();
        builds.looks += 1;
        let seen = |key: AttemptKey| match builds.known.get(&key).filter(|build| build.at == at) {
            Some(build) => Observation::new(key, format!("build-{}", key.attempt), Stamp(build.stamp), build.state.clone()),
            None => Observation::new(key, "", Stamp(0), BuildState::Gone),
        };
        Ok(ObserveResult { observations: act.body.keys.into_iter().map(seen).collect() })
    })
    .await
}

#[derive(Deserialize)]
struct From {
    from: usize,
}

async fn log(State(desk): State<Desk>, Path(key): Path<AttemptKey>, Query(From { from }): Query<From>, _: Act<()>) -> Response {
    if let Err(answer) = desk.mood().await {
        return answer;
    }
    let builds = desk.world.builds();
    let Some(build) = builds.known.get(&key).filter(|build| build.state != BuildState::Gone) else { return refusal(Problem::not_found()) };
    let end = from.saturating_add(builds.piece.unwrap_or(MAX_CHUNK)).min(build.log.len());
    let bytes = build.log.get(from..end).unwrap_or_default().to_vec();
    let ended = matches!(build.state, BuildState::Ended { .. });
    let mut headers = HeaderMap::new();
    headers.insert(NEXT, end.into());
    let complete = ended && end == build.log.len();
    headers.insert(COMPLETE, http::HeaderValue::from_static(if complete { "true" } else { "false" }));
    (headers, bytes).into_response()
}

async fn cancel(State(desk): State<Desk>, Path(key): Path<AttemptKey>, _: Act<Nothing>) -> Response {
    desk.look(|world| {
        let mut builds = world.builds();
        builds.cancelled.push(key);
        let build = builds.known.get_mut(&key).ok_or_else(Problem::not_found)?;
        if !matches!(build.state, BuildState::Ended { .. }) {
            build.conclude(Verdict::Aborted);
        }
        Ok(Nothing {})
    })
    .await
}

async fn fence(State(desk): State<Desk>, Path(key): Path<AttemptKey>, _: Act<Nothing>) -> Response {
    desk.look(|world| {
        let mut builds = world.builds();
        builds.fenced.push(key);
        Ok(FenceResult { had_started: builds.known.contains_key(&key) })
    })
    .await
}

async fn forget(State(desk): State<Desk>, Path(key): Path<AttemptKey>, _: Act<Nothing>) -> Response {
    desk.look(|world| {
        let mut builds = world.builds();
        builds.forgotten.push(key);
        Ok(Nothing {})
    })
    .await
}
