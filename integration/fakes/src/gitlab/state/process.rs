//! How pipelines go: which job may start when, and what that makes of the pipeline.

use std::collections::BTreeMap;

use super::commit::Commit;
use super::hook::Topic;
use super::job::{Job, JobKind};
use super::pipeline::{Pipeline, PipelineVariable, Upstream};
use super::plan::{PlannedJob, When};
use super::status::{Status, composite};
use super::{Chore, News, State};
use crate::gitlab::hook::payload;

/// What a new pipeline is to be.
#[derive(Debug, Clone)]
pub struct NewPipeline {
    /// Whose it is.
    pub project: u64,
    /// The branch or tag, by its short name.
    pub ref_name: String,
    /// Whether that is a tag.
    pub tag: bool,
    /// What the ref showed before.
    pub before_sha: String,
    /// Why it is there.
    pub source: String,
    /// Who starts it.
    pub user: u64,
    /// Variables that it was given.
    pub variables: Vec<PipelineVariable>,
    /// The commit.
    pub commit: Commit,
    /// The merge request that it is for.
    pub merge_request: Option<u64>,
    /// What started it.
    pub upstream: Option<Upstream>,
    /// Its jobs, or what is wrong with their definition.
    pub jobs: Result<Vec<PlannedJob>, String>,
    /// What it calls itself.
    pub name: Option<String>,
    /// Whether nothing is ever to happen in it.
    pub hung: bool,
}

impl State {
    /// Adds a pipeline and starts what may start.
    pub fn add_pipeline(&mut self, new: NewPipeline) -> u64 {
        self.make_room(new.project);
        let id = self.id();
        let now = self.touch(new.project);
        let iid = self.projects.get_mut(&new.project).map_or(1, |project| {
            project.pipelines.push(id);
            project.next_pipeline += 1;
            project.next_pipeline - 1
        });
        let (jobs, yaml_errors) = match new.jobs {
            Ok(jobs) => (jobs, None),
            Err(errors) => (Vec::new(), Some(errors)),
        };
        let mut pipeline = Pipeline {
            id,
            iid,
            project: new.project,
            ref_name: new.ref_name,
            tag: new.tag,
            sha: new.commit.id.clone(),
            before_sha: new.before_sha,
            source: new.source,
            status: Status::Created,
            warnings: false,
            name: new.name,
            user: new.user,
            yaml_errors,
            variables: new.variables,
            commit: new.commit,
            merge_request: new.merge_request,
            upstream: new.upstream,
            jobs: Vec::new(),
            created_at: now,
            updated_at: now,
            started_at: None,
            finished_at: None,
            hung: new.hung,
        };
        if let Some(request) = new.merge_request.and_then(|request| self.merge_requests.get_mut(&request)) {
            request.head_pipeline = Some(id);
        }
        for plan in jobs {
            let kind = if plan.trigger.is_some() { JobKind::Bridge(None) } else { JobKind::Build };
            let job = self.new_job(&pipeline, plan, kind);
            pipeline.jobs.push(job);
        }
        let (invalid, hung) = (pipeline.yaml_errors.is_some(), pipeline.hung);
        self.pipelines.insert(id, pipeline);
        self.attach_to_upstream(id);
        if invalid {
            self.end_pipeline_at_once(id);
        } else if !hung {
            self.process(id);
        }
        id
    }

    fn end_pipeline_at_once(&mut self, id: u64) {
        let now = self.now();
        if let Some(pipeline) = self.pipelines.get_mut(&id) {
            pipeline.status = Status::Failed;
            pipeline.finished_at = Some(now);
        }
        self.tell_of_pipeline(id);
        self.end_bridge_of(id);
    }

    /// Makes a job's row.
    pub(super) fn new_job(&mut self, pipeline: &Pipeline, plan: PlannedJob, kind: JobKind) -> u64 {
        let id = self.id();
        let now = self.now();
        let deployment = plan.environment.clone().map(|name| {
            let environment = self.environment_named(pipeline.project, &name);
            self.add_deployment(environment, pipeline, Some(id), "created", pipeline.user)
        });
        let job = Job {
            id,
            project: pipeline.project,
            pipeline: pipeline.id,
            plan,
            kind,
            status: Status::Created,
            user: pipeline.user,
            retried_by: None,
            attempt: 0,
            created_at: now,
            queued_at: None,
            started_at: None,
            finished_at: None,
            erased_at: None,
            scheduled_at: None,
            failure_reason: None,
            exit_code: None,
            coverage: None,
            trace: Vec::new(),
            artifacts: Vec::new(),
            artifacts_expire_at: None,
            runner: None,
            stops_gracefully: false,
            token: Self::secret("glcbt-"),
            variables: BTreeMap::new(),
            deployment,
        };
        self.jobs.insert(id, job);
        id
    }

    /// The newest attempts of a pipeline's jobs.
    pub fn newest_jobs(&self, pipeline: u64) -> Vec<&Job> {
        let jobs = self.pipelines.get(&pipeline).map(|pipeline| pipeline.jobs.as_slice()).unwrap_or_default();
        jobs.iter().filter_map(|job| self.jobs.get(job)).filter(|job| job.newest()).collect()
    }

    /// Starts what may start, until nothing more may, and brings the pipeline's own state up to date.
    pub fn process(&mut self, pipeline: u64) {
        while let Some((job, prior)) = self.next_to_decide(pipeline) {
            self.decide(job, prior);
        }
        self.refresh_pipeline(pipeline);
    }

    /// The first job that waits and whose predecessors have come to an end, with what they came to.
    fn next_to_decide(&self, pipeline: u64) -> Option<(u64, Status)> {
        let jobs = self.newest_jobs(pipeline);
        jobs.iter().filter(|job| job.status == Status::Created).find_map(|job| {
            let before: Vec<&Job> = match &job.plan.needs {
                Some(names) => jobs.iter().filter(|other| names.contains(&other.plan.name)).copied().collect(),
                None => jobs.iter().filter(|other| other.plan.stage_index < job.plan.stage_index).copied().collect(),
            };
            let settled = |other: &&Job| other.status.complete() || (other.status == Status::Manual && other.plan.allow_failure);
            if !before.iter().all(settled) {
                return None;
            }
            let skipped = job.plan.needs.is_some() && before.iter().any(|other| other.status == Status::Skipped);
            let prior = if before.is_empty() {
                Status::Success
            } else if skipped {
                Status::Skipped
            } else {
                match composite(before).0 {
                    // In stages, what was not needed holds nobody up.
                    Status::Skipped => Status::Success,
                    status => status,
                }
            };
            Some((job.id, prior))
        })
    }

    fn decide(&mut self, id: u64, prior: Status) {
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        let passed = prior == Status::Success;
        let start = match job.plan.when {
            When::OnSuccess | When::Manual | When::Delayed(_) => passed,
            When::OnFailure => prior == Status::Failed,
            When::Always => true,
        };
        if !start {
            return self.set_status(id, Status::Skipped);
        }
        match job.plan.when {
            When::Manual => self.set_status(id, Status::Manual),
            When::Delayed(by) => {
                let at = self.now().checked_add(by).ok();
                if let Some(job) = self.jobs.get_mut(&id) {
                    job.scheduled_at = at;
                }
                self.set_status(id, Status::Scheduled);
                self.later(by, Chore::Due(id));
            }
            _ => self.enqueue(id),
        }
    }

    /// Lets a job wait for a runner, or start the other pipeline that it stands for.
    pub(super) fn enqueue(&mut self, id: u64) {
        self.set_status(id, Status::Pending);
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        if job.is_bridge() {
            self.later(std::time::Duration::ZERO, Chore::Bridge(id));
        } else {
            self.pending.push(id);
        }
    }

    /// Moves a job to a state and tells of it. What follows for the pipeline is for the caller to do, by
    /// [`State::process`].
    pub fn set_status(&mut self, id: u64, status: Status) {
        let now = self.now();
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        if job.status == status {
            return;
        }
        job.status = status;
        match status {
            Status::Pending => job.queued_at = Some(now),
            Status::Running => job.started_at = Some(now),
            status if status.complete() => job.finished_at = Some(now),
            _ => {}
        }
        let (pipeline, deployment, build) = (job.pipeline, job.deployment, job.is_build());
        if let Some(pipeline) = self.pipelines.get_mut(&pipeline) {
            pipeline.updated_at = now;
        }
        if let Some(deployment) = deployment {
            let word = match status {
                Status::Running => Some("running"),
                Status::Success => Some("success"),
                Status::Failed => Some("failed"),
                Status::Canceled => Some("canceled"),
                Status::Skipped => Some("skipped"),
                Status::Manual => Some("blocked"),
                _ => None,
            };
            if let Some(word) = word {
                self.set_deployment(deployment, word);
            }
        }
        if build {
            self.tell_of_job(id);
        }
    }

    /// Brings a pipeline's state up to date with its jobs'.
    pub(super) fn refresh_pipeline(&mut self, id: u64) {
        let jobs = self.newest_jobs(id);
        if jobs.is_empty() {
            return;
        }
        let began = jobs.iter().any(|job| job.started_at.is_some());
        let (status, warnings) = composite(jobs);
        let now = self.now();
        let Some(pipeline) = self.pipelines.get_mut(&id) else {
            return;
        };
        pipeline.warnings = warnings && status == Status::Success;
        if began && pipeline.started_at.is_none() {
            pipeline.started_at = Some(now);
        }
        if pipeline.status == status {
            return;
        }
        pipeline.status = status;
        pipeline.updated_at = now;
        pipeline.finished_at = status.complete().then_some(now);
        if status != Status::Created {
            self.tell_of_pipeline(id);
        }
        if status.complete() {
            self.end_bridge_of(id);
        }
    }

    /// A job begins, on that runner if there is one. False when it does not wait to begin any more.
    pub fn begin_job(&mut self, id: u64, runner: Option<u64>) -> bool {
        let Some(job) = self.jobs.get_mut(&id) else {
            return false;
        };
        if job.status != Status::Pending {
            return false;
        }
        job.runner = runner;
        let pipeline = job.pipeline;
        self.set_status(id, Status::Running);
        self.refresh_pipeline(pipeline);
        true
    }

    /// A job ends. A failure is tried again by itself as often as the job says. Nothing happens to a job that has ended.
    pub fn end_job(&mut self, id: u64, status: Status, reason: Option<&str>) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        if job.status.complete() {
            return;
        }
        let status = if job.status == Status::Canceling { Status::Canceled } else { status };
        if status == Status::Failed {
            job.failure_reason = Some(reason.unwrap_or("unknown_failure").to_owned());
        }
        let (code, cause) = (job.exit_code.map(i64::from), job.failure_reason.clone().unwrap_or_default());
        let again = match &job.plan.definition {
            Some(definition) => definition.retry.again(job.attempt, &cause, code),
            None => job.attempt < job.plan.retry,
        };
        // Some failures alone may be allowed; which, is only known now.
        job.plan.allow_failure |=
            status == Status::Failed && job.plan.definition.as_ref().is_some_and(|definition| definition.allow_failure.covers(code));
        let (pipeline, again) = (job.pipeline, status == Status::Failed && again);
        self.set_status(id, status);
        if again {
            self.retry_job(id);
        }
        self.process(pipeline);
    }

    pub(super) fn tell_of_pipeline(&mut self, id: u64) {
        let Some(pipeline) = self.pipelines.get(&id) else {
            return;
        };
        self.tell(pipeline.project, Topic::Pipeline, Some(pipeline.user), None, |state| payload::pipeline(state, id));
    }

    fn tell_of_job(&mut self, id: u64) {
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        self.tell(job.project, Topic::Job, Some(job.user), None, |state| payload::job(state, id));
    }

    /// Writes news for hooks, if any hook wants it. Of what blocked users do, nothing is told.
    pub(in crate::gitlab) fn tell(
        &mut self,
        project: u64,
        topic: Topic,
        user: Option<u64>,
        branch: Option<String>,
        payload: impl FnOnce(&Self) -> Option<serde_json::Value>,
    ) {
        let blocked = user.and_then(|user| self.users.get(&user)).is_some_and(|user| user.blocked);
        if blocked || !self.interests(project, topic) {
            return;
        }
        if let Some(payload) = payload(self) {
            self.news.push(News { project, topic, branch, payload });
        }
    }
}
