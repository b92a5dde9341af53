//! How a pipeline goes on: which jobs may start, wait, or are skipped, and what the whole amounts to.
//!
//! Pure: jobs with their states come in, changes go out. The rules are GitLab's own, with their order: a job is judged
//! by one composite status of all that stands before it.

use std::collections::{BTreeMap, BTreeSet};

use super::job::When;

/// The state of a job, or of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Nothing was decided yet.
    Created,
    /// Another job of its resource group runs.
    WaitingForResource,
    /// What it needs is being made.
    Preparing,
    /// Somebody else must answer first.
    WaitingForCallback,
    /// A runner may take it.
    Pending,
    /// A runner has it.
    Running,
    /// It ended well.
    Success,
    /// It did not.
    Failed,
    /// It was told to stop, and has not yet.
    Canceling,
    /// It was stopped.
    Canceled,
    /// It is not needed.
    Skipped,
    /// Somebody must start it.
    Manual,
    /// A clock will start it.
    Scheduled,
}

impl Status {
    /// GitLab's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::WaitingForResource => "waiting_for_resource",
            Self::Preparing => "preparing",
            Self::WaitingForCallback => "waiting_for_callback",
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Canceling => "canceling",
            Self::Canceled => "canceled",
            Self::Skipped => "skipped",
            Self::Manual => "manual",
            Self::Scheduled => "scheduled",
        }
    }

    /// Whether it has come to an end.
    #[must_use]
    pub fn is_complete(self) -> bool {
        matches!(self, Self::Success | Self::Failed | Self::Canceled | Self::Skipped)
    }

    /// Whether it goes on by itself, as soon as somebody has time.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(
            self,
            Self::WaitingForResource | Self::Preparing | Self::WaitingForCallback | Self::Pending | Self::Running | Self::Canceling
        )
    }

    /// Whether it can be cancelled.
    #[must_use]
    pub fn is_cancelable(self) -> bool {
        self == Self::Scheduled || self == Self::Created || (self.is_active() && self != Self::Canceling)
    }
}

/// The newest attempt of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobState {
    /// Its name; no other in the pipeline has it.
    pub name: String,
    /// Its stage's place.
    pub stage: usize,
    /// The names of the jobs it waits for; nothing when it waits for all stages before.
    pub needs: Option<Vec<String>>,
    /// When it starts.
    pub when: When,
    /// Whether it may fail. Where that hangs on the exit code, whether it might with the one it had.
    pub allow_failure: bool,
    /// Its state.
    pub status: Status,
}

/// What becomes of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its place in what was handed in.
    pub job: usize,
    /// Its new state: pending, manual, scheduled, skipped, or created again.
    pub to: Status,
}

/// What becomes of the jobs now. Once it is done, asking again gives nothing until some job changes.
#[must_use]
pub fn next(jobs: &[JobState]) -> Vec<Change> {
    let mut now: Vec<Status> = jobs.iter().map(|job| job.status).collect();
    let places: BTreeMap<&str, usize> = jobs.iter().enumerate().map(|(at, job)| (job.name.as_str(), at)).collect();
    let mut changes = Vec::new();
    // Stage after stage, and within one, what is needed before what needs it.
    for at in in_order(jobs, &places) {
        let job = &jobs[at];
        if now[at] != Status::Created {
            continue;
        }
        let before = match &job.needs {
            Some(needs) => {
                let needed = needs.iter().filter_map(|name| places.get(name.as_str())).map(|at| (now[*at], jobs[*at].allow_failure));
                composite(needed, true)
            }
            None => composite(
                jobs.iter().zip(&now).filter(|(other, _)| other.stage < job.stage).map(|(other, now)| (*now, other.allow_failure)),
                false,
            ),
        };
        let before = before.unwrap_or(Status::Success);
        if !before.is_complete() {
            continue;
        }
        let to = if may_start(job, before) { started(job.when) } else { Status::Skipped };
        now[at] = to;
        changes.push(Change { job: at, to });
    }
    changes
}

/// What the pipeline, or one stage of it, amounts to.
#[must_use]
pub fn status(jobs: &[JobState]) -> Status {
    composite(jobs.iter().map(|job| (job.status, job.allow_failure)), false).unwrap_or(Status::Success)
}

/// Whether it passed although some job that may fail did not.
#[must_use]
pub fn has_warnings(jobs: &[JobState]) -> bool {
    status(jobs) == Status::Success && jobs.iter().any(|job| job.allow_failure && matches!(job.status, Status::Failed | Status::Canceled))
}

/// What was skipped because of a job, and must be judged again now that the job runs again (retried, or started by hand).
#[must_use]
pub fn revive(jobs: &[JobState], name: &str) -> Vec<Change> {
    let Some(stage) = jobs.iter().find(|job| job.name == name).map(|job| job.stage) else { return Vec::new() };
    let mut alive: BTreeSet<&str> = BTreeSet::from([name]);
    let mut changes: BTreeMap<usize, Change> = BTreeMap::new();
    loop {
        let before = changes.len();
        for (at, job) in jobs.iter().enumerate() {
            let waits = match &job.needs {
                Some(needs) => needs.iter().any(|need| alive.contains(need.as_str())),
                None => job.stage > stage,
            };
            if waits && job.status == Status::Skipped && !changes.contains_key(&at) {
                alive.insert(&job.name);
                changes.insert(at, Change { job: at, to: Status::Created });
            }
        }
        if changes.len() == before {
            return changes.into_values().collect();
        }
    }
}

fn started(when: When) -> Status {
    match when {
        When::Manual => Status::Manual,
        When::Delayed(_) => Status::Scheduled,
        _ => Status::Pending,
    }
}

fn may_start(job: &JobState, before: Status) -> bool {
    match job.when {
        When::OnSuccess | When::Manual | When::Delayed(_) => {
            before == Status::Success || (job.needs.is_none() && before == Status::Skipped)
        }
        When::OnFailure => before == Status::Failed,
        When::Always => matches!(before, Status::Success | Status::Failed | Status::Skipped),
        When::Never => false,
    }
}

/// Stages first; within a stage a job comes after those that it needs. A circle, which no definition can have, keeps its order.
fn in_order(jobs: &[JobState], places: &BTreeMap<&str, usize>) -> Vec<usize> {
    let mut stages: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, job) in jobs.iter().enumerate() {
        stages.entry(job.stage).or_default().push(at);
    }
    let mut order = Vec::with_capacity(jobs.len());
    let mut placed: BTreeSet<usize> = BTreeSet::new();
    for waiting in stages.into_values() {
        let mut waiting: Vec<usize> = waiting;
        while !waiting.is_empty() {
            let here: BTreeSet<usize> = waiting.iter().copied().collect();
            let waits = |at: usize| {
                jobs[at].needs.iter().flatten().filter_map(|name| places.get(name.as_str())).any(|need| *need != at && here.contains(need))
            };
            let free: Vec<usize> = waiting.iter().copied().filter(|at| !waits(*at)).collect();
            let taken = if free.is_empty() { waiting.clone() } else { free };
            waiting.retain(|at| !taken.contains(at));
            placed.extend(taken.iter().copied());
            order.extend(taken);
        }
    }
    order
}

/// What several states come to. The order of the questions matters, and is GitLab's.
fn composite(all: impl Iterator<Item = (Status, bool)>, needs: bool) -> Option<Status> {
    let seen: BTreeSet<Seen> = all.map(|(status, allowed)| Seen::of(status, allowed)).collect();
    if seen.is_empty() {
        return None;
    }
    let any = |wanted: &[Status]| wanted.iter().any(|status| seen.contains(&Seen::As(*status)));
    let only = |plain: &[Status], others: &[Seen]| {
        seen.iter().all(|seen| others.contains(seen) || matches!(seen, Seen::As(status) if plain.contains(status)))
    };
    let passed = [Seen::Warned, Seen::Ignored];
    Some(if needs && (any(&[Status::Skipped]) || seen.contains(&Seen::Ignored)) {
        Status::Skipped
    } else if needs && !only(&[Status::Success, Status::Failed, Status::Canceled, Status::Skipped], &[Seen::Warned]) {
        Status::Pending
    } else if only(&[Status::Skipped], &[Seen::Ignored]) {
        Status::Skipped
    } else if only(&[Status::Success, Status::Skipped], &passed) {
        Status::Success
    } else if only(&[Status::Created], &passed) {
        Status::Created
    } else if only(&[Status::Preparing], &passed) {
        Status::Preparing
    } else if only(&[Status::Canceled, Status::Success, Status::Skipped], &passed) {
        Status::Canceled
    } else if any(&[Status::Canceling]) {
        Status::Canceling
    } else if only(&[Status::Pending, Status::Created, Status::Skipped], &passed) {
        Status::Pending
    } else if any(&[Status::Running, Status::Pending]) {
        Status::Running
    } else if any(&[Status::WaitingForResource]) {
        Status::WaitingForResource
    } else if any(&[Status::WaitingForCallback]) {
        Status::WaitingForCallback
    } else if any(&[Status::Manual]) {
        Status::Manual
    } else if any(&[Status::Scheduled]) {
        Status::Scheduled
    } else if any(&[Status::Preparing]) {
        Status::Preparing
    } else if any(&[Status::Created]) {
        Status::Running
    } else {
        Status::Failed
    })
}

/// A job's state as others see it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    As(Status),
    /// It failed, and may.
    Warned,
    /// It waits to be started by hand, and nobody has to.
    Ignored,
}

impl Seen {
    fn of(status: Status, allowed: bool) -> Self {
        match status {
            Status::Failed | Status::Canceled if allowed => Self::Warned,
            Status::Manual if allowed => Self::Ignored,
            other => Self::As(other),
        }
    }
}
