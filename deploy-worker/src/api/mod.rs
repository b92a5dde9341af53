//! `POST /deploy`, `POST /activate`, `GET /environments`: all for the controller alone.

use std::sync::Arc;

use axum::extract::{FromRef, State};
use axum::response::Response;
use serde::Deserialize;
use signalbox_contract::api::deploy::{ActivateRequest, DeployRequest, DeployResult, EnvironmentInfo};
use signalbox_contract::api::{Answer, Page};
use signalbox_contract::{AttemptKey, Code, EnvironmentName, HostName, Problem, RunId};
use signalbox_service::auth::{Act, Verifier};
use signalbox_service::http::{self, Json, Path, Query};
use signalbox_service::ledger::{Ledger, respond};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::activation::Deployer;
use crate::release::MAX_SEQUENCE;

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct Api {
    /// Checks the controller's tokens.
    pub verifier: Arc<Verifier>,
    /// What was asked for before.
    pub ledger: Ledger,
    /// What does it.
    pub deployer: Arc<Deployer>,
}

impl FromRef<Api> for Arc<Verifier> {
    fn from_ref(api: &Api) -> Self {
        Self::clone(&api.verifier)
    }
}

/// The routes, with their description.
pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(deploy)).routes(routes!(activate)).routes(routes!(list)).routes(routes!(show))
}

/// The description of the API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut api = routes().to_openapi();
    api.info = utoipa::openapi::InfoBuilder::new()
        .title("Signalbox deployment worker")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Brings artifacts to the hosts of environments. Every call needs an act token of the controller's."))
        .build();
    http::describe(api, &["act"])
}

/// Brings an artifact to each host of an environment and switches to it. Asking again, with the same key and body, tells
/// how far it is. What fails on a host stands in the result, beside the hosts where it did not.
#[utoipa::path(
    post,
    path = "/deploy",
    request_body = DeployRequest,
    responses(
        (status = 200, description = "Ended", body = Answer<DeployResult>),
        (status = 202, description = "At work", body = Answer<DeployResult>),
        (status = 422, description = "The key was used with another body", body = Problem),
        (status = 503, description = "The bytes are not to be had now; ask again", body = Problem),
    )
)]
async fn deploy(State(api): State<Api>, act: Act<DeployRequest>) -> http::Result<Response> {
    let key = act.attempt()?;
    check(&key, act.body.run, act.body.sequence)?;
    let capability = act.needed_capability()?.clone();
    let (deployer, request) = (Arc::clone(&api.deployer), act.body);
    let work = move || async move { deployer.deploy(&request, &capability).await };
    api.ledger.ask::<DeployResult, _, _>("POST /deploy", &key, &act.digest, act.wait, work).await.map(respond)
}

/// Switches each host of an environment back to a release that it keeps: the one with the digest given, or else the one
/// that was shown before. No bytes are moved. If a host does not keep it whole, nothing is switched anywhere.
#[utoipa::path(
    post,
    path = "/activate",
    request_body = ActivateRequest,
    responses(
        (status = 200, description = "Ended", body = Answer<DeployResult>),
        (status = 202, description = "At work", body = Answer<DeployResult>),
        (status = 422, description = "The key was used with another body", body = Problem),
    )
)]
async fn activate(State(api): State<Api>, act: Act<ActivateRequest>) -> http::Result<Response> {
    let key = act.attempt()?;
    check(&key, act.body.run, act.body.sequence)?;
    let (deployer, request) = (Arc::clone(&api.deployer), act.body);
    let work = move || async move { deployer.activate(&request).await };
    api.ledger.ask::<DeployResult, _, _>("POST /activate", &key, &act.digest, act.wait, work).await.map(respond)
}

/// How many environments or hosts a page has, unless fewer are wanted, and at most.
const PAGE: u32 = 200;

/// Which environments are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Behind this one: the `next` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<EnvironmentName>,
    /// How many; 200 unless given, and at most.
    limit: Option<u32>,
}

/// The environments and their hosts, by the environments' names.
#[utoipa::path(
    get,
    path = "/environments",
    params(ListQuery),
    responses(
        (status = 200, description = "A page of environments", body = Page<EnvironmentInfo>),
        (status = 400, description = "A parameter is not valid", body = Problem),
    )
)]
async fn list(State(api): State<Api>, Query(query): Query<ListQuery>, _: Act<()>) -> http::Result<Json<Page<EnvironmentInfo>>> {
    Ok(Json(api.deployer.list(query.cursor.as_ref(), page_size(query.limit)?)))
}

fn page_size(asked: Option<u32>) -> http::Result<usize> {
    match asked.unwrap_or(PAGE) {
        limit @ 1..=PAGE => Ok(limit as usize),
        _ => Err(Problem::new(Code::InvalidRequest).field("limit", format!("must be between 1 and {PAGE}")).into()),
    }
}

/// Of which hosts it is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HostsQuery {
    /// Behind this one: the `next` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<HostName>,
    /// How many; 200 unless given, and at most.
    limit: Option<u32>,
}

/// What each host of an environment shows now, as it says itself.
#[utoipa::path(
    get,
    path = "/environments/{name}",
    params(("name" = EnvironmentName, Path, description = "The environment"), HostsQuery),
    responses(
        (status = 200, description = "The environment", body = EnvironmentInfo),
        (status = 400, description = "A parameter is not valid", body = Problem),
        (status = 404, description = "There is no such environment", body = Problem),
    )
)]
async fn show(
    State(api): State<Api>,
    Path(name): Path<EnvironmentName>,
    Query(query): Query<HostsQuery>,
    _: Act<()>,
) -> http::Result<Json<EnvironmentInfo>> {
    let found = api.deployer.survey(&name, query.cursor.as_ref(), page_size(query.limit)?).await;
    found.map(Json).ok_or_else(|| Problem::not_found().into())
}

/// What the types alone do not say.
fn check(key: &AttemptKey, run: RunId, sequence: u64) -> http::Result<()> {
    let invalid = |field: &str, detail: &str| Err(Problem::new(Code::InvalidBody).field(field, detail).into());
    if key.run != run {
        return invalid("run", "is not the run of the token's attempt");
    }
    if sequence == 0 || sequence > MAX_SEQUENCE {
        return invalid("sequence", "must be between 1 and 999999999999999999");
    }
    Ok(())
}
