//! States, times and digests as people read them.

use jiff::Timestamp;
use signalbox_contract::Verdict;
use signalbox_contract::api::run::{Outcome, RunKind, RunState, RunSummary, StepState, StepView};
use url::Url;

/// A state, and its colour's name in the style sheet.
pub(super) struct State {
    pub(super) word: &'static str,
    pub(super) tone: &'static str,
}

/// Something that is known of what a page shows.
pub(super) struct Fact {
    pub(super) name: String,
    pub(super) value: String,
    /// Whether it is set in the fixed-width face.
    pub(super) mono: bool,
    /// The page that says more of it.
    pub(super) link: Option<Url>,
}

impl Fact {
    pub(super) fn plain(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into(), mono: false, link: None }
    }

    pub(super) fn mono(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { mono: true, ..Self::plain(name, value) }
    }

    /// With a link to a page elsewhere. What a forge says may be anything, so only the addresses of pages are followed.
    pub(super) fn at(self, link: Option<&Url>) -> Self {
        Self { link: link.filter(|link| matches!(link.scheme(), "https" | "http")).cloned(), ..self }
    }
}

const UNREADABLE: State = State { word: "unreadable", tone: "bad" };

/// A run in a list.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) state: State,
    pub(super) change: String,
    pub(super) sha: String,
    pub(super) deploys: String,
    pub(super) by: String,
    pub(super) accepted: String,
    pub(super) age: String,
    pub(super) took: String,
}

impl Row {
    pub(super) fn of(run: &RunSummary, now: Timestamp) -> Self {
        let of_what = run.repo.as_ref().map(ToString::to_string).or_else(|| run.environment.as_ref().map(ToString::to_string));
        let kind = match run.kind {
            RunKind::Cd => "",
            RunKind::Deploy => "deploy to ",
            RunKind::Rollback => "rollback of ",
        };
        let deploys = match (&run.published_name, &run.environment) {
            (Some(name), Some(environment)) => format!("{name} → {environment}"),
            _ => String::new(),
        };
        Self {
            id: run.id.to_string(),
            name: format!("{kind}{} #{}", of_what.unwrap_or_default(), run.number),
            state: if run.unreadable { UNREADABLE } else { run_state(run.state, run.outcome) },
            change: run.origin.change().map_or_else(
                || run.ref_name.as_ref().map(|name| name.short().to_owned()).unwrap_or_default(),
                |change| log_text(change.as_bytes()),
            ),
            sha: run.sha.as_ref().map(|sha| sha.as_str().chars().take(9).collect()).unwrap_or_default(),
            deploys,
            by: run.principal.clone(),
            accepted: run.accepted_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            age: age(run.accepted_at, now),
            took: took(run.began_at(), run.finished_at, now),
        }
    }
}

pub(super) const fn run_state(state: RunState, outcome: Option<Outcome>) -> State {
    let (word, tone) = match (state, outcome) {
        (RunState::Queued, _) => ("queued", "wait"),
        (RunState::Building, _) => ("building", "busy"),
        (RunState::Stopping, _) => ("stopping", "wait"),
        (RunState::Finished, Some(Outcome::Passed)) => ("passed", "good"),
        (RunState::Finished, Some(Outcome::Failed) | None) => ("failed", "bad"),
        (RunState::Finished, Some(Outcome::Unstable)) => ("unstable", "wait"),
        (RunState::Finished, Some(Outcome::Stopped)) => ("stopped", "off"),
        (RunState::Finished, Some(Outcome::TimedOut)) => ("timed out", "bad"),
        (RunState::Finished, Some(Outcome::Lost)) => ("lost", "bad"),
        (RunState::Finished, Some(Outcome::Superseded)) => ("superseded", "off"),
    };
    State { word, tone }
}

pub(super) const fn step_state(step: &StepView) -> State {
    let (word, tone) = match (step.state, step.verdict) {
        (StepState::Pending, _) => ("pending", "off"),
        (StepState::Waiting, _) => ("waiting", "wait"),
        (StepState::Active, _) => ("active", "busy"),
        (StepState::Skipped, _) | (StepState::Ended, Some(Verdict::Skipped)) => ("skipped", "off"),
        (StepState::Ended, Some(Verdict::Success)) => ("passed", "good"),
        (StepState::Ended, Some(Verdict::Failed) | None) => ("failed", "bad"),
        (StepState::Ended, Some(Verdict::Unstable)) => ("unstable", "wait"),
        (StepState::Ended, Some(Verdict::Aborted)) => ("stopped", "off"),
        (StepState::Ended, Some(Verdict::TimedOut)) => ("timed out", "bad"),
        (StepState::Ended, Some(Verdict::Lost)) => ("lost", "bad"),
    };
    State { word, tone }
}

/// How long ago it was.
pub(super) fn age(at: Timestamp, now: Timestamp) -> String {
    match now.as_second().saturating_sub(at.as_second()).max(0) {
        seconds @ 0..60 => format!("{seconds} s ago"),
        seconds @ 60..3600 => format!("{} min ago", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} d ago", seconds / 86_400),
    }
}

/// A moment, to the second.
pub(super) fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// How long it took, or has taken so far.
pub(super) fn took(from: Timestamp, to: Option<Timestamp>, now: Timestamp) -> String {
    let tenths = (to.unwrap_or(now).as_millisecond().saturating_sub(from.as_millisecond()).max(0) + 50) / 100;
    match tenths {
        0..600 => format!("{}.{} s", tenths / 10, tenths % 10),
        600..36_000 => format!("{} min {:02} s", tenths / 600, tenths / 10 % 60),
        _ => format!("{} h {:02} min", tenths / 36_000, tenths / 600 % 60),
    }
}

/// A log as a page can show it: terminal codes and other control characters taken out.
pub(super) fn log_text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            // A terminal's control sequence (ECMA-48): up to its final character.
            '\u{1b}' => {
                if chars.next_if_eq(&'[').is_some() {
                    while chars.next_if(|c| !('@'..='~').contains(c)).is_some() {}
                    chars.next();
                }
            }
            '\n' | '\t' => out.push(c),
            '\r' => {}
            // Marks that turn the direction of writing could make a line read as another.
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_run_again_took_as_long_as_its_last_pass() {
        let at = |seconds: i64| Timestamp::from_second(seconds).expect("a time");
        let mut run: RunSummary = serde_json::from_value(serde_json::json!({
            "id": "01jd8qk4wmfvt9e3v1n0t2m6xz", "number": 1, "kind": "cd", "state": "finished", "outcome": "passed",
            "principal": "tester", "accepted_at": at(0), "finished_at": at(7_205),
        }))
        .expect("a run");
        let row = Row::of(&run, at(10_800));
        assert_eq!((row.age.as_str(), row.took.as_str()), ("3 h ago", "2 h 00 min"));
        run.rerun_at = Some(at(7_200));
        let row = Row::of(&run, at(10_800));
        assert_eq!((row.age.as_str(), row.took.as_str()), ("3 h ago", "5.0 s"));
    }

    // Threat 60.
    #[test]
    fn a_log_cannot_play_tricks_on_a_page() {
        assert_eq!(log_text(b"\x1b[31mred\x1b[0m\r\nplain\x00\n"), "red\nplain\u{fffd}\n");
        assert_eq!(log_text("a\u{202e}b".as_bytes()), "a\u{fffd}b");
        assert_eq!(log_text(b"\xff\x1b["), "\u{fffd}");
    }
}
