//! Handing out jobs: the oldest that waits and that a runner can do. A runner for which there is none waits a while.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::State as Shared;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{errand, registry, watch};
use crate::gitlab::api::refusal::{Answer, Refusal};
use crate::gitlab::fake::Fake;
use crate::gitlab::state::State;
use crate::gitlab::state::job::Job;
use crate::gitlab::state::runner::{Runner, RunnerScope};
use crate::gitlab::state::status::Status;

/// How long a runner is made to wait for a job that is not there yet.
const PATIENCE: Duration = Duration::from_secs(50);
/// What a runner repeats with its next question, so that it waits only for what it has not heard of.
const LAST_UPDATE: &str = "x-gitlab-last-update";

/// What runners wait at.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    moves: AtomicU64,
    changed: Notify,
    /// When a runner last said something of a job that it has.
    heard: Mutex<HashMap<u64, Instant>>,
}

impl Queue {
    /// Something waits now that did not before.
    pub(crate) fn advance(&self) {
        self.moves.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// A runner said something of a job.
    pub(super) fn heard(&self, job: u64) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).insert(job, Instant::now());
    }

    pub(super) fn last_heard(&self, job: u64) -> Option<Instant> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).get(&job).copied()
    }

    pub(super) fn forget(&self, job: u64) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).remove(&job);
    }

    fn mark(&self) -> String {
        format!("{:032x}", self.moves.load(Ordering::SeqCst))
    }
}

/// A runner's question.
#[derive(Debug, Deserialize)]
pub(super) struct Question {
    #[serde(default)]
    token: String,
    last_update: Option<String>,
    #[serde(default)]
    info: Value,
}

/// A runner asks for a job.
pub(super) async fn request(Shared(fake): Shared<Arc<Fake>>, Json(question): Json<Question>) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Whoever listens before looking misses nothing in between.
        let changed = fake.queue.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let mark = fake.queue.mark();
        let taken = fake.change(|state| take(&fake, state, &question))?;
        if let Some(job) = taken {
            watch::watch(&fake, job);
            return errand::hand_out(&fake, job).await;
        }
        if question.last_update.as_deref() != Some(mark.as_str()) {
            return Ok(nothing(&mark));
        }
        tokio::select! {
            () = changed => {}
            () = fake.shutdown.requested() => return Ok(nothing(&mark)),
            () = tokio::time::sleep_until(deadline) => return Ok(nothing(&mark)),
        }
    }
}

fn nothing(mark: &str) -> Response {
    (StatusCode::NO_CONTENT, [(LAST_UPDATE, mark)]).into_response()
}

fn take(fake: &Fake, state: &mut State, question: &Question) -> Result<Option<u64>, Refusal> {
    let runner = registry::find(state, &question.token)?;
    if let Some(version) = question.info.get("version").and_then(Value::as_str) {
        runner.version = Some(version.chars().take(50).collect());
    }
    let runner = runner.clone();
    let waits = |job: &&Job| job.status == Status::Pending && job.is_build() && job.plan.definition.is_some();
    let found = state.jobs.values().filter(waits).find(|job| suits(state, &runner, job) && !fake.is_scripted(job.id)).map(|job| job.id);
    let taken = found.filter(|id| state.begin_job(*id, Some(runner.id)));
    if let Some(job) = taken.and_then(|id| state.jobs.get_mut(&id)) {
        job.stops_gracefully = question.info.pointer("/features/cancel_gracefully").and_then(Value::as_bool).unwrap_or_default();
    }
    Ok(taken)
}

/// Whether a runner can do a job, and may.
fn suits(state: &State, runner: &Runner, job: &Job) -> bool {
    let (Some(project), Some(pipeline)) = (state.projects.get(&job.project), state.pipelines.get(&job.pipeline)) else {
        return false;
    };
    let wanted: BTreeSet<String> = job.plan.tags.iter().cloned().collect();
    let able = if wanted.is_empty() { runner.run_untagged } else { wanted.is_subset(&runner.tags) };
    let theirs = match runner.scope {
        RunnerScope::Instance => project.is_on("shared_runners_enabled"),
        RunnerScope::Group(group) => project.is_on("group_runners_enabled") && lies_in(state, project.namespace, group),
        RunnerScope::Project(id) => id == project.id,
    };
    able && theirs && !runner.paused && (!runner.protected_only || project.protects(&pipeline.ref_name, pipeline.tag))
}

fn lies_in(state: &State, namespace: u64, group: u64) -> bool {
    let mut at = Some(namespace);
    while let Some(id) = at {
        if id == group {
            return true;
        }
        at = state.groups.get(&id).and_then(|found| found.parent);
    }
    false
}
