//! What this GitLab is, and who asks.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde_json::json;

use super::call::Call;
use super::refusal::{Answer, Refusal, ok};
use crate::gitlab::fake::Fake;
use crate::gitlab::json;
use crate::gitlab::time;

pub(super) fn routes() -> Router<Arc<Fake>> {
    Router::new()
        .route("/version", get(version))
        .route("/metadata", get(metadata))
        .route("/user", get(user))
        .route("/users", get(users))
        .route("/users/{user_id}", get(one_user))
        .route("/job", get(job))
        .route("/application/settings", get(settings))
}

async fn version(call: Call) -> Answer {
    call.caller.user.ok_or_else(Refusal::unauthorized)?;
    ok(json!({ "version": call.fake.options.version.to_string(), "revision": "fa4efa4efa4" }))
}

async fn metadata(call: Call) -> Answer {
    call.caller.user.ok_or_else(Refusal::unauthorized)?;
    ok(json!({
        "version": call.fake.options.version.to_string(),
        "revision": "fa4efa4efa4",
        "kas": { "enabled": false, "externalUrl": null, "version": null },
        "enterprise": false,
    }))
}

async fn user(call: Call) -> Answer {
    let id = call.user()?;
    ok(call.change(|state| {
        let mut shown = json::user(state, id);
        if let (Some(shown), Some(user)) = (shown.as_object_mut(), state.users.get(&id)) {
            shown.insert("email".into(), user.email.clone().into());
            shown.insert("bot".into(), user.bot.into());
            shown.insert("created_at".into(), time::api(state.now()).into());
            if user.admin {
                shown.insert("is_admin".into(), true.into());
            }
            let space = state.groups.values().find(|group| group.user == Some(id)).map(|group| group.id);
            shown.insert("namespace_id".into(), space.into());
        }
        shown
    }))
}

async fn users(call: Call) -> Answer {
    call.user()?;
    let wanted = call.params.text("username");
    let found = call.change(|state| {
        let fits = |name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
        state.users.values().filter(|user| fits(&user.username)).map(|user| json::user(state, user.id)).collect::<Vec<_>>()
    });
    Ok(super::page::page(&call, &found, Clone::clone))
}

async fn one_user(call: Call) -> Answer {
    let id = call.number("user_id")?;
    let shown = call.change(|state| json::user(state, id));
    if shown.is_null() { Err(Refusal::not_found("User")) } else { ok(shown) }
}

async fn job(call: Call) -> Answer {
    let id = call.caller.job.ok_or_else(Refusal::unauthorized)?;
    let shown = call.change(|state| state.jobs.get(&id).map(|job| json::job(state, job)));
    ok(shown.ok_or_else(|| Refusal::not_found("Job"))?)
}

async fn settings(call: Call) -> Answer {
    call.admin()?;
    let options = &call.fake.options;
    ok(json!({
        "allow_local_requests_from_web_hooks_and_services": options.hooks_to_local_network,
        "push_event_hooks_limit": options.hooks_per_push,
        "default_branch_protection": 2,
        "default_branch_name": null,
    }))
}

pub(super) async fn keys(State(fake): State<Arc<Fake>>) -> Response {
    use axum::response::IntoResponse as _;
    // A key is made once, and that takes a moment of a processor.
    let keys = tokio::task::spawn_blocking(move || fake.public_keys()).await.unwrap_or_default();
    axum::Json(keys).into_response()
}

pub(super) async fn openid(State(fake): State<Arc<Fake>>) -> Response {
    use axum::response::IntoResponse as _;
    let url = fake.url();
    axum::Json(json!({
        "issuer": url,
        "jwks_uri": format!("{url}/oauth/discovery/keys"),
        "authorization_endpoint": format!("{url}/oauth/authorize"),
        "token_endpoint": format!("{url}/oauth/token"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }))
    .into_response()
}
