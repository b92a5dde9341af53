//! Statuses that other systems report.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use super::call::Call;
use super::page::page;
use super::refusal::{Answer, Refusal, created};
use crate::gitlab::fake::Fake;
use crate::gitlab::git::Repository;
use crate::gitlab::json;
use crate::gitlab::state::NewStatus;
use crate::gitlab::state::StatusRefused;
use crate::gitlab::state::status::Status;
use crate::gitlab::state::user::level;

pub(super) fn routes() -> Router<Arc<Fake>> {
    Router::new().route("/projects/{id}/statuses/{sha}", post(report)).route("/projects/{id}/repository/commits/{sha}/statuses", get(list))
}

async fn report(call: Call) -> Answer {
    let (project, repository) = call.repository(level::DEVELOPER)?;
    let user = call.user()?;
    let word = call.params.require("state")?;
    let taken = [Status::Pending, Status::Running, Status::Success, Status::Failed, Status::Canceled, Status::Skipped];
    let state = Status::parse(&word).filter(|status| taken.contains(status)).ok_or_else(|| Refusal::invalid("state"))?;
    let missing = || Refusal::not_found("Commit");
    // A status is of one commit, by its whole id.
    let given = call.path("sha");
    let sha = repository.resolve(given).await.filter(|sha| sha == given).ok_or_else(missing)?;
    let commit = repository.commit(&sha).await.ok_or_else(missing)?;
    let pipeline = call.params.number("pipeline_id");
    let (ref_name, tag) = place(&call, &repository, &sha).await?;
    let description = call.params.text("description");
    if description.as_ref().is_some_and(|words| words.chars().count() > 255) {
        return Err(Refusal::fields(&[("description", "is too long (maximum is 255 characters)")]));
    }
    let new = NewStatus {
        project,
        commit,
        ref_name: ref_name.clone(),
        tag,
        name: call.params.text("name").or_else(|| call.params.text("context")).unwrap_or_else(|| "default".to_owned()),
        state,
        target_url: call.params.text("target_url"),
        description,
        coverage: call.params.text("coverage").and_then(|share| share.parse().ok()),
        pipeline,
        user,
    };
    let found = call.change(|state| state.pipeline_for_status(project, &sha, &ref_name));
    // Between looking and writing there is a gap, as in GitLab: first reports that come at once make two pipelines.
    tokio::task::yield_now().await;
    let made = call.change(|state| {
        let id = state.report(new, found)?;
        Ok(state.jobs.get(&id).map(|job| json::status(state, job)).unwrap_or_default())
    });
    match made {
        Ok(shown) => created(shown),
        Err(StatusRefused::NoPipeline) => Err(Refusal::not_found("Pipeline")),
        Err(refused @ StatusRefused::Transition { .. }) => Err(Refusal::bad(&refused.to_string())),
    }
}

/// The branch or tag that a status is for.
async fn place(call: &Call, repository: &Repository, sha: &str) -> Result<(String, bool), Refusal> {
    if let Some(name) = call.params.text("ref") {
        let name = name.trim_start_matches("refs/heads/").trim_start_matches("refs/tags/").to_owned();
        let branch = repository.resolve(&format!("refs/heads/{name}")).await.is_some();
        let tag = !branch && repository.resolve(&format!("refs/tags/{name}")).await.is_some();
        return Ok((name, tag));
    }
    // Without a ref, the first branch that holds the commit is meant.
    for found in repository.refs("refs/heads/").await {
        if repository.is_ancestor(sha, &found.commit).await {
            return Ok((found.name.trim_start_matches("refs/heads/").to_owned(), false));
        }
    }
    Err(Refusal::not_found("References for commit"))
}

async fn list(call: Call) -> Answer {
    let (project, repository) = call.repository(level::NONE)?;
    super::pipelines::see_builds(&call, project)?;
    let sha = repository.find(call.path("sha")).await.ok_or_else(|| Refusal::not_found("Commit"))?;
    let (ref_name, stage, name) = (call.params.text("ref"), call.params.text("stage"), call.params.text("name"));
    let all = call.params.flag("all").unwrap_or_default();
    let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
    let rows = call.change(|state| {
        let pipelines = state.projects.get(&project).map(|project| project.pipelines.as_slice()).unwrap_or_default();
        let rows = pipelines.iter().filter_map(|id| state.pipelines.get(id)).filter(|row| row.sha == sha && is(&ref_name, &row.ref_name));
        let jobs = rows.flat_map(|row| &row.jobs).filter_map(|job| state.jobs.get(job));
        let wanted = jobs.filter(|job| (all || job.newest()) && is(&stage, &job.plan.stage) && is(&name, &job.plan.name));
        wanted.map(|job| json::status(state, job)).collect::<Vec<_>>()
    });
    Ok(page(&call, &rows, Clone::clone))
}
