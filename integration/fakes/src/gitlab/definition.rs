//! A project's definition of its pipelines: found, read with what it includes, and made into jobs for a ref.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::ci::{self, Context, Definition, Sources};
use super::fake::Fake;
use super::git::{NOTHING, Repository};
use super::pipelines::{NoPipeline, Wish};
use super::state::plan::{Plan, PlannedJob, Trigger, When};
use super::variables::{Subject, for_rules};

/// How often a definition is read until all that it includes is there: one file can include another.
const ROUNDS: usize = 20;

impl Fake {
    /// What a wish for a pipeline comes to.
    pub(super) async fn plan_of(&self, wish: &Wish) -> Result<Plan, NoPipeline> {
        let planned = self.state_of(wish.project, |project| project.plan.clone()).flatten();
        if let Some(plan) = planned.filter(|_| wish.files.is_none()) {
            return Ok(plan);
        }
        let text = match &wish.files {
            Some(files) => files.iter().fold("include:\n".to_owned(), |text, file| format!("{text}  - local: {}\n", json!(file))),
            None => match self.definition_of(wish.project, &wish.commit.id).await {
                Ok(Some(text)) => text,
                Ok(None) => return Err(NoPipeline("Missing CI config file".to_owned())),
                Err(words) => return Ok(Plan::Invalid(words)),
            },
        };
        let repository = self.repository(wish.project);
        let definition = match read(&repository, &wish.commit.id, &text, &wish.inputs).await {
            Ok(definition) => definition,
            Err(errors) => return Ok(Plan::Invalid(errors.to_string())),
        };
        // For a new branch GitLab does not know what changed, and then takes every such rule as fitting.
        let known = !wish.tag && wish.before != NOTHING && !wish.before.is_empty();
        let changed = if known { Some(repository.changed(&wish.before, &wish.commit.id).await) } else { None };
        let variables = self.change(|state| {
            let subject = Subject {
                ref_name: &wish.ref_name,
                tag: wish.tag,
                before: &wish.before,
                source: &wish.source,
                commit: &wish.commit,
                merge_request: wish.merge_request,
                user: wish.user,
            };
            state.projects.get(&wish.project).map(|project| for_rules(state, project, &subject, &wish.variables)).unwrap_or_default()
        });
        let context = Context { variables, changed, files: repository.files(&wish.commit.id).await };
        Ok(match definition.pipeline(&context) {
            Ok(jobs) => Plan::Jobs(jobs.into_iter().map(planned_job).collect()),
            Err(ci::Refusal::Invalid(words)) => Plan::Invalid(words),
            Err(refusal) => Plan::None(refusal.to_string()),
        })
    }

    /// What a definition is worth: its jobs, or what is wrong with it.
    pub(crate) async fn check_definition(&self, project: u64, text: &str, name: Option<&str>) -> Result<Vec<Value>, Vec<String>> {
        let repository = self.repository(project);
        let default = self.state_of(project, |project| project.default_branch.clone()).flatten();
        let name = name.map(str::to_owned).or(default).unwrap_or_else(|| "main".to_owned());
        let sha = repository.find(&name).await.unwrap_or_default();
        let definition = read(&repository, &sha, text, &BTreeMap::new()).await.map_err(|errors| errors.0)?;
        let mut context = Context { files: repository.files(&sha).await, ..Context::default() };
        for (key, value) in [("CI_COMMIT_BRANCH", name.as_str()), ("CI_COMMIT_REF_NAME", &name), ("CI_PIPELINE_SOURCE", "push")] {
            context.variables.insert(key.to_owned(), value.to_owned());
        }
        let jobs = match definition.pipeline(&context) {
            Ok(jobs) => jobs,
            Err(ci::Refusal::Invalid(words)) => return Err(vec![words]),
            // That it makes no job for this branch is no fault of it.
            Err(ci::Refusal::Filtered | ci::Refusal::NoJobs) => Vec::new(),
        };
        let shown = jobs.iter().map(|job| {
            json!({
                "name": job.name, "stage": job.stage, "before_script": job.before_script, "script": job.script,
                "after_script": job.after_script, "tag_list": job.tags, "allow_failure": job.allow_failure.always,
                "environment": job.environment.as_ref().map(|environment| environment.name.as_str()),
            })
        });
        Ok(shown.collect())
    }
}

/// Reads a text. Which files it includes is only known by reading, so it is read until nothing more is missed.
async fn read(repository: &Repository, sha: &str, text: &str, inputs: &BTreeMap<String, Value>) -> Result<Definition, ci::Errors> {
    let mut found: BTreeMap<String, Option<String>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        let (result, missed) = read_once(text, inputs, &found);
        if missed.is_empty() {
            return result;
        }
        for path in missed {
            let bytes = repository.file(sha, &path).await;
            found.insert(path, bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    read_once(text, inputs, &found).0
}

fn read_once(
    text: &str,
    inputs: &BTreeMap<String, Value>,
    found: &BTreeMap<String, Option<String>>,
) -> (Result<Definition, ci::Errors>, BTreeSet<String>) {
    let missed = RefCell::new(BTreeSet::new());
    let find = |path: &str| {
        if !found.contains_key(path) {
            missed.borrow_mut().insert(path.to_owned());
        }
        found.get(path).cloned().flatten()
    };
    let result = Definition::parse_with(text, Sources { file: Some(&find), inputs });
    (result, missed.into_inner())
}

/// A job of a definition, as the state keeps it.
fn planned_job(job: ci::Job) -> PlannedJob {
    let trigger = job.trigger.as_ref().map(|trigger| {
        let (project, branch, files) = match &trigger.target {
            ci::TriggerTarget::Files(files) => (None, None, Some(files.clone())),
            ci::TriggerTarget::Project { path, branch } => (Some(path.clone()), branch.clone(), None),
        };
        Box::new(Trigger { project, branch, files, depend: trigger.depend, jobs: Vec::new() })
    });
    let when = match job.when {
        ci::When::OnFailure => When::OnFailure,
        ci::When::Always => When::Always,
        ci::When::Manual => When::Manual,
        ci::When::Delayed(seconds) => When::Delayed(Duration::from_secs(seconds)),
        ci::When::OnSuccess | ci::When::Never => When::OnSuccess,
    };
    PlannedJob {
        name: job.name.clone(),
        stage: job.stage.clone(),
        stage_index: job.stage_index,
        needs: job.needs.as_ref().map(|needs| needs.iter().map(|need| need.job.clone()).collect()),
        when,
        allow_failure: job.allow_failure.always,
        retry: job.retry.max,
        timeout: job.timeout.map(Duration::from_secs),
        tags: job.tags.clone(),
        variables: job.variables.iter().map(|variable| (variable.name.clone(), variable.value.clone())).collect(),
        environment: job.environment.as_ref().map(|environment| environment.name.clone()),
        trigger,
        interruptible: job.interruptible,
        definition: Some(Arc::new(job)),
    }
}
