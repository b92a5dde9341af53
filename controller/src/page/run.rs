//! One run, its log, and the buttons.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use jiff::Timestamp;
use signalbox_contract::RunId;
use signalbox_contract::api::deploy::{HostOutcome, HostResult};
use signalbox_contract::api::run::{AttemptView, RerunFrom, RunAction, RunState, RunView, StepKind, StepView};
use signalbox_controller_core::{Run, view};
use signalbox_service::auth::Operator;
use signalbox_service::http::{Form, Path, Query, internal};

use super::error::PageError;
use super::origin::{self, Report};
use super::parts::{PartRow, part_rows, telling};
use super::words::{Fact, Row, State as StateWord, log_text, moment, step_state, took};
use super::{Button, Visitor, page};
use crate::api::{Api, LogQuery, actions, attempt_of, part_of};
use crate::log::MAX_READ;

/// How much of the log a run's own page shows.
const GLANCE: u64 = 8 * 1024;

/// How much of a log its page shows.
const SHOWN: u64 = 256 * 1024;

#[derive(Template)]
#[template(path = "run.html")]
struct Page {
    row: Row,
    reason: String,
    facts: Vec<Fact>,
    report: Option<Report>,
    steps: Vec<StepRow>,
    /// The parts of what was built last, where its executor shows any.
    parts: Vec<PartRow>,
    log: String,
    can_stop: bool,
    can_rerun: bool,
    visitor: Option<Visitor>,
    refresh: bool,
}

struct StepRow {
    name: String,
    state: StateWord,
    attempt: String,
    lines: Vec<String>,
    took: String,
    log: Option<String>,
}

/// `GET /view/runs/{id}`
pub(super) async fn get(State(api): State<Api>, operator: Operator, Path(id): Path<RunId>) -> Result<Response, PageError> {
    let run = api.run(&operator, id).await?;
    let seen = view::view(&run, actions(&operator, &run));
    let now = api.clock.now();
    page(&Page {
        row: Row::of(&seen.summary, now),
        reason: seen.summary.reason.clone(),
        facts: facts(&seen),
        report: origin::report(&seen),
        steps: seen.steps.iter().flat_map(|step| step_rows(&seen, step, now)).collect(),
        parts: part_rows(&seen, now),
        log: glance(&api, &run).await?,
        can_stop: seen.actions.contains(&RunAction::Stop),
        can_rerun: seen.actions.contains(&RunAction::Rerun),
        visitor: Some(Visitor::of(&operator)),
        refresh: seen.summary.state != RunState::Finished,
    })
}

fn facts(run: &RunView) -> Vec<Fact> {
    let summary = &run.summary;
    let text = |value: Option<String>| value.unwrap_or_default();
    let mut facts = vec![
        Fact::mono("Run", summary.id.to_string()),
        Fact::mono("Source", text(run.source.as_ref().map(ToString::to_string))),
        Fact::mono("Ref", text(summary.ref_name.as_ref().map(ToString::to_string))),
        Fact::mono("Commit", text(summary.sha.as_ref().map(ToString::to_string))),
        Fact::plain("Job", text(run.job.as_ref().map(ToString::to_string))),
        Fact::plain("Executor", text(run.executor.as_ref().map(ToString::to_string))),
        Fact::plain("Artifact", text(summary.artifact.as_ref().map(ToString::to_string))),
        Fact::plain("Environment", text(summary.environment.as_ref().map(ToString::to_string))),
        Fact::plain("Published as", text(summary.published_name.as_ref().map(ToString::to_string))),
        Fact::plain("Asked by", summary.principal.clone()),
        Fact::plain("Accepted", moment(summary.accepted_at)),
        Fact::plain("Run again", text(summary.rerun_at.map(moment))),
        Fact::plain("Finished", text(summary.finished_at.map(moment))),
    ];
    facts.extend(origin::facts(&summary.origin));
    facts.retain(|fact| !fact.value.is_empty());
    facts
}

/// A row for each attempt; one for a step that has none.
fn step_rows(run: &RunView, step: &StepView, now: Timestamp) -> Vec<StepRow> {
    if step.attempts.is_empty() {
        let row = StepRow {
            name: step.name.clone(),
            state: step_state(step),
            attempt: String::new(),
            lines: Vec::new(),
            took: String::new(),
            log: None,
        };
        return vec![row];
    }
    let last = step.attempts.len() - 1;
    let row = |(index, attempt): (usize, &AttemptView)| StepRow {
        name: if index == 0 { step.name.clone() } else { String::new() },
        // An earlier attempt is over, whatever the step is doing now.
        state: if index == last && !attempt.ended {
            step_state(step)
        } else {
            let ended = StepView { state: signalbox_contract::api::run::StepState::Ended, verdict: attempt.verdict, ..step.clone() };
            step_state(&ended)
        },
        attempt: attempt.key.attempt.to_string(),
        lines: lines(step, attempt, index == last),
        took: took(attempt.started_at, attempt.finished_at, now),
        log: (step.kind == StepKind::Build)
            .then(|| format!("/view/runs/{}/steps/{}/log?attempt={}", run.summary.id, step.name, attempt.key.attempt)),
    };
    step.attempts.iter().enumerate().map(row).collect()
}

fn lines(step: &StepView, attempt: &AttemptView, latest: bool) -> Vec<String> {
    let mut lines = Vec::new();
    match &attempt.failure {
        Some(failure) => lines.push(failure.to_string()),
        None if !attempt.ended && latest => lines.push(if step.reason.is_empty() { attempt.phase.clone() } else { step.reason.clone() }),
        None => {}
    }
    lines.extend(attempt.artifacts.iter().map(|made| {
        // The browser has no token for the store, and none may stand in an address, so there is nothing that a link could open:
        // what works is the command, with whatever token of the store its user has.
        let file = made.name.as_str().rsplit('/').next().unwrap_or_default();
        format!("made {} ({} bytes); fetch it: signalbox blobs get {} --output {file}", made.name, made.size, made.digest)
    }));
    lines.extend(attempt.hosts.iter().map(host_line));
    lines.extend(attempt.remarks.iter().cloned());
    lines
}

fn host_line(host: &HostResult) -> String {
    let name = &host.host;
    match &host.outcome {
        HostOutcome::Switched => {
            let change = host.change().map(|change| format!(" {change}")).unwrap_or_default();
            format!("{name}: switched{change}, {} bytes moved", host.bytes)
        }
        HostOutcome::Unchanged => format!("{name}: had it already"),
        HostOutcome::Superseded => format!("{name}: has something newer"),
        HostOutcome::Failed { .. } => host.complaint().unwrap_or_default(),
    }
}

/// The end of the log of what was built last; of several parts, of the one that tells most.
async fn glance(api: &Api, run: &Run) -> Result<String, PageError> {
    let Ok(key) = attempt_of(run, "build", None) else { return Ok(String::new()) };
    let attempt = run.current(&key);
    let part = attempt.and_then(|attempt| telling(&attempt.parts));
    let Ok(part) = part_of(attempt, part) else { return Ok(String::new()) };
    tail(api, &key, &part, GLANCE).await.map(|(text, _)| text)
}

/// The last bytes of a log, and whether there are more before them.
async fn tail(api: &Api, key: &signalbox_contract::AttemptKey, part: &str, most: u64) -> Result<(String, bool), PageError> {
    let failed = |error: sqlx::Error| PageError::Refused(internal(error));
    let length = api.book.state(key, part).await.map_err(failed)?.length;
    let from = length.saturating_sub(most);
    let bytes = api.book.read(key, part, from, MAX_READ).await.map_err(failed)?;
    Ok((log_text(&bytes), from > 0))
}

#[derive(Template)]
#[template(path = "log.html")]
struct LogPage {
    run: String,
    name: String,
    step: String,
    attempt: u16,
    /// The part's name, and the query that asks for it; both empty where there is but one log.
    part: String,
    query: String,
    log: String,
    cut: bool,
    visitor: Option<Visitor>,
    refresh: bool,
}

/// `GET /view/runs/{id}/steps/{step}/log`
pub(super) async fn log(
    State(api): State<Api>,
    operator: Operator,
    Path((id, step)): Path<(RunId, String)>,
    Query(query): Query<LogQuery>,
) -> Result<Response, PageError> {
    let run = api.run(&operator, id).await?;
    let key = attempt_of(&run, &step, query.attempt).map_err(|problem| PageError::Refused(problem.into()))?;
    let attempt = run.steps[usize::from(key.step)].attempts.get(usize::from(key.attempt) - 1);
    let part = part_of(attempt, query.part.as_deref()).map_err(|problem| PageError::Refused(problem.into()))?;
    let (log, cut) = tail(&api, &key, &part, SHOWN).await?;
    let known = attempt.and_then(|attempt| attempt.parts.iter().find(|known| known.part == part)).filter(|_| query.part.is_some());
    let ended = run.current(&key).is_none_or(signalbox_controller_core::Attempt::ended);
    page(&LogPage {
        run: id.to_string(),
        name: Row::of(&view::summary(&run), api.clock.now()).name,
        step: run.steps[usize::from(key.step)].plan.name.clone(),
        attempt: key.attempt,
        part: known.map(|part| part.name.clone()).unwrap_or_default(),
        query: known.map(|part| super::parts::query(&part.part)).unwrap_or_default(),
        log,
        cut,
        visitor: Some(Visitor::of(&operator)),
        refresh: !ended,
    })
}

/// `POST /view/runs/{id}/stop`
pub(super) async fn stop(
    State(api): State<Api>,
    operator: Operator,
    Path(id): Path<RunId>,
    Form(Button {}): Form<Button>,
) -> Result<Response, PageError> {
    api.stop_run(&operator, id).await?;
    Ok(Redirect::to(&format!("/view/runs/{id}")).into_response())
}

/// `POST /view/runs/{id}/rerun`
pub(super) async fn rerun(
    State(api): State<Api>,
    operator: Operator,
    Path(id): Path<RunId>,
    Form(Button {}): Form<Button>,
) -> Result<Response, PageError> {
    // The button means what is left to do; where all passed, it means all of it.
    let run = api.run(&operator, id).await?;
    let from = if run.steps.iter().all(signalbox_controller_core::Step::passed) { RerunFrom::Start } else { RerunFrom::Failed };
    api.rerun_run(&operator, id, from).await?;
    Ok(Redirect::to(&format!("/view/runs/{id}")).into_response())
}
