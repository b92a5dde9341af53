//! What jobs leave: archives, single files of them, reports of tests.

use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse as _;
use axum::routing::{delete, get, post};
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, LOCATION};
use serde_json::{Value, json};

use super::call::Call;
use super::jobs::find;
use super::refusal::{Answer, Refusal, gone, ok};
use crate::gitlab::archive;
use crate::gitlab::fake::Fake;
use crate::gitlab::json;
use crate::gitlab::junit::{self, Suite};
use crate::gitlab::state::status::Status;
use crate::gitlab::state::user::level;

pub(super) fn routes() -> Router<Arc<Fake>> {
    // What a runner brings goes to the same addresses; its routes are added elsewhere.
    Router::new()
        .route("/projects/{id}/jobs/{job_id}/artifacts", get(of_job).delete(remove))
        .route("/projects/{id}/jobs/{job_id}/artifacts/keep", post(keep))
        .route("/projects/{id}/jobs/{job_id}/artifacts/{*path}", get(file_of_job))
        .route("/projects/{id}/jobs/artifacts/{ref_name}/download", get(of_ref))
        .route("/projects/{id}/jobs/artifacts/{ref_name}/raw/{*path}", get(file_of_ref))
        .route("/projects/{id}/artifacts", delete(remove_all))
}

/// The archive of a job, which has ended, unless it went with time.
fn archive_of(call: &Call, job: u64) -> Result<Bytes, Refusal> {
    call.change(|state| {
        let now = state.now();
        let job = state.jobs.get(&job).filter(|job| job.status.complete())?;
        if job.artifacts_expire_at.is_some_and(|end| end <= now) {
            return None;
        }
        job.artifact("archive").map(|archive| archive.bytes.clone())
    })
    .ok_or_else(|| Refusal::not_found(""))
}

fn give(call: &Call, job: u64, name: &str, bytes: Bytes) -> Answer {
    if let Some(storage) = call.fake.storage.get() {
        // As with object storage: another origin, which is to see no token of ours.
        let to = format!("{storage}/artifacts/{job}/{name}?X-Amz-Signature=fake");
        return Ok((StatusCode::FOUND, [(LOCATION, to)]).into_response());
    }
    let kind = if name.to_ascii_lowercase().ends_with(".zip") { "application/zip" } else { "application/octet-stream" };
    let disposition = format!("attachment; filename=\"{}\"", name.rsplit('/').next().unwrap_or_default().replace(['"', '\r', '\n'], "_"));
    Ok(([(CONTENT_TYPE, kind.to_owned()), (CONTENT_DISPOSITION, disposition)], bytes).into_response())
}

async fn of_job(call: Call) -> Answer {
    let job = find(&call, level::NONE)?;
    give(&call, job, "artifacts.zip", archive_of(&call, job)?)
}

async fn file_of_job(call: Call) -> Answer {
    let job = find(&call, level::NONE)?;
    file(&call, job)
}

fn file(call: &Call, job: u64) -> Answer {
    let path = call.path("path").to_owned();
    let archive = archive_of(call, job)?;
    let bytes = archive::file_of(&archive, &path).ok_or_else(|| Refusal::not_found(""))?;
    give(call, job, &path, Bytes::from(bytes))
}

/// The job of this name in the newest pipeline of a ref that passed.
fn job_of_ref(call: &Call) -> Result<u64, Refusal> {
    let project = call.project(level::NONE)?;
    super::pipelines::see_builds(call, project)?;
    let (ref_name, name) = (call.path("ref_name").to_owned(), call.params.require("job")?);
    call.change(|state| {
        let ids = &state.projects.get(&project)?.pipelines;
        let mut rows = ids.iter().rev().filter_map(|id| state.pipelines.get(id));
        let row = rows.find(|row| row.ref_name == ref_name && row.status == Status::Success && !row.is_child())?;
        state.newest_jobs(row.id).into_iter().find(|job| job.plan.name == name).map(|job| job.id)
    })
    .ok_or_else(|| Refusal::not_found(""))
}

async fn of_ref(call: Call) -> Answer {
    let job = job_of_ref(&call)?;
    give(&call, job, "artifacts.zip", archive_of(&call, job)?)
}

async fn file_of_ref(call: Call) -> Answer {
    let job = job_of_ref(&call)?;
    file(&call, job)
}

async fn keep(call: Call) -> Answer {
    let id = find(&call, level::DEVELOPER)?;
    ok(call.change(|state| {
        if let Some(job) = state.jobs.get_mut(&id) {
            job.artifacts_expire_at = None;
        }
        state.jobs.get(&id).map_or(Value::Null, |job| json::job(state, job))
    }))
}

async fn remove(call: Call) -> Answer {
    let id = find(&call, level::MAINTAINER)?;
    call.change(|state| state.jobs.get_mut(&id).map(|job| job.artifacts.clear()));
    gone()
}

async fn remove_all(call: Call) -> Answer {
    let project = call.project(level::MAINTAINER)?;
    call.change(|state| state.jobs.values_mut().filter(|job| job.project == project).for_each(|job| job.artifacts.clear()));
    super::refusal::show(StatusCode::ACCEPTED, json!({ "message": "202 Accepted" }))
}

/// The reports of a pipeline's jobs, each with its job.
fn suites(call: &Call, pipeline: u64) -> Vec<(u64, Suite)> {
    let reports = call.change(|state| {
        let jobs = state.newest_jobs(pipeline);
        let report =
            |job: &&crate::gitlab::state::job::Job| job.artifact("junit").map(|found| (job.id, job.plan.name.clone(), found.bytes.clone()));
        jobs.iter().filter_map(report).collect::<Vec<_>>()
    });
    reports.into_iter().map(|(id, name, bytes)| (id, junit::read(&name, &archive::gunzip(&bytes)))).collect()
}

pub(super) async fn test_report(call: Call) -> Answer {
    let id = super::pipelines::find(&call, level::NONE)?;
    let suites = suites(&call, id);
    let sum = |count: fn(&Suite) -> usize| suites.iter().map(|(_, suite)| count(suite)).sum::<usize>();
    ok(json!({
        "total_time": suites.iter().map(|(_, suite)| suite.time()).sum::<f64>(),
        "total_count": sum(|suite| suite.cases.len()),
        "success_count": sum(|suite| suite.count("success")),
        "failed_count": sum(|suite| suite.count("failed")),
        "skipped_count": sum(|suite| suite.count("skipped")),
        "error_count": sum(|suite| suite.count("error")),
        "test_suites": suites.iter().map(|(_, suite)| suite.shown()).collect::<Vec<_>>(),
    }))
}

pub(super) async fn test_report_summary(call: Call) -> Answer {
    let id = super::pipelines::find(&call, level::NONE)?;
    let suites = suites(&call, id);
    let sum = |count: fn(&Suite) -> usize| suites.iter().map(|(_, suite)| count(suite)).sum::<usize>();
    ok(json!({
        "total": {
            "time": suites.iter().map(|(_, suite)| suite.time()).sum::<f64>(),
            "count": sum(|suite| suite.cases.len()),
            "success": sum(|suite| suite.count("success")),
            "failed": sum(|suite| suite.count("failed")),
            "skipped": sum(|suite| suite.count("skipped")),
            "error": sum(|suite| suite.count("error")),
            "suite_error": null,
        },
        "test_suites": suites.iter().map(|(job, suite)| suite.summary(*job)).collect::<Vec<_>>(),
    }))
}
