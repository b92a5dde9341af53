//! The parts in which an executor shows a build.

use jiff::Timestamp;
use signalbox_contract::Verdict;
use signalbox_contract::api::run::{RunView, StepKind, StepState, StepView};
use signalbox_contract::build::{BuildState, PartState};

use super::words::{State, step_state, took};

/// A part, in a table.
pub(super) struct PartRow {
    pub(super) name: String,
    pub(super) stage: String,
    pub(super) state: State,
    /// What it waits for, or why it ended so.
    pub(super) reason: String,
    pub(super) took: String,
    /// Where its log is, if it has one.
    pub(super) log: Option<String>,
    /// Its page at the executor.
    pub(super) url: Option<String>,
}

/// The parts of what was built last. A build of one part without a name of its own is not shown apart.
pub(super) fn part_rows(run: &RunView, now: Timestamp) -> Vec<PartRow> {
    let step = run.steps.iter().rfind(|step| step.kind == StepKind::Build);
    let Some((step, attempt)) = step.and_then(|step| Some((step, step.attempts.last()?))) else { return Vec::new() };
    if let [only] = attempt.parts.as_slice()
        && only.part == crate::log::PART
    {
        return Vec::new();
    }
    let row = |part: &PartState| PartRow {
        name: part.name.clone(),
        stage: part.stage.clone().unwrap_or_default(),
        state: state(step, part),
        reason: reason(part),
        took: part.started_at.map(|begun| took(begun, part.finished_at, now)).unwrap_or_default(),
        log: part.has_log.then(|| {
            let n = attempt.key.attempt;
            format!("/view/runs/{}/steps/{}/log?attempt={n}{}", run.summary.id, step.name, query(&part.part))
        }),
        // Whatever else an executor calls an address is not made a link.
        url: part.url.as_ref().filter(|url| matches!(url.scheme(), "http" | "https")).map(ToString::to_string),
    };
    attempt.parts.iter().map(row).collect()
}

/// What asks for a part's log, behind what asks for its attempt.
pub(super) fn query(part: &str) -> String {
    format!("&part={}", url::form_urlencoded::byte_serialize(part.as_bytes()).collect::<String>())
}

/// The part whose log tells most: the first that failed; else the last that has begun.
pub(super) fn telling(parts: &[PartState]) -> Option<&str> {
    let with_log = || parts.iter().filter(|part| part.has_log);
    let failed =
        |part: &&PartState| matches!(part.state, BuildState::Ended { verdict, .. } if !verdict.passed() && verdict != Verdict::Skipped);
    let begun = |part: &&PartState| !matches!(part.state, BuildState::Waiting { .. });
    let found = with_log().filter(|part| !part.may_fail).find(failed).or_else(|| with_log().rfind(begun));
    found.or_else(|| with_log().next()).map(|part| part.part.as_str())
}

/// A part's state in the words that steps have.
fn state(step: &StepView, part: &PartState) -> State {
    let (state, verdict) = match &part.state {
        BuildState::Waiting { .. } => (StepState::Waiting, None),
        BuildState::Running => (StepState::Active, None),
        BuildState::Ended { verdict, .. } => (StepState::Ended, Some(*verdict)),
        BuildState::Gone => (StepState::Ended, Some(Verdict::Lost)),
    };
    step_state(&StepView { state, verdict, ..step.clone() })
}

fn reason(part: &PartState) -> String {
    let reason = match &part.state {
        BuildState::Waiting { why } => why.clone(),
        BuildState::Ended { reason, .. } => reason.clone(),
        BuildState::Running | BuildState::Gone => String::new(),
    };
    match (part.may_fail, reason.is_empty()) {
        (false, _) => reason,
        (true, true) => "may fail".to_owned(),
        (true, false) => format!("{reason} (may fail)"),
    }
}
