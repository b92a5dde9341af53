//! The HTTP API: translation and authorisation, no decision.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRef, State};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use signalbox_contract::api::Nothing;
use signalbox_contract::api::executor::log::{COMPLETE, NEXT};
use signalbox_contract::api::executor::{BuildAccepted, BuildRequest, FenceResult, ObserveRequest, ObserveResult};
use signalbox_contract::{AttemptKey, Code, Problem};
use signalbox_service::auth::{Act, Verifier};
use signalbox_service::http::{Json, Path, Query, Result, describe, described_parameters, internal};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::build::{AcceptError, Desk};

/// How many attempts one request may ask after.
const MAX_KEYS: usize = 1000;

/// The largest script, in bytes.
const MAX_SCRIPT: usize = 128 * 1024;

/// How many variables a build may have.
const MAX_VARIABLES: usize = 500;

/// How many artifacts a build may declare.
const MAX_ARTIFACTS: usize = 100;

/// What the handlers share.
#[derive(Clone, FromRef)]
pub(crate) struct Api {
    pub(crate) desk: Arc<Desk>,
    pub(crate) verifier: Arc<Verifier>,
}

fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(build))
        .routes(routes!(observe))
        .routes(routes!(cancel))
        .routes(routes!(fence))
        .routes(routes!(forget))
        .routes(routes!(log))
}

/// The routes.
pub(crate) fn router(api: Api) -> Router {
    described_parameters(routes().with_state(api).into(), &openapi())
}

/// The API's description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = routes().into_openapi();
    document.info = utoipa::openapi::InfoBuilder::new()
        .title("Signalbox local executor")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Runs builds in a sandbox. Every call carries an act token of the controller's."))
        .build();
    describe(document, &["act"])
}

/// Runs a build. Asked twice, it is built once.
#[utoipa::path(post, path = "/builds", request_body = BuildRequest, responses(
    (status = 200, body = BuildAccepted, description = "It is written down, and waits or runs."),
    (status = 409, body = Problem, description = "The attempt was fenced or forgotten."),
    (status = 422, body = Problem, description = "The attempt came before with another request, or builds cannot be isolated here."),
    (status = 503, body = Problem, description = "No more builds may wait."),
))]
async fn build(State(api): State<Api>, act: Act<BuildRequest>) -> Result<Json<BuildAccepted>> {
    let key = act.attempt()?;
    check(&act.body)?;
    match api.desk.accept(key, act.body).await {
        Ok(accepted) => Ok(Json(accepted)),
        Err(AcceptError::NoSandbox(reason)) => {
            let detail =
                format!("Builds cannot be isolated here: {reason}. Install bubblewrap, or allow unsandboxed builds in the configuration.");
            Err(Problem::new(Code::NotConfigured).detail(detail).into())
        }
        Err(AcceptError::Closed) => {
            Err(Problem::new(Code::NotAllowedNow).detail("The attempt was fenced or forgotten; it never starts.").into())
        }
        Err(AcceptError::Reused) => Err(Problem::new(Code::KeyReused).detail("The attempt came before with another request.").into()),
        Err(AcceptError::Full) => Err(Problem::new(Code::QueueFull).detail("No more builds may wait here.").retry_after(10).into()),
        Err(AcceptError::Ending) => Err(Problem::new(Code::Unavailable).detail("The executor is stopping.").retry_after(5).into()),
        Err(error @ AcceptError::Database(_)) => Err(internal(error)),
    }
}

/// Tells what is known of builds.
#[utoipa::path(post, path = "/observe", request_body = ObserveRequest, responses((status = 200, body = ObserveResult)))]
async fn observe(State(api): State<Api>, act: Act<ObserveRequest>) -> Result<Json<ObserveResult>> {
    if act.body.keys.len() > MAX_KEYS {
        return Err(Problem::new(Code::InvalidBody).field("keys", "must not be more than 1,000").into());
    }
    let observations = api.desk.observe(&act.body.keys).await.map_err(internal)?;
    Ok(Json(ObserveResult { observations }))
}

/// Asks a build to end.
#[utoipa::path(post, path = "/builds/{key}/cancel", params(("key" = AttemptKey, Path, description = "The attempt's key.")), responses(
    (status = 200, body = Nothing, description = "It has ended, or will soon."),
    (status = 404, body = Problem, description = "There never was such a build."),
))]
async fn cancel(State(api): State<Api>, Path(key): Path<AttemptKey>, act: Act<Nothing>) -> Result<Json<Nothing>> {
    same(&act, key)?;
    if !api.desk.cancel(&key).await.map_err(internal)? {
        return Err(Problem::not_found().into());
    }
    Ok(Json(Nothing {}))
}

/// Makes sure that an attempt never starts from now on.
#[utoipa::path(post, path = "/builds/{key}/fence", params(("key" = AttemptKey, Path, description = "The attempt's key.")), responses(
    (status = 200, body = FenceResult),
))]
async fn fence(State(api): State<Api>, Path(key): Path<AttemptKey>, act: Act<Nothing>) -> Result<Json<FenceResult>> {
    same(&act, key)?;
    Ok(Json(api.desk.fence(&key).await.map_err(internal)?))
}

/// Throws away what is kept of an attempt that is over. It still cannot start again.
#[utoipa::path(post, path = "/builds/{key}/forget", params(("key" = AttemptKey, Path, description = "The attempt's key.")), responses(
    (status = 200, body = Nothing),
    (status = 409, body = Problem, description = "The build is not over."),
))]
async fn forget(State(api): State<Api>, Path(key): Path<AttemptKey>, act: Act<Nothing>) -> Result<Json<Nothing>> {
    same(&act, key)?;
    if !api.desk.forget(&key).await.map_err(internal)? {
        return Err(Problem::new(Code::NotAllowedNow).detail("The build is not over.").into());
    }
    Ok(Json(Nothing {}))
}

/// Where to begin in a log.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct From {
    #[serde(default)]
    from: u64,
}

/// Reads on in a build's log.
#[utoipa::path(get, path = "/builds/{key}/log",
    params(("key" = AttemptKey, Path, description = "The attempt's key."), ("from" = Option<u64>, Query, description = "The offset of the first byte; 0 by default.")),
    responses(
        (status = 200, content_type = "application/octet-stream", body = Vec<u8>, description = "Raw bytes, 256 KiB at most.", headers(
            ("signalbox-log-next" = u64, description = "The offset after the last byte."),
            ("signalbox-log-complete" = bool, description = "Whether nothing more will come."),
        )),
        (status = 404, body = Problem, description = "There is no such build, or it was forgotten."),
    ))]
async fn log(State(api): State<Api>, Path(key): Path<AttemptKey>, Query(from): Query<From>, _act: Act<()>) -> Result<Response> {
    let (chunk, complete) = api.desk.log(&key, from.from).await.map_err(internal)?.ok_or_else(Problem::not_found)?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("application/octet-stream"));
    headers.insert(NEXT, http::HeaderValue::from(chunk.next));
    headers.insert(COMPLETE, http::HeaderValue::from_static(if complete { "true" } else { "false" }));
    Ok((headers, Body::from(chunk.bytes)).into_response())
}

/// The token must be for the attempt that the path names.
fn same<T>(act: &Act<T>, key: AttemptKey) -> Result<()> {
    if act.attempt()? == key {
        return Ok(());
    }
    Err(Problem::new(Code::Forbidden).detail("The token is for another attempt.").into())
}

/// What the types of a request do not say by themselves.
fn check(request: &BuildRequest) -> Result<()> {
    let wrong = |field: &str, rule: &str| Err(Problem::new(Code::InvalidBody).field(field, rule).into());
    if request.script.is_empty() || request.script.len() > MAX_SCRIPT || request.script.contains('\0') {
        return wrong("script", "must have between 1 byte and 128 KiB, without NUL");
    }
    if request.env.len() > MAX_VARIABLES || request.env.values().any(|value| value.contains('\0')) {
        return wrong("env", "must not have more than 500 variables, nor NUL in a value");
    }
    if request.artifacts.len() > MAX_ARTIFACTS {
        return wrong("artifacts", "must not be more than 100");
    }
    for (field, url) in [("source.url", &request.source.url), ("store", &request.store)] {
        if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
            return wrong(field, "must be http or https, without credentials");
        }
    }
    for (field, capability) in [("read", &request.read), ("put", &request.put)] {
        if capability.is_empty() {
            return wrong(field, "must be a capability");
        }
    }
    Ok(())
}
