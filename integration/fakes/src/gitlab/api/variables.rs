//! Variables of a project's jobs.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use serde_json::Value;

use super::call::Call;
use super::page::page;
use super::refusal::{Answer, Refusal, created, gone, ok};
use crate::gitlab::fake::Fake;
use crate::gitlab::json;
use crate::gitlab::state::project::Variable;
use crate::gitlab::state::user::level;

pub(super) fn routes() -> Router<Arc<Fake>> {
    Router::new()
        .route("/projects/{id}/variables", get(list).post(create))
        .route("/projects/{id}/variables/{key}", get(one).put(edit).delete(remove))
}

async fn list(call: Call) -> Answer {
    let project = call.project(level::MAINTAINER)?;
    let rows = call.of_project(project, |project| project.variables.iter().map(json::variable).collect::<Vec<_>>())?;
    Ok(page(&call, &rows, Clone::clone))
}

/// The place of the variable that is meant: a name may stand for several, each of other environments.
fn find(call: &Call, variables: &[Variable]) -> Result<usize, Refusal> {
    let key = call.path("key");
    let scope = call.params.get("filter").and_then(|filter| filter.get("environment_scope")).and_then(Value::as_str);
    let mut fitting =
        variables.iter().enumerate().filter(|(_, variable)| variable.key == key && scope.is_none_or(|scope| variable.scope == scope));
    let first = fitting.next().map(|(at, _)| at).ok_or_else(|| Refusal::not_found("Variable"))?;
    if fitting.next().is_some() {
        return Err(Refusal::conflict("There are multiple variables with provided parameters. Please use 'filter[environment_scope]'"));
    }
    Ok(first)
}

async fn one(call: Call) -> Answer {
    let project = call.project(level::MAINTAINER)?;
    let found = call.of_project(project, |project| find(&call, &project.variables).map(|at| json::variable(&project.variables[at])))?;
    ok(found?)
}

/// Fills in what was given.
fn fill(call: &Call, variable: &mut Variable) -> Result<(), Refusal> {
    let params = &call.params;
    if let Some(value) = params.text("value") {
        variable.value = value;
    }
    variable.file = params.text("variable_type").map_or(variable.file, |kind| kind == "file");
    variable.protected = params.flag("protected").unwrap_or(variable.protected);
    variable.masked = params.flag("masked").unwrap_or(variable.masked);
    if params.flag("masked_and_hidden").unwrap_or_default() {
        variable.masked = true;
        variable.hidden = true;
    }
    variable.raw = params.flag("raw").unwrap_or(variable.raw);
    variable.scope = params.text("environment_scope").unwrap_or_else(|| variable.scope.clone());
    variable.description = params.text("description").or(variable.description.take());
    let plain = |c: char| c.is_ascii_alphanumeric() || "+/=@:.~_-".contains(c);
    if variable.masked && (variable.value.len() < 8 || !variable.value.chars().all(plain)) {
        return Err(Refusal::fields(&[("value", "is invalid")]));
    }
    Ok(())
}

async fn create(call: Call) -> Answer {
    let project = call.project(level::MAINTAINER)?;
    let key = call.params.require("key")?;
    if call.params.get("value").is_none() {
        return Err(Refusal::missing("value"));
    }
    if key.len() > 255 || !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(Refusal::fields(&[("key", "can contain only letters, digits and '_'.")]));
    }
    let mut new = Variable {
        key,
        value: String::new(),
        file: false,
        protected: false,
        masked: false,
        hidden: false,
        raw: false,
        scope: "*".to_owned(),
        description: None,
    };
    fill(&call, &mut new)?;
    let shown = json::variable(&new);
    let fresh = call.of_project(project, |project| {
        let fresh = project.variables.iter().all(|other| other.key != new.key || other.scope != new.scope);
        if fresh {
            project.variables.push(new.clone());
        }
        fresh
    })?;
    if !fresh {
        return Err(Refusal::fields(&[("key", &format!("({}) has already been taken", new.key))]));
    }
    created(shown)
}

async fn edit(call: Call) -> Answer {
    let project = call.project(level::MAINTAINER)?;
    let found = call.of_project(project, |project| {
        let at = find(&call, &project.variables)?;
        let mut changed = project.variables[at].clone();
        fill(&call, &mut changed)?;
        project.variables[at] = changed;
        Ok(json::variable(&project.variables[at]))
    })?;
    ok(found?)
}

async fn remove(call: Call) -> Answer {
    let project = call.project(level::MAINTAINER)?;
    call.of_project(project, |project| find(&call, &project.variables).map(|at| drop(project.variables.remove(at))))??;
    gone()
}
