//! The states of pipelines and jobs, and how those of jobs make the pipeline's.

use super::job::Job;

/// The state of a pipeline or of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It waits for what comes before it.
    Created,
    /// It waits for a resource that another holds.
    WaitingForResource,
    /// It is being prepared.
    Preparing,
    /// It waits for an outside answer.
    WaitingForCallback,
    /// It waits for a runner.
    Pending,
    /// It runs.
    Running,
    /// It passed.
    Success,
    /// It failed.
    Failed,
    /// It was told to stop, and is at it.
    Canceling,
    /// It was stopped.
    Canceled,
    /// It was not needed.
    Skipped,
    /// It waits for somebody to say so.
    Manual,
    /// It waits for its time.
    Scheduled,
}

impl Status {
    const ALL: [Self; 13] = [
        Self::Created,
        Self::WaitingForResource,
        Self::Preparing,
        Self::WaitingForCallback,
        Self::Pending,
        Self::Running,
        Self::Success,
        Self::Failed,
        Self::Canceling,
        Self::Canceled,
        Self::Skipped,
        Self::Manual,
        Self::Scheduled,
    ];

    /// What the API calls it.
    pub const fn word(self) -> &'static str {
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

    /// The one with this name.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.word() == word)
    }

    /// Whether it has come to an end.
    pub const fn complete(self) -> bool {
        matches!(self, Self::Success | Self::Failed | Self::Canceled | Self::Skipped)
    }

    /// Whether something is being done, or waited for, that somebody could cancel.
    pub const fn cancelable(self) -> bool {
        !self.complete() && !matches!(self, Self::Canceling)
    }

    /// The label that people are shown. It is no status: words differ.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Success => "passed",
            Self::Manual => "waiting for manual action",
            Self::Scheduled => "waiting for delayed job",
            Self::WaitingForResource => "waiting for resource",
            Self::WaitingForCallback => "waiting for callback",
            other => other.word(),
        }
    }
}

/// The state that these jobs make together, and whether failures were passed over. None of them may have been tried again.
pub fn composite<'a>(jobs: impl IntoIterator<Item = &'a Job>) -> (Status, bool) {
    let mut seen = [0_usize; Status::ALL.len()];
    let (mut warnings, mut count) = (false, 0);
    for job in jobs {
        count += 1;
        let status = match job.status {
            Status::Failed | Status::Canceled if job.plan.allow_failure => {
                warnings = true;
                Status::Success
            }
            Status::Manual if job.plan.allow_failure => Status::Skipped,
            status => status,
        };
        if let Some(at) = Status::ALL.iter().position(|known| *known == status) {
            seen[at] += 1;
        }
    }
    let of =
        |wanted: &[Status]| -> usize { Status::ALL.iter().zip(seen).filter(|(status, _)| wanted.contains(status)).map(|(_, n)| n).sum() };
    let only = |wanted: &[Status]| of(wanted) == count;
    let any = |wanted: &[Status]| of(wanted) > 0;
    let status = if only(&[Status::Skipped]) {
        Status::Skipped
    } else if only(&[Status::Success, Status::Skipped]) {
        Status::Success
    } else if only(&[Status::Created]) {
        Status::Created
    } else if only(&[Status::Canceled, Status::Success, Status::Skipped]) {
        Status::Canceled
    } else if only(&[Status::Pending, Status::Created, Status::Skipped]) {
        Status::Pending
    } else if any(&[Status::Canceling]) {
        Status::Canceling
    } else if any(&[Status::Running, Status::Pending]) {
        Status::Running
    } else if any(&[Status::WaitingForResource]) {
        Status::WaitingForResource
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
    };
    (status, warnings)
}
