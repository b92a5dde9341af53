//! An errand: all that a runner must know to do a job.

use std::sync::Arc;

use axum::Json;
use axum::response::IntoResponse as _;
use http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::gitlab::api::refusal::{Answer, Refusal};
use crate::gitlab::ci;
use crate::gitlab::fake::Fake;
use crate::gitlab::state::State;
use crate::gitlab::state::job::Job;
use crate::gitlab::state::pipeline::Pipeline;
use crate::gitlab::state::project::Project;
use crate::gitlab::state::status::Status;
use crate::gitlab::variables::{Subject, of_project, predefined, slug};

/// How long a job may run that says nothing else.
const USUAL_TIMEOUT: u64 = 3_600;
/// How much history is fetched.
const DEPTH: u64 = 20;

/// Hands a job that was just begun to its runner. Its commit gets a ref of its own, so that it is there whatever is pushed meanwhile.
pub(super) async fn hand_out(fake: &Arc<Fake>, id: u64) -> Answer {
    let found = fake.change(|state| {
        let job = state.jobs.get(&id)?;
        let pipeline = state.pipelines.get(&job.pipeline)?;
        Some((job.project, pipeline.id, pipeline.sha.clone(), job.plan.definition.clone()?))
    });
    let Some((project, pipeline, sha, work)) = found else { return Err(Refusal::conflict("409 Conflict")) };
    let kept = fake.repository(project).point(&kept_ref(pipeline), Some(&sha), None).await;
    if let Err(error) = kept {
        tracing::warn!(error = %error, pipeline, "fake_gitlab.commit_not_kept");
    }
    let tokens: Vec<(String, SecretString)> = work
        .id_tokens
        .iter()
        .filter_map(|(name, audiences)| {
            let audience = if let [one] = audiences.as_slice() { json!(one) } else { json!(audiences) };
            Some((name.clone(), fake.identify(id, &audience)?))
        })
        .collect();
    let errand = fake.change(|state| {
        let job = state.jobs.get(&id)?;
        write(state, job, state.pipelines.get(&job.pipeline)?, state.projects.get(&job.project)?, &work, &tokens)
    });
    let errand = errand.ok_or_else(|| Refusal::conflict("409 Conflict"))?;
    Ok((StatusCode::CREATED, Json(errand)).into_response())
}

/// The ref that keeps a pipeline's commit while the pipeline goes on.
pub(super) fn kept_ref(pipeline: u64) -> String {
    format!("refs/pipelines/{pipeline}")
}

fn write(
    state: &State,
    job: &Job,
    pipeline: &Pipeline,
    project: &Project,
    work: &ci::Job,
    tokens: &[(String, SecretString)],
) -> Option<Value> {
    let path = state.path_of(project);
    let token = job.token.expose_secret();
    let (scheme, authority) = state.url.split_once("://")?;
    let repo_url = format!("{scheme}://gitlab-ci-token:{token}@{authority}/{path}.git");
    let (branch, kind) = if pipeline.tag {
        (format!("+refs/tags/{0}:refs/tags/{0}", pipeline.ref_name), "tag")
    } else {
        (format!("+refs/heads/{0}:refs/remotes/origin/{0}", pipeline.ref_name), "branch")
    };
    let kept = kept_ref(pipeline.id);
    let mut refspecs = vec![format!("+{kept}:{kept}")];
    if pipeline.merge_request.is_none() {
        refspecs.push(branch);
    }
    let limit = job.runner.and_then(|runner| state.runners.get(&runner)).and_then(|runner| runner.maximum_timeout);
    let timeout = work.timeout.unwrap_or_else(|| project.settings.get("build_timeout").and_then(Value::as_u64).unwrap_or(USUAL_TIMEOUT));
    let timeout = limit.map_or(timeout, |limit| timeout.min(limit));
    let script: Vec<&String> = work.before_script.iter().chain(&work.script).collect();
    let mut steps = vec![json!({ "name": "script", "script": script, "timeout": timeout, "when": "on_success", "allow_failure": false })];
    if !work.after_script.is_empty() {
        let after = &work.after_script;
        steps.push(json!({ "name": "after_script", "script": after, "timeout": timeout, "when": "always", "allow_failure": true }));
    }
    Some(json!({
        "id": job.id,
        "token": token,
        "allow_git_fetch": true,
        "job_info": {
            "id": job.id, "name": work.name, "stage": work.stage, "project_id": project.id, "project_name": project.name,
            "time_in_queue_seconds": job.queued_duration().unwrap_or_default(), "project_jobs_running_on_instance_runners_count": "0",
        },
        "git_info": {
            "repo_url": repo_url, "ref": pipeline.ref_name, "sha": pipeline.sha, "before_sha": pipeline.before_sha, "ref_type": kind,
            "refspecs": refspecs, "depth": project.settings.get("ci_default_git_depth").and_then(Value::as_u64).unwrap_or(DEPTH),
            "repo_object_format": "sha1", "protected": project.protects(&pipeline.ref_name, pipeline.tag),
        },
        "runner_info": { "timeout": timeout, "runner_session_url": null },
        "variables": variables(state, job, pipeline, project, work, tokens, &repo_url),
        "steps": steps,
        "image": work.image.as_ref().map(image),
        "services": work.services.iter().map(image).collect::<Vec<_>>(),
        "artifacts": artifacts(work),
        "cache": work.cache.iter().map(cache).collect::<Vec<_>>(),
        "credentials": [],
        "dependencies": dependencies(state, job, pipeline, work),
        "features": { "trace_sections": true, "token_mask_prefixes": ["glpat-"], "failure_reasons": ["unknown_failure", "script_failure", "runner_system_failure", "job_execution_timeout"], "two_phase_job_commit": true },
        "hooks": [],
    }))
}

fn variables(
    state: &State,
    job: &Job,
    pipeline: &Pipeline,
    project: &Project,
    work: &ci::Job,
    tokens: &[(String, SecretString)],
    repo_url: &str,
) -> Vec<Value> {
    let subject = Subject { user: job.user, ..Subject::from(pipeline) };
    let token = job.token.expose_secret();
    let path = state.path_of(project);
    let plain = |name: &str, value: &str| json!({ "key": name, "value": value, "public": true, "masked": false });
    let secret = |name: &str, value: &str| json!({ "key": name, "value": value, "public": false, "masked": true });
    let mut all: Vec<Value> = predefined(state, project, &subject).iter().map(|(name, value)| plain(name, value)).collect();
    for (name, value) in [
        ("CI_PIPELINE_ID", pipeline.id.to_string()),
        ("CI_PIPELINE_IID", pipeline.iid.to_string()),
        ("CI_PIPELINE_URL", format!("{}/{path}/-/pipelines/{}", state.url, pipeline.id)),
        ("CI_PIPELINE_CREATED_AT", pipeline.created_at.to_string()),
        ("CI_JOB_ID", job.id.to_string()),
        ("CI_JOB_NAME", work.name.clone()),
        ("CI_JOB_NAME_SLUG", slug(&work.name)),
        ("CI_JOB_STAGE", work.stage.clone()),
        ("CI_JOB_URL", format!("{}/{path}/-/jobs/{}", state.url, job.id)),
        ("CI_JOB_STARTED_AT", job.started_at.map(|at| at.to_string()).unwrap_or_default()),
        ("CI_JOB_MANUAL", (work.when == ci::When::Manual).to_string()),
        ("CI_NODE_TOTAL", work.parallel.map_or(1, |(_, total)| total).to_string()),
        ("CI_REGISTRY_USER", "gitlab-ci-token".to_owned()),
    ] {
        all.push(plain(name, &value));
    }
    all.extend(work.parallel.map(|(number, _)| plain("CI_NODE_INDEX", &number.to_string())));
    all.push(secret("CI_JOB_TOKEN", token));
    all.push(secret("CI_REPOSITORY_URL", repo_url));
    all.push(secret("CI_REGISTRY_PASSWORD", token));
    if let Some(environment) = &work.environment {
        all.push(plain("CI_ENVIRONMENT_NAME", &environment.name));
        all.push(plain("CI_ENVIRONMENT_SLUG", &slug(&environment.name)));
        all.push(plain("CI_ENVIRONMENT_ACTION", &environment.action));
        all.extend(environment.url.as_ref().map(|url| plain("CI_ENVIRONMENT_URL", url)));
    }
    all.extend(
        work.variables
            .iter()
            .map(|one| json!({ "key": one.name, "value": one.value, "public": true, "masked": false, "raw": !one.expand })),
    );
    let environment = work.environment.as_ref().map(|environment| environment.name.as_str());
    for one in of_project(project, &subject, environment) {
        all.push(json!({ "key": one.key, "value": one.value, "public": false, "masked": one.masked, "file": one.file, "raw": one.raw }));
    }
    all.extend(
        pipeline
            .variables
            .iter()
            .map(|one| json!({ "key": one.key, "value": one.value, "public": false, "masked": false, "file": one.file })),
    );
    all.extend(job.variables.iter().map(|(name, value)| json!({ "key": name, "value": value, "public": false, "masked": false })));
    all.extend(tokens.iter().map(|(name, value)| secret(name, value.expose_secret())));
    all
}

fn image(image: &ci::Image) -> Value {
    json!({
        "name": image.name, "alias": image.alias, "entrypoint": image.entrypoint, "command": image.command, "ports": [],
        "pull_policy": image.pull_policy, "executor_opts": {},
    })
}

fn cache(cache: &ci::Cache) -> Value {
    json!({ "key": cache.key, "untracked": cache.untracked, "paths": cache.paths, "policy": cache.policy, "when": "on_success", "fallback_keys": [] })
}

fn artifacts(work: &ci::Job) -> Vec<Value> {
    let Some(artifacts) = &work.artifacts else { return Vec::new() };
    let mut all = Vec::new();
    if artifacts.untracked || !artifacts.paths.is_empty() {
        all.push(json!({
            "name": artifacts.name, "untracked": artifacts.untracked, "paths": artifacts.paths, "exclude": artifacts.exclude,
            "when": artifacts.when.word(), "expire_in": artifacts.expire_in, "artifact_type": "archive", "artifact_format": "zip",
        }));
    }
    for (kind, paths) in &artifacts.reports {
        let name = format!("{kind}.{}", if kind == "dotenv" { "env" } else { "xml" });
        all.push(json!({
            "name": name, "paths": paths, "when": "always", "expire_in": artifacts.expire_in,
            "artifact_type": kind, "artifact_format": "gzip",
        }));
    }
    all
}

/// The jobs whose archives this one gets: those that it names, those that it needs, or all of the stages before.
fn dependencies(state: &State, job: &Job, pipeline: &Pipeline, work: &ci::Job) -> Vec<Value> {
    let wanted = |other: &&Job| {
        let name = &other.plan.name;
        let need = work.needs.as_ref().map(|needs| needs.iter().any(|need| need.job == *name && need.artifacts));
        let before = need.unwrap_or(other.plan.stage_index < job.plan.stage_index);
        before && work.dependencies.as_ref().is_none_or(|names| names.contains(name))
    };
    let ended = |other: &&Job| matches!(other.status, Status::Success | Status::Failed);
    let newest = state.newest_jobs(pipeline.id);
    newest
        .into_iter()
        .filter(wanted)
        .filter(ended)
        .filter_map(|other| {
            let archive = other.artifact("archive")?;
            Some(json!({
                "id": other.id, "name": other.plan.name, "token": job.token.expose_secret(),
                "artifacts_file": { "filename": archive.filename, "size": archive.bytes.len() },
            }))
        })
        .collect()
}
