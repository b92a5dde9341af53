//! What hooks are told of pipelines, jobs and deployments. The shapes are GitLab's, with what is odd about them.

use serde_json::{Value, json};

use crate::gitlab::state::State;
use crate::gitlab::state::commit::Commit;
use crate::gitlab::state::job::Job;
use crate::gitlab::state::pipeline::Pipeline;
use crate::gitlab::state::project::Project;
use crate::gitlab::time;

/// A user, as pipelines' and jobs' hooks show one.
pub(crate) fn user(state: &State, id: u64) -> Value {
    match state.users.get(&id) {
        Some(user) => json!({
            "id": user.id, "name": user.name, "username": user.username,
            "avatar_url": null, "email": "[REDACTED]",
        }),
        None => Value::Null,
    }
}

/// A project, as most hooks show one.
pub(crate) fn project(state: &State, project: &Project) -> Value {
    let path = state.path_of(project);
    let url = format!("{}/{path}", state.url);
    json!({
        "id": project.id,
        "name": project.name,
        "description": project.description,
        "web_url": url,
        "avatar_url": null,
        "git_ssh_url": ssh_url(state, &path),
        "git_http_url": format!("{url}.git"),
        "namespace": state.groups.get(&project.namespace).map(|group| group.name.as_str()),
        "visibility_level": project.visibility.number(),
        "path_with_namespace": path,
        "default_branch": project.default_branch,
        "ci_config_path": project.word("ci_config_path"),
    })
}

/// A project, with the four addresses that older clients read.
pub(crate) fn project_with_addresses(state: &State, project: &Project) -> Value {
    let mut shown = self::project(state, project);
    let path = state.path_of(project);
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("homepage".into(), format!("{}/{path}", state.url).into());
        shown.insert("url".into(), ssh_url(state, &path).into());
        shown.insert("ssh_url".into(), ssh_url(state, &path).into());
        shown.insert("http_url".into(), format!("{}/{path}.git", state.url).into());
    }
    shown
}

/// Where a repository is reached over ssh, if it were.
pub(crate) fn ssh_url(state: &State, path: &str) -> String {
    let host = url::Url::parse(&state.url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    format!("git@{host}:{path}.git")
}

/// A repository, as pushes and jobs show one.
pub(crate) fn repository(state: &State, project: &Project) -> Value {
    let path = state.path_of(project);
    json!({
        "name": project.name,
        "url": ssh_url(state, &path),
        "description": project.description,
        "homepage": format!("{}/{path}", state.url),
        "git_http_url": format!("{}/{path}.git", state.url),
        "git_ssh_url": ssh_url(state, &path),
        "visibility_level": project.visibility.number(),
    })
}

/// A commit, as most hooks show one.
pub(crate) fn commit(state: &State, project: &Project, commit: &Commit) -> Value {
    json!({
        "id": commit.id,
        "message": commit.message,
        "title": commit.title(),
        "timestamp": commit.authored,
        "url": format!("{}/{}/-/commit/{}", state.url, state.path_of(project), commit.id),
        "author": { "name": commit.author_name, "email": commit.author_email },
    })
}

/// The label of a pipeline's state. It is no status.
pub(crate) fn label(pipeline: &Pipeline) -> &'static str {
    if pipeline.warnings { "passed with warnings" } else { pipeline.status.label() }
}

/// What a pipeline's hook is told.
pub(crate) fn pipeline(state: &State, id: u64) -> Option<Value> {
    let pipeline = state.pipelines.get(&id)?;
    let project = state.projects.get(&pipeline.project)?;
    let jobs = state.newest_jobs(id);
    let mut stages: Vec<&str> = Vec::new();
    let mut ordered: Vec<&Job> = jobs.iter().filter(|job| !job.is_bridge()).copied().collect();
    ordered.sort_by_key(|job| (job.plan.stage_index, job.id));
    for job in &ordered {
        if !stages.contains(&job.plan.stage.as_str()) {
            stages.push(&job.plan.stage);
        }
    }
    // Real servers list the jobs in no particular order; the newest first is what is seen most.
    ordered.sort_by_key(|job| std::cmp::Reverse(job.id));
    let url = format!("{}/{}/-/pipelines/{id}", state.url, state.path_of(project));
    let variables: Vec<Value> = pipeline.variables.iter().map(|v| json!({ "key": v.key, "value": v.value })).collect();
    let mut shown = json!({
        "object_kind": "pipeline",
        "object_attributes": {
            "id": pipeline.id,
            "iid": pipeline.iid,
            "name": pipeline.name,
            "ref": pipeline.ref_name,
            "tag": pipeline.tag,
            "sha": pipeline.sha,
            "before_sha": pipeline.before_sha,
            "source": pipeline.source,
            "status": pipeline.status.word(),
            "detailed_status": label(pipeline),
            "stages": stages,
            "created_at": time::hook(pipeline.created_at),
            "finished_at": time::hook_or_null(pipeline.finished_at),
            "duration": pipeline.duration(),
            "queued_duration": pipeline.queued_duration(),
            "protected_ref": project.protects(&pipeline.ref_name, pipeline.tag),
            "variables": variables,
            "url": url,
        },
        "merge_request": pipeline.merge_request.and_then(|request| merge_request(state, request)),
        "user": user(state, pipeline.user),
        "project": self::project(state, project),
        "commit": commit(state, project, &pipeline.commit),
        "builds": ordered.iter().map(|job| build(state, job)).collect::<Vec<_>>(),
    });
    if let Some(upstream) = source_pipeline(state, pipeline) {
        shown["source_pipeline"] = upstream;
    }
    Some(shown)
}

fn source_pipeline(state: &State, pipeline: &Pipeline) -> Option<Value> {
    let upstream = pipeline.upstream?;
    let project = state.projects.get(&upstream.project)?;
    let path = state.path_of(project);
    Some(json!({
        "project": { "id": project.id, "web_url": format!("{}/{path}", state.url), "path_with_namespace": path },
        "pipeline_id": upstream.pipeline,
        "job_id": upstream.job,
    }))
}

fn merge_request(state: &State, id: u64) -> Option<Value> {
    let request = state.merge_requests.get(&id)?;
    let project = state.projects.get(&request.project)?;
    Some(json!({
        "id": request.id,
        "iid": request.iid,
        "title": request.title,
        "source_branch": request.source_branch,
        "source_project_id": request.source_project,
        "target_branch": request.target_branch,
        "target_project_id": request.project,
        "state": request.state,
        "merge_status": "can_be_merged",
        "detailed_merge_status": "mergeable",
        "url": format!("{}/{}/-/merge_requests/{}", state.url, state.path_of(project), request.iid),
    }))
}

fn build(state: &State, job: &Job) -> Value {
    let archive = job.artifact("archive");
    json!({
        "id": job.id,
        "stage": job.plan.stage,
        "name": job.plan.name,
        "status": job.status.word(),
        "created_at": time::hook(job.created_at),
        "started_at": time::hook_or_null(job.started_at),
        "finished_at": time::hook_or_null(job.finished_at),
        "duration": job.duration(),
        "queued_duration": job.queued_duration(),
        "failure_reason": job.failure_reason,
        "when": job.plan.when.word(),
        "manual": job.plan.when == crate::gitlab::state::plan::When::Manual,
        "allow_failure": job.plan.allow_failure,
        "user": user(state, job.user),
        "runner": runner(state, job),
        "artifacts_file": {
            "filename": archive.map(|archive| archive.filename.as_str()),
            "size": archive.map(|archive| archive.bytes.len()),
        },
        "environment": environment(state, job),
    })
}

fn runner(state: &State, job: &Job) -> Value {
    match job.runner.and_then(|runner| state.runners.get(&runner)) {
        Some(runner) => json!({
            "id": runner.id,
            "description": runner.description,
            "runner_type": runner.scope.word(),
            "active": !runner.paused,
            "is_shared": runner.scope.word() == "instance_type",
            "tags": runner.tags,
        }),
        None => Value::Null,
    }
}

fn environment(state: &State, job: &Job) -> Value {
    let Some(name) = &job.plan.environment else {
        return Value::Null;
    };
    let tier =
        state.environments.values().find(|found| found.project == job.project && found.name == *name).map(|found| found.tier.as_str());
    json!({ "name": name, "action": "start", "deployment_tier": tier })
}

/// What a job's hook is told: it calls itself `build`, and its commit's id is the pipeline's.
pub(crate) fn job(state: &State, id: u64) -> Option<Value> {
    let job = state.jobs.get(&id)?;
    let pipeline = state.pipelines.get(&job.pipeline)?;
    let project = state.projects.get(&job.project)?;
    let user = state.users.get(&job.user);
    // The reason is there on success too, as an unknown one.
    let reason = job.failure_reason.as_deref().unwrap_or("unknown_failure");
    let mut shown = json!({
        "object_kind": "build",
        "ref": pipeline.ref_name,
        "tag": pipeline.tag,
        "before_sha": pipeline.before_sha,
        "sha": pipeline.sha,
        "retries_count": job.attempt,
        "build_id": job.id,
        "build_name": job.plan.name,
        "build_stage": job.plan.stage,
        "build_status": job.status.word(),
        "build_created_at": time::hook(job.created_at),
        "build_started_at": time::hook_or_null(job.started_at),
        "build_finished_at": time::hook_or_null(job.finished_at),
        "build_duration": job.duration(),
        "build_queued_duration": job.queued_duration(),
        "build_allow_failure": job.plan.allow_failure,
        "build_failure_reason": reason,
        "pipeline_id": pipeline.id,
        "runner": runner(state, job),
        "project_id": project.id,
        "project_name": state.name_of(project),
        "user": self::user(state, job.user),
        "commit": {
            "id": pipeline.id,
            "name": pipeline.name,
            "sha": pipeline.sha,
            "message": pipeline.commit.message,
            "author_name": pipeline.commit.author_name,
            "author_email": pipeline.commit.author_email,
            "author_url": user.map(|user| format!("{}/{}", state.url, user.username)),
            "status": pipeline.status.word(),
            "duration": pipeline.duration(),
            "started_at": time::hook_or_null(pipeline.started_at),
            "finished_at": time::hook_or_null(pipeline.finished_at),
        },
        "repository": repository(state, project),
        "project": self::project(state, project),
        "environment": environment(state, job),
    });
    if state.version.0 >= 18
        && let Some(shown) = shown.as_object_mut()
    {
        for (key, at) in [("created", Some(job.created_at)), ("started", job.started_at), ("finished", job.finished_at)] {
            shown.insert(format!("build_{key}_at_iso"), time::api_or_null(at));
        }
    }
    if let Some(upstream) = source_pipeline(state, pipeline) {
        shown["source_pipeline"] = upstream;
    }
    Some(shown)
}

/// What a deployment's hook is told.
pub(crate) fn deployment(state: &State, id: u64) -> Option<Value> {
    let deployment = state.deployments.get(&id)?;
    let project = state.projects.get(&deployment.project)?;
    let environment = state.environments.get(&deployment.environment)?;
    let path = state.path_of(project);
    let title = state.pipelines.values().rev().find(|pipeline| pipeline.sha == deployment.sha).map(|pipeline| pipeline.commit.title());
    let user = state.users.get(&deployment.user);
    Some(json!({
        "object_kind": "deployment",
        "status": deployment.status,
        "status_changed_at": deployment.updated_at.strftime("%Y-%m-%d %H:%M:%S +0000").to_string(),
        "deployment_id": deployment.id,
        "deployable_id": deployment.job,
        "deployable_url": deployment.job.map(|job| format!("{}/{path}/-/jobs/{job}", state.url)),
        "environment": environment.name,
        "environment_tier": environment.tier,
        "environment_slug": environment.slug(),
        "environment_external_url": environment.external_url,
        "project": project_with_addresses(state, project),
        "short_sha": deployment.sha.get(..8),
        "user": self::user(state, deployment.user),
        "user_url": user.map(|user| format!("{}/{}", state.url, user.username)),
        "commit_url": format!("{}/{path}/-/commit/{}", state.url, deployment.sha),
        "commit_title": title,
        "ref": deployment.ref_name,
    }))
}
