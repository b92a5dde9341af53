//! Branches and tags.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, put};
use serde_json::Value;

use super::call::Call;
use super::page::page;
use super::refusal::{Answer, Refusal, created, gone, ok, show};
use crate::gitlab::fake::Fake;
use crate::gitlab::git::{Change, NOTHING, Pushed};
use crate::gitlab::json;
use crate::gitlab::state::user::level;

pub(super) fn routes() -> Router<Arc<Fake>> {
    Router::new()
        .route("/projects/{id}/repository/branches", get(branches).post(create_branch))
        .route("/projects/{id}/repository/branches/{branch}", get(branch).delete(delete_branch))
        .route("/projects/{id}/repository/branches/{branch}/protect", put(super::protected::protect_old_way))
        .route("/projects/{id}/repository/merged_branches", axum::routing::delete(merged))
        .route("/projects/{id}/repository/tags", get(tags).post(create_tag))
        .route("/projects/{id}/repository/tags/{tag}", get(tag).delete(delete_tag))
}

async fn show_branch(call: &Call, project: u64, name: &str) -> Option<Value> {
    let repository = call.fake.repository(project);
    let sha = repository.resolve(&format!("refs/heads/{name}")).await?;
    let tip = repository.commit(&sha).await?;
    let access = call.level(project);
    call.change(|state| Some(json::branch(state, state.projects.get(&project)?, name, &tip, access)))
}

async fn show_tag(call: &Call, project: u64, name: &str) -> Option<Value> {
    let repository = call.fake.repository(project);
    let full = format!("refs/tags/{name}");
    let (target, sha) = (repository.verify(&full).await?, repository.resolve(&full).await?);
    let message = if target == sha { None } else { repository.tag_message(&target).await };
    let tip = repository.commit(&sha).await?;
    call.change(|state| Some(json::tag(state, state.projects.get(&project)?, name, &target, message.as_deref(), &tip)))
}

/// The short names below a prefix that a search wants.
async fn names(call: &Call, project: u64, prefix: &str) -> Vec<String> {
    let search = call.params.text("search").unwrap_or_default();
    let fits = |name: &str| {
        if let Some(start) = search.strip_prefix('^') {
            return name.starts_with(start);
        }
        search.strip_suffix('$').map_or_else(|| name.contains(&search), |end| name.ends_with(end))
    };
    let refs = call.fake.repository(project).refs(prefix).await;
    refs.iter().filter_map(|found| found.name.strip_prefix(prefix)).filter(|name| fits(name)).map(str::to_owned).collect()
}

async fn branches(call: Call) -> Answer {
    let project = call.project(level::NONE)?;
    let mut rows = Vec::new();
    for name in names(&call, project, "refs/heads/").await {
        rows.extend(show_branch(&call, project, &name).await);
    }
    Ok(page(&call, &rows, Clone::clone))
}

async fn branch(call: Call) -> Answer {
    let project = call.project(level::NONE)?;
    ok(show_branch(&call, project, call.path("branch")).await.ok_or_else(|| Refusal::not_found("Branch"))?)
}

/// Moves a ref and takes note of it as of a push.
async fn moved(call: &Call, project: u64, ref_name: String, old: &str, new: &str) -> Result<(), Refusal> {
    let repository = call.fake.repository(project);
    let to = (new != NOTHING).then_some(new);
    repository.point(&ref_name, to, (old != NOTHING).then_some(old)).await.map_err(|error| Refusal::broken(&error))?;
    let change = Change { old: old.to_owned(), new: new.to_owned(), ref_name };
    let user = call.user()?;
    call.fake.pushed(Pushed { project, user, changes: vec![change], options: Vec::new() }).await;
    Ok(())
}

async fn create_branch(call: Call) -> Answer {
    let (project, repository) = call.repository(level::DEVELOPER)?;
    let (name, from) = (call.params.require("branch")?, call.params.require("ref")?);
    if repository.resolve(&format!("refs/heads/{name}")).await.is_some() {
        return Err(Refusal::bad("Branch already exists"));
    }
    let sha = repository.find(&from).await.ok_or_else(|| Refusal::bad(&format!("Invalid reference name: {from}")))?;
    moved(&call, project, format!("refs/heads/{name}"), NOTHING, &sha).await?;
    created(show_branch(&call, project, &name).await.ok_or_else(|| Refusal::bad("Branch name is invalid"))?)
}

async fn delete_branch(call: Call) -> Answer {
    let (project, repository) = call.repository(level::DEVELOPER)?;
    let name = call.path("branch").to_owned();
    let full = format!("refs/heads/{name}");
    let sha = repository.resolve(&full).await.ok_or_else(|| Refusal::not_found("Branch"))?;
    let (default, protected) =
        call.of_project(project, |project| (project.default_branch.as_deref() == Some(&name), project.protection(&name).is_some()))?;
    if default {
        return Err(Refusal::message(http::StatusCode::METHOD_NOT_ALLOWED, "Cannot remove HEAD branch"));
    }
    if protected {
        return Err(Refusal::message(http::StatusCode::METHOD_NOT_ALLOWED, "Protected branch cannot be removed"));
    }
    moved(&call, project, full, &sha, NOTHING).await?;
    gone()
}

async fn merged(call: Call) -> Answer {
    let (project, repository) = call.repository(level::DEVELOPER)?;
    let default = call.of_project(project, |project| project.default_branch.clone())?.ok_or_else(|| Refusal::not_found("Branch"))?;
    for name in names(&call, project, "refs/heads/").await {
        let kept = name == default || call.of_project(project, |project| project.protection(&name).is_some())?;
        let full = format!("refs/heads/{name}");
        if !kept
            && repository.is_ancestor(&full, &format!("refs/heads/{default}")).await
            && let Some(sha) = repository.resolve(&full).await
        {
            moved(&call, project, full, &sha, NOTHING).await?;
        }
    }
    show(http::StatusCode::ACCEPTED, serde_json::json!({ "message": "202 Accepted" }))
}

async fn tags(call: Call) -> Answer {
    let project = call.project(level::NONE)?;
    let mut rows = Vec::new();
    for name in names(&call, project, "refs/tags/").await {
        rows.extend(show_tag(&call, project, &name).await);
    }
    Ok(page(&call, &rows, Clone::clone))
}

async fn tag(call: Call) -> Answer {
    let project = call.project(level::NONE)?;
    ok(show_tag(&call, project, call.path("tag")).await.ok_or_else(|| Refusal::not_found("Tag"))?)
}

async fn create_tag(call: Call) -> Answer {
    let (project, repository) = call.repository(level::DEVELOPER)?;
    let (name, from) = (call.params.require("tag_name")?, call.params.require("ref")?);
    let full = format!("refs/tags/{name}");
    if repository.verify(&full).await.is_some() {
        return Err(Refusal::bad(&format!("Tag {name} already exists")));
    }
    let sha = repository.find(&from).await.ok_or_else(|| Refusal::bad(&format!("Target {from} is invalid")))?;
    let target = match call.params.text("message").filter(|message| !message.is_empty()) {
        Some(message) => {
            let user = call.user()?;
            let who = call.change(|state| state.users.get(&user).map(|user| (user.name.clone(), user.email.clone()))).unwrap_or_default();
            let at = call.fake.options.clock.now().as_second();
            repository.make_tag(&name, &sha, &message, (&who.0, &who.1), at).await.map_err(|_| Refusal::bad("Tag name invalid"))?
        }
        None => sha,
    };
    moved(&call, project, full, NOTHING, &target).await?;
    created(show_tag(&call, project, &name).await.ok_or_else(|| Refusal::bad("Tag name invalid"))?)
}

async fn delete_tag(call: Call) -> Answer {
    let (project, repository) = call.repository(level::DEVELOPER)?;
    let full = format!("refs/tags/{}", call.path("tag"));
    let target = repository.verify(&full).await.ok_or_else(|| Refusal::not_found("Tag"))?;
    moved(&call, project, full, &target, NOTHING).await?;
    gone()
}
