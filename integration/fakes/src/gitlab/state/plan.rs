//! What a pipeline is made from: jobs with their order, and what makes no pipeline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::gitlab::ci::Job;

/// When a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum When {
    /// When what came before passed.
    #[default]
    OnSuccess,
    /// When something before failed.
    OnFailure,
    /// In any case.
    Always,
    /// When somebody says so.
    Manual,
    /// Some time after what came before passed.
    Delayed(Duration),
}

impl When {
    /// What the API calls it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::OnSuccess => "on_success",
            Self::OnFailure => "on_failure",
            Self::Always => "always",
            Self::Manual => "manual",
            Self::Delayed(_) => "delayed",
        }
    }
}

/// What a job starts instead of a script: another pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// The project, if it is another.
    pub project: Option<String>,
    /// The branch there; its default branch if none is said.
    pub branch: Option<String>,
    /// The files with the child's definition, in this project.
    pub files: Option<Vec<String>>,
    /// Whether the job ends as the other pipeline does, instead of at once.
    pub depend: bool,
    /// The jobs of a child that no file defines.
    pub jobs: Vec<PlannedJob>,
}

/// A job that a pipeline is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedJob {
    /// Its name.
    pub name: String,
    /// Its stage.
    pub stage: String,
    /// The stage's place.
    pub stage_index: usize,
    /// The jobs that it waits for, instead of all earlier stages.
    pub needs: Option<Vec<String>>,
    /// When it runs.
    pub when: When,
    /// Whether its failure is no failure of the pipeline.
    pub allow_failure: bool,
    /// How often it is tried again by itself.
    pub retry: u32,
    /// How long it may run.
    pub timeout: Option<Duration>,
    /// What runners must have.
    pub tags: Vec<String>,
    /// Its own variables.
    pub variables: BTreeMap<String, String>,
    /// Where it deploys to.
    pub environment: Option<String>,
    /// The pipeline that it starts.
    pub trigger: Option<Box<Trigger>>,
    /// Whether a newer pipeline may end it.
    pub interruptible: bool,
    /// What its definition says of it, for the runner that does it.
    pub definition: Option<Arc<Job>>,
}

impl PlannedJob {
    /// A job in a stage.
    pub fn new(stage: &str, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            stage: stage.to_owned(),
            stage_index: 0,
            needs: None,
            when: When::OnSuccess,
            allow_failure: false,
            retry: 0,
            timeout: None,
            tags: Vec::new(),
            variables: BTreeMap::new(),
            environment: None,
            trigger: None,
            interruptible: false,
            definition: None,
        }
    }

    /// The same, run at another time. What is manual does not hold up the pipeline, as it is without rules.
    #[must_use]
    pub fn when(mut self, when: When) -> Self {
        self.when = when;
        self.allow_failure |= when == When::Manual;
        self
    }

    /// The same, holding up the pipeline or failing it.
    #[must_use]
    pub const fn blocking(mut self) -> Self {
        self.allow_failure = false;
        self
    }

    /// The same, with a failure that is allowed.
    #[must_use]
    pub const fn allowed_to_fail(mut self) -> Self {
        self.allow_failure = true;
        self
    }

    /// The same, waiting for these jobs alone.
    #[must_use]
    pub fn needs(mut self, names: &[&str]) -> Self {
        self.needs = Some(names.iter().map(|name| (*name).to_owned()).collect());
        self
    }

    /// The same, tried again by itself.
    #[must_use]
    pub const fn retried(mut self, times: u32) -> Self {
        self.retry = times;
        self
    }

    /// The same, deploying to an environment.
    #[must_use]
    pub fn deploying_to(mut self, environment: &str) -> Self {
        self.environment = Some(environment.to_owned());
        self
    }

    /// The same, starting a child with these jobs.
    #[must_use]
    pub fn with_child(mut self, jobs: Vec<Self>, depend: bool) -> Self {
        let jobs = Plan::jobs(jobs).into_jobs();
        self.trigger = Some(Box::new(Trigger { project: None, branch: None, files: None, depend, jobs }));
        self
    }

    /// The same, starting a pipeline of another project.
    #[must_use]
    pub fn with_downstream(mut self, project: &str, branch: Option<&str>, depend: bool) -> Self {
        let trigger =
            Trigger { project: Some(project.to_owned()), branch: branch.map(str::to_owned), files: None, depend, jobs: Vec::new() };
        self.trigger = Some(Box::new(trigger));
        self
    }
}

/// What comes of the wish for a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// These jobs.
    Jobs(Vec<PlannedJob>),
    /// A pipeline that failed at once, with these words about its file.
    Invalid(String),
    /// No pipeline: the words say why.
    None(String),
}

impl Plan {
    /// These jobs, in stages in the order in which they are first named.
    pub fn jobs(jobs: impl IntoIterator<Item = PlannedJob>) -> Self {
        let mut stages: Vec<String> = Vec::new();
        let jobs = jobs.into_iter().map(|mut job| {
            job.stage_index = stages.iter().position(|stage| *stage == job.stage).unwrap_or_else(|| {
                stages.push(job.stage.clone());
                stages.len() - 1
            });
            job
        });
        Self::Jobs(jobs.collect())
    }

    fn into_jobs(self) -> Vec<PlannedJob> {
        match self {
            Self::Jobs(jobs) => jobs,
            Self::Invalid(_) | Self::None(_) => Vec::new(),
        }
    }
}
