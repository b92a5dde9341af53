//! Pipelines and jobs.

use serde_json::{Value, json};

use super::project::user;
use super::repository::commit;
use crate::gitlab::hook::payload::label;
use crate::gitlab::state::State;
use crate::gitlab::state::job::{Job, JobKind};
use crate::gitlab::state::pipeline::Pipeline;
use crate::gitlab::time;

fn path(state: &State, project: u64) -> String {
    state.projects.get(&project).map(|project| state.path_of(project)).unwrap_or_default()
}

/// A pipeline, as lists show it.
pub(crate) fn pipeline_in_list(state: &State, pipeline: &Pipeline) -> Value {
    json!({
        "id": pipeline.id,
        "iid": pipeline.iid,
        "project_id": pipeline.project,
        "sha": pipeline.sha,
        "ref": pipeline.ref_name,
        "status": pipeline.status.word(),
        "source": pipeline.source,
        "created_at": time::api(pipeline.created_at),
        "updated_at": time::api(pipeline.updated_at),
        "web_url": format!("{}/{}/-/pipelines/{}", state.url, path(state, pipeline.project), pipeline.id),
        "name": pipeline.name,
    })
}

/// What people are shown of a pipeline's state.
fn detailed_status(state: &State, pipeline: &Pipeline) -> Value {
    let label = label(pipeline);
    let group = if pipeline.warnings { "success-with-warnings" } else { pipeline.status.word() };
    json!({
        "icon": format!("status_{}", pipeline.status.word()),
        "text": label,
        "label": label,
        "group": group,
        "tooltip": label,
        "has_details": true,
        "details_path": format!("/{}/-/pipelines/{}", path(state, pipeline.project), pipeline.id),
        "illustration": null,
        "favicon": "/assets/ci_favicons/favicon_status.png",
    })
}

/// A pipeline.
pub(crate) fn pipeline(state: &State, pipeline: &Pipeline) -> Value {
    let mut shown = pipeline_in_list(state, pipeline);
    let coverage: Vec<f64> = state.newest_jobs(pipeline.id).iter().filter_map(|job| job.coverage).collect();
    #[expect(clippy::cast_precision_loss, reason = "no pipeline has that many jobs")]
    let mean = (!coverage.is_empty()).then(|| format!("{:.2}", coverage.iter().sum::<f64>() / coverage.len() as f64));
    let more = json!({
        "before_sha": pipeline.before_sha,
        "tag": pipeline.tag,
        "yaml_errors": pipeline.yaml_errors,
        "user": user(state, pipeline.user),
        "started_at": time::api_or_null(pipeline.started_at),
        "finished_at": time::api_or_null(pipeline.finished_at),
        "committed_at": null,
        "duration": pipeline.duration(),
        "queued_duration": pipeline.queued_duration(),
        "coverage": mean,
        "archived": false,
        "detailed_status": detailed_status(state, pipeline),
    });
    if let (Some(shown), Value::Object(more)) = (shown.as_object_mut(), more) {
        shown.extend(more);
    }
    shown
}

/// A job.
pub(crate) fn job(state: &State, job: &Job) -> Value {
    let pipeline = state.pipelines.get(&job.pipeline);
    let path = path(state, job.project);
    let archive = job.artifact("archive");
    let mut artifacts: Vec<Value> = job
        .artifacts
        .iter()
        .map(|found| json!({ "file_type": found.file_type, "size": found.bytes.len(), "filename": found.filename, "file_format": found.file_format }))
        .collect();
    if job.status.complete() && !job.trace.is_empty() {
        artifacts.push(json!({ "file_type": "trace", "size": job.trace.len(), "filename": "job.log", "file_format": null }));
    }
    let runner = job.runner.and_then(|runner| state.runners.get(&runner)).map(|runner| {
        json!({
            "id": runner.id, "description": runner.description, "ip_address": "127.0.0.1", "active": !runner.paused, "paused": runner.paused,
            "is_shared": runner.scope.word() == "instance_type", "runner_type": runner.scope.word(), "name": "gitlab-runner",
            "online": true, "status": "online",
        })
    });
    json!({
        "id": job.id,
        "status": job.status.word(),
        "stage": job.plan.stage,
        "name": job.plan.name,
        "ref": pipeline.map(|pipeline| pipeline.ref_name.as_str()),
        "tag": pipeline.is_some_and(|pipeline| pipeline.tag),
        "coverage": job.coverage,
        "allow_failure": job.plan.allow_failure,
        "created_at": time::api(job.created_at),
        "started_at": time::api_or_null(job.started_at),
        "finished_at": time::api_or_null(job.finished_at),
        "erased_at": time::api_or_null(job.erased_at),
        "duration": job.duration(),
        "queued_duration": job.queued_duration(),
        "failure_reason": job.failure_reason,
        "user": user(state, job.user),
        "commit": pipeline.map(|pipeline| commit(state, job.project, &pipeline.commit)),
        "pipeline": pipeline.map(|pipeline| pipeline_in_list(state, pipeline)),
        "web_url": format!("{}/{path}/-/jobs/{}", state.url, job.id),
        "project": { "ci_job_token_scope_enabled": false },
        "source": pipeline.map(|pipeline| pipeline.source.as_str()),
        "archived": false,
        "artifacts": artifacts,
        "artifacts_file": archive.map(|archive| json!({ "filename": archive.filename, "size": archive.bytes.len() })),
        "artifacts_expire_at": time::api_or_null(job.artifacts_expire_at),
        "runner": runner,
        "runner_manager": null,
        "tag_list": job.plan.tags,
    })
}

/// A job that starts another pipeline.
pub(crate) fn bridge(state: &State, row: &Job) -> Value {
    let mut shown = job(state, row);
    let downstream = match &row.kind {
        JobKind::Bridge(Some(pipeline)) => state.pipelines.get(pipeline),
        _ => None,
    };
    if let Some(shown) = shown.as_object_mut() {
        for key in ["artifacts", "artifacts_file", "artifacts_expire_at", "runner", "runner_manager", "tag_list"] {
            shown.remove(key);
        }
        shown.insert("downstream_pipeline".into(), downstream.map_or(Value::Null, |pipeline| pipeline_in_list(state, pipeline)));
    }
    shown
}

/// A job, as the list of a commit's statuses shows it.
pub(crate) fn status(state: &State, job: &Job) -> Value {
    let pipeline = state.pipelines.get(&job.pipeline);
    let (target_url, description) = match &job.kind {
        JobKind::External { target_url, description } => (target_url.clone(), description.clone()),
        _ => (Some(format!("{}/{}/-/jobs/{}", state.url, path(state, job.project), job.id)), None),
    };
    json!({
        "id": job.id,
        "sha": pipeline.map(|pipeline| pipeline.sha.as_str()),
        "ref": pipeline.map(|pipeline| pipeline.ref_name.as_str()),
        "status": job.status.word(),
        "name": job.plan.name,
        "target_url": target_url,
        "description": description,
        "created_at": time::api(job.created_at),
        "started_at": time::api_or_null(job.started_at),
        "finished_at": time::api_or_null(job.finished_at),
        "allow_failure": job.plan.allow_failure,
        "coverage": job.coverage,
        "pipeline_id": job.pipeline,
        "author": user(state, job.user),
    })
}
