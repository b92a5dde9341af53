//! Environments: what there is, deploying what is in the store, going back.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde::Deserialize;
use signalbox_contract::api::Page;
use signalbox_contract::api::deploy::EnvironmentInfo;
use signalbox_contract::api::run::{Accepted, DeployArtifactRequest, RollbackRequest};
use signalbox_contract::grant::{Action, Glob, Target};
use signalbox_contract::{Code, Digest, EnvironmentName, HostName, Problem};
use signalbox_controller_core::plan::{DeployTarget, Request};
use signalbox_service::auth::Operator;
use signalbox_service::client::CallError;
use signalbox_service::http::{self as service_http, Json, Path, Query};
use utoipa::IntoParams;

use super::cd::{accepted, idempotency};
use super::{Api, PageSize, not_answered, page_size, refused};
use crate::roster::Unfit;
use crate::store::NewRun;

/// How many environments, or patterns of names, a refusal names.
pub(super) const NAMED: usize = 20;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Behind this one: the `next` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<EnvironmentName>,
    /// How many; 50 unless given, 200 at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<PageSize>,
}

/// The environments that the deployment worker's configuration defines, as far as the reader may see them, by their names.
#[utoipa::path(get, path = "/environments", tag = "environments", params(ListQuery), responses(
    (status = 200, description = "A page of environments.", body = Page<EnvironmentInfo>),
    (status = 400, description = "A parameter is not valid.", body = Problem),
    (status = 401, description = "No valid token.", body = Problem),
    (status = 502, description = "The deployment worker did not answer.", body = Problem),
))]
pub(super) async fn list(
    State(api): State<Api>,
    operator: Operator,
    Query(query): Query<ListQuery>,
) -> service_http::Result<Json<Page<EnvironmentInfo>>> {
    Ok(Json(api.environments(&operator, query.cursor.as_ref(), page_size(query.limit) as usize).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HostsQuery {
    /// What hosts behind this one show: the `next` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<HostName>,
    /// Of how many hosts; 50 unless given, 200 at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<PageSize>,
}

/// One environment: what each of its hosts shows now, by digest, since when, by which run. The hosts are asked.
#[utoipa::path(get, path = "/environments/{name}", tag = "environments", params(("name" = EnvironmentName, Path, description = "The environment."), HostsQuery), responses(
    (status = 200, description = "The environment, with a page of what its hosts show.", body = EnvironmentInfo),
    (status = 400, description = "A parameter is not valid.", body = Problem),
    (status = 404, description = "There is none of this name, or it may not be seen.", body = Problem),
    (status = 502, description = "The deployment worker did not answer.", body = Problem),
))]
pub(super) async fn get(
    State(api): State<Api>,
    operator: Operator,
    Path(name): Path<EnvironmentName>,
    Query(query): Query<HostsQuery>,
) -> service_http::Result<Json<EnvironmentInfo>> {
    let limit = page_size(query.limit);
    Ok(Json(api.environment(&operator, &name, query.cursor.as_ref(), limit).await?))
}

/// Deploy an artifact that is in the store. Needs `deploy` on the artifact, the environment and the name.
#[utoipa::path(post, path = "/environments/{name}/deploy", tag = "environments", params(
    ("name" = EnvironmentName, Path, description = "The environment."),
    ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 printable ASCII characters; kept a day"),
), request_body = DeployArtifactRequest, responses(
    (status = 202, description = "A run is recorded durably and goes on by itself.", body = Accepted),
    (status = 400, description = "The body is not valid; `errors` names the fields.", body = Problem),
    (status = 403, description = "The token's grants do not cover it.", body = Problem),
    (status = 422, description = "There is no such environment, or it does not allow the name, or the key was used with another body.", body = Problem),
    (status = 503, description = "The queue is full; nothing was accepted.", body = Problem),
))]
pub(super) async fn deploy(
    State(api): State<Api>,
    operator: Operator,
    Path(environment): Path<EnvironmentName>,
    headers: HeaderMap,
    Json(request): Json<DeployArtifactRequest>,
) -> service_http::Result<Response> {
    let idempotency = idempotency(&headers, environment.as_str(), &request)?;
    let DeployArtifactRequest { artifact_id, published_name } = request;
    let target = Target { artifact: Some(&artifact_id), environment: Some(&environment), name: Some(&published_name), ..Target::default() };
    operator.require(Action::Deploy, &target)?;
    let target = DeployTarget { environment, name: published_name };
    api.check_target(&operator, "name", &target).await?;
    let request = Request::Deploy { artifact: artifact_id, target };
    accepted(api.accept(&operator, request, idempotency).await?)
}

/// Go back to a release that the hosts still have. Nothing is built and no bytes are moved.
#[utoipa::path(post, path = "/environments/{name}/rollback", tag = "environments", params(
    ("name" = EnvironmentName, Path, description = "The environment."),
    ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 printable ASCII characters; kept a day"),
), request_body = RollbackRequest, responses(
    (status = 202, description = "A run is recorded durably and goes on by itself.", body = Accepted),
    (status = 400, description = "The body is not valid; `errors` names the fields.", body = Problem),
    (status = 403, description = "The token's grants do not cover it.", body = Problem),
    (status = 422, description = "There is no such environment, or it does not allow the name, or the key was used with another body.", body = Problem),
    (status = 503, description = "The queue is full; nothing was accepted.", body = Problem),
))]
pub(super) async fn rollback(
    State(api): State<Api>,
    operator: Operator,
    Path(environment): Path<EnvironmentName>,
    headers: HeaderMap,
    Json(request): Json<RollbackRequest>,
) -> service_http::Result<Response> {
    let idempotency = idempotency(&headers, environment.as_str(), &request)?;
    accepted(api.roll_back(&operator, environment, request, idempotency).await?)
}

impl Api {
    /// The environments that a reader may see, by their names: `limit` of those behind `after`.
    pub(crate) async fn environments(
        &self,
        operator: &Operator,
        after: Option<&EnvironmentName>,
        limit: usize,
    ) -> service_http::Result<Page<EnvironmentInfo>> {
        let mut items = self.workers.environments().await.map_err(|error| not_answered("deployment worker", &error))?;
        items.retain(|one| {
            after.is_none_or(|after| one.name > *after) && operator.sees(&Target { environment: Some(&one.name), ..Target::default() })
        });
        items.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|one| one.name.to_string());
        Ok(Page { items, next })
    }

    /// Refuses an environment that the deployment worker does not have, naming those that the reader may see; and a name that
    /// the environment does not allow. `field` is where the request says the environment.
    pub(super) async fn check_target(&self, operator: &Operator, field: &str, target: &DeployTarget) -> Result<(), Problem> {
        let problem = Problem::new(Code::NotConfigured);
        Err(match self.roster.against(target).await {
            None => return Ok(()),
            Some(Unfit::Environment(all)) => {
                let detail = format!("The deployment worker's configuration has no such environment.{}", seen_of(operator, all.keys()));
                problem.detail(detail).field(field, "is not the name of an environment")
            }
            Some(Unfit::Name(allowed)) => {
                let DeployTarget { environment, name } = target;
                let allowed: Vec<&str> = allowed.iter().map(Glob::as_str).take(NAMED).collect();
                let allowed = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
                let detail = format!(
                    "The environment {environment} does not allow the name {name}; its `names` in the deployment worker's configuration \
                     allow: {allowed}."
                );
                problem.detail(detail).field("published_name", format!("is not allowed in the environment {environment}"))
            }
        })
    }

    /// One environment with a page of its hosts, as far as a reader may see it.
    pub(crate) async fn environment(
        &self,
        operator: &Operator,
        name: &EnvironmentName,
        after: Option<&HostName>,
        limit: u32,
    ) -> service_http::Result<EnvironmentInfo> {
        if !operator.sees(&Target { environment: Some(name), ..Target::default() }) {
            return Err(self.no_environment(operator).await.into());
        }
        let mut environment = match self.workers.environment(name, after, limit).await {
            Ok(environment) => environment,
            Err(CallError::Refused(problem)) if problem.code == Code::NotFound => return Err(self.no_environment(operator).await.into()),
            Err(error) => return Err(not_answered("deployment worker", &error)),
        };
        for host in &mut environment.shown {
            host.releases
                .retain(|release| operator.sees(&Target { environment: Some(name), name: Some(&release.name), ..Target::default() }));
        }
        Ok(environment)
    }

    /// What is answered about an environment that is not there, or that a reader may not see: those that they may.
    async fn no_environment(&self, operator: &Operator) -> Problem {
        // A name was mistyped, most likely. Where the worker cannot say which there are, that one is not there is said alone.
        let all = self.workers.environments().await.unwrap_or_default();
        let there = seen_of(operator, all.iter().map(|one| &one.name));
        Problem::not_found().detail(format!("There is no such environment, or the token may not see it.{there}"))
    }

    /// Goes back to a kept release on behalf of somebody.
    pub(crate) async fn roll_back(
        &self,
        operator: &Operator,
        environment: EnvironmentName,
        request: RollbackRequest,
        idempotency: Option<(String, Digest)>,
    ) -> service_http::Result<Accepted> {
        let RollbackRequest { published_name, digest } = request;
        let target = Target { environment: Some(&environment), name: Some(&published_name), ..Target::default() };
        operator.require(Action::Rollback, &target)?;
        let target = DeployTarget { environment, name: published_name };
        self.check_target(operator, "name", &target).await?;
        let request = Request::Rollback { target, digest };
        self.accept(operator, request, idempotency).await
    }

    async fn accept(&self, operator: &Operator, request: Request, idempotency: Option<(String, Digest)>) -> service_http::Result<Accepted> {
        let run = NewRun { principal: operator.principal().to_owned(), request, idempotency };
        self.store.accept(run).await.map_err(refused)
    }
}

/// The environments that a reader may see, as a sentence behind another one.
fn seen_of<'e>(operator: &Operator, all: impl Iterator<Item = &'e EnvironmentName>) -> String {
    let sees = |name: &&EnvironmentName| operator.sees(&Target { environment: Some(name), ..Target::default() });
    let seen: Vec<&str> = all.filter(sees).map(AsRef::as_ref).take(NAMED).collect();
    if seen.is_empty() { String::new() } else { format!(" There is: {}.", seen.join(", ")) }
}
