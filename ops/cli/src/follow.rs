//! Following a run: its steps as they go, its build's log as it grows, until it ends.
//!
//! The run is asked for again and again with its ETag, so that asking costs nearly nothing while nothing changes. What is
//! shown depends on the state that is read alone, never on having seen every change.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Result;
use http::header::{ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use signalbox_contract::api::run::{AttemptView, Outcome, RunState, RunView, StepKind, StepState, StepView};
use signalbox_contract::{AttemptKey, RunId};
use signalbox_service::client::CallError;

use crate::connection::{Connection, path};
use crate::log::{LogReader, parts};
use crate::mistake::{Mistake, code};
use crate::output::{Output, duration, harmless, size};
use crate::trouble::Troubles;

/// Between two questions while something moves, and while nothing does.
const QUICK: Duration = Duration::from_millis(100);
const SLOW: Duration = Duration::from_secs(1);

/// How long a service that stopped answering is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long the rest of a log is waited for once the run is over.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(2);

/// The largest run that is read.
const MAX_RUN: usize = 4 * 1024 * 1024;

/// Follows `run` to its end and answers it. Progress goes to standard error, the log to standard output.
pub(crate) async fn follow(connection: &Connection, run: RunId, output: Output) -> Result<RunView> {
    let screen = Screen::new(output);
    tokio::select! {
        view = until_the_end(connection, run, &screen) => view,
        _ = tokio::signal::ctrl_c() => {
            let words = format!("interrupted; the run goes on. `signalbox show {run}` shows it, `signalbox stop {run}` stops it");
            Err(Mistake::new(code::INTERRUPTED, words).into())
        }
    }
}

async fn until_the_end(connection: &Connection, run: RunId, screen: &Screen) -> Result<RunView> {
    let mut watch = Watch::new(connection, run);
    let mut shown = Shown::default();
    let mut pause = QUICK;
    loop {
        let changed = watch.look().await?;
        let mut moved = false;
        if let Some(view) = &watch.view {
            screen.doing(&shown.doing(view));
            moved = shown.go_on(connection, view, screen).await?;
            screen.doing(&shown.doing(view));
        }
        if let Some(view) = watch.view.take_if(|view| view.summary.state == RunState::Finished && !moved && shown.told_all(view)) {
            return Ok(view);
        }
        pause = if changed || moved { QUICK } else { SLOW.min(pause * 3 / 2) };
        tokio::time::sleep(pause).await;
    }
}

/// The run as it was last read.
pub(crate) struct Watch<'a> {
    connection: &'a Connection,
    path: String,
    etag: Option<HeaderValue>,
    pub(crate) view: Option<RunView>,
    silent_since: Option<Instant>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(connection: &'a Connection, run: RunId) -> Self {
        let path = path(["runs", &run.to_string()]);
        Self { connection, path, etag: None, view: None, silent_since: None }
    }

    /// Reads the run if it changed, and answers whether it did. A service that is away for a moment, or a connection that is
    /// cut, is waited for once the run was read.
    pub(crate) async fn look(&mut self) -> Result<bool> {
        match self.read().await? {
            Ok(changed) => {
                self.silent_since = None;
                Ok(changed)
            }
            Err(error) if error.may_pass() && self.etag.is_some() => {
                let since = *self.silent_since.get_or_insert_with(Instant::now);
                if since.elapsed() < PATIENCE { Ok(false) } else { Err(self.connection.explain(error)) }
            }
            Err(error) => Err(self.connection.refusal(error).await),
        }
    }

    /// The run as it was last read.
    pub(crate) fn seen(&self) -> Result<&RunView> {
        self.view.as_ref().ok_or_else(|| Mistake::setup("the controller sent no run").into())
    }

    async fn read(&mut self) -> Result<Result<bool, CallError>> {
        let mut headers = HeaderMap::new();
        if let Some(etag) = &self.etag {
            headers.insert(IF_NONE_MATCH, etag.clone());
        }
        let mut answer = match self.connection.stream(&self.path, headers).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error)),
        };
        if answer.status() == http::StatusCode::NOT_MODIFIED {
            return Ok(Ok(false));
        }
        let etag = answer.headers().get(ETAG).cloned();
        let mut body = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return Ok(Err(error)),
            }
            if body.len() > MAX_RUN {
                return Err(Mistake::setup("the controller sent a run that is too large to be one").into());
            }
        }
        let view = serde_json::from_slice(&body)
            .map_err(|_| Mistake::setup("the controller's answer is not understood; is it of another version?"))?;
        self.etag = etag;
        self.view = Some(view);
        Ok(Ok(true))
    }
}

/// What was shown already.
#[derive(Default)]
struct Shown {
    /// The attempts that are known, and whether it was told how they ended.
    attempts: BTreeMap<AttemptKey, bool>,
    /// When attempts were first seen to have ended.
    ended: BTreeMap<AttemptKey, Instant>,
    logs: BTreeMap<(AttemptKey, Option<String>), LogReader>,
    /// The attempts of which something was heard.
    heard: BTreeSet<AttemptKey>,
    /// The log that something was shown of last.
    speaking: Option<(AttemptKey, Option<String>)>,
    troubles: Troubles,
}

impl Shown {
    /// Shows what is new, in the order of the steps: that an attempt began, what its build printed, how it ended, why it is
    /// tried again; and answers whether a log went on.
    async fn go_on(&mut self, connection: &Connection, view: &RunView, screen: &Screen) -> Result<bool> {
        let now = Instant::now();
        for attempt in attempts(view).filter(|attempt| attempt.ended) {
            self.ended.entry(attempt.key).or_insert(now);
        }
        let mut moved = false;
        for step in &view.steps {
            for attempt in &step.attempts {
                let told = *self.attempts.entry(attempt.key).or_insert_with(|| {
                    if attempt.key.attempt > 1 {
                        screen.note(&format!("{}: attempt {}", step.name, attempt.key.attempt));
                    }
                    false
                });
                if step.kind == StepKind::Build {
                    moved |= self.logs(connection, view, (step, attempt), screen).await?;
                }
                if attempt.ended && !told {
                    if self.may_have_more(attempt) {
                        return Ok(moved);
                    }
                    screen.note(&ended(step, attempt));
                    self.attempts.insert(attempt.key, true);
                }
            }
            if let Some(trouble) = self.troubles.news(step) {
                screen.note(&trouble);
            }
        }
        Ok(moved)
    }

    /// Whether the last of an ended attempt's log may be on its way still. Of a build that was lost it never comes.
    fn may_have_more(&self, attempt: &AttemptView) -> bool {
        let complete = self.logs.iter().filter(|((key, _), _)| *key == attempt.key).all(|(_, log)| log.is_complete());
        !complete && self.ended.get(&attempt.key).is_some_and(|since| since.elapsed() < LAST_WORDS)
    }

    /// Whether it was told of all attempts how they ended.
    fn told_all(&self, view: &RunView) -> bool {
        attempts(view).filter(|attempt| attempt.ended).all(|attempt| self.attempts.get(&attempt.key) == Some(&true))
    }

    /// What the run is doing, in a few words.
    fn doing(&self, view: &RunView) -> String {
        let at_work = view.steps.iter().find(|step| matches!(step.state, StepState::Active | StepState::Waiting));
        let Some(step) = at_work else {
            return crate::words::state(view.summary.state).to_owned();
        };
        let attempt = step.attempts.last().filter(|attempt| !attempt.ended);
        // A build that speaks is running, whenever its executor is looked at next.
        if attempt.is_some_and(|attempt| attempt.phase == "queued" && self.heard.contains(&attempt.key)) {
            return running(step);
        }
        let phase = attempt.map(|attempt| attempt.phase.as_str());
        let details = if step.reason.is_empty() { phase.unwrap_or("waiting") } else { &step.reason };
        format!("{}: {details}", step.name)
    }

    /// Shows what is new in the logs of a build, and answers whether there was anything.
    async fn logs(
        &mut self,
        connection: &Connection,
        view: &RunView,
        (step, attempt): (&StepView, &AttemptView),
        screen: &Screen,
    ) -> Result<bool> {
        // Which parts there are is known once the executor was looked at; until then there is nothing to read.
        if attempt.parts.is_empty() && !attempt.ended {
            return Ok(false);
        }
        let mut moved = false;
        let parts = parts(attempt);
        let several = parts.len() > 1;
        for (part, name) in parts {
            let at = (attempt.key, part);
            let log = self
                .logs
                .entry(at.clone())
                .or_insert_with(|| LogReader::new(view.summary.id, &step.name, attempt.key.attempt, at.1.as_deref()));
            let (speaking, heard) = (&mut self.speaking, &mut self.heard);
            let shown = log
                .advance(connection, &mut |bytes| {
                    if heard.insert(attempt.key) && !attempt.ended {
                        screen.doing(&running(step));
                    }
                    // Parts write at the same time: it is said whose words follow.
                    if several && speaking.as_ref() != Some(&at) {
                        screen.note(&format!("── {name}"));
                        *speaking = Some(at.clone());
                    }
                    screen.log(bytes)
                })
                .await?;
            moved |= shown;
        }
        Ok(moved)
    }
}

/// All attempts of a run.
fn attempts(view: &RunView) -> impl Iterator<Item = &AttemptView> {
    view.steps.iter().flat_map(|step| &step.attempts)
}

/// A build that was heard of.
fn running(step: &StepView) -> String {
    format!("{}: running", step.name)
}

/// An attempt that ended, in a line.
fn ended(step: &StepView, attempt: &AttemptView) -> String {
    let verdict = attempt.verdict.map_or("ended", crate::words::verdict);
    let mut line = format!("{}: {verdict}", step.name);
    if let Some(end) = attempt.finished_at {
        line = format!("{line} in {}", crate::output::took(attempt.started_at, end));
    }
    if let Some(failure) = &attempt.failure {
        line = format!("{line}: {failure} ({})", failure.code.as_str());
    }
    for artifact in &attempt.artifacts {
        line = format!("{line}\n  {} ({}, {})", artifact.name, size(artifact.size), artifact.digest);
    }
    for host in &attempt.hosts {
        line = format!("{line}\n  {}: {} in {}", host.host, crate::words::host(host), duration(Duration::from_millis(host.took_ms)));
    }
    line
}

/// Where progress is shown: a line that moves on a terminal, lines of text elsewhere, nothing where JSON is wanted.
struct Screen {
    output: Output,
    bar: ProgressBar,
}

impl Screen {
    fn new(output: Output) -> Self {
        let bar = ProgressBar::new_spinner();
        if output.for_a_terminal() {
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self { output, bar }
    }

    fn note(&self, text: &str) {
        if !self.output.json {
            self.bar.suspend(|| eprintln!("{}", harmless(text)));
        }
    }

    fn doing(&self, text: &str) {
        self.bar.set_message(harmless(text));
    }

    fn log(&self, bytes: &[u8]) -> Result<()> {
        if self.output.json {
            return Ok(());
        }
        self.bar.suspend(|| crate::log::print(bytes, self.output))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The exit code that tells how a run ended.
pub(crate) fn exit_code(view: &RunView) -> u8 {
    match view.summary.outcome {
        Some(Outcome::Passed) => 0,
        Some(Outcome::Unstable) => code::UNSTABLE,
        Some(Outcome::Stopped | Outcome::Superseded) => code::STOPPED,
        Some(Outcome::Failed | Outcome::TimedOut | Outcome::Lost) | None => code::RUN_FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_that_speaks_is_said_to_run_before_its_executor_was_looked_at_again() {
        let id = "01jd8qk4wmfvt9e3v1n0t2m6xz";
        let attempt =
            serde_json::json!({ "key": format!("{id}-1-1"), "ended": false, "phase": "queued", "started_at": "2026-01-01T00:00:00Z" });
        let step = serde_json::json!({
            "index": 1, "name": "build", "stage": "build", "kind": "build", "state": "active", "reason": "It waits for a runner.",
            "attempts": [attempt],
        });
        let summary = serde_json::json!({
            "id": id, "number": 1, "kind": "cd", "state": "building", "principal": "me", "accepted_at": "2026-01-01T00:00:00Z",
        });
        let view = serde_json::json!({ "summary": summary, "steps": [step], "actions": [], "version": 1 });
        let view: RunView = serde_json::from_value(view).expect("a run");
        let mut shown = Shown::default();
        assert_eq!(shown.doing(&view), "build: It waits for a runner.");
        shown.heard.insert(view.steps[0].attempts[0].key);
        assert_eq!(shown.doing(&view), "build: running");
    }
}
