//! Jobs, and those that start other pipelines.

use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use serde_json::Value;

use super::call::Call;
use super::page::page;
use super::params::text;
use super::pipelines::see_builds;
use super::refusal::{Answer, Refusal, created, ok};
use crate::gitlab::fake::Fake;
use crate::gitlab::json;
use crate::gitlab::state::State;
use crate::gitlab::state::job::Job;
use crate::gitlab::state::status::Status;
use crate::gitlab::state::user::level;

pub(super) fn routes() -> Router<Arc<Fake>> {
    Router::new()
        .route("/projects/{id}/jobs", get(all))
        .route("/projects/{id}/pipelines/{pipeline_id}/jobs", get(list))
        .route("/projects/{id}/pipelines/{pipeline_id}/bridges", get(bridges))
        .route("/projects/{id}/jobs/{job_id}", get(one))
        .route("/projects/{id}/jobs/{job_id}/trace", get(trace))
        .route("/projects/{id}/jobs/{job_id}/play", post(play))
        .route("/projects/{id}/jobs/{job_id}/retry", post(retry))
        .route("/projects/{id}/jobs/{job_id}/cancel", post(cancel))
        .route("/projects/{id}/jobs/{job_id}/erase", post(erase))
}

/// The job of the address, for somebody who has this level.
pub(super) fn find(call: &Call, least: u32) -> Result<u64, Refusal> {
    let project = call.project(least)?;
    see_builds(call, project)?;
    let id = call.number("job_id")?;
    let there = call.change(|state| state.jobs.get(&id).is_some_and(|job| job.project == project));
    if there { Ok(id) } else { Err(Refusal::not_found("")) }
}

fn shown(call: &Call, id: u64) -> Value {
    call.change(|state| {
        state.jobs.get(&id).map_or(Value::Null, |job| if job.is_bridge() { json::bridge(state, job) } else { json::job(state, job) })
    })
}

async fn one(call: Call) -> Answer {
    let id = find(&call, level::NONE)?;
    ok(shown(&call, id))
}

/// The states that are asked for; none means all.
fn scope(call: &Call) -> Result<Vec<Status>, Refusal> {
    call.params.list("scope").iter().map(|word| Status::parse(word).ok_or_else(|| Refusal::invalid("scope"))).collect()
}

fn rows(call: &Call, ids: impl Fn(&State) -> Vec<u64>, wanted: impl Fn(&Job) -> bool) -> Answer {
    let scope = scope(call)?;
    let retried = call.params.flag("include_retried").unwrap_or_default();
    let mut found = call.change(|state| {
        let fits = |id: &u64| {
            state
                .jobs
                .get(id)
                .is_some_and(|job| wanted(job) && (retried || job.newest()) && (scope.is_empty() || scope.contains(&job.status)))
        };
        ids(state).into_iter().filter(fits).collect::<Vec<_>>()
    });
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(page(call, &found, |id| shown(call, *id)))
}

async fn list(call: Call) -> Answer {
    let id = super::pipelines::find(&call, level::NONE)?;
    rows(&call, |state| state.pipelines.get(&id).map(|row| row.jobs.clone()).unwrap_or_default(), Job::is_build)
}

async fn bridges(call: Call) -> Answer {
    let id = super::pipelines::find(&call, level::NONE)?;
    rows(&call, |state| state.pipelines.get(&id).map(|row| row.jobs.clone()).unwrap_or_default(), Job::is_bridge)
}

async fn all(call: Call) -> Answer {
    let project = call.project(level::NONE)?;
    see_builds(&call, project)?;
    let of = |state: &State| {
        let pipelines = state.projects.get(&project).map(|project| project.pipelines.clone()).unwrap_or_default();
        pipelines.iter().filter_map(|id| state.pipelines.get(id)).flat_map(|row| row.jobs.clone()).collect()
    };
    rows(&call, of, Job::is_build)
}

async fn trace(call: Call) -> Answer {
    let id = find(&call, level::NONE)?;
    let trace = call.change(|state| state.jobs.get(&id).map(|job| job.trace.clone()).unwrap_or_default());
    let heads = [(CONTENT_TYPE, "text/plain"), (CONTENT_DISPOSITION, "inline; filename=\"job.log\"")];
    Ok((StatusCode::OK, heads, trace).into_response())
}

/// Whether somebody may act on a job of a protected branch.
fn may_act(call: &Call, id: u64) -> Result<u64, Refusal> {
    let user = call.caller.user.ok_or_else(Refusal::unauthorized)?;
    let allowed = call.change(|state| {
        let job = state.jobs.get(&id)?;
        let (project, pipeline) = (state.projects.get(&job.project)?, state.pipelines.get(&job.pipeline)?);
        let access = state.level(user, project);
        let protection = if pipeline.tag { None } else { project.protection(&pipeline.ref_name) };
        Some(protection.is_none_or(|protected| access >= protected.push.min(protected.merge).max(level::DEVELOPER)))
    });
    if allowed == Some(true) { Ok(user) } else { Err(Refusal::forbidden()) }
}

async fn play(call: Call) -> Answer {
    let id = find(&call, level::DEVELOPER)?;
    let user = may_act(&call, id)?;
    let given = call.params.documents("job_variables_attributes");
    let variables = given.iter().filter_map(|one| Some((one.get("key").and_then(text)?, one.get("value").and_then(text)?)));
    let variables: Vec<(String, String)> = variables.collect();
    if !call.change(|state| state.play_job(id, user, variables)) {
        return Err(Refusal::bad("Unplayable Job"));
    }
    ok(shown(&call, id))
}

async fn retry(call: Call) -> Answer {
    let id = find(&call, level::DEVELOPER)?;
    may_act(&call, id)?;
    let new = call.change(|state| {
        let job = state.jobs.get(&id).filter(|job| matches!(job.status, Status::Success | Status::Failed | Status::Canceled))?;
        let pipeline = job.pipeline;
        let new = state.retry_job(id)?;
        state.process(pipeline);
        Some(new)
    });
    let new = new.ok_or_else(|| Refusal::message(StatusCode::FORBIDDEN, "403 Forbidden - Job is not retryable"))?;
    created(shown(&call, new))
}

async fn cancel(call: Call) -> Answer {
    let id = find(&call, level::DEVELOPER)?;
    may_act(&call, id)?;
    let force = call.params.flag("force").unwrap_or_default();
    call.change(|state| state.cancel_job(id, force));
    created(shown(&call, id))
}

async fn erase(call: Call) -> Answer {
    let id = find(&call, level::DEVELOPER)?;
    may_act(&call, id)?;
    if !call.change(|state| state.erase_job(id)) {
        return Err(Refusal::message(StatusCode::FORBIDDEN, "403 Forbidden - Job is not erasable!"));
    }
    created(shown(&call, id))
}
