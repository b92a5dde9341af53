//! Environments and deployments.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;

use super::call::Call;
use super::page::page;
use super::refusal::{Answer, Refusal, created, gone, ok};
use crate::gitlab::fake::Fake;
use crate::gitlab::json;
use crate::gitlab::state::deployment::Deployment;
use crate::gitlab::state::user::level;

pub(super) fn routes() -> Router<Arc<Fake>> {
    Router::new()
        .route("/projects/{id}/environments", get(environments).post(create_environment))
        .route("/projects/{id}/environments/{environment_id}", get(environment).put(edit_environment).delete(remove_environment))
        .route("/projects/{id}/environments/{environment_id}/stop", post(stop_environment))
        .route("/projects/{id}/deployments", get(deployments).post(create_deployment))
        .route("/projects/{id}/deployments/{deployment_id}", get(deployment).put(edit_deployment))
}

async fn environments(call: Call) -> Answer {
    let project = call.project(level::REPORTER)?;
    let (name, search) = (call.params.text("name"), call.params.text("search").unwrap_or_default());
    let rows = call.change(|state| {
        let fits = |name_of: &str| name.as_ref().is_none_or(|name| name == name_of) && name_of.contains(&search);
        let found = state.environments.values().filter(|found| found.project == project && fits(&found.name));
        found.map(json::environment).collect::<Vec<_>>()
    });
    Ok(page(&call, &rows, Clone::clone))
}

fn find_environment(call: &Call, least: u32) -> Result<u64, Refusal> {
    let (project, id) = (call.project(least)?, call.number("environment_id")?);
    let there = call.change(|state| state.environments.get(&id).is_some_and(|found| found.project == project));
    if there { Ok(id) } else { Err(Refusal::not_found("Environment")) }
}

fn shown_environment(call: &Call, id: u64) -> Value {
    call.change(|state| state.environments.get(&id).map_or(Value::Null, json::environment))
}

async fn environment(call: Call) -> Answer {
    let id = find_environment(&call, level::REPORTER)?;
    ok(shown_environment(&call, id))
}

fn fill_environment(call: &Call, id: u64) {
    call.change(|state| {
        let now = state.now();
        if let Some(environment) = state.environments.get_mut(&id) {
            environment.external_url = call.params.text("external_url").or(environment.external_url.take());
            environment.tier = call.params.text("tier").unwrap_or_else(|| environment.tier.clone());
            environment.description = call.params.text("description").or(environment.description.take());
            environment.updated_at = now;
        }
    });
}

async fn create_environment(call: Call) -> Answer {
    let project = call.project(level::DEVELOPER)?;
    let name = call.params.require("name")?;
    let there = call.change(|state| state.environments.values().any(|found| found.project == project && found.name == name));
    if there {
        return Err(Refusal::fields(&[("name", "has already been taken"), ("slug", "has already been taken")]));
    }
    let id = call.change(|state| state.environment_named(project, &name));
    fill_environment(&call, id);
    created(shown_environment(&call, id))
}

async fn edit_environment(call: Call) -> Answer {
    let id = find_environment(&call, level::DEVELOPER)?;
    fill_environment(&call, id);
    ok(shown_environment(&call, id))
}

async fn stop_environment(call: Call) -> Answer {
    let id = find_environment(&call, level::DEVELOPER)?;
    call.change(|state| state.environments.get_mut(&id).map(|environment| environment.stopped = true));
    ok(shown_environment(&call, id))
}

async fn remove_environment(call: Call) -> Answer {
    let id = find_environment(&call, level::DEVELOPER)?;
    let stopped = call.change(|state| state.environments.get(&id).is_some_and(|environment| environment.stopped));
    if !stopped {
        return Err(Refusal::forbidden());
    }
    call.change(|state| {
        state.environments.remove(&id);
        state.deployments.retain(|_, deployment| deployment.environment != id);
    });
    gone()
}

/// The states that a deployment can be given.
const STATES: [&str; 5] = ["created", "running", "success", "failed", "canceled"];

async fn deployments(call: Call) -> Answer {
    let project = call.project(level::REPORTER)?;
    let (environment, status) = (call.params.text("environment"), call.params.text("status"));
    let after = call.params.text("updated_after").and_then(|after| after.replace(' ', "+").parse::<Timestamp>().ok());
    let mut rows = call.change(|state| {
        let fits = |row: &&Deployment| {
            let name = state.environments.get(&row.environment).map(|found| found.name.as_str());
            row.project == project
                && environment.as_ref().is_none_or(|wanted| name == Some(wanted))
                && status.as_ref().is_none_or(|wanted| row.status == *wanted)
                && after.is_none_or(|after| row.updated_at > after)
        };
        state.deployments.values().filter(fits).map(|row| json::deployment(state, row)).collect::<Vec<_>>()
    });
    if call.params.text("sort").as_deref() == Some("desc") {
        rows.reverse();
    }
    Ok(page(&call, &rows, Clone::clone))
}

fn shown(call: &Call, project: u64, id: u64) -> Result<Value, Refusal> {
    call.change(|state| state.deployments.get(&id).filter(|row| row.project == project).map(|row| json::deployment(state, row)))
        .ok_or_else(|| Refusal::not_found("Deployment"))
}

async fn deployment(call: Call) -> Answer {
    let (project, id) = (call.project(level::REPORTER)?, call.number("deployment_id")?);
    ok(shown(&call, project, id)?)
}

async fn create_deployment(call: Call) -> Answer {
    let project = call.project(level::DEVELOPER)?;
    let user = call.user()?;
    let (environment, sha) = (call.params.require("environment")?, call.params.require("sha")?);
    let ref_name = call.params.require("ref")?;
    let status = call.params.text("status").unwrap_or_else(|| "created".to_owned());
    if !STATES.contains(&status.as_str()) {
        return Err(Refusal::invalid("status"));
    }
    if call.fake.repository(project).resolve(&sha).await.is_none() {
        return Err(Refusal::fields(&[("sha", "The commit does not exist")]));
    }
    let tag = call.params.flag("tag").unwrap_or_default();
    let id = call.change(|state| {
        let environment = state.environment_named(project, &environment);
        let (created_at, job, first) = (state.now(), None, "created".to_owned());
        let new = Deployment {
            id: 0,
            iid: 0,
            project,
            environment,
            ref_name,
            tag,
            sha,
            status: first,
            user,
            job,
            created_at,
            updated_at: created_at,
        };
        let id = state.insert_deployment(new);
        state.set_deployment(id, &status);
        id
    });
    created(shown(&call, project, id)?)
}

async fn edit_deployment(call: Call) -> Answer {
    let (project, id) = (call.project(level::DEVELOPER)?, call.number("deployment_id")?);
    let status = call.params.require("status")?;
    if !STATES.contains(&status.as_str()) {
        return Err(Refusal::invalid("status"));
    }
    shown(&call, project, id)?;
    let ended = call.change(|state| {
        state
            .deployments
            .get(&id)
            .is_some_and(|row| matches!(row.status.as_str(), "success" | "failed" | "canceled") && row.status != status)
    });
    if ended {
        return Err(Refusal::message(StatusCode::BAD_REQUEST, "Cannot transition status"));
    }
    call.change(|state| state.set_deployment(id, &status));
    ok(shown(&call, project, id)?)
}
