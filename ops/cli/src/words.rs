//! States and outcomes as people read them. Each match is exhaustive, so that a new state cannot be forgotten here.

use signalbox_contract::Verdict;
use signalbox_contract::api::delivery::{DeedKind, DeliveryState};
use signalbox_contract::api::deploy::{HostOutcome, HostResult};
use signalbox_contract::api::run::{Outcome, RunKind, RunState, RunSummary, StepState};
use signalbox_contract::build::{BuildState, PartState};

pub(crate) const fn state(state: RunState) -> &'static str {
    match state {
        RunState::Queued => "queued",
        RunState::Building => "building",
        RunState::Stopping => "stopping",
        RunState::Finished => "finished",
    }
}

pub(crate) const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed => "failed",
        Outcome::Unstable => "unstable",
        Outcome::Stopped => "stopped",
        Outcome::TimedOut => "took too long",
        Outcome::Lost => "lost",
        Outcome::Superseded => "superseded",
    }
}

pub(crate) const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Success => "passed",
        Verdict::Failed => "failed",
        Verdict::Unstable => "unstable",
        Verdict::Aborted => "stopped",
        Verdict::Skipped => "skipped",
        Verdict::TimedOut => "took too long",
        Verdict::Lost => "lost",
    }
}

pub(crate) const fn step(state: StepState) -> &'static str {
    match state {
        StepState::Pending => "pending",
        StepState::Waiting => "waiting",
        StepState::Active => "at work",
        StepState::Ended => "ended",
        StepState::Skipped => "skipped",
    }
}

/// The state of a delivery.
pub(crate) const fn delivery(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Received => "received",
        DeliveryState::Done => "done",
        DeliveryState::Ignored => "ignored",
        DeliveryState::Failed => "failed",
    }
}

/// What was done about a delivery.
pub(crate) const fn deed(what: DeedKind) -> &'static str {
    match what {
        DeedKind::Started => "started",
        DeedKind::Known => "is known as",
        DeedKind::Stopped => "stopped",
        DeedKind::Refused => "could not start a run",
    }
}

/// The state of a part of a build, and what it waits for or why it ended so.
pub(crate) fn part(part: &PartState) -> String {
    let (state, why) = match &part.state {
        BuildState::Waiting { why } => ("waiting", why.as_str()),
        BuildState::Running => ("at work", ""),
        BuildState::Ended { verdict: ended, reason, .. } => (verdict(*ended), reason.as_str()),
        BuildState::Gone => ("gone", ""),
    };
    let may_fail = if part.may_fail { " (may fail)" } else { "" };
    if why.is_empty() { format!("{state}{may_fail}") } else { format!("{state}{may_fail}, {why}") }
}

pub(crate) const fn kind(kind: RunKind) -> &'static str {
    match kind {
        RunKind::Cd => "cd",
        RunKind::Deploy => "deploy",
        RunKind::Rollback => "rollback",
    }
}

pub(crate) fn host(host: &HostResult) -> String {
    match &host.outcome {
        HostOutcome::Switched => host.change().map_or_else(|| "switched".to_owned(), |change| format!("switched {change}")),
        HostOutcome::Unchanged => "shows it already".to_owned(),
        HostOutcome::Superseded => "keeps something newer".to_owned(),
        HostOutcome::Failed { failure } => {
            // The host's name stands in front of this already.
            let words = failure.to_string();
            let words = words.strip_prefix(&format!("{}: ", host.host)).unwrap_or(&words);
            format!("failed: {words} ({})", failure.code.as_str())
        }
    }
}

/// The state of a run, or how it ended if it did.
pub(crate) fn result(run: &RunSummary) -> &'static str {
    if run.unreadable {
        return "unreadable";
    }
    run.outcome.map_or(state(run.state), outcome)
}
