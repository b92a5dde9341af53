//! Groups and name spaces.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use serde_json::{Value, json};

use super::call::Call;
use super::page::page;
use super::refusal::{Answer, Refusal, created, ok, show};
use crate::gitlab::fake::Fake;
use crate::gitlab::json;
use crate::gitlab::state::State;
use crate::gitlab::state::group::Group;
use crate::gitlab::state::project::Visibility;
use crate::gitlab::state::user::level;

pub(super) fn routes() -> Router<Arc<Fake>> {
    Router::new()
        .route("/groups", get(list).post(create))
        .route("/groups/{id}", get(one).put(edit).delete(remove))
        .route("/groups/{id}/projects", get(projects))
        .route("/groups/{id}/subgroups", get(subgroups))
        .route("/namespaces", get(namespaces))
        .route("/namespaces/{id}", get(namespace))
}

fn sees(state: &State, user: Option<u64>, group: &Group) -> bool {
    match (group.visibility, user) {
        (Visibility::Public, _) | (Visibility::Internal, Some(_)) => true,
        (_, Some(user)) => state.level_in_group(user, group.id) > level::NONE,
        (_, None) => false,
    }
}

/// The group of the address, for somebody who has this level there.
fn find(call: &Call, least: u32, spaces: bool) -> Result<u64, Refusal> {
    let (name, user) = (call.path("id"), call.caller.user);
    let what = if spaces { "Namespace" } else { "Group" };
    call.change(|state| {
        let group = name.parse().ok().and_then(|id: u64| state.groups.get(&id)).or_else(|| state.group_at(name));
        let group =
            group.filter(|group| (spaces || group.user.is_none()) && sees(state, user, group)).ok_or_else(|| Refusal::not_found(what))?;
        let access = user.map_or(level::NONE, |user| state.level_in_group(user, group.id));
        if least > level::GUEST && access < least { Err(Refusal::forbidden()) } else { Ok(group.id) }
    })
}

fn list_of(call: &Call, fits: impl Fn(&State, &Group) -> bool) -> Answer {
    let user = call.caller.user;
    let search = call.params.text("search").unwrap_or_default().to_lowercase();
    let found = call.change(|state| {
        let fits = |group: &&Group| fits(state, group) && sees(state, user, group) && group.full_path.to_lowercase().contains(&search);
        state.groups.values().filter(fits).map(|group| json::group(state, group)).collect::<Vec<_>>()
    });
    Ok(page(call, &found, Clone::clone))
}

async fn list(call: Call) -> Answer {
    list_of(&call, |_, group| group.user.is_none())
}

async fn namespaces(call: Call) -> Answer {
    call.user()?;
    list_of(&call, |_, _| true)
}

async fn subgroups(call: Call) -> Answer {
    let parent = find(&call, level::NONE, false)?;
    list_of(&call, move |_, group| group.parent == Some(parent))
}

fn shown(call: &Call, id: u64) -> Value {
    call.change(|state| state.groups.get(&id).map_or(Value::Null, |group| json::group(state, group)))
}

async fn one(call: Call) -> Answer {
    let id = find(&call, level::NONE, false)?;
    ok(shown(&call, id))
}

async fn namespace(call: Call) -> Answer {
    call.user()?;
    let id = find(&call, level::NONE, true)?;
    ok(shown(&call, id))
}

async fn create(call: Call) -> Answer {
    let user = call.user()?;
    let (name, path) = (call.params.require("name")?, call.params.require("path")?);
    let parent = call.params.number("parent_id");
    let visibility = match call.params.text("visibility") {
        Some(word) => Visibility::parse(&word).ok_or_else(|| Refusal::invalid("visibility"))?,
        None => Visibility::Private,
    };
    let made = call.change(|state| {
        if let Some(parent) = parent {
            let group =
                state.groups.get(&parent).filter(|group| sees(state, Some(user), group)).ok_or_else(|| Refusal::not_found("Group"))?;
            if state.level_in_group(user, group.id) < level::MAINTAINER {
                return Err(Refusal::forbidden());
            }
            if visibility > group.visibility {
                let words =
                    format!("{} is not allowed since the parent group has a {} visibility.", visibility.word(), group.visibility.word());
                return Err(Refusal::fields(&[("visibility_level", &words)]));
            }
        }
        let taken = || Refusal::bad("Failed to save group {:path=>[\"has already been taken\"]}");
        state.add_group(parent, &name, &path, visibility, user).map_err(|_| taken())
    })?;
    created(shown(&call, made))
}

async fn edit(call: Call) -> Answer {
    let id = find(&call, level::OWNER, false)?;
    call.change(|state| {
        if let Some(group) = state.groups.get_mut(&id)
            && let Some(name) = call.params.text("name")
        {
            group.name = name;
        }
    });
    ok(shown(&call, id))
}

async fn remove(call: Call) -> Answer {
    let id = find(&call, level::OWNER, false)?;
    call.change(|state| {
        let now = state.now();
        if let Some(group) = state.groups.get_mut(&id) {
            group.marked_for_deletion_at = Some(now);
        }
    });
    show(StatusCode::ACCEPTED, json!({ "message": "202 Accepted" }))
}

async fn projects(call: Call) -> Answer {
    let id = find(&call, level::NONE, false)?;
    let below = call.params.flag("include_subgroups").unwrap_or_default();
    let prefix = call.change(|state| state.groups.get(&id).map(|group| format!("{}/", group.full_path))).unwrap_or_default();
    super::projects::list_of(&call, move |state, project| project.namespace == id || (below && state.path_of(project).starts_with(&prefix)))
}
