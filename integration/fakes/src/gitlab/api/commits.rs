//! Commits: reading them, making them, comparing them.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::page::page;
use super::params::text;
use super::refusal::{Answer, Refusal, created, ok};
use crate::gitlab::fake::Fake;
use crate::gitlab::git::{Change, Edit, NOTHING, NewCommit, Pushed};
use crate::gitlab::json;
use crate::gitlab::state::user::level;

pub(super) fn routes() -> Router<Arc<Fake>> {
    Router::new()
        .route("/projects/{id}/repository/commits", get(list).post(create))
        .route("/projects/{id}/repository/commits/{sha}", get(one))
        .route("/projects/{id}/repository/commits/{sha}/refs", get(refs))
        .route("/projects/{id}/repository/commits/{sha}/diff", get(diff))
        .route("/projects/{id}/repository/compare", get(compare))
        .route("/projects/{id}/repository/merge_base", get(merge_base))
}

async fn list(call: Call) -> Answer {
    let (project, repository) = call.repository(level::NONE)?;
    let default = call.of_project(project, |project| project.default_branch.clone())?;
    let Some(name) = call.params.text("ref_name").or(default) else {
        return Ok(page(&call, &[] as &[Value], Clone::clone));
    };
    let sha = repository.find(&name).await.ok_or_else(|| Refusal::not_found("Commit"))?;
    let commits = repository.log(&["-1000"], &[&sha]).await;
    let rows = call.change(|state| commits.iter().map(|commit| json::commit(state, project, commit)).collect::<Vec<_>>());
    Ok(page(&call, &rows, Clone::clone))
}

async fn one(call: Call) -> Answer {
    let (project, repository) = call.repository(level::NONE)?;
    let missing = || Refusal::not_found("Commit");
    let sha = repository.find(call.path("sha")).await.ok_or_else(missing)?;
    let commit = repository.commit(&sha).await.ok_or_else(missing)?;
    let parent = commit.parents.first().cloned().unwrap_or_else(|| NOTHING.to_owned());
    let changed = repository.changed(&parent, &sha).await.len();
    ok(call.change(|state| {
        let mut shown = json::commit(state, project, &commit);
        let pipelines = state.projects.get(&project).map(|project| project.pipelines.as_slice()).unwrap_or_default();
        let last = pipelines.iter().rev().filter_map(|id| state.pipelines.get(id)).find(|row| row.sha == sha && !row.is_child());
        shown["last_pipeline"] = last.map_or(Value::Null, |row| json::pipeline_in_list(state, row));
        shown["status"] = last.map(|row| row.status.word()).into();
        shown["stats"] = json!({ "additions": 0, "deletions": 0, "total": changed });
        shown["project_id"] = project.into();
        shown
    }))
}

async fn refs(call: Call) -> Answer {
    let (_, repository) = call.repository(level::NONE)?;
    let sha = repository.find(call.path("sha")).await.ok_or_else(|| Refusal::not_found("Commit"))?;
    let mut rows = Vec::new();
    for (prefix, kind) in [("refs/heads/", "branch"), ("refs/tags/", "tag")] {
        for found in repository.refs(prefix).await {
            if repository.is_ancestor(&sha, &found.commit).await {
                rows.push(json!({ "type": kind, "name": found.name.trim_start_matches(prefix) }));
            }
        }
    }
    Ok(page(&call, &rows, Clone::clone))
}

/// What differs between two commits, as the API shows it.
pub(super) async fn differences(repository: &crate::gitlab::git::Repository, before: &str, after: &str) -> Vec<Value> {
    let rows = repository.difference(before, after).await;
    rows.into_iter()
        .map(|(state, path, words)| {
            json!({
                "old_path": path, "new_path": path, "a_mode": "100644", "b_mode": "100644", "diff": words,
                "new_file": state == "A", "renamed_file": false, "deleted_file": state == "D",
                "generated_file": false, "too_large": false, "collapsed": false,
            })
        })
        .collect()
}

async fn diff(call: Call) -> Answer {
    let (_, repository) = call.repository(level::NONE)?;
    let missing = || Refusal::not_found("Commit");
    let sha = repository.find(call.path("sha")).await.ok_or_else(missing)?;
    let commit = repository.commit(&sha).await.ok_or_else(missing)?;
    let rows = match commit.parents.first() {
        Some(parent) => differences(&repository, parent, &sha).await,
        None => Vec::new(),
    };
    Ok(page(&call, &rows, Clone::clone))
}

async fn compare(call: Call) -> Answer {
    let (project, repository) = call.repository(level::NONE)?;
    let (from, to) = (call.params.require("from")?, call.params.require("to")?);
    let missing = || Refusal::not_found("Ref");
    let (from, to) = (repository.find(&from).await.ok_or_else(missing)?, repository.find(&to).await.ok_or_else(missing)?);
    let start = if call.params.flag("straight").unwrap_or_default() { Some(from.clone()) } else { repository.merge_base(&from, &to).await };
    let mut commits = repository.log(&["-1000"], &[&to, &format!("^{from}")]).await;
    commits.reverse();
    let diffs = differences(&repository, start.as_deref().unwrap_or(&from), &to).await;
    ok(call.change(|state| {
        let rows: Vec<Value> = commits.iter().map(|commit| json::commit(state, project, commit)).collect();
        json!({
            "commit": rows.last(), "commits": rows, "diffs": diffs, "compare_timeout": false, "compare_same_ref": from == to,
            "web_url": format!("{}/-/compare/{from}...{to}", state.url),
        })
    }))
}

async fn merge_base(call: Call) -> Answer {
    let (project, repository) = call.repository(level::NONE)?;
    let given = call.params.list("refs");
    let [one, other, ..] = given.as_slice() else {
        return Err(Refusal::missing("refs"));
    };
    let missing = || Refusal::not_found("Merge Base");
    let (one, other) = (repository.find(one).await.ok_or_else(missing)?, repository.find(other).await.ok_or_else(missing)?);
    let base = repository.merge_base(&one, &other).await.ok_or_else(missing)?;
    let commit = repository.commit(&base).await.ok_or_else(missing)?;
    ok(call.change(|state| json::commit(state, project, &commit)))
}

/// Makes a commit, and takes note of it as of a push.
pub(super) async fn commit_and_tell(call: &Call, project: u64, new: &NewCommit) -> Result<String, Refusal> {
    let scratch = call.fake.options.clock.uuid().simple().to_string();
    let made = call.fake.repository(project).make_commit(new, &scratch).await;
    let sha = made.map_err(|error| Refusal::bad(&error.said))?;
    let old = new.replaces.clone().unwrap_or_else(|| NOTHING.to_owned());
    let changes = vec![Change { old, new: sha.clone(), ref_name: format!("refs/heads/{}", new.branch) }];
    call.fake.pushed(Pushed { project, user: call.user()?, changes, options: Vec::new() }).await;
    Ok(sha)
}

/// Begins a commit: what it is built upon, and who writes it.
pub(super) async fn begin(call: &Call, project: u64, message: String, edits: Vec<Edit>) -> Result<NewCommit, Refusal> {
    let branch = call.params.require("branch")?;
    let repository = call.fake.repository(project);
    let replaces = repository.resolve(&format!("refs/heads/{branch}")).await;
    let start = call.params.text("start_branch").or_else(|| call.params.text("start_sha"));
    let force = call.params.flag("force").unwrap_or_default();
    let parent = match (&replaces, start) {
        (Some(tip), None) => Some(tip.clone()),
        (Some(_), Some(_)) if !force => {
            return Err(Refusal::bad(&format!(
                "A branch called '{branch}' already exists. Switch to that branch in order to make changes"
            )));
        }
        (_, Some(start)) => Some(repository.find(&start).await.ok_or_else(|| Refusal::bad("Cannot find start branch"))?),
        (None, None) => None,
    };
    let user = call.user()?;
    let access = call.level(project);
    let (empty, allowed) = call.of_project(project, |project| {
        let may = project.protection(&branch).is_none_or(|protected| access >= protected.push && protected.push > level::NONE);
        (project.default_branch.is_none(), may)
    })?;
    if parent.is_none() && !empty {
        return Err(Refusal::bad("You can only create or edit files when you are on a branch"));
    }
    if !allowed {
        return Err(Refusal::message(http::StatusCode::FORBIDDEN, "You are not allowed to push into this branch"));
    }
    let author = call.change(|state| state.users.get(&user).map(|user| (user.name.clone(), user.email.clone()))).unwrap_or_default();
    let author = (call.params.text("author_name").unwrap_or(author.0), call.params.text("author_email").unwrap_or(author.1));
    let at = call.fake.options.clock.now().as_second();
    Ok(NewCommit { branch, parent, replaces, message, author, edits, at })
}

/// The bytes of a file that is given as text.
pub(super) fn content(document: &Map<String, Value>) -> Result<Option<Vec<u8>>, Refusal> {
    let Some(given) = document.get("content").and_then(text) else {
        return Ok(None);
    };
    if document.get("encoding").and_then(Value::as_str) == Some("base64") {
        let decoded = base64::engine::general_purpose::STANDARD.decode(given.trim());
        return decoded.map(Some).map_err(|_| Refusal::bad("content is not valid base64"));
    }
    Ok(Some(given.into_bytes()))
}

async fn create(call: Call) -> Answer {
    let project = call.project(level::DEVELOPER)?;
    let message = call.params.require("commit_message")?;
    let mut edits = Vec::new();
    for action in call.params.documents("actions") {
        let of = |name: &str| action.get(name).and_then(text);
        let path = of("file_path").ok_or_else(|| Refusal::missing("actions[file_path]"))?;
        let bytes = content(&action)?;
        edits.push(match of("action").as_deref() {
            Some("create" | "update") => Edit::Put(path, bytes.unwrap_or_default()),
            Some("delete") => Edit::Delete(path),
            Some("move") => Edit::Move(of("previous_path").ok_or_else(|| Refusal::missing("actions[previous_path]"))?, path, bytes),
            Some("chmod") => Edit::Mode(path, action.get("execute_filemode").and_then(Value::as_bool).unwrap_or_default()),
            _ => return Err(Refusal::invalid("actions[action]")),
        });
    }
    let new = begin(&call, project, message, edits).await?;
    let sha = commit_and_tell(&call, project, &new).await?;
    let commit = call.fake.repository(project).commit(&sha).await.ok_or_else(|| Refusal::not_found("Commit"))?;
    created(call.change(|state| json::commit(state, project, &commit)))
}
