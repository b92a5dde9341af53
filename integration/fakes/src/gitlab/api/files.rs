//! Files and folders, and what a definition of pipelines is worth.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse as _;
use axum::routing::get;
use base64::Engine as _;
use http::StatusCode;
use serde_json::{Value, json};

use super::call::Call;
use super::commits::{begin, commit_and_tell, content};
use super::page::page;
use super::refusal::{Answer, Refusal, created, gone, ok};
use crate::gitlab::fake::Fake;
use crate::gitlab::git::{Edit, Repository};
use crate::gitlab::state::user::level;

pub(super) fn routes() -> Router<Arc<Fake>> {
    Router::new()
        .route("/projects/{id}/repository/files/{path}", get(file).post(create).put(update).delete(remove))
        .route("/projects/{id}/repository/files/{path}/raw", get(raw))
        .route("/projects/{id}/repository/tree", get(tree))
}

/// The commit that is asked for: a ref, or the default branch.
async fn place(call: &Call, project: u64, repository: &Repository) -> Result<(String, String), Refusal> {
    let default = call.of_project(project, |project| project.default_branch.clone())?;
    let name = call.params.text("ref").filter(|name| name != "HEAD").or(default).ok_or_else(|| Refusal::not_found("Commit"))?;
    let sha = repository.find(&name).await.ok_or_else(|| Refusal::not_found("Commit"))?;
    Ok((name, sha))
}

async fn file(call: Call) -> Answer {
    let (project, repository) = call.repository(level::NONE)?;
    let (name, sha) = place(&call, project, &repository).await?;
    let path = call.path("path");
    let missing = || Refusal::not_found("File");
    let (bytes, blob) = (repository.file(&sha, path).await.ok_or_else(missing)?, repository.blob(&sha, path).await.ok_or_else(missing)?);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
    let digest = digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing into a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    let commits = repository.log(&["-1"], &[&sha]).await;
    ok(json!({
        "file_name": path.rsplit('/').next(),
        "file_path": path,
        "size": bytes.len(),
        "encoding": "base64",
        "content": base64::engine::general_purpose::STANDARD.encode(&bytes),
        "content_sha256": digest,
        "ref": name,
        "blob_id": blob,
        "commit_id": sha,
        "last_commit_id": commits.first().map(|commit| commit.id.as_str()),
        "execute_filemode": false,
    }))
}

async fn raw(call: Call) -> Answer {
    let (project, repository) = call.repository(level::NONE)?;
    let (_, sha) = place(&call, project, &repository).await?;
    let bytes = repository.file(&sha, call.path("path")).await.ok_or_else(|| Refusal::not_found("File"))?;
    Ok(([(http::header::CONTENT_TYPE, "text/plain")], bytes).into_response())
}

async fn store(call: &Call, must_exist: bool, delete: bool) -> Answer {
    let (project, repository) = call.repository(level::DEVELOPER)?;
    let path = call.path("path").to_owned();
    let message = call.params.require("commit_message")?;
    let branch = call.params.require("branch")?;
    let there = repository.blob(&format!("refs/heads/{branch}"), &path).await.is_some();
    if there != must_exist {
        return Err(Refusal::bad(if there { "A file with this name already exists" } else { "A file with this name doesn't exist" }));
    }
    let edit = if delete { Edit::Delete(path.clone()) } else { Edit::Put(path.clone(), content(&call.params.0)?.unwrap_or_default()) };
    let new = begin(call, project, message, vec![edit]).await?;
    commit_and_tell(call, project, &new).await?;
    match (delete, must_exist) {
        (true, _) => gone(),
        (false, true) => ok(json!({ "file_path": path, "branch": branch })),
        (false, false) => created(json!({ "file_path": path, "branch": branch })),
    }
}

async fn create(call: Call) -> Answer {
    store(&call, false, false).await
}

async fn update(call: Call) -> Answer {
    store(&call, true, false).await
}

async fn remove(call: Call) -> Answer {
    store(&call, true, true).await
}

async fn tree(call: Call) -> Answer {
    let (project, repository) = call.repository(level::NONE)?;
    let missing = || Refusal::not_found("Tree");
    let (_, sha) = place(&call, project, &repository).await.map_err(|_| missing())?;
    let path = call.params.text("path").unwrap_or_default();
    let rows = repository.tree(&sha, &path, call.params.flag("recursive").unwrap_or_default()).await;
    if rows.is_empty() && !path.is_empty() {
        return Err(missing());
    }
    Ok(page(
        &call,
        &rows,
        |(mode, kind, id, path)| json!({ "id": id, "name": path.rsplit('/').next(), "type": kind, "path": path, "mode": mode }),
    ))
}

fn verdict(text: Option<&str>, checked: Result<Vec<Value>, Vec<String>>) -> Answer {
    let (jobs, errors) = match checked {
        Ok(jobs) => (jobs, Vec::new()),
        Err(errors) => (Vec::new(), errors),
    };
    ok(json!({ "valid": errors.is_empty(), "errors": errors, "warnings": [], "merged_yaml": text, "includes": [], "jobs": jobs }))
}

pub(super) async fn lint(call: Call) -> Answer {
    let project = call.project(level::DEVELOPER)?;
    let text = call.params.require("content")?;
    let name = call.params.text("ref");
    let checked = call.fake.check_definition(project, &text, name.as_deref()).await;
    verdict(Some(&text), checked)
}

pub(super) async fn lint_project(call: Call) -> Answer {
    let (project, repository) = call.repository(level::DEVELOPER)?;
    let name = call.params.text("content_ref").or_else(|| call.params.text("sha"));
    let default = call.of_project(project, |project| project.default_branch.clone())?;
    let name = name.or(default).ok_or_else(|| Refusal::message(StatusCode::NOT_FOUND, "404 Commit Not Found"))?;
    let sha = repository.find(&name).await.ok_or_else(|| Refusal::not_found("Commit"))?;
    match call.fake.definition_of(project, &sha).await {
        Ok(Some(text)) => {
            let checked = call.fake.check_definition(project, &text, Some(&name)).await;
            verdict(Some(&text), checked)
        }
        Ok(None) => verdict(None, Err(vec!["Please provide content of .gitlab-ci.yml".to_owned()])),
        Err(words) => verdict(None, Err(vec![words])),
    }
}
