//! Hooks, what they were told, and telling it again.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use http::StatusCode;
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::page::page;
use super::params::text;
use super::refusal::{Answer, Refusal, created, gone, ok};
use crate::gitlab::fake::Fake;
use crate::gitlab::hook::{Parcel, RefChange, deliver, is_local, payload, push};
use crate::gitlab::json;
use crate::gitlab::state::hook::{Delivery, Hook, Topic};
use crate::gitlab::state::user::level;

pub(super) fn routes() -> Router<Arc<Fake>> {
    Router::new()
        .route("/projects/{id}/hooks", get(list).post(create))
        .route("/projects/{id}/hooks/{hook_id}", get(one).put(edit).delete(remove))
        .route("/projects/{id}/hooks/{hook_id}/events", get(events))
        .route("/projects/{id}/hooks/{hook_id}/events/{event_id}/resend", post(resend))
        .route("/projects/{id}/hooks/{hook_id}/test/{trigger}", post(test))
}

/// How many hooks a project may have.
const MOST: usize = 100;

/// How often a hook may be tested, and its deliveries sent again, in a minute.
const PER_MINUTE: usize = 5;

fn shown(call: &Call, project: u64, id: u64) -> Result<Value, Refusal> {
    let signs = call.fake.options.version.signs_hooks();
    call.change(|state| {
        let now = state.now();
        let hook = state.projects.get(&project)?.hooks.iter().find(|hook| hook.id == id)?;
        Some(json::hook(project, hook, now, signs))
    })
    .ok_or_else(|| Refusal::not_found(""))
}

fn find(call: &Call) -> Result<(u64, u64), Refusal> {
    let (project, id) = (call.project(level::MAINTAINER)?, call.number("hook_id")?);
    shown(call, project, id)?;
    Ok((project, id))
}

async fn list(call: Call) -> Answer {
    let project = call.project(level::MAINTAINER)?;
    let ids = call.of_project(project, |project| project.hooks.iter().map(|hook| hook.id).collect::<Vec<_>>())?;
    Ok(page(&call, &ids, |id| shown(&call, project, *id).unwrap_or_default()))
}

async fn one(call: Call) -> Answer {
    let (project, id) = find(&call)?;
    ok(shown(&call, project, id)?)
}

/// Fills in what was given.
fn fill(call: &Call, hook: &mut Hook) -> Result<(), Refusal> {
    let params = &call.params;
    if let Some(url) = params.text("url") {
        let fine = url::Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
        if !fine || (!call.fake.options.hooks_to_local_network && is_local(&url)) {
            return Err(Refusal::error(StatusCode::UNPROCESSABLE_ENTITY, "Invalid url given"));
        }
        hook.url = url;
    }
    hook.name = params.text("name").or(hook.name.take());
    hook.description = params.text("description").or(hook.description.take());
    if let Some(token) = params.text("token") {
        hook.token = (!token.is_empty()).then(|| SecretString::from(token));
    }
    // A server that cannot sign says nothing about a key for it.
    if call.fake.options.version.signs_hooks()
        && let Some(key) = params.text("signing_token")
    {
        use base64::Engine as _;
        let bytes = key.strip_prefix("whsec_").and_then(|key| base64::engine::general_purpose::STANDARD.decode(key).ok());
        if bytes.is_none_or(|bytes| bytes.len() != 32) {
            return Err(Refusal::fields(&[("signing_token", "is invalid")]));
        }
        hook.signing_token = Some(SecretString::from(key));
    }
    for topic in Topic::ALL {
        match params.flag(topic.switch()) {
            Some(true) => drop(hook.topics.insert(topic)),
            Some(false) => drop(hook.topics.remove(&topic)),
            None => {}
        }
    }
    if let Some(filter) = params.text("push_events_branch_filter") {
        hook.branch_filter = Some(filter).filter(|filter| !filter.is_empty());
    }
    hook.verifies = params.flag("enable_ssl_verification").unwrap_or(hook.verifies);
    let pair = |row: &Map<String, Value>| Some((row.get("key").and_then(text)?, row.get("value").and_then(text)?));
    if params.get("custom_headers").is_some() {
        hook.custom_headers = params.documents("custom_headers").iter().filter_map(pair).take(20).collect();
    }
    Ok(())
}

async fn create(call: Call) -> Answer {
    let project = call.project(level::MAINTAINER)?;
    call.params.require("url")?;
    // Unless somebody says otherwise, a hook is told of pushes.
    let mut hook = call.change(|state| Hook::new(state, "", [Topic::Push]));
    let id = hook.id;
    fill(&call, &mut hook)?;
    let room = call.of_project(project, |project| {
        let room = project.hooks.len() < MOST;
        if room {
            project.hooks.push(hook);
        }
        room
    })?;
    if !room {
        return Err(Refusal::fields(&[("base", "Maximum number of project hooks (100) exceeded")]));
    }
    created(shown(&call, project, id)?)
}

async fn edit(call: Call) -> Answer {
    let (project, id) = find(&call)?;
    call.of_project(project, |project| {
        let Some(hook) = project.hooks.iter_mut().find(|hook| hook.id == id) else {
            return Ok(());
        };
        let mut changed = hook.clone();
        fill(&call, &mut changed)?;
        *hook = changed;
        Ok(())
    })??;
    ok(shown(&call, project, id)?)
}

async fn remove(call: Call) -> Answer {
    let (project, id) = find(&call)?;
    call.of_project(project, |project| project.hooks.retain(|hook| hook.id != id))?;
    gone()
}

fn event(delivery: &Delivery) -> Value {
    let heads = |heads: &[(String, String)]| Value::Object(heads.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect());
    json!({
        "id": delivery.id,
        "url": delivery.url,
        "trigger": delivery.topic.trigger(),
        "request_headers": heads(&delivery.request_headers),
        "request_data": serde_json::from_str::<Value>(&delivery.body).unwrap_or_default(),
        "response_headers": heads(&delivery.response_headers),
        "response_body": delivery.response_body,
        "execution_duration": delivery.duration,
        "response_status": delivery.response_status,
    })
}

async fn events(call: Call) -> Answer {
    if !call.fake.options.version.lists_deliveries() {
        return Err(Refusal::error(StatusCode::NOT_FOUND, "404 Not Found"));
    }
    let (project, id) = find(&call)?;
    let wanted = call.params.list("status");
    let fits = |delivery: &&Delivery| {
        let status = &delivery.response_status;
        let class = |word: &str| match word {
            "successful" => status.starts_with('2') || status.starts_with('3'),
            "client_failure" => status.starts_with('4'),
            "server_failure" => status.starts_with('5') || status == "internal error",
            code => code == status,
        };
        wanted.is_empty() || wanted.iter().any(|word| class(word))
    };
    let rows = call.of_project(project, |project| {
        let hook = project.hooks.iter().find(|hook| hook.id == id);
        hook.map(|hook| hook.deliveries.iter().rev().filter(fits).map(event).collect::<Vec<_>>()).unwrap_or_default()
    })?;
    Ok(page(&call, &rows, Clone::clone))
}

/// Tests and repetitions are few in a minute.
fn not_too_often(call: &Call, what: &str, hook: u64) -> Result<(), Refusal> {
    let who = call.caller.user.unwrap_or_default();
    if call.fake.often.allows(&format!("{what} {hook} {who}"), PER_MINUTE) {
        Ok(())
    } else {
        let words = "This endpoint has been requested too many times. Try again later.";
        Err(Refusal::message(StatusCode::TOO_MANY_REQUESTS, json!({ "error": words })).header("retry-after", "60"))
    }
}

async fn resend(call: Call) -> Answer {
    if !call.fake.options.version.resends_deliveries() {
        return Err(Refusal::error(StatusCode::NOT_FOUND, "404 Not Found"));
    }
    let (project, id) = find(&call)?;
    let number = call.number("event_id")?;
    not_too_often(&call, "resend", id)?;
    let parcel = call.change(|state| {
        let hook = state.projects.get(&project)?.hooks.iter().find(|hook| hook.id == id)?;
        let delivery = hook.deliveries.iter().find(|delivery| delivery.id == number)?;
        // What is told again has the key that it had.
        Some(Parcel::new(state, project, hook, delivery.topic, delivery.body.clone(), Some(delivery.key.clone())))
    });
    let parcel = parcel.ok_or_else(|| Refusal::not_found(""))?;
    match deliver(&call.fake, parcel).await {
        Some(status) => created(json!({ "response_status": status })),
        None => Err(Refusal::message(StatusCode::UNPROCESSABLE_ENTITY, "The webhook could not be delivered")),
    }
}

async fn test(call: Call) -> Answer {
    let (project, id) = find(&call)?;
    let trigger = call.path("trigger");
    let topic = Topic::ALL.into_iter().find(|topic| topic.switch() == trigger).ok_or_else(|| Refusal::invalid("trigger"))?;
    not_too_often(&call, "test", id)?;
    let sample = sample(&call, project, topic).await.ok_or_else(|| {
        Refusal::message(StatusCode::UNPROCESSABLE_ENTITY, format!("Ensure the project has at least one of: {}.", topic.trigger()))
    })?;
    let parcel = call.change(|state| {
        let hook = state.projects.get(&project)?.hooks.iter().find(|hook| hook.id == id)?;
        Some(Parcel::new(state, project, hook, topic, sample.to_string(), None))
    });
    match deliver(&call.fake, parcel.ok_or_else(|| Refusal::not_found(""))?).await {
        Some(status) if (200..400).contains(&status) => created(json!({ "message": "201 Created" })),
        Some(status) => {
            Err(Refusal::message(StatusCode::UNPROCESSABLE_ENTITY, format!("Hook executed successfully but returned HTTP {status}")))
        }
        None => Err(Refusal::message(StatusCode::UNPROCESSABLE_ENTITY, "Hook execution failed. Ensure the URL is correct and accessible.")),
    }
}

/// What a test tells: the newest of what there is.
async fn sample(call: &Call, project: u64, topic: Topic) -> Option<Value> {
    match topic {
        Topic::Pipeline | Topic::Job => call.change(|state| {
            let last = state.projects.get(&project)?.pipelines.last().copied()?;
            if topic == Topic::Pipeline {
                payload::pipeline(state, last)
            } else {
                payload::job(state, *state.pipelines.get(&last)?.jobs.last()?)
            }
        }),
        Topic::Deployment => call.change(|state| {
            let last = state.deployments.values().rev().find(|row| row.project == project)?.id;
            payload::deployment(state, last)
        }),
        Topic::Push | Topic::TagPush => {
            let branch = call.of_project(project, |project| project.default_branch.clone()).ok()??;
            let repository = call.fake.repository(project);
            let sha = repository.find(&branch).await?;
            let commit = repository.commit(&sha).await?;
            let before = commit.parents.first().cloned().unwrap_or_else(|| crate::gitlab::git::NOTHING.to_owned());
            let (brought, total) = repository.brought(&before, &sha, None).await;
            let prefix = if topic == Topic::Push { "refs/heads" } else { "refs/tags" };
            let change = RefChange {
                ref_name: format!("{prefix}/{branch}"),
                before,
                after: sha,
                commit: Some(commit),
                message: None,
                brought,
                total,
            };
            let user = call.caller.user?;
            call.change(|state| push(state, state.projects.get(&project)?, user, &change, &json!({})))
        }
        Topic::MergeRequest | Topic::Note | Topic::Release => None,
    }
}
