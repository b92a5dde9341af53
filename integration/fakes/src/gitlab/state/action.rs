//! What people do to pipelines and jobs: cancel, retry, play, erase.

use super::State;
use super::job::JobKind;
use super::pipeline::Pipeline;
use super::plan::When;
use super::status::Status;

impl State {
    /// Stops a pipeline: what waits is over at once, what runs is told. Children end with it.
    pub fn cancel_pipeline(&mut self, id: u64) {
        let jobs: Vec<u64> = self.newest_jobs(id).iter().filter(|job| job.status.cancelable()).map(|job| job.id).collect();
        let empty = self.newest_jobs(id).is_empty();
        let hung = self.pipelines.get(&id).is_some_and(|pipeline| pipeline.hung);
        for job in jobs {
            let child = match self.jobs.get(&job).map(|job| &job.kind) {
                Some(JobKind::Bridge(Some(child))) => Some(*child),
                _ => None,
            };
            self.cancel_one(job);
            if let Some(child) = child.filter(|child| self.pipelines.get(child).is_some_and(Pipeline::is_child)) {
                self.cancel_pipeline(child);
            }
        }
        if (empty || hung) && self.pipelines.get(&id).is_some_and(|pipeline| !pipeline.status.complete()) {
            let now = self.now();
            if let Some(pipeline) = self.pipelines.get_mut(&id) {
                pipeline.status = Status::Canceled;
                pipeline.updated_at = now;
                pipeline.finished_at = Some(now);
            }
            self.tell_of_pipeline(id);
        }
        self.process(id);
    }

    /// Stops a job; with `force` also one that is being stopped, at once. False when there was nothing to stop.
    pub fn cancel_job(&mut self, id: u64, force: bool) -> bool {
        let Some(job) = self.jobs.get(&id) else {
            return false;
        };
        let pipeline = job.pipeline;
        match (job.status, force) {
            (Status::Canceling, true) => self.set_status(id, Status::Canceled),
            (status, _) if status.cancelable() => self.cancel_one(id),
            _ => return false,
        }
        self.process(pipeline);
        true
    }

    /// A runner learns of it by its next word; from 17.0 on, one that can says when it has stopped.
    fn cancel_one(&mut self, id: u64) {
        let graceful = self.version.waits_for_stopped()
            && self.jobs.get(&id).is_some_and(|job| job.status == Status::Running && job.runner.is_some() && job.stops_gracefully);
        self.set_status(id, if graceful { Status::Canceling } else { Status::Canceled });
    }

    /// Tries a job again: a new row, with a new id, in the same pipeline. What was skipped behind it waits again.
    pub fn retry_job(&mut self, id: u64) -> Option<u64> {
        let job = self.jobs.get(&id)?;
        if job.retried_by.is_some() {
            return None;
        }
        let (plan, attempt, stage, name) = (job.plan.clone(), job.attempt + 1, job.plan.stage_index, job.plan.name.clone());
        let mut plan = plan;
        // What was started by hand once is not asked for again.
        if plan.when == When::Manual {
            plan.when = When::OnSuccess;
        }
        let kind = match &job.kind {
            JobKind::Bridge(_) => JobKind::Bridge(None),
            kind => kind.clone(),
        };
        let pipeline = self.pipelines.get(&job.pipeline)?.clone();
        let variables = job.variables.clone();
        let new = self.new_job(&pipeline, plan, kind);
        if let Some(row) = self.jobs.get_mut(&new) {
            row.attempt = attempt;
            row.variables = variables;
        }
        if let Some(old) = self.jobs.get_mut(&id) {
            old.retried_by = Some(new);
        }
        if let Some(pipeline) = self.pipelines.get_mut(&pipeline.id) {
            pipeline.jobs.push(new);
        }
        self.wake_skipped(pipeline.id, stage, &name);
        self.enqueue(new);
        Some(new)
    }

    /// Lets those wait again that were skipped behind a job.
    fn wake_skipped(&mut self, pipeline: u64, stage: usize, name: &str) {
        let behind: Vec<u64> = self
            .newest_jobs(pipeline)
            .iter()
            .filter(|job| job.status == Status::Skipped)
            .filter(|job| {
                job.plan.stage_index > stage || job.plan.needs.as_ref().is_some_and(|needs| needs.iter().any(|need| need == name))
            })
            .map(|job| job.id)
            .collect();
        for id in behind {
            if let Some(job) = self.jobs.get_mut(&id) {
                job.status = Status::Created;
                job.finished_at = None;
            }
        }
    }

    /// Tries what failed or was stopped again, in the same pipeline.
    pub fn retry_pipeline(&mut self, id: u64) {
        let failed = |status| matches!(status, Status::Failed | Status::Canceled);
        let jobs: Vec<u64> = self.newest_jobs(id).iter().filter(|job| failed(job.status)).map(|job| job.id).collect();
        for job in jobs {
            // What was stopped before it ever began waits for what comes before it, as in the beginning.
            let began = self.jobs.get(&job).is_some_and(|job| job.queued_at.is_some());
            if let Some(new) = self.retry_job(job).filter(|_| !began)
                && let Some(row) = self.jobs.get_mut(&new)
            {
                row.status = Status::Created;
                row.queued_at = None;
                self.pending.retain(|pending| *pending != new);
            }
        }
        self.process(id);
    }

    /// Starts a job that waits for somebody to say so, or for its time. False when it does not.
    pub fn play_job(&mut self, id: u64, user: u64, variables: impl IntoIterator<Item = (String, String)>) -> bool {
        let Some(job) = self.jobs.get_mut(&id) else {
            return false;
        };
        if !matches!(job.status, Status::Manual | Status::Scheduled) {
            return false;
        }
        job.user = user;
        job.variables.extend(variables);
        job.scheduled_at = None;
        let pipeline = job.pipeline;
        self.enqueue(id);
        self.process(pipeline);
        true
    }

    /// Erases a job's log and what it left. False when it has not ended, or was erased before.
    pub fn erase_job(&mut self, id: u64) -> bool {
        let now = self.now();
        let Some(job) = self.jobs.get_mut(&id) else {
            return false;
        };
        if !job.status.complete() || job.erased_at.is_some() {
            return false;
        }
        job.trace.clear();
        job.artifacts.clear();
        job.erased_at = Some(now);
        true
    }

    /// Ends what an older pipeline of a branch still does when a newer one comes, as far as that has not begun.
    pub fn cancel_older(&mut self, project: u64, ref_name: &str, newer: u64) {
        let enabled =
            |id: &u64| self.projects.get(id).is_some_and(|project| project.word("auto_cancel_pending_pipelines") == Some("enabled"));
        if !enabled(&project) {
            return;
        }
        let pipelines = self.projects.get(&project).map(|project| project.pipelines.clone()).unwrap_or_default();
        for id in pipelines.into_iter().rev().skip_while(|id| *id != newer).skip(1).take(50) {
            let Some(pipeline) = self.pipelines.get(&id) else {
                continue;
            };
            if pipeline.ref_name != ref_name || pipeline.tag || pipeline.status.complete() || pipeline.source == "external" {
                continue;
            }
            // The usual way: what cannot be interrupted and has begun goes on, and holds up the rest.
            let begun = self.newest_jobs(id).iter().any(|job| job.started_at.is_some() && !job.plan.interruptible);
            if !begun {
                self.cancel_pipeline(id);
            }
        }
    }
}
