//! Runs: the queue, lists, one run, its events; stopping and running again.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use serde::Deserialize;
use signalbox_contract::api::Page;
use signalbox_contract::api::run::{
    Accepted, EventView, RerunFrom, RerunRequest, RunAction, RunKind, RunState, RunSummary, RunView, Status,
};
use signalbox_contract::grant::{Action, Glob, Target};
use signalbox_contract::{Problem, RefName, RunId};
use signalbox_controller_core::decide::may_rerun;
use signalbox_controller_core::{Event, Run, view};
use signalbox_service::auth::Operator;
use signalbox_service::http::{self as service_http, Json, NoBody, OptionalJson, Path, Query};
use utoipa::IntoParams;

use super::caching::{Caching, matches_tag};
use super::cd::{accepted, of, publishable};
use super::{Api, PageSize, page_size, reach_of, refused, target_of};
use crate::store::{RepoFilter, RunFilter};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StatusQuery {
    /// Finished runs older than this one: the `next` of the page before.
    cursor: Option<RunId>,
    /// How many finished runs; 50 unless given, 200 at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<PageSize>,
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
    let limit = page_size(query.limit);
    Ok(Json(api.store.status(&api.visible(&operator).await?, query.cursor, limit).await.map_err(refused)?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Of this repository: its name, or its source URL.
    #[param(value_type = Option<String>)]
    repo: Option<RepoFilter>,
    /// Of this ref. A short name is that of a branch and of a tag; `refs/heads/…` and `refs/tags/…` are one of them.
    #[serde(rename = "ref")]
    #[param(value_type = Option<String>)]
    ref_name: Option<RefName>,
    /// In this state.
    state: Option<RunState>,
    /// Older than this one: the `next` of the page before.
    cursor: Option<RunId>,
    /// How many; 50 unless given, 200 at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<PageSize>,
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
    let limit = page_size(query.limit);
    let repo = query.repo.map(|repo| api.config.named(repo));
    let filter = RunFilter { repo, ref_name: query.ref_name, state: query.state, before: query.cursor };
    Ok(Json(api.store.runs(&filter, &api.visible(&operator).await?, limit).await.map_err(refused)?))
}

/// One run, with its steps and attempts and what the reader may do with it now.
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
    let actions = actions(&operator, &run);
    // Whoever may do more with it sees another answer, which has another tag.
    let marks: String = actions.iter().map(|action| mark(*action)).collect();
    let (tag, caching) = (format!("\"{}-{}-{marks}\"", run.id, run.version), Caching::Revalidated);
    if matches_tag(&headers, &tag) {
        return caching.unchanged(&tag);
    }
    Ok((caching.headers(&tag)?, Json(view::view(&run, actions))).into_response())
}

const fn mark(action: RunAction) -> char {
    match action {
        RunAction::Stop => 's',
        RunAction::Rerun => 'r',
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// Behind this entry: the number of the last one that was read.
    after: Option<u64>,
    /// How many; 50 unless given, 200 at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<PageSize>,
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
    let limit = page_size(query.limit);
    Ok(Json(api.store.events(run.id, query.after.unwrap_or_default(), limit).await.map_err(refused)?))
}

/// Stop a run. What is being built is stopped at its executor; nothing is deployed afterwards. It takes no body.
#[utoipa::path(post, path = "/runs/{id}/stop", tag = "runs", params(("id" = RunId, Path, description = "The run.")), responses(
    (status = 202, description = "It is being stopped.", body = Accepted),
    (status = 400, description = "The path is not valid, or there is a body that says something.", body = Problem),
    (status = 403, description = "The token's grants do not cover it.", body = Problem),
    (status = 404, description = "There is no such run, or it may not be seen.", body = Problem),
    (status = 409, description = "It has ended, or is being stopped already.", body = Problem),
))]
pub(super) async fn stop(State(api): State<Api>, operator: Operator, Path(id): Path<RunId>, _: NoBody) -> service_http::Result<Response> {
    api.stop_run(&operator, id).await?;
    accepted(Accepted { run: id, url: format!("/runs/{id}") })
}

/// Run a finished run again: the same commit and plan, from the step that did not pass, or from the start.
/// Without a body, from the step that did not pass.
#[utoipa::path(post, path = "/runs/{id}/rerun", tag = "runs", params(("id" = RunId, Path, description = "The run.")), request_body = Option<RerunRequest>, responses(
    (status = 202, description = "It goes on.", body = Accepted),
    (status = 403, description = "The token's grants do not cover it.", body = Problem),
    (status = 404, description = "There is no such run, or it may not be seen.", body = Problem),
    (status = 409, description = "It has not ended, or there is nothing to run again.", body = Problem),
    (status = 503, description = "The queue is full; nothing was accepted.", body = Problem),
))]
pub(super) async fn rerun(
    State(api): State<Api>,
    operator: Operator,
    Path(id): Path<RunId>,
    OptionalJson(request): OptionalJson<RerunRequest>,
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

    /// Runs a run again on behalf of somebody. Which artifacts the plan publishes is looked at with the decision.
    pub(crate) async fn rerun_run(&self, operator: &Operator, id: RunId, from: RerunFrom) -> service_http::Result<()> {
        let run = self.run(operator, id).await?;
        for (action, target) in needed_to_rerun(&run) {
            operator.require(action, &target)?;
        }
        let event = Event::RerunRequested { by: operator.principal().to_owned(), from, artifacts: artifacts(operator, &run) };
        self.store.happened(id, event, None).await.map_err(refused)?;
        Ok(())
    }
}

/// What somebody may do with a run now: what its state allows, and their grants do.
pub(crate) fn actions(operator: &Operator, run: &Run) -> Vec<RunAction> {
    let rerun = || {
        let granted = needed_to_rerun(run).iter().all(|(action, target)| operator.may(*action, target));
        let artifacts = artifacts(operator, run);
        granted && [RerunFrom::Failed, RerunFrom::Start].into_iter().any(|from| may_rerun(run, from, &artifacts).is_ok())
    };
    match run.state() {
        RunState::Queued | RunState::Building if operator.may(Action::Stop, &target_of(run)) => vec![RunAction::Stop],
        RunState::Finished if rerun() => vec![RunAction::Rerun],
        RunState::Queued | RunState::Building | RunState::Stopping | RunState::Finished => Vec::new(),
    }
}

/// Running again is starting: besides `rerun`, it takes what starting this very run would, which is its repository, and what it
/// deploys where.
fn needed_to_rerun(run: &Run) -> Vec<(Action, Target<'_>)> {
    let mut needed = vec![(Action::Rerun, target_of(run))];
    needed.extend(run.request.repo().map(|repo| (Action::Start, of(repo))));
    if run.request.target().is_some() {
        needed.push((deploying(run), reach_of(run)));
    }
    needed
}

/// Which artifacts somebody may publish in a run.
fn artifacts(operator: &Operator, run: &Run) -> Vec<Glob> {
    run.request.repo().map(|repo| publishable(operator, repo)).unwrap_or_default()
}

/// The action that brings something to an environment in this kind of run.
const fn deploying(run: &Run) -> Action {
    match run.kind() {
        RunKind::Cd | RunKind::Deploy => Action::Deploy,
        RunKind::Rollback => Action::Rollback,
    }
}
