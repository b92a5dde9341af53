//! Tokens: those that people and programs show.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use http::StatusCode;
use jiff::Timestamp;
use jiff::civil::Date;
use secrecy::ExposeSecret as _;

use super::call::Call;
use super::page::page;
use super::refusal::{Answer, Refusal, created, gone, ok};
use crate::gitlab::fake::Fake;
use crate::gitlab::json;
use crate::gitlab::state::user::{NewToken, TokenKind, level};

pub(super) fn routes() -> Router<Arc<Fake>> {
    Router::new()
        .route("/personal_access_tokens", get(list))
        .route("/personal_access_tokens/self", get(own).delete(revoke_own))
        .route("/personal_access_tokens/self/rotate", post(rotate_own))
        .route("/users/{user_id}/personal_access_tokens", post(create))
        .route("/projects/{id}/access_tokens", get(project_tokens).post(create_for_project))
        .route("/projects/{id}/access_tokens/{token_id}", get(project_token).delete(revoke_for_project))
}

/// What tokens can be made for.
const SCOPES: [&str; 12] = [
    "api",
    "read_api",
    "read_user",
    "read_repository",
    "write_repository",
    "read_registry",
    "write_registry",
    "create_runner",
    "manage_runner",
    "ai_features",
    "k8s_proxy",
    "sudo",
];

fn new_token(call: &Call, user: u64, kind: TokenKind) -> Result<NewToken, Refusal> {
    let scopes = call.params.list("scopes");
    if scopes.is_empty() {
        return Err(Refusal::missing("scopes"));
    }
    if scopes.iter().any(|scope| !SCOPES.contains(&scope.as_str())) {
        return Err(Refusal::error(StatusCode::BAD_REQUEST, "scopes does not have a valid value"));
    }
    let expires_at = match call.params.text("expires_at") {
        Some(day) => {
            Some(day.parse::<Date>().ok().and_then(|day| day.in_tz("UTC").ok()).ok_or_else(|| Refusal::invalid("expires_at"))?.timestamp())
        }
        None => None,
    };
    Ok(NewToken { name: call.params.require("name")?, user, kind, scopes, expires_at })
}

fn add(call: &Call, new: NewToken, access: Option<u32>) -> Answer {
    created(call.change(|state| {
        let (id, secret) = state.add_token(new);
        let mut shown = state.tokens.get(&id).map(|token| json::token(token, state.now())).unwrap_or_default();
        shown["token"] = secret.expose_secret().into();
        if let Some(access) = access {
            shown["access_level"] = access.into();
        }
        shown
    }))
}

async fn list(call: Call) -> Answer {
    let user = call.user()?;
    let found = call.change(|state| {
        let now = state.now();
        state.tokens.values().filter(|token| token.user == user).map(|token| json::token(token, now)).collect::<Vec<_>>()
    });
    Ok(page(&call, &found, Clone::clone))
}

async fn own(call: Call) -> Answer {
    let id = call.caller.token.ok_or_else(Refusal::unauthorized)?;
    ok(call.change(|state| state.tokens.get(&id).map(|token| json::token(token, state.now())).unwrap_or_default()))
}

async fn revoke_own(call: Call) -> Answer {
    let id = call.caller.token.ok_or_else(Refusal::unauthorized)?;
    call.change(|state| state.tokens.get_mut(&id).map(|token| token.revoked = true));
    gone()
}

async fn rotate_own(call: Call) -> Answer {
    let id = call.caller.token.ok_or_else(Refusal::unauthorized)?;
    let expires_at = call.params.text("expires_at").and_then(|day| day.parse::<Date>().ok()?.in_tz("UTC").ok()).map(|day| day.timestamp());
    let week = call.fake.options.clock.now().checked_add(jiff::SignedDuration::from_hours(24 * 7)).unwrap_or(Timestamp::MAX);
    let new = call.change(|state| {
        let token = state.tokens.get_mut(&id)?;
        token.revoked = true;
        let (name, user, kind, scopes) = (token.name.clone(), token.user, token.kind, token.scopes.clone());
        Some(NewToken { name, user, kind, scopes, expires_at: expires_at.or(Some(week)) })
    });
    let mut answer = add(&call, new.ok_or_else(Refusal::unauthorized)?, None)?;
    *answer.status_mut() = StatusCode::OK;
    Ok(answer)
}

async fn create(call: Call) -> Answer {
    call.admin()?;
    let user = call.number("user_id")?;
    if !call.change(|state| state.users.contains_key(&user)) {
        return Err(Refusal::not_found("User"));
    }
    let new = new_token(&call, user, TokenKind::Personal)?;
    add(&call, new, None)
}

async fn project_tokens(call: Call) -> Answer {
    let project = call.project(level::MAINTAINER)?;
    let found = call.change(|state| {
        let now = state.now();
        state
            .tokens
            .values()
            .filter(|token| token.kind == TokenKind::Project(project))
            .map(|token| json::token(token, now))
            .collect::<Vec<_>>()
    });
    Ok(page(&call, &found, Clone::clone))
}

async fn create_for_project(call: Call) -> Answer {
    let project = call.project(level::MAINTAINER)?;
    let access = call.params.number("access_level").and_then(|level| u32::try_from(level).ok()).unwrap_or(level::MAINTAINER);
    if access > call.level(project) {
        return Err(Refusal::bad("Could not provision owner access to project access token"));
    }
    let name = call.params.require("name")?;
    let mut new = new_token(&call, 0, TokenKind::Project(project))?;
    new.user = call.change(|state| {
        let number = state.id();
        let bot = state.add_bot(&format!("project_{project}_bot_{number}"), &name);
        if let Some(project) = state.projects.get_mut(&project) {
            project.members.insert(bot, access);
        }
        bot
    });
    add(&call, new, Some(access))
}

async fn project_token(call: Call) -> Answer {
    let (project, id) = (call.project(level::MAINTAINER)?, call.number("token_id")?);
    let found = call.change(|state| {
        let token = state.tokens.get(&id).filter(|token| token.kind == TokenKind::Project(project))?;
        Some(json::token(token, state.now()))
    });
    ok(found.ok_or_else(|| Refusal::not_found("Token"))?)
}

async fn revoke_for_project(call: Call) -> Answer {
    let (project, id) = (call.project(level::MAINTAINER)?, call.number("token_id")?);
    let found = call.change(|state| {
        state.tokens.get_mut(&id).filter(|token| token.kind == TokenKind::Project(project)).map(|token| token.revoked = true)
    });
    found.ok_or_else(|| Refusal::not_found("Token"))?;
    gone()
}
