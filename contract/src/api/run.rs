//! The controller: runs and the queue.

mod request;

pub use request::{Accepted, CdRequest, DeployArtifactRequest, MAX_INPUT, MAX_INPUTS, RerunFrom, RerunRequest, RollbackRequest};

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

use super::deploy::HostResult;
use crate::build::PartState;
use crate::{
    ArtifactName, AttemptKey, CommitSha, Digest, EnvironmentName, ExecutorName, Failure, FailureClass, JobName, Origin, PublishedName,
    RefName, RepoName, RunId, SourceUrl, Standing, Verdict,
};

/// What a run is about, as `GET /status` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunSummary {
    /// The run.
    pub id: RunId,
    /// Its number in its repository.
    pub number: u64,
    /// What started it.
    pub kind: RunKind,
    /// The repository; none for a deployment of what is in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<RepoName>,
    /// The ref.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub ref_name: Option<RefName>,
    /// The commit, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha: Option<CommitSha>,
    /// The artifact that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<ArtifactName>,
    /// The environment that it deploys to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentName>,
    /// The name that it publishes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_name: Option<PublishedName>,
    /// Its state.
    pub state: RunState,
    /// How it ended, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Whether what is kept of it cannot be read: it is damaged, or from another version. Then it is left as it is, and what
    /// stands here may be old.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreadable: bool,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Who asked for it.
    pub principal: String,
    /// What made it begin, where that was not a request: a change under review, a branch that moved.
    #[serde(default, skip_serializing_if = "Origin::is_api")]
    pub origin: Origin,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it was last run again, if it was: how long it takes counts from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

impl RunSummary {
    /// When what goes on with it now, or went on last, was asked for.
    pub fn began_at(&self) -> Timestamp {
        self.rerun_at.unwrap_or(self.accepted_at)
    }
}

/// What a run was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// `POST /cd`.
    Cd,
    /// `POST /environments/{name}/deploy`.
    Deploy,
    /// `POST /environments/{name}/rollback`.
    Rollback,
}

/// The state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Accepted; nothing of it has begun.
    Queued,
    /// At work, or waiting for something that it shares with others.
    Building,
    /// Being stopped.
    Stopping,
    /// Over.
    Finished,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every step passed.
    Passed,
    /// A step failed.
    Failed,
    /// The build was unstable, so nothing was deployed.
    Unstable,
    /// Somebody stopped it.
    Stopped,
    /// A step took longer than it may.
    TimedOut,
    /// Nobody knows how a step ended, and it was tried as often as it may be.
    Lost,
    /// A newer run was deployed before this one came to it.
    Superseded,
}

/// A whole run: `GET /runs/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunView {
    /// What the lists show of it.
    pub summary: RunSummary,
    /// Where its source is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceUrl>,
    /// The job that is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobName>,
    /// Where it is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor: Option<ExecutorName>,
    /// Its steps, in order.
    pub steps: Vec<StepView>,
    /// What was told of it where its change came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportView>,
    /// What may be done with it now.
    pub actions: Vec<RunAction>,
    /// Rises with each change; the base of the ETag.
    pub version: u64,
}

/// What is told of a run where its change came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ReportView {
    /// How the run stands, and so what the forge should show.
    pub wanted: Standing,
    /// What it was told last. While it is not `wanted`, telling goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Standing>,
    /// When it was told that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_at: Option<Timestamp>,
    /// What the forge made of it: a label that it dropped, a change that is closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// Why it could not be told, and is not tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// What may be done with a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunAction {
    /// `POST /runs/{id}/stop`
    Stop,
    /// `POST /runs/{id}/rerun`
    Rerun,
}

/// A step of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StepView {
    /// Its index, from 0.
    pub index: u16,
    /// Its name, by which its log is asked for.
    pub name: String,
    /// Its stage's name.
    pub stage: String,
    /// Its kind.
    pub kind: StepKind,
    /// Its state.
    pub state: StepState,
    /// How it ended, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// What it waits for, or why it ended so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptView>,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Fetches the source and proves it.
    Mirror,
    /// Has an executor build it.
    Build,
    /// Brings an artifact to the hosts of an environment.
    Deploy,
    /// Switches the hosts of an environment back to a release that they have.
    Activate,
}

/// The state of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// An earlier step has to end first.
    Pending,
    /// Waits for something that runs share: room in an executor, an environment.
    Waiting,
    /// At work.
    Active,
    /// Over.
    Ended,
    /// Not needed, or not reached.
    Skipped,
}

/// One try of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AttemptView {
    /// Its key.
    pub key: AttemptKey,
    /// Where it is by itself. Once it has ended, what is there may be kept for ever.
    #[serde(default)]
    pub attempt_url: String,
    /// Whether it is over: then nothing of it ever changes.
    pub ended: bool,
    /// How far it is, in words: `starting`, `running`, `storing`.
    pub phase: String,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Whose fault it was, where it did not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<FailureClass>,
    /// Why it failed, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The executor's own name for its build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// Its build's page at the executor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Url>,
    /// The pieces that its executor shows apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartState>,
    /// What else a person should know of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// What it made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<ArtifactView>,
    /// What it did on each host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostResult>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

/// An artifact of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ArtifactView {
    /// Its name.
    pub name: ArtifactName,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// `GET /status`: every active run, and the newest finished ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Status {
    /// The runs, by id.
    #[schema(value_type = BTreeMap<String, RunSummary>)]
    pub builds: BTreeMap<RunId, RunSummary>,
    /// Those of which nothing has begun, newest first.
    pub queued: Vec<RunId>,
    /// Those at work, newest first.
    pub building: Vec<RunId>,
    /// Those that are over, newest first.
    pub finished: Vec<RunId>,
    /// What to give as `cursor` for older finished runs; absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One entry of a run's event log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EventView {
    /// Its number in the run, from 1.
    pub n: u64,
    /// When.
    pub at: Timestamp,
    /// What happened, as a stable word.
    pub kind: String,
    /// Who caused it, where somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// The details. What they have depends on the kind, and is documented with it.
    #[schema(value_type = Object)]
    pub body: serde_json::Value,
}
