//! A job as a definition makes it: everything that a pipeline and a runner must know of it.

use std::collections::BTreeMap;

use super::variable::Variable;

/// One job of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its name, with `1/3` or `: [a, b]` behind it where it was multiplied.
    pub name: String,
    /// The stage it stands in.
    pub stage: String,
    /// That stage's place among the stages.
    pub stage_index: usize,
    /// The jobs it waits for; nothing when it waits for all stages before.
    pub needs: Option<Vec<Need>>,
    /// When it starts.
    pub when: When,
    /// Whether it may fail.
    pub allow_failure: AllowFailure,
    /// The definition's variables for it, in order.
    pub variables: Vec<Variable>,
    /// Lines before the script.
    pub before_script: Vec<String>,
    /// The script; empty for a job that starts another pipeline.
    pub script: Vec<String>,
    /// Lines after the script, whatever came of it.
    pub after_script: Vec<String>,
    /// What it leaves behind.
    pub artifacts: Option<Artifacts>,
    /// How often it is tried again by itself.
    pub retry: Retry,
    /// Seconds after which it is stopped.
    pub timeout: Option<u64>,
    /// What a runner must be able to do.
    pub tags: Vec<String>,
    /// Where it deploys to.
    pub environment: Option<Environment>,
    /// The pipeline it starts instead of running.
    pub trigger: Option<Trigger>,
    /// Whether a newer pipeline may cancel it.
    pub interruptible: bool,
    /// Name and audiences of each ID token it asks for.
    pub id_tokens: BTreeMap<String, Vec<String>>,
    /// The container's image.
    pub image: Option<Image>,
    /// Containers beside it.
    pub services: Vec<Image>,
    /// Its caches.
    pub cache: Vec<Cache>,
    /// The pattern, without its slashes, that finds the coverage in the log.
    pub coverage: Option<String>,
    /// The jobs whose artifacts it gets; nothing when it gets those of all stages before (or of its needs).
    pub dependencies: Option<Vec<String>>,
    /// Jobs of one group run one after the other.
    pub resource_group: Option<String>,
    /// Its number and how many there are, when it was multiplied.
    pub parallel: Option<(u32, u32)>,
}

/// A job that must have ended first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Its name.
    pub job: String,
    /// Whether its artifacts are wanted.
    pub artifacts: bool,
    /// Whether it may be missing from the pipeline.
    pub optional: bool,
}

/// When a job starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// When all before it succeeded.
    OnSuccess,
    /// When one before it failed.
    OnFailure,
    /// When all before it ended.
    Always,
    /// When somebody says so.
    Manual,
    /// So many seconds after it could have started.
    Delayed(u64),
    /// Never: it is not in the pipeline.
    Never,
}

/// Whether a job may fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowFailure {
    /// Whether any failure is allowed.
    pub always: bool,
    /// The exit codes that are allowed.
    pub exit_codes: Vec<i64>,
}

impl AllowFailure {
    /// Whether a failure with this exit code is allowed.
    #[must_use]
    pub fn covers(&self, exit_code: Option<i64>) -> bool {
        self.always || exit_code.is_some_and(|code| self.exit_codes.contains(&code))
    }
}

/// What a job leaves behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Artifacts {
    /// Which paths.
    pub paths: Vec<String>,
    /// Which not.
    pub exclude: Vec<String>,
    /// The archive's name.
    pub name: Option<String>,
    /// After which end.
    pub when: ArtifactsWhen,
    /// How long it is kept, in words.
    pub expire_in: Option<String>,
    /// Whether files that git does not know are taken as well.
    pub untracked: bool,
    /// Reports, by kind.
    pub reports: BTreeMap<String, Vec<String>>,
}

/// After which end artifacts are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ArtifactsWhen {
    /// After success.
    #[default]
    OnSuccess,
    /// After failure.
    OnFailure,
    /// After both.
    Always,
}

impl ArtifactsWhen {
    /// GitLab's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::OnSuccess => "on_success",
            Self::OnFailure => "on_failure",
            Self::Always => "always",
        }
    }
}

/// How often a job is tried again by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// At most so often, two at most.
    pub max: u32,
    /// After which failures; empty means all of them.
    pub when: Vec<String>,
    /// After which exit codes; empty means all of them.
    pub exit_codes: Vec<i64>,
}

impl Retry {
    /// Whether a job that failed for this reason is tried again, after it was tried again `tried` times.
    #[must_use]
    pub fn again(&self, tried: u32, reason: &str, exit_code: Option<i64>) -> bool {
        if tried >= self.max {
            return false;
        }
        if self.when.is_empty() && self.exit_codes.is_empty() {
            return true;
        }
        self.when.iter().any(|when| when == "always" || when == reason) || exit_code.is_some_and(|code| self.exit_codes.contains(&code))
    }
}

/// Where a job deploys to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Its name, before variables are put in.
    pub name: String,
    /// Its address.
    pub url: Option<String>,
    /// What the job does with it: start, prepare, stop, verify or access.
    pub action: String,
    /// The job that stops it.
    pub on_stop: Option<String>,
    /// Its tier.
    pub deployment_tier: Option<String>,
}

/// Another pipeline that a job starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Which one.
    pub target: TriggerTarget,
    /// Whether the job ends as that pipeline ends.
    pub depend: bool,
    /// Whether the definition's variables are handed on.
    pub forward_yaml_variables: bool,
    /// Whether the variables that somebody gave this pipeline are handed on.
    pub forward_pipeline_variables: bool,
}

/// Which pipeline a job starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TriggerTarget {
    /// A child pipeline of files of the same repository.
    Files(Vec<String>),
    /// A pipeline of another project.
    Project {
        /// Its full path.
        path: String,
        /// The branch; its default branch when nothing is said.
        branch: Option<String>,
    },
}

/// A container's image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its name.
    pub name: String,
    /// Its entry point.
    pub entrypoint: Vec<String>,
    /// What a service is told to run.
    pub command: Vec<String>,
    /// A service's name.
    pub alias: Option<String>,
    /// When it is pulled.
    pub pull_policy: Vec<String>,
}

/// A cache, which the fake hands on and does not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Its key, before variables are put in; nothing when it is made of files.
    pub key: Option<String>,
    /// Its paths.
    pub paths: Vec<String>,
    /// `pull-push`, `pull` or `push`.
    pub policy: String,
    /// Whether files that git does not know are taken as well.
    pub untracked: bool,
}
