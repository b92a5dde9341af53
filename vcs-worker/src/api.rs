//! The VCS worker's HTTP API. Each handler's first lines say who may call it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::response::Response;
use axum::routing::{get, post};
use signalbox_contract::api::Answer;
use signalbox_contract::api::vcs::{MAX_FILES, RefsAction, RefsRequest, RefsResult, RepoRequest, RepoResult};
use signalbox_contract::{AttemptKey, Code, Failure, FailureCode, Problem};
use signalbox_service::auth::{Act, Verifier};
use signalbox_service::http::{Result, ServeOptions, StreamLimits, describe, described_parameters, finish_with, streaming};
use signalbox_service::ledger::{Ledger, WorkError, respond};
use signalbox_service::telemetry::{Telemetry, causes};
use utoipa::OpenApi;

use crate::mirrors_api;
use crate::served::{self, Mirrors};
use crate::sources_api;
use crate::work::Work;

/// The largest request of a git client, in bytes as they come.
const MAX_GIT_REQUEST: u64 = 16 * 1024 * 1024;

/// How long such a request may take to arrive.
const GIT_REQUEST_DEADLINE: Duration = Duration::from_mins(2);

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) ledger: Ledger,
    pub(crate) work: Arc<Work>,
    pub(crate) mirrors: Arc<Mirrors>,
}

impl FromRef<Api> for Arc<Verifier> {
    fn from_ref(api: &Api) -> Self {
        Self::clone(&api.verifier)
    }
}

/// All routes with all layers.
pub(crate) fn router(api: Api, options: &ServeOptions, telemetry: &Telemetry) -> Router {
    let ordinary = Router::new().route("/repo", post(post_repo)).route("/refs", post(post_refs));
    let told = Router::new().route("/mirrors", get(mirrors_api::list)).route("/mirrors/doctor", get(mirrors_api::doctor));
    let ordinary = ordinary.merge(told).route("/mirrors/collect", post(mirrors_api::collect));
    let ordinary = ordinary.route("/sources/examine", post(sources_api::examine)).with_state(api.clone());
    let mirrors = Router::new().route("/mirrors/{*path}", get(served::info_refs).post(served::upload_pack)).with_state(api);
    let limits = StreamLimits::new(MAX_GIT_REQUEST, GIT_REQUEST_DEADLINE);
    let description = openapi();
    let known = |routes| described_parameters(routes, &description);
    finish_with(known(ordinary), streaming(known(mirrors), limits), options, telemetry)
}

/// Fetches a ref from its source and proves that it is what was asked for. Asking again, with the same key and body, tells
/// how far it is.
#[utoipa::path(
    post,
    path = "/repo",
    request_body = RepoRequest,
    responses(
        (status = 200, description = "Ended", body = Answer<RepoResult>),
        (status = 202, description = "At work", body = Answer<RepoResult>),
        (status = 409, description = "The name belongs to another source", body = Problem),
        (status = 422, description = "The key was used for another request", body = Problem),
    ),
    security(("act" = []))
)]
async fn post_repo(State(api): State<Api>, act: Act<RepoRequest>) -> Result<Response> {
    let key = act.attempt()?;
    if act.body.files.len() > MAX_FILES {
        return Err(Problem::new(Code::InvalidBody).field("files", format!("must be {MAX_FILES} at most")).into());
    }
    if let Some(conflict) = api.work.names.conflict(&act.body.name, &act.body.git) {
        return Err(Problem::new(Code::SourceConflict).failure(&conflict.failure()).field("name", "belongs to another source").into());
    }
    let work = Arc::clone(&api.work);
    let answer = api.ledger.ask("POST /repo", &key, &act.digest, act.wait, move || async move { work.mirror(act.body).await }).await?;
    Ok(respond(answer))
}

/// Shows a proven commit under the attempt's ref where its executor can read it, or takes the ref away.
#[utoipa::path(
    post,
    path = "/refs",
    request_body = RefsRequest,
    responses(
        (status = 200, description = "Ended", body = Answer<RefsResult>),
        (status = 202, description = "At work", body = Answer<RefsResult>),
        (status = 422, description = "The key was used for another request", body = Problem),
    ),
    security(("act" = []))
)]
async fn post_refs(State(api): State<Api>, act: Act<RefsRequest>) -> Result<Response> {
    let key = act.attempt()?;
    let work = Arc::clone(&api.work);
    // An attempt's ref is shown and taken away under one key: two acts, and so two operations.
    let operation = match act.body.action {
        RefsAction::Publish => PUBLISH,
        RefsAction::Remove => REMOVE,
    };
    let ledger = api.ledger.clone();
    let change = move || async move {
        let changed = work.change_refs(&key, &act.body).await?;
        if act.body.action == RefsAction::Publish {
            withdraw_if_removed(&ledger, &work, &key, &act.body).await?;
        }
        Ok(changed)
    };
    Ok(respond(api.ledger.ask(operation, &key, &act.digest, act.wait, change).await?))
}

/// The two operations on an attempt's ref, as the ledger knows them.
pub(crate) const PUBLISH: &str = "POST /refs publish";
const REMOVE: &str = "POST /refs remove";

/// A ref that is to be removed stays removed, even if it was still being published. The ledger writes down that it is to
/// go before it is taken away; so either this finds that written, or the removal comes after the publication.
async fn withdraw_if_removed(ledger: &Ledger, work: &Work, key: &AttemptKey, request: &RefsRequest) -> std::result::Result<(), WorkError> {
    let asked = ledger.find(REMOVE, key).await.map_err(|error| {
        tracing::error!(error = %causes(&error), "ledger.not_read");
        WorkError::Again(Failure::new(FailureCode::Internal, "The ledger cannot be read."))
    })?;
    if asked.is_none() {
        return Ok(());
    }
    work.change_refs(key, &RefsRequest { action: RefsAction::Remove, ..request.clone() }).await?;
    Err(WorkError::Failed(Failure::new(FailureCode::CommitNotFound, "The attempt's ref was removed while it was being published.")))
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Signalbox VCS worker", description = "Fetches sources, proves commits, and serves them to executors."),
    paths(
        post_repo,
        post_refs,
        mirrors_api::list,
        mirrors_api::collect,
        mirrors_api::doctor,
        sources_api::examine,
        served::info_refs,
        served::upload_pack
    )
)]
struct Description;

/// The description of the API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    describe(Description::openapi(), &["act", "capability"])
}
