//! `signalbox doctor`: whether everything is as it should be, and what to do where it is not.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use signalbox_contract::api::doctor::{DoctorFinding, DoctorReport, Severity};
use signalbox_service::clock::{Clock as _, SystemClock};

use crate::connection::Connection;
use crate::mistake::{code, exit_code};
use crate::output::{Output, harmless, table};

/// How long an answer may take: the controller asks many others.
const PATIENCE: Duration = Duration::from_mins(1);

/// How far this machine's clock may be from the controller's before it is said.
const APART: SignedDuration = SignedDuration::from_secs(60);

/// `GET /doctor`, and what is seen from here.
pub(crate) async fn doctor(connection: &Connection, output: Output) -> Result<u8> {
    let asked = connection.clone().answering_within(PATIENCE).get::<DoctorReport>("/doctor").await;
    let now = SystemClock.now();
    let mut report = match asked {
        Ok(report) => report,
        // That it cannot be reached is what was looked for. A refusal is about who asks, and says so itself.
        Err(error) if exit_code(&error) == code::SETUP => unreachable_controller(&error, now),
        Err(error) => return Err(error),
    };
    report.findings.extend(clock(report.at, now));
    report.worst = report.findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Fine);
    output.show(&report, told)?;
    Ok(if report.worst == Severity::Error { code::RUN_FAILED } else { 0 })
}

fn unreachable_controller(error: &anyhow::Error, now: Timestamp) -> DoctorReport {
    let finding = DoctorFinding {
        about: "controller".to_owned(),
        severity: Severity::Error,
        detail: error.to_string(),
        hint: "Nothing else could be looked at: the controller asks all others.".to_owned(),
    };
    DoctorReport { worst: Severity::Error, at: now, findings: vec![finding] }
}

/// Whether this machine's clock is of the controller's time. The answer was made a moment ago, so only much counts.
fn clock(theirs: Timestamp, ours: Timestamp) -> Option<DoctorFinding> {
    let apart = ours.duration_since(theirs);
    (apart.abs() > APART).then(|| DoctorFinding {
        about: "this machine".to_owned(),
        severity: Severity::Warning,
        detail: format!("Its clock and the controller's are {} seconds apart.", apart.abs().as_secs()),
        hint: "Have both set their clocks by NTP: tokens that are made here with `--keys` may be refused.".to_owned(),
    })
}

const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Fine => "ok",
        Severity::Warning => "warning",
        Severity::Error => "FAULT",
    }
}

/// A table of all that was looked at, and below it what to do.
fn told(report: &DoctorReport) -> String {
    let row = |finding: &DoctorFinding| [word(finding.severity).to_owned(), finding.about.clone(), finding.detail.clone()];
    let mut text = table(["", "LOOKED AT", "FOUND"], report.findings.iter().map(row));
    let of = |severity| report.findings.iter().filter(move |finding| finding.severity == severity);
    let to_do: Vec<_> = of(Severity::Error).chain(of(Severity::Warning)).filter(|finding| !finding.hint.is_empty()).collect();
    // Writing to a string cannot fail.
    if !to_do.is_empty() {
        text.push_str("\n\nWhat to do:");
        for finding in to_do {
            let _ = write!(text, "\n  {}: {}\n    {}", finding.about, finding.detail, finding.hint);
        }
    }
    let (faults, warnings) = (of(Severity::Error).count(), of(Severity::Warning).count());
    let sum = match (faults, warnings) {
        (0, 0) => "all is well".to_owned(),
        (faults, warnings) => format!("{}, {}", count(faults, "fault"), count(warnings, "warning")),
    };
    harmless(&format!("{text}\n\n{sum}"))
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_stands_below_the_table_with_what_to_do() {
        let finding = |severity, detail: &str, hint: &str| DoctorFinding {
            about: "forge gerrit".to_owned(),
            severity,
            detail: detail.to_owned(),
            hint: hint.to_owned(),
        };
        let findings = vec![finding(Severity::Fine, "It answers.", ""), finding(Severity::Error, "No label.\u{1b}[2J", "Define it.")];
        let at = Timestamp::UNIX_EPOCH;
        let text = told(&DoctorReport { worst: Severity::Error, at, findings });
        assert!(text.contains("FAULT") && text.contains("What to do:\n  forge gerrit: No label.\n    Define it."), "{text}");
        assert!(text.ends_with("1 fault, 0 warnings") && !text.contains('\u{1b}'), "{text}");
        assert!(clock(at, at + SignedDuration::from_secs(90)).is_some_and(|finding| finding.severity == Severity::Warning));
        assert!(clock(at, at + SignedDuration::from_secs(5)).is_none());
    }
}
