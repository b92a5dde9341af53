//! Protected branches and tags.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};

use super::call::Call;
use super::page::page;
use super::refusal::{Answer, Refusal, created, gone, ok};
use crate::gitlab::fake::Fake;
use crate::gitlab::json;
use crate::gitlab::state::State;
use crate::gitlab::state::project::ProtectedBranch;
use crate::gitlab::state::user::level;

pub(super) fn routes() -> Router<Arc<Fake>> {
    Router::new()
        .route("/projects/{id}/protected_branches", get(list).post(protect))
        .route("/projects/{id}/protected_branches/{name}", get(one).patch(edit).delete(unprotect))
        .route("/projects/{id}/protected_tags", get(tags).post(protect_tag))
        .route("/projects/{id}/protected_tags/{name}", get(tag).delete(unprotect_tag))
}

fn shown(call: &Call, project: u64, name: &str) -> Result<Value, Refusal> {
    call.change(|state| {
        let found = state.projects.get(&project)?.protected_branches.iter().find(|branch| branch.name == name)?;
        Some(json::protected_branch(state, found))
    })
    .ok_or_else(|| Refusal::not_found(""))
}

async fn list(call: Call) -> Answer {
    let project = call.project(level::DEVELOPER)?;
    let rows = call.change(|state| {
        let branches = state.projects.get(&project).map(|project| project.protected_branches.as_slice()).unwrap_or_default();
        branches.iter().map(|branch| json::protected_branch(state, branch)).collect::<Vec<_>>()
    });
    Ok(page(&call, &rows, Clone::clone))
}

async fn one(call: Call) -> Answer {
    let project = call.project(level::DEVELOPER)?;
    ok(shown(&call, project, call.path("name"))?)
}

fn access(call: &Call, name: &str) -> Option<u32> {
    call.params.number(name).and_then(|level| u32::try_from(level).ok())
}

/// Levels and users that may push, as the paid editions take them.
fn allowed(call: &Call, name: &str) -> (Option<u32>, Vec<u64>, Vec<u64>) {
    let rows = call.params.documents(name);
    let number = |row: &serde_json::Map<String, Value>, key: &str| row.get(key).and_then(Value::as_u64);
    let least = rows.iter().filter_map(|row| number(row, "access_level")).min().and_then(|level| u32::try_from(level).ok());
    let of = |key: &str| rows.iter().filter_map(|row| number(row, key)).collect();
    (least, of("user_id"), of("deploy_key_id"))
}

async fn protect(call: Call) -> Answer {
    let project = call.project(level::MAINTAINER)?;
    let name = call.params.require("name")?;
    let (pushers, users, deploy_keys) = allowed(&call, "allowed_to_push");
    let (mergers, ..) = allowed(&call, "allowed_to_merge");
    let new = ProtectedBranch {
        id: call.change(State::id),
        name: name.clone(),
        push: access(&call, "push_access_level").or(pushers).unwrap_or(level::MAINTAINER),
        merge: access(&call, "merge_access_level").or(mergers).unwrap_or(level::MAINTAINER),
        unprotect: access(&call, "unprotect_access_level"),
        allow_force_push: call.params.flag("allow_force_push").unwrap_or_default(),
        users,
        deploy_keys,
    };
    let fresh = call.of_project(project, |project| {
        let fresh = project.protected_branches.iter().all(|branch| branch.name != new.name);
        if fresh {
            project.protected_branches.push(new);
        }
        fresh
    })?;
    if !fresh {
        return Err(Refusal::conflict(&format!("Protected branch '{name}' already exists")));
    }
    created(shown(&call, project, &name)?)
}

/// The address of old clients: protecting what is protected is no conflict there.
pub(super) async fn protect_old_way(call: Call) -> Answer {
    let project = call.project(level::MAINTAINER)?;
    let name = call.path("branch").to_owned();
    let id = call.change(State::id);
    call.of_project(project, |project| {
        if project.protected_branches.iter().all(|branch| branch.name != name) {
            let (push, merge) = (level::MAINTAINER, level::MAINTAINER);
            let (users, deploy_keys) = (Vec::new(), Vec::new());
            project.protected_branches.push(ProtectedBranch {
                id,
                name,
                push,
                merge,
                unprotect: None,
                allow_force_push: false,
                users,
                deploy_keys,
            });
        }
    })?;
    ok(json!({}))
}

async fn edit(call: Call) -> Answer {
    let project = call.project(level::MAINTAINER)?;
    let name = call.path("name").to_owned();
    let (pushers, users, deploy_keys) = allowed(&call, "allowed_to_push");
    call.of_project(project, |project| {
        if let Some(branch) = project.protected_branches.iter_mut().find(|branch| branch.name == name) {
            branch.allow_force_push = call.params.flag("allow_force_push").unwrap_or(branch.allow_force_push);
            branch.push = access(&call, "push_access_level").or(pushers).unwrap_or(branch.push);
            branch.merge = access(&call, "merge_access_level").unwrap_or(branch.merge);
            branch.users.extend(users);
            branch.deploy_keys.extend(deploy_keys);
        }
    })?;
    ok(shown(&call, project, &name)?)
}

async fn unprotect(call: Call) -> Answer {
    let project = call.project(level::MAINTAINER)?;
    let name = call.path("name").to_owned();
    shown(&call, project, &name)?;
    call.of_project(project, |project| project.protected_branches.retain(|branch| branch.name != name))?;
    gone()
}

fn shown_tag(name: &str, least: u32) -> Value {
    json!({ "name": name, "create_access_levels": [{ "id": 1, "access_level": least, "access_level_description": "Maintainers" }] })
}

async fn tags(call: Call) -> Answer {
    let project = call.project(level::MAINTAINER)?;
    let rows =
        call.of_project(project, |project| project.protected_tags.iter().map(|(name, least)| shown_tag(name, *least)).collect::<Vec<_>>())?;
    Ok(page(&call, &rows, Clone::clone))
}

async fn tag(call: Call) -> Answer {
    let project = call.project(level::MAINTAINER)?;
    let name = call.path("name");
    let least = call.of_project(project, |project| project.protected_tags.get(name).copied())?;
    ok(shown_tag(name, least.ok_or_else(|| Refusal::not_found(""))?))
}

async fn protect_tag(call: Call) -> Answer {
    let project = call.project(level::MAINTAINER)?;
    let name = call.params.require("name")?;
    let least = access(&call, "create_access_level").unwrap_or(level::MAINTAINER);
    let before = call.of_project(project, |project| project.protected_tags.insert(name.clone(), least))?;
    if before.is_some() {
        return Err(Refusal::conflict(&format!("Protected tag '{name}' already exists")));
    }
    created(shown_tag(&name, least))
}

async fn unprotect_tag(call: Call) -> Answer {
    let project = call.project(level::MAINTAINER)?;
    let name = call.path("name").to_owned();
    call.of_project(project, |project| project.protected_tags.remove(&name))?.ok_or_else(|| Refusal::not_found(""))?;
    gone()
}
