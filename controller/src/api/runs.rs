//! Runs: the queue, lists, one run, its events; stopping and running again.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use serde::Deserialize;
use signalbox_contract::api::Page;
use signalbox_contract::api::run::{Accepted, EventView, RerunFrom, RerunRequest, RunState, RunSummary, RunView, Status};
use signalbox_contract::grant::Action;
use signalbox_contract::{Problem, RefName, RepoName, RunId};
use signalbox_controller_core::{Event, view};
use signalbox_service::auth::Operator;
use signalbox_service::http::{self as service_http, Json, Path, Query};
use utoipa::IntoParams;

use super::caching::{Caching, matches_tag};
use super::cd::{accepted, of, publishable};
use super::{Api, page_size, reach_of, refused, target_of};
use crate::store::RunFilter;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StatusQuery {
    /// Finished runs older than this one: the `next` of the page before.
    cursor: Option<RunId>,
    /// How many finished runs; 50 unless given, 200 at most.
    limit: Option<u32>,
}

/// What is queued, what is built, what is finished.
///
/// Every active run that the reader may see is there; of the finished ones the newest, with a cursor for older ones.
#[utoipa::path(get, path = "/status", tag = "runs", params(StatusQuery), responses(
    (status = 200, description = "The runs.", body = Status),
    (status = 400, description = "A parameter is not valid.", body = Problem),
    (status = 401, description = "No valid token.", body = Problem),
))]
pub(super) async fn status(
    State(api): State<Api>,
    operator: Operator,
    Query(query): Query<StatusQuery>,
) -> service_http::Result<Json<Status>> {
    let limit = page_size(query.limit)?;
    Ok(Json(api.store.status(&api.visible(&operator).await?, query.cursor, limit).await.map_err(refused)?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Of this repository.
    #[param(value_type = Option<String>)]
    repo: Option<RepoName>,
    /// Of this ref.
    #[serde(rename = "ref")]
    #[param(value_type = Option<String>)]
    ref_name: Option<RefName>,
    /// In this state.
    state: Option<RunState>,
    /// Older than this one: the `next` of the page before.
    cursor: Option<RunId>,
    /// How many; 50 unless given, 200 at most.
    limit: Option<u32>,
}

/// Runs, newest first.
#[utoipa::path(get, path = "/runs", tag = "runs", params(ListQuery), responses(
    (status = 200, description = "A page of runs.", body = Page<RunSummary>),
    (status = 400, description = "A parameter is not valid.", body = Problem),
    (status = 401, description = "No valid token.", body = Problem),
))]
pub(super) async fn list(
    State(api): State<Api>,
    operator: Operator,
    Query(query): Query<ListQuery>,
) -> service_http::Result<Json<Page<RunSummary>>> {
    let limit = page_size(query.limit)?;
    let filter = RunFilter { repo: query.repo, ref_name: query.ref_name, state: query.state, before: query.cursor };
    Ok(Json(api.store.runs(&filter, &api.visible(&operator).await?, limit).await.map_err(refused)?))
}

/// One run, with its steps and attempts and what may be done with it now.
///
/// The answer has an `ETag`; ask again with `If-None-Match`.
#[utoipa::path(get, path = "/runs/{id}", tag = "runs", params(("id" = RunId, Path, description = "The run.")), responses(
    (status = 200, description = "The run.", body = RunView),
    (status = 304, description = "It has not changed."),
    (status = 401, description = "No valid token.", body = Problem),
    (status = 404, description = "There is no such run, or the token's grants do not cover it.", body = Problem),
))]
pub(super) async fn get(
    State(api): State<Api>,
    operator: Operator,
    Path(id): Path<RunId>,
    headers: HeaderMap,
) -> service_http::Result<Response> {
    let run = api.run(&operator, id).await?;
    let (tag, caching) = (format!("\"{}-{}\"", run.id, run.version), Caching::Revalidated);
    if matches_tag(&headers, &tag) {
        return caching.unchanged(&tag);
    }
    Ok((caching.headers(&tag)?, Json(view::view(&run))).into_response())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// Behind this entry: the number of the last one that was read.
    after: Option<u64>,
    /// How many; 50 unless given, 200 at most.
    limit: Option<u32>,
}

/// What happened to a run, oldest first.
#[utoipa::path(get, path = "/runs/{id}/events", tag = "runs", params(("id" = RunId, Path, description = "The run."), EventsQuery), responses(
    (status = 200, description = "A page of its event log.", body = Page<EventView>),
    (status = 400, description = "A parameter is not valid.", body = Problem),
    (status = 404, description = "There is no such run, or the token's grants do not cover it.", body = Problem),
))]
pub(super) async fn events(
    State(api): State<Api>,
    operator: Operator,
    Path(id): Path<RunId>,
    Query(query): Query<EventsQuery>,
) -> service_http::Result<Json<Page<EventView>>> {
    let run = api.run(&operator, id).await?;
    let limit = page_size(query.limit)?;
    Ok(Json(api.store.events(run.id, query.after.unwrap_or_default(), limit).await.map_err(refused)?))
}

/// Stop a run. What is being built is stopped at its executor; nothing is deployed afterwards.
#[utoipa::path(post, path = "/runs/{id}/stop", tag = "runs", params(("id" = RunId, Path, description = "The run.")), responses(
    (status = 202, description = "It is being stopped.", body = Accepted),
    (status = 403, description = "The token's grants do not cover it.", body = Problem),
    (status = 404, description = "There is no such run, or it may not be seen.", body = Problem),
    (status = 409, description = "It has ended, or is being stopped already.", body = Problem),
))]
pub(super) async fn stop(State(api): State<Api>, operator: Operator, Path(id): Path<RunId>) -> service_http::Result<Response> {
    api.stop_run(&operator, id).await?;
    accepted(Accepted { run: id, url: format!("/runs/{id}") })
}

/// Run a finished run again: the same commit and plan, from the step that did not pass, or from the start.
#[utoipa::path(post, path = "/runs/{id}/rerun", tag = "runs", params(("id" = RunId, Path, description = "The run.")), request_body = RerunRequest, responses(
    (status = 202, description = "It goes on.", body = Accepted),
    (status = 403, description = "The token's grants do not cover it.", body = Problem),
    (status = 404, description = "There is no such run, or it may not be seen.", body = Problem),
    (status = 409, description = "It has not ended, or there is nothing to run again.", body = Problem),
))]
pub(super) async fn rerun(
    State(api): State<Api>,
    operator: Operator,
    Path(id): Path<RunId>,
    Json(request): Json<RerunRequest>,
) -> service_http::Result<Response> {
    api.rerun_run(&operator, id, request.from).await?;
    accepted(Accepted { run: id, url: format!("/runs/{id}") })
}

impl Api {
    /// Stops a run on behalf of somebody.
    pub(crate) async fn stop_run(&self, operator: &Operator, id: RunId) -> service_http::Result<()> {
        let run = self.run(operator, id).await?;
        operator.require(Action::Stop, &target_of(&run))?;
        self.store.happened(id, Event::StopRequested { by: operator.principal().to_owned(), reason: None }, None).await.map_err(refused)?;
        Ok(())
    }

    /// Runs a run again on behalf of somebody, who must also be allowed to start it: its repository, what it publishes, and
    /// what it deploys where. Which artifacts the plan publishes is looked at with the decision.
    pub(crate) async fn rerun_run(&self, operator: &Operator, id: RunId, from: RerunFrom) -> service_http::Result<()> {
        let run = self.run(operator, id).await?;
        operator.require(Action::Rerun, &target_of(&run))?;
        if let Some(repo) = run.request.repo() {
            operator.require(Action::Start, &of(repo))?;
        }
        if run.request.target().is_some() {
            operator.require(deploying(&run), &reach_of(&run))?;
        }
        let artifacts = run.request.repo().map(|repo| publishable(operator, repo)).unwrap_or_default();
        let event = Event::RerunRequested { by: operator.principal().to_owned(), from, artifacts };
        self.store.happened(id, event, None).await.map_err(refused)?;
        Ok(())
    }
}

/// The action that brings something to an environment in this kind of run.
const fn deploying(run: &signalbox_controller_core::Run) -> Action {
    use signalbox_contract::api::run::RunKind;
    match run.kind() {
        RunKind::Cd | RunKind::Deploy => Action::Deploy,
        RunKind::Rollback => Action::Rollback,
    }
}
