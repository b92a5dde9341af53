//! Pipelines.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post, put};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::page::page;
use super::params::text;
use super::refusal::{Answer, Refusal, created, gone, ok};
use crate::gitlab::fake::Fake;
use crate::gitlab::git::NOTHING;
use crate::gitlab::json;
use crate::gitlab::pipelines::Wish;
use crate::gitlab::state::State;
use crate::gitlab::state::pipeline::{Pipeline, PipelineVariable};
use crate::gitlab::state::status::Status;
use crate::gitlab::state::user::level;

pub(super) fn routes() -> Router<Arc<Fake>> {
    Router::new()
        .route("/projects/{id}/pipeline", post(start))
        .route("/projects/{id}/trigger/pipeline", post(trigger))
        .route("/projects/{id}/pipelines", get(list))
        .route("/projects/{id}/pipelines/latest", get(latest))
        .route("/projects/{id}/pipelines/{pipeline_id}", get(one).delete(remove))
        .route("/projects/{id}/pipelines/{pipeline_id}/cancel", post(cancel))
        .route("/projects/{id}/pipelines/{pipeline_id}/retry", post(retry))
        .route("/projects/{id}/pipelines/{pipeline_id}/variables", get(variables))
        .route("/projects/{id}/pipelines/{pipeline_id}/metadata", put(rename))
        .route("/projects/{id}/pipelines/{pipeline_id}/test_report", get(super::artifacts::test_report))
        .route("/projects/{id}/pipelines/{pipeline_id}/test_report_summary", get(super::artifacts::test_report_summary))
        .route("/projects/{id}/ci/lint", get(super::files::lint_project).post(super::files::lint))
}

/// The pipeline of the address, for somebody who has this level.
pub(super) fn find(call: &Call, least: u32) -> Result<u64, Refusal> {
    let project = call.project(least)?;
    see_builds(call, project)?;
    let id = call.number("pipeline_id")?;
    let there = call.change(|state| state.pipelines.get(&id).is_some_and(|pipeline| pipeline.project == project));
    if there { Ok(id) } else { Err(Refusal::not_found("")) }
}

/// Pipelines of a project that all may see are not always for all.
pub(super) fn see_builds(call: &Call, project: u64) -> Result<(), Refusal> {
    let access = call.level(project);
    let private =
        call.of_project(project, |project| !project.is_on("public_jobs") || project.word("builds_access_level") == Some("private"))?;
    if private && access < level::REPORTER && call.caller.job.is_none() { Err(Refusal::forbidden()) } else { Ok(()) }
}

fn shown(call: &Call, id: u64) -> Value {
    call.change(|state| state.pipelines.get(&id).map_or(Value::Null, |pipeline| json::pipeline(state, pipeline)))
}

async fn one(call: Call) -> Answer {
    let id = find(&call, level::NONE)?;
    ok(shown(&call, id))
}

/// A moment that was given.
fn moment(call: &Call, name: &str) -> Result<Option<Timestamp>, Refusal> {
    let Some(given) = call.params.text(name) else {
        return Ok(None);
    };
    // Whoever forgets to write `+` as `%2B` sends a space.
    given.replace(' ', "+").parse().map(Some).map_err(|_| Refusal::error(StatusCode::BAD_REQUEST, format!("{name} is invalid")))
}

/// Which pipelines are listed.
struct Wanted {
    status: Option<Status>,
    scope: Option<String>,
    texts: BTreeMap<&'static str, String>,
    after: Option<Timestamp>,
    before: Option<Timestamp>,
    username: Option<String>,
}

impl Wanted {
    fn read(call: &Call) -> Result<Self, Refusal> {
        let status = match call.params.text("status") {
            Some(word) => Some(Status::parse(&word).ok_or_else(|| Refusal::invalid("status"))?),
            None => None,
        };
        let scope = call.params.text("scope");
        if scope.as_deref().is_some_and(|scope| !["running", "pending", "finished", "branches", "tags"].contains(&scope)) {
            return Err(Refusal::invalid("scope"));
        }
        let texts = ["ref", "sha", "source", "name"].into_iter().filter_map(|name| Some((name, call.params.text(name)?)));
        Ok(Self {
            status,
            scope,
            texts: texts.collect(),
            after: moment(call, "updated_after")?,
            before: moment(call, "updated_before")?,
            username: call.params.text("username"),
        })
    }

    fn fits(&self, state: &State, pipeline: &Pipeline) -> bool {
        let is = |name: &str, value: &str| self.texts.get(name).is_none_or(|wanted| wanted == value);
        let scope = match self.scope.as_deref() {
            Some("running") => pipeline.status == Status::Running,
            Some("pending") => pipeline.status == Status::Pending,
            Some("finished") => matches!(pipeline.status, Status::Success | Status::Failed | Status::Canceled),
            Some("branches") => !pipeline.tag,
            Some("tags") => pipeline.tag,
            _ => true,
        };
        // Children are shown to those alone who ask for them.
        (!pipeline.is_child() || self.texts.get("source").is_some_and(|source| source == "parent_pipeline"))
            && self.status.is_none_or(|status| status == pipeline.status)
            && scope
            && is("ref", &pipeline.ref_name)
            && is("sha", &pipeline.sha)
            && is("source", &pipeline.source)
            && self.texts.get("name").is_none_or(|wanted| pipeline.name.as_ref() == Some(wanted))
            && self.after.is_none_or(|after| pipeline.updated_at > after)
            && self.before.is_none_or(|before| pipeline.updated_at < before)
            && self.username.as_ref().is_none_or(|wanted| state.users.get(&pipeline.user).is_some_and(|user| user.username == *wanted))
    }
}

async fn list(call: Call) -> Answer {
    let project = call.project(level::NONE)?;
    see_builds(&call, project)?;
    let wanted = Wanted::read(&call)?;
    let order = call.params.text("order_by").unwrap_or_else(|| "id".to_owned());
    let rising = call.params.text("sort").as_deref() == Some("asc");
    let ids = call.change(|state| {
        let ids = state.projects.get(&project).map(|project| project.pipelines.as_slice()).unwrap_or_default();
        let mut found: Vec<&Pipeline> =
            ids.iter().filter_map(|id| state.pipelines.get(id)).filter(|pipeline| wanted.fits(state, pipeline)).collect();
        match order.as_str() {
            "status" => found.sort_by_key(|pipeline| (pipeline.status.word(), pipeline.id)),
            "ref" => found.sort_by_key(|pipeline| (pipeline.ref_name.clone(), pipeline.id)),
            "updated_at" => found.sort_by_key(|pipeline| (pipeline.updated_at, pipeline.id)),
            "user_id" => found.sort_by_key(|pipeline| (pipeline.user, pipeline.id)),
            _ => found.sort_by_key(|pipeline| pipeline.id),
        }
        if !rising {
            found.reverse();
        }
        found.into_iter().map(|pipeline| pipeline.id).collect::<Vec<_>>()
    });
    Ok(page(&call, &ids, |id| call.change(|state| state.pipelines.get(id).map_or(Value::Null, |row| json::pipeline_in_list(state, row)))))
}

async fn latest(call: Call) -> Answer {
    let project = call.project(level::NONE)?;
    see_builds(&call, project)?;
    let default = call.of_project(project, |project| project.default_branch.clone())?;
    let wanted = call.params.text("ref").or(default);
    let found = call.change(|state| {
        let ids = &state.projects.get(&project)?.pipelines;
        let fits = |id: &&u64| state.pipelines.get(id).is_some_and(|row| !row.is_child() && Some(&row.ref_name) == wanted.as_ref());
        ids.iter().rev().find(fits).copied()
    });
    // There being none is told as not being allowed.
    let id = found.ok_or_else(Refusal::forbidden)?;
    ok(shown(&call, id))
}

async fn variables(call: Call) -> Answer {
    let id = find(&call, level::DEVELOPER)?;
    let row = |v: &PipelineVariable| json!({ "key": v.key, "value": v.value, "variable_type": if v.file { "file" } else { "env_var" }, "raw": false });
    let found = call.change(|state| state.pipelines.get(&id).map(|row| row.variables.clone()).unwrap_or_default());
    ok(found.iter().map(row).collect::<Vec<_>>())
}

async fn rename(call: Call) -> Answer {
    let id = find(&call, level::DEVELOPER)?;
    let name = call.params.require("name")?;
    call.change(|state| state.pipelines.get_mut(&id).map(|row| row.name = Some(name)));
    ok(shown(&call, id))
}

async fn remove(call: Call) -> Answer {
    let id = find(&call, level::OWNER)?;
    call.change(|state| state.forget_pipeline(id));
    gone()
}

async fn cancel(call: Call) -> Answer {
    let id = find(&call, level::DEVELOPER)?;
    call.change(|state| state.cancel_pipeline(id));
    ok(shown(&call, id))
}

async fn retry(call: Call) -> Answer {
    let id = find(&call, level::DEVELOPER)?;
    call.change(|state| state.retry_pipeline(id));
    created(shown(&call, id))
}

fn given_variables(call: &Call) -> Vec<PipelineVariable> {
    let read = |document: &Map<String, Value>| {
        Some(PipelineVariable {
            key: document.get("key").and_then(text)?,
            value: document.get("value").and_then(text).unwrap_or_default(),
            file: document.get("variable_type").and_then(Value::as_str) == Some("file"),
        })
    };
    let listed: Vec<PipelineVariable> = call.params.documents("variables").iter().filter_map(read).collect();
    let named = match call.params.get("variables") {
        Some(Value::Object(named)) => named.clone(),
        _ => Map::new(),
    };
    listed
        .into_iter()
        .chain(named.iter().filter_map(|(key, value)| Some(PipelineVariable { key: key.clone(), value: text(value)?, file: false })))
        .collect()
}

async fn start(call: Call) -> Answer {
    let user = call.user()?;
    // Somebody who may not run pipelines is told so before anything else.
    let project = call.project(level::DEVELOPER)?;
    begin(&call, project, user, "api").await
}

async fn trigger(call: Call) -> Answer {
    let user = call.caller.user.ok_or_else(Refusal::unauthorized)?;
    let project = call.project(level::DEVELOPER)?;
    let source = if call.caller.job.is_some() { "pipeline" } else { "trigger" };
    begin(&call, project, user, source).await
}

async fn begin(call: &Call, project: u64, user: u64, source: &str) -> Answer {
    let name = call.params.require("ref")?;
    let variables = given_variables(call);
    let base = |words: &str| Refusal::fields(&[("base", words)]);
    if !variables.is_empty() {
        let least = call.of_project(project, |project| project.least_level_for_variables())?;
        if call.level(project) < least {
            return Err(base("Insufficient permissions to set pipeline variables"));
        }
    }
    let inputs: BTreeMap<String, Value> = match call.params.get("inputs") {
        Some(Value::Object(inputs)) if call.fake.options.version.takes_inputs() => inputs.clone().into_iter().collect(),
        _ => BTreeMap::new(),
    };
    let repository = call.fake.repository(project);
    let name = name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/")).unwrap_or(&name).to_owned();
    let branch = repository.resolve(&format!("refs/heads/{name}")).await;
    let tag = branch.is_none();
    let sha = match branch {
        Some(sha) => Some(sha),
        None => repository.resolve(&format!("refs/tags/{name}")).await,
    };
    // The name of a commit is none of a branch or tag.
    let sha = sha.ok_or_else(|| base("Reference not found"))?;
    let commit = repository.commit(&sha).await.ok_or_else(|| base("Commit not found"))?;
    if commit.skips_ci() && source == "push" {
        return Err(base("Pipeline skipped"));
    }
    let wish = Wish {
        project,
        ref_name: name,
        tag,
        before: NOTHING.to_owned(),
        source: source.to_owned(),
        user,
        variables,
        inputs,
        commit,
        merge_request: None,
        upstream: None,
        jobs: None,
        files: None,
        hung: false,
    };
    let made = call.fake.make_pipeline(wish).await.map_err(|why| base(&why.0))?;
    created(shown(call, made))
}
