//! Merge requests: made, changed, merged, spoken about.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, put};
use http::StatusCode;
use serde_json::{Value, json};

use super::call::Call;
use super::page::page;
use super::refusal::{Answer, Refusal, created, gone, ok};
use crate::gitlab::fake::Fake;
use crate::gitlab::git::NOTHING;
use crate::gitlab::hook::{self, MergeRequestChange};
use crate::gitlab::json;
use crate::gitlab::pipelines::Wish;
use crate::gitlab::state::hook::Topic;
use crate::gitlab::state::merge_request::{MergeRequest, Note};
use crate::gitlab::state::user::level;

pub(super) fn routes() -> Router<Arc<Fake>> {
    Router::new()
        .route("/projects/{id}/merge_requests", get(list).post(create))
        .route("/projects/{id}/repository/commits/{sha}/merge_requests", get(of_commit))
        .route("/projects/{id}/merge_requests/{iid}", get(one).put(edit))
        .route("/projects/{id}/merge_requests/{iid}/merge", put(merge))
        .route("/projects/{id}/merge_requests/{iid}/changes", get(changes))
        .route("/projects/{id}/merge_requests/{iid}/diffs", get(diffs))
        .route("/projects/{id}/merge_requests/{iid}/commits", get(commits))
        .route("/projects/{id}/merge_requests/{iid}/pipelines", get(pipelines).post(run))
        .route("/projects/{id}/merge_requests/{iid}/notes", get(notes).post(comment))
        .route("/projects/{id}/merge_requests/{iid}/notes/{note_id}", get(note).put(edit_note).delete(remove_note))
}

fn find(call: &Call, least: u32) -> Result<u64, Refusal> {
    let (project, iid) = (call.project(least)?, call.number("iid")?);
    call.change(|state| state.merge_requests.values().find(|row| row.project == project && row.iid == iid).map(|row| row.id))
        .ok_or_else(|| Refusal::not_found(""))
}

fn shown(call: &Call, id: u64) -> Value {
    call.change(|state| state.merge_requests.get(&id).map_or(Value::Null, |row| json::merge_request(state, row)))
}

fn row(call: &Call, id: u64) -> Result<MergeRequest, Refusal> {
    call.change(|state| state.merge_requests.get(&id).cloned()).ok_or_else(|| Refusal::not_found(""))
}

async fn list(call: Call) -> Answer {
    let project = call.project(level::NONE)?;
    let texts = |name: &str| call.params.text(name);
    let (state_of, source, target) = (texts("state").filter(|word| word != "all"), texts("source_branch"), texts("target_branch"));
    let rows = call.change(|state| {
        let fits = |row: &&MergeRequest| {
            row.project == project
                && state_of.as_ref().is_none_or(|wanted| row.state == *wanted)
                && source.as_ref().is_none_or(|wanted| row.source_branch == *wanted)
                && target.as_ref().is_none_or(|wanted| row.target_branch == *wanted)
        };
        let mut rows: Vec<u64> = state.merge_requests.values().filter(fits).map(|row| row.id).collect();
        rows.reverse();
        rows
    });
    Ok(page(&call, &rows, |id| shown(&call, *id)))
}

/// The merge requests whose newest commit, or what their merge made, is this one.
async fn of_commit(call: Call) -> Answer {
    let (project, repository) = call.repository(level::NONE)?;
    let sha = repository.find(call.path("sha")).await.ok_or_else(|| Refusal::not_found("Commit"))?;
    let rows = call.change(|state| {
        let fits = |row: &&MergeRequest| row.project == project && (row.sha == sha || row.merge_commit.as_ref() == Some(&sha));
        state.merge_requests.values().filter(fits).map(|row| row.id).collect::<Vec<u64>>()
    });
    Ok(page(&call, &rows, |id| shown(&call, *id)))
}

async fn one(call: Call) -> Answer {
    let id = find(&call, level::NONE)?;
    ok(shown(&call, id))
}

/// Tells of what happened to a merge request.
async fn tell(call: &Call, id: u64, action: &'static str, changes: Value) {
    let Ok(request) = row(call, id) else {
        return;
    };
    let commit = call.fake.repository(request.source_project).commit(&request.sha).await;
    let user = call.caller.user.unwrap_or_default();
    let told = MergeRequestChange { action, oldrev: None, changes, user };
    call.change(|state| {
        state.tell(request.project, Topic::MergeRequest, Some(user), None, |state| hook::merge_request(state, id, commit.as_ref(), &told));
    });
}

async fn create(call: Call) -> Answer {
    let project = call.project(level::DEVELOPER)?;
    let user = call.user()?;
    let (source, target) = (call.params.require("source_branch")?, call.params.require("target_branch")?);
    let title = call.params.require("title")?;
    let repository = call.fake.repository(project);
    let sha = repository.resolve(&format!("refs/heads/{source}")).await;
    let sha = sha.ok_or_else(|| Refusal::fields(&[("source_branch", "does not exist")]))?;
    if source == target {
        return Err(Refusal::fields(&[("base", "You can't use same project/branch for source and target")]));
    }
    let open =
        |row: &MergeRequest| row.project == project && row.source_branch == source && row.target_branch == target && row.state == "opened";
    let there = call.change(|state| state.merge_requests.values().find(|row| open(row)).map(|row| row.iid));
    if let Some(iid) = there {
        let words = format!("Another open merge request already exists for this source branch: !{iid}");
        return Err(Refusal::message(StatusCode::CONFLICT, json!([words])));
    }
    let id = call.change(|state| {
        let now = state.now();
        state.open_merge_request(MergeRequest {
            source_branch: source,
            target_branch: target,
            title,
            description: call.params.text("description").unwrap_or_default(),
            labels: call.params.list("labels"),
            ..MergeRequest::of(project, user, &sha, now)
        })
    });
    let request = row(&call, id)?;
    call.fake.show_merge_request(project, request.iid, project, &sha).await;
    tell(&call, id, "open", json!({})).await;
    created(shown(&call, id))
}

async fn edit(call: Call) -> Answer {
    let id = find(&call, level::DEVELOPER)?;
    let before = row(&call, id)?;
    let event = call.params.text("state_event");
    let after = call.change(|state| {
        let now = state.now();
        let request = state.merge_requests.get_mut(&id)?;
        request.title = call.params.text("title").unwrap_or_else(|| request.title.clone());
        request.draft = request.title.starts_with("Draft:");
        request.description = call.params.text("description").unwrap_or_else(|| request.description.clone());
        if call.params.get("labels").is_some() {
            request.labels = call.params.list("labels");
        }
        match event.as_deref() {
            Some("close") => "closed".clone_into(&mut request.state),
            Some("reopen") => "opened".clone_into(&mut request.state),
            _ => {}
        }
        request.updated_at = now;
        Some(request.clone())
    });
    let after = after.ok_or_else(|| Refusal::not_found(""))?;
    let mut changes = serde_json::Map::new();
    for (field, was, is) in [
        ("title", json!(before.title), json!(after.title)),
        ("description", json!(before.description), json!(after.description)),
        ("draft", json!(before.draft), json!(after.draft)),
        ("labels", json!(before.labels), json!(after.labels)),
    ] {
        if was != is {
            changes.insert(field.to_owned(), json!({ "previous": was, "current": is }));
        }
    }
    let action = match event.as_deref() {
        Some("close") => "close",
        Some("reopen") => "reopen",
        _ => "update",
    };
    tell(&call, id, action, Value::Object(changes)).await;
    ok(shown(&call, id))
}

async fn merge(call: Call) -> Answer {
    let id = find(&call, level::DEVELOPER)?;
    let request = row(&call, id)?;
    if request.state != "opened" || request.draft {
        return Err(Refusal::message(StatusCode::METHOD_NOT_ALLOWED, "405 Method Not Allowed"));
    }
    if call.params.text("sha").is_some_and(|sha| sha != request.sha) {
        return Err(Refusal::conflict("SHA does not match HEAD of source branch"));
    }
    let repository = call.fake.repository(request.project);
    let target = format!("refs/heads/{}", request.target_branch);
    let tip = repository.resolve(&target).await.ok_or_else(|| Refusal::not_found("Branch"))?;
    // Only what needs no merging can be merged here: the target moves forward.
    if !repository.is_ancestor(&tip, &request.sha).await {
        return Err(Refusal::message(StatusCode::UNPROCESSABLE_ENTITY, "Branch cannot be merged"));
    }
    repository.point(&target, Some(&request.sha), Some(&tip)).await.map_err(|error| Refusal::broken(&error))?;
    let change = crate::gitlab::git::Change { old: tip, new: request.sha.clone(), ref_name: target };
    let (project, user) = (request.project, call.user()?);
    call.fake.pushed(crate::gitlab::git::Pushed { project, user, changes: vec![change], options: Vec::new() }).await;
    call.change(|state| {
        let now = state.now();
        if let Some(row) = state.merge_requests.get_mut(&id) {
            "merged".clone_into(&mut row.state);
            row.merge_commit = Some(request.sha.clone());
            row.updated_at = now;
        }
    });
    tell(&call, id, "merge", json!({})).await;
    ok(shown(&call, id))
}

async fn difference(call: &Call, id: u64) -> Result<Vec<Value>, Refusal> {
    let request = row(call, id)?;
    let repository = call.fake.repository(request.project);
    let target = repository.find(&request.target_branch).await.ok_or_else(|| Refusal::not_found("Branch"))?;
    let base = repository.merge_base(&target, &request.sha).await.unwrap_or(target);
    Ok(super::commits::differences(&repository, &base, &request.sha).await)
}

async fn changes(call: Call) -> Answer {
    let id = find(&call, level::NONE)?;
    let rows = difference(&call, id).await?;
    let mut shown = shown(&call, id);
    shown["changes_count"] = rows.len().to_string().into();
    shown["changes"] = rows.into();
    shown["overflow"] = false.into();
    ok(shown)
}

async fn diffs(call: Call) -> Answer {
    let id = find(&call, level::NONE)?;
    let rows = difference(&call, id).await?;
    Ok(page(&call, &rows, Clone::clone))
}

async fn commits(call: Call) -> Answer {
    let id = find(&call, level::NONE)?;
    let request = row(&call, id)?;
    let repository = call.fake.repository(request.project);
    let target = repository.find(&request.target_branch).await.ok_or_else(|| Refusal::not_found("Branch"))?;
    let found = repository.log(&["-1000"], &[&request.sha, &format!("^{target}")]).await;
    let rows = call.change(|state| found.iter().map(|commit| json::commit(state, request.project, commit)).collect::<Vec<_>>());
    Ok(page(&call, &rows, Clone::clone))
}

async fn pipelines(call: Call) -> Answer {
    let id = find(&call, level::NONE)?;
    let rows = call.change(|state| {
        let row = state.merge_requests.get(&id);
        let fits = |pipeline: &&crate::gitlab::state::pipeline::Pipeline| {
            pipeline.merge_request == Some(id)
                || row.is_some_and(|row| {
                    pipeline.project == row.source_project && pipeline.ref_name == row.source_branch && !pipeline.is_child()
                })
        };
        let mut rows: Vec<Value> = state.pipelines.values().filter(fits).map(|pipeline| json::pipeline_in_list(state, pipeline)).collect();
        rows.reverse();
        rows
    });
    Ok(page(&call, &rows, Clone::clone))
}

async fn run(call: Call) -> Answer {
    let id = find(&call, level::DEVELOPER)?;
    let request = row(&call, id)?;
    let commit = call.fake.repository(request.source_project).commit(&request.sha).await.ok_or_else(|| Refusal::not_found("Commit"))?;
    let wish = Wish {
        project: request.project,
        ref_name: request.source_branch,
        tag: false,
        before: NOTHING.to_owned(),
        source: "merge_request_event".to_owned(),
        user: call.user()?,
        variables: Vec::new(),
        inputs: std::collections::BTreeMap::new(),
        commit,
        merge_request: Some(id),
        upstream: None,
        jobs: None,
        files: None,
        hung: false,
    };
    let made = call.fake.make_pipeline(wish).await.map_err(|why| Refusal::fields(&[("base", &why.0)]))?;
    created(call.change(|state| state.pipelines.get(&made).map_or(Value::Null, |row| json::pipeline(state, row))))
}

async fn notes(call: Call) -> Answer {
    let id = find(&call, level::NONE)?;
    let request = row(&call, id)?;
    let mut rows = call.change(|state| request.notes.iter().map(|note| json::note(state, &request, note)).collect::<Vec<_>>());
    if call.params.text("sort").as_deref() != Some("asc") {
        rows.reverse();
    }
    Ok(page(&call, &rows, Clone::clone))
}

async fn comment(call: Call) -> Answer {
    let id = find(&call, level::REPORTER)?;
    let (body, author) = (call.params.require("body")?, call.user()?);
    let request = row(&call, id)?;
    let commit = call.fake.repository(request.source_project).commit(&request.sha).await;
    let note = call.change(|state| {
        let (note, created_at) = (state.id(), state.now());
        if let Some(request) = state.merge_requests.get_mut(&id) {
            request.notes.push(Note { id: note, author, body, created_at });
        }
        state.tell(request.project, Topic::Note, Some(author), None, |state| hook::note(state, id, commit.as_ref(), note));
        note
    });
    created(shown_note(&call, id, note)?)
}

fn shown_note(call: &Call, id: u64, note: u64) -> Result<Value, Refusal> {
    let request = row(call, id)?;
    let found = request.notes.iter().find(|found| found.id == note).ok_or_else(|| Refusal::not_found("Note"))?;
    Ok(call.change(|state| json::note(state, &request, found)))
}

async fn note(call: Call) -> Answer {
    let (id, note) = (find(&call, level::NONE)?, call.number("note_id")?);
    ok(shown_note(&call, id, note)?)
}

async fn edit_note(call: Call) -> Answer {
    let (id, note) = (find(&call, level::REPORTER)?, call.number("note_id")?);
    let body = call.params.require("body")?;
    shown_note(&call, id, note)?;
    call.change(|state| {
        let request = state.merge_requests.get_mut(&id)?;
        request.notes.iter_mut().find(|found| found.id == note).map(|found| found.body = body)
    });
    ok(shown_note(&call, id, note)?)
}

async fn remove_note(call: Call) -> Answer {
    let (id, note) = (find(&call, level::REPORTER)?, call.number("note_id")?);
    shown_note(&call, id, note)?;
    call.change(|state| state.merge_requests.get_mut(&id).map(|request| request.notes.retain(|found| found.id != note)));
    gone()
}
