//! How a pipeline comes to be: what defines it is looked up, and becomes jobs, or a reason why there are none.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::fake::Fake;
use super::git::NOTHING;
use super::state::NewPipeline;
use super::state::commit::Commit;
use super::state::job::JobKind;
use super::state::pipeline::{PipelineVariable, Upstream};
use super::state::plan::{Plan, PlannedJob};
use super::state::status::Status;

/// A pipeline that is wished for.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) project: u64,
    pub(crate) ref_name: String,
    pub(crate) tag: bool,
    pub(crate) before: String,
    pub(crate) source: String,
    pub(crate) user: u64,
    pub(crate) variables: Vec<PipelineVariable>,
    pub(crate) inputs: BTreeMap<String, Value>,
    pub(crate) commit: Commit,
    pub(crate) merge_request: Option<u64>,
    pub(crate) upstream: Option<Upstream>,
    /// Its jobs, if they are known already.
    pub(crate) jobs: Option<Vec<PlannedJob>>,
    /// The files that define it, instead of the project's own definition.
    pub(crate) files: Option<Vec<String>>,
    pub(crate) hung: bool,
}

/// Why there is no pipeline, in GitLab's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NoPipeline(pub(crate) String);

impl Fake {
    /// Makes a pipeline. A push gets a failed one when its definition is wrong; who asks by the API is told instead.
    pub(crate) async fn make_pipeline(self: &Arc<Self>, mut wish: Wish) -> Result<u64, NoPipeline> {
        let refuse = |words: &str| Err(NoPipeline(words.to_owned()));
        let runs = self.state_of(wish.project, |project| project.runs_jobs() && !project.archived && project.deletion.is_none());
        if runs != Some(true) {
            return refuse("Pipelines are disabled!");
        }
        let jobs = match wish.jobs.take() {
            Some(jobs) => Ok(jobs),
            None => match self.plan_of(&wish).await? {
                Plan::Jobs(jobs) if jobs.is_empty() => return refuse("No stages / jobs for this pipeline."),
                Plan::Jobs(jobs) => Ok(jobs),
                Plan::Invalid(words) if wish.source == "push" || wish.source == "parent_pipeline" => Err(words),
                Plan::None(words) | Plan::Invalid(words) => return Err(NoPipeline(words)),
            },
        };
        let new = NewPipeline {
            project: wish.project,
            ref_name: wish.ref_name,
            tag: wish.tag,
            before_sha: wish.before,
            source: wish.source,
            user: wish.user,
            variables: wish.variables,
            commit: wish.commit,
            merge_request: wish.merge_request,
            upstream: wish.upstream,
            jobs,
            name: None,
            hung: wish.hung,
        };
        Ok(self.change(|state| state.add_pipeline(new)))
    }

    /// The text that defines a project's pipelines at a commit, wherever its settings say that it is.
    pub(crate) async fn definition_of(&self, project: u64, sha: &str) -> Result<Option<String>, String> {
        let configured = self.state_of(project, |project| project.word("ci_config_path").map(str::to_owned)).flatten();
        let path = configured.unwrap_or_else(|| ".gitlab-ci.yml".to_owned());
        if path.starts_with("http://") || path.starts_with("https://") {
            return Err(format!("The definition at {path} is elsewhere on the web, which this GitLab does not model."));
        }
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let Some((file, place)) = path.split_once('@') else {
            return Ok(self.repository(project).file(sha, &path).await.map(text));
        };
        let (other, name) = place.split_once(':').map_or((place, None), |(other, name)| (other, Some(name)));
        let found = self.change(|state| state.project_at(other).map(|project| (project.id, project.default_branch.clone())));
        let missing = || {
            format!(
                "Project `{other}` not found or access denied! Make sure any includes in the pipeline configuration are correctly defined."
            )
        };
        let (id, default) = found.ok_or_else(missing)?;
        let name = name.map(str::to_owned).or(default).ok_or_else(missing)?;
        let repository = self.repository(id);
        let sha = repository.find(&name).await.ok_or_else(missing)?;
        Ok(repository.file(&sha, file).await.map(text))
    }

    /// A job starts the pipeline that it stands for.
    pub(crate) async fn cross(self: &Arc<Self>, job: u64) {
        let found = self.change(|state| {
            let row = state.jobs.get(&job).filter(|row| row.status == Status::Pending)?;
            let pipeline = state.pipelines.get(&row.pipeline)?.clone();
            Some((row.plan.trigger.clone()?, row.plan.variables.clone(), row.user, pipeline))
        });
        let Some((trigger, variables, user, pipeline)) = found else {
            return;
        };
        self.change(|state| state.begin_job(job, None));
        let upstream = Some(Upstream { project: pipeline.project, pipeline: pipeline.id, job });
        let variables = variables.into_iter().map(|(key, value)| PipelineVariable { key, value, file: false }).collect();
        let mut wish = Wish {
            project: pipeline.project,
            ref_name: pipeline.ref_name.clone(),
            tag: pipeline.tag,
            before: NOTHING.to_owned(),
            source: "parent_pipeline".to_owned(),
            user,
            variables,
            inputs: BTreeMap::new(),
            commit: pipeline.commit.clone(),
            merge_request: None,
            upstream,
            jobs: trigger.files.is_none().then(|| trigger.jobs.clone()),
            files: trigger.files.clone(),
            hung: false,
        };
        let made = match &trigger.project {
            Some(path) => match self.elsewhere(path, trigger.branch.as_deref(), user).await {
                Some((project, ref_name, commit)) => {
                    wish = Wish { project, ref_name, commit, tag: false, source: "pipeline".to_owned(), jobs: None, files: None, ..wish };
                    self.make_pipeline(wish).await
                }
                None => Err(NoPipeline("downstream_bridge_project_not_found".to_owned())),
            },
            None => self.make_pipeline(wish).await,
        };
        self.change(|state| match made {
            Ok(_) if trigger.depend => {
                // It may have ended already.
                let ended = state.jobs.get(&job).and_then(|row| match row.kind {
                    JobKind::Bridge(Some(child)) => {
                        state.pipelines.get(&child).map(|child| child.status).filter(|status| status.complete())
                    }
                    _ => None,
                });
                if let Some(status) = ended {
                    state.end_job(job, status, Some("downstream_pipeline_failed"));
                }
            }
            Ok(_) => state.end_job(job, Status::Success, None),
            Err(why) => {
                let reason = if why.0.starts_with("downstream_") { why.0.as_str() } else { "downstream_pipeline_creation_failed" };
                state.end_job(job, Status::Failed, Some(reason));
            }
        });
    }

    async fn elsewhere(&self, path: &str, branch: Option<&str>, user: u64) -> Option<(u64, String, Commit)> {
        let (id, default) = self.change(|state| {
            let project = state.project_at(path)?;
            state.sees(Some(user), project).then(|| (project.id, project.default_branch.clone()))
        })?;
        let branch = branch.map(str::to_owned).or(default)?;
        let repository = self.repository(id);
        let sha = repository.resolve(&format!("refs/heads/{branch}")).await?;
        Some((id, branch, repository.commit(&sha).await?))
    }
}
