//! Deploy keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use super::call::Call;
use super::page::page;
use super::refusal::{Answer, Refusal, created, gone, ok};
use crate::gitlab::fake::Fake;
use crate::gitlab::json;
use crate::gitlab::state::project::DeployKey;
use crate::gitlab::state::user::level;

pub(super) fn routes() -> Router<Arc<Fake>> {
    Router::new()
        .route("/projects/{id}/deploy_keys", get(list).post(create))
        .route("/projects/{id}/deploy_keys/{key_id}", get(one).put(edit).delete(remove))
        .route("/projects/{id}/deploy_keys/{key_id}/enable", post(enable))
}

async fn list(call: Call) -> Answer {
    let project = call.project(level::MAINTAINER)?;
    let rows = call.change(|state| {
        let keys = state.deploy_keys.values();
        keys.filter_map(|key| key.projects.get(&project).map(|push| json::deploy_key(key, *push))).collect::<Vec<_>>()
    });
    Ok(page(&call, &rows, Clone::clone))
}

fn shown(call: &Call, project: u64, id: u64) -> Result<serde_json::Value, Refusal> {
    call.change(|state| state.deploy_keys.get(&id).and_then(|key| key.projects.get(&project).map(|push| json::deploy_key(key, *push))))
        .ok_or_else(|| Refusal::not_found("Deploy Key"))
}

async fn one(call: Call) -> Answer {
    let (project, id) = (call.project(level::MAINTAINER)?, call.number("key_id")?);
    ok(shown(&call, project, id)?)
}

async fn create(call: Call) -> Answer {
    let project = call.project(level::MAINTAINER)?;
    let (title, given) = (call.params.require("title")?, call.params.require("key")?);
    // A key is its kind and its bytes; what stands behind them is a remark.
    let key: Vec<&str> = given.split_whitespace().take(2).collect();
    let [kind, bytes] = key[..] else {
        return Err(Refusal::fields(&[("key", "is invalid")]));
    };
    if !kind.starts_with("ssh-") && !kind.starts_with("ecdsa-") && !kind.starts_with("sk-") {
        return Err(Refusal::fields(&[("key", "type is forbidden. Must be DSA, ECDSA, ED25519 or RSA")]));
    }
    let (can_push, key) = (call.params.flag("can_push").unwrap_or_default(), format!("{kind} {bytes}"));
    let made = call.change(|state| {
        // A key is one and the same for the whole GitLab.
        if state.deploy_keys.values().any(|other| other.key.starts_with(&key)) {
            return None;
        }
        let id = state.id();
        let created_at = state.now();
        state.deploy_keys.insert(id, DeployKey { id, title, key: given, created_at, projects: BTreeMap::from([(project, can_push)]) });
        Some(id)
    });
    let taken = [("deploy_key.fingerprint_sha256", "has already been taken"), ("fingerprint", "has already been taken")];
    let id = made.ok_or_else(|| Refusal::fields(&taken))?;
    created(shown(&call, project, id)?)
}

async fn edit(call: Call) -> Answer {
    let (project, id) = (call.project(level::MAINTAINER)?, call.number("key_id")?);
    shown(&call, project, id)?;
    call.change(|state| {
        if let Some(key) = state.deploy_keys.get_mut(&id) {
            if let Some(push) = call.params.flag("can_push") {
                key.projects.insert(project, push);
            }
            key.title = call.params.text("title").unwrap_or_else(|| key.title.clone());
        }
    });
    ok(shown(&call, project, id)?)
}

async fn enable(call: Call) -> Answer {
    let (project, id) = (call.project(level::MAINTAINER)?, call.number("key_id")?);
    call.change(|state| state.deploy_keys.get_mut(&id).map(|key| *key.projects.entry(project).or_insert(false)));
    created(shown(&call, project, id)?)
}

async fn remove(call: Call) -> Answer {
    let (project, id) = (call.project(level::MAINTAINER)?, call.number("key_id")?);
    shown(&call, project, id)?;
    call.change(|state| {
        if let Some(key) = state.deploy_keys.get_mut(&id) {
            key.projects.remove(&project);
            if key.projects.is_empty() {
                state.deploy_keys.remove(&id);
            }
        }
    });
    gone()
}
