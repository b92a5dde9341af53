//! Statuses that other systems report of a commit.

use super::State;
use super::commit::Commit;
use super::job::{Job, JobKind};
use super::plan::PlannedJob;
use super::process::NewPipeline;
use super::status::Status;

/// What is reported.
#[derive(Debug, Clone)]
pub struct NewStatus {
    /// The project.
    pub project: u64,
    /// The commit.
    pub commit: Commit,
    /// The branch or tag.
    pub ref_name: String,
    /// Whether that is a tag.
    pub tag: bool,
    /// What is reported on.
    pub name: String,
    /// How far it is.
    pub state: Status,
    /// Where people can look.
    pub target_url: Option<String>,
    /// What it says.
    pub description: Option<String>,
    /// The share of code that tests reach.
    pub coverage: Option<f64>,
    /// The pipeline that it is for.
    pub pipeline: Option<u64>,
    /// Who reports.
    pub user: u64,
}

/// Why a status is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatusRefused {
    /// It is in that state already, or cannot get there.
    #[error("Cannot transition status via :{event} from :{from} (Reason(s): Status cannot transition via \"{event}\")")]
    Transition {
        /// The step that was tried.
        event: &'static str,
        /// The state that it is in.
        from: &'static str,
    },
    /// There is no such pipeline for that commit.
    #[error("404 Pipeline Not Found")]
    NoPipeline,
}

impl State {
    /// The newest pipeline of a commit and ref to which a status is attached.
    pub fn pipeline_for_status(&self, project: u64, sha: &str, ref_name: &str) -> Option<u64> {
        let pipelines = &self.projects.get(&project)?.pipelines;
        let fits = |id: &&u64| {
            let pipeline = self.pipelines.get(id);
            pipeline.is_some_and(|pipeline| pipeline.sha == sha && pipeline.ref_name == ref_name && !pipeline.is_child())
        };
        pipelines.iter().rev().find(fits).copied()
    }

    /// Takes a status; `found` is the pipeline that was looked for before. The look and this are two steps, as in GitLab, so
    /// two first reports at once make two pipelines.
    ///
    /// # Errors
    /// When the pipeline is not there, or the state cannot follow.
    pub fn report(&mut self, new: NewStatus, found: Option<u64>) -> Result<u64, StatusRefused> {
        let pipeline = match new.pipeline.or(found) {
            Some(pipeline) => {
                let pipeline = self.pipelines.get(&pipeline).ok_or(StatusRefused::NoPipeline)?;
                if pipeline.project != new.project || pipeline.sha != new.commit.id {
                    return Err(StatusRefused::NoPipeline);
                }
                pipeline.id
            }
            None => self.add_pipeline(NewPipeline {
                project: new.project,
                ref_name: new.ref_name.clone(),
                tag: new.tag,
                before_sha: "0".repeat(new.commit.id.len()),
                source: "external".to_owned(),
                user: new.user,
                variables: Vec::new(),
                commit: new.commit.clone(),
                merge_request: None,
                upstream: None,
                jobs: Ok(Vec::new()),
                name: None,
                hung: false,
            }),
        };
        let job = self.row_for(&new, pipeline)?;
        let kind = JobKind::External { target_url: new.target_url, description: new.description };
        if let Some(row) = self.jobs.get_mut(&job) {
            row.kind = kind;
            row.coverage = new.coverage.or(row.coverage);
        }
        match new.state {
            Status::Running => {
                self.set_status(job, Status::Running);
                self.process(pipeline);
            }
            status if status.complete() => {
                let reason = (status == Status::Failed).then_some("unknown_failure");
                self.end_job(job, status, reason);
            }
            status => {
                self.set_status(job, status);
                self.process(pipeline);
            }
        }
        Ok(job)
    }

    /// The row that a status is written into: the one that is at work and has the same name and reporter, else a new one
    /// that stands for an old one tried again.
    fn row_for(&mut self, new: &NewStatus, pipeline: u64) -> Result<u64, StatusRefused> {
        let same = |job: &&&Job| matches!(job.kind, JobKind::External { .. }) && job.plan.name == new.name;
        let old = self.newest_jobs(pipeline).iter().find(same).map(|job| (job.id, job.status, job.user));
        if let Some((id, status, user)) = old
            && user == new.user
            && !status.complete()
        {
            let event = match new.state {
                Status::Pending => "enqueue",
                Status::Running => "run",
                _ => return Ok(id),
            };
            let repeated = status == new.state && !self.version.takes_repeated_statuses();
            if repeated || (status == Status::Running && new.state == Status::Pending) {
                return Err(StatusRefused::Transition { event, from: status.word() });
            }
            return Ok(id);
        }
        let Some(row) = self.pipelines.get(&pipeline).cloned() else {
            return Err(StatusRefused::NoPipeline);
        };
        let mut plan = PlannedJob::new("external", &new.name);
        plan.stage_index = usize::MAX;
        plan.needs = Some(Vec::new());
        let id = self.new_job(&row, plan, JobKind::External { target_url: None, description: None });
        if let Some(job) = self.jobs.get_mut(&id) {
            job.user = new.user;
        }
        if let Some(pipeline) = self.pipelines.get_mut(&pipeline) {
            pipeline.jobs.push(id);
        }
        if let Some(old) = old.and_then(|(old, ..)| self.jobs.get_mut(&old)) {
            old.retried_by = Some(id);
        }
        Ok(id)
    }
}
