//! Runners come and go.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::response::IntoResponse as _;
use http::StatusCode;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::json;

use crate::gitlab::api::call::Call;
use crate::gitlab::api::refusal::{Answer, Refusal, created, gone, ok};
use crate::gitlab::fake::Fake;
use crate::gitlab::state::State;
use crate::gitlab::state::runner::{Runner, RunnerScope};
use crate::gitlab::state::user::level;

/// What a runner shows.
#[derive(Debug, Deserialize)]
pub(super) struct Shown {
    #[serde(default)]
    token: String,
}

/// Finds the runner whose token this is.
pub(super) fn find<'a>(state: &'a mut State, token: &str) -> Result<&'a mut Runner, Refusal> {
    let now = state.now();
    let runner = state.runners.values_mut().find(|runner| !token.is_empty() && runner.token.expose_secret() == token);
    let runner = runner.ok_or_else(Refusal::forbidden)?;
    runner.contacted_at = Some(now);
    Ok(runner)
}

/// The old way: with the instance's registration token.
pub(super) async fn register(call: Call) -> Answer {
    let token = call.params.require("token")?;
    call.change(|state| {
        if state.registration_token.expose_secret() != token {
            return Err(Refusal::forbidden());
        }
        let secret = State::secret("");
        created(add(state, &call, RunnerScope::Instance, secret))
    })
}

/// The new way: somebody makes a runner, and hands its token to the program.
pub(super) async fn create(call: Call) -> Answer {
    let user = call.user()?;
    let number = |name: &str| call.params.number(name).ok_or_else(|| Refusal::missing(name));
    let kind = call.params.require("runner_type")?;
    let (scope, level_there) = match kind.as_str() {
        "instance_type" => (RunnerScope::Instance, call.admin().map(|_| level::ADMIN)?),
        "group_type" => {
            let group = number("group_id")?;
            (RunnerScope::Group(group), call.change(|state| state.level_in_group(user, group)))
        }
        "project_type" => {
            let project = number("project_id")?;
            let level = call.change(|state| state.projects.get(&project).map(|found| state.level(user, found)));
            (RunnerScope::Project(project), level.ok_or_else(|| Refusal::not_found("Project"))?)
        }
        _ => return Err(Refusal::invalid("runner_type")),
    };
    let least = if matches!(scope, RunnerScope::Group(_)) { level::OWNER } else { level::MAINTAINER };
    if level_there < least {
        return Err(Refusal::forbidden());
    }
    call.change(|state| {
        let secret = State::secret("glrt-");
        created(add(state, &call, scope, secret))
    })
}

fn add(state: &mut State, call: &Call, scope: RunnerScope, token: secrecy::SecretString) -> serde_json::Value {
    let tags: BTreeSet<String> = call.params.list("tag_list").into_iter().collect();
    let id = state.id();
    let shown = json!({ "id": id, "token": token.expose_secret(), "token_expires_at": null });
    let runner = Runner {
        id,
        token,
        scope,
        description: call.params.text("description").unwrap_or_default(),
        run_untagged: call.params.flag("run_untagged").unwrap_or(tags.is_empty()),
        tags,
        paused: call.params.flag("paused").unwrap_or_default(),
        protected_only: call.params.text("access_level").as_deref() == Some("ref_protected"),
        maximum_timeout: call.params.number("maximum_timeout"),
        created_at: state.now(),
        contacted_at: None,
        version: None,
    };
    state.runners.insert(id, runner);
    shown
}

/// Whether a token is good.
pub(super) async fn verify(Shared(fake): Shared<Arc<Fake>>, Json(shown): Json<Shown>) -> Answer {
    let id = fake.change(|state| find(state, &shown.token).map(|runner| runner.id))?;
    ok(json!({ "id": id, "token": shown.token, "token_expires_at": null }))
}

/// A runner takes its leave.
pub(super) async fn unregister(Shared(fake): Shared<Arc<Fake>>, Json(shown): Json<Shown>) -> Answer {
    fake.change(|state| {
        let id = find(state, &shown.token)?.id;
        state.runners.remove(&id);
        Ok::<_, Refusal>(())
    })?;
    gone()
}

/// A runner gets a new token for its old one.
pub(super) async fn reset(Shared(fake): Shared<Arc<Fake>>, Json(shown): Json<Shown>) -> Answer {
    let token = fake.change(|state| {
        let runner = find(state, &shown.token)?;
        runner.token = State::secret("glrt-");
        Ok::<_, Refusal>(runner.token.clone())
    })?;
    Ok((StatusCode::CREATED, Json(json!({ "token": token.expose_secret(), "token_expires_at": null }))).into_response())
}
