//! What a campaign found.

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;

/// How a part of a campaign ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All that was promised was kept.
    Held,
    /// Something was not.
    Broken,
    /// It could not be tried here.
    NotRun,
}

/// One part of a campaign.
#[derive(Debug, Clone, Serialize)]
pub struct Part {
    /// What was tried.
    pub name: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What was counted, by what it is.
    pub figures: Vec<(String, u64)>,
    /// What was wrong, or what is missing here; some of it, where there is much.
    pub findings: Vec<String>,
}

/// How many findings of a part are told.
const TOLD: usize = 20;

impl Part {
    /// A part that was tried, and what was wrong.
    pub fn tried(name: &str, figures: Vec<(String, u64)>, mut findings: Vec<String>) -> Self {
        let verdict = if findings.is_empty() { Verdict::Held } else { Verdict::Broken };
        let more = findings.len().saturating_sub(TOLD);
        findings.truncate(TOLD);
        if more > 0 {
            findings.push(format!("and {more} more"));
        }
        Self { name: name.to_owned(), verdict, figures, findings }
    }

    /// A part that cannot be tried here, and what for.
    pub fn not_run(name: &str, needs: &str) -> Self {
        Self { name: name.to_owned(), verdict: Verdict::NotRun, figures: Vec::new(), findings: vec![format!("needs {needs}")] }
    }
}

/// Says with the first part that is broken where to look.
pub(crate) fn refer(parts: &mut [Part], to: Option<String>) {
    if let Some(broken) = parts.iter_mut().find(|part| part.verdict == Verdict::Broken) {
        broken.findings.extend(to);
    }
}

/// What a campaign found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The campaign's name.
    pub campaign: String,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
    /// Its parts.
    pub parts: Vec<Part>,
}

impl Report {
    /// What a campaign found in this time.
    pub fn of(campaign: &str, took: std::time::Duration, parts: Vec<Part>) -> Self {
        Self { campaign: campaign.to_owned(), milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX), parts }
    }

    /// How all of it ended: broken where one part is, not run where none was.
    pub fn verdict(&self) -> Verdict {
        let any = |verdict| self.parts.iter().any(|part| part.verdict == verdict);
        if any(Verdict::Broken) {
            Verdict::Broken
        } else if any(Verdict::Held) {
            Verdict::Held
        } else {
            Verdict::NotRun
        }
    }

    /// 0 where everything held, 1 where something was broken, 2 where nothing could be tried.
    pub fn exit_code(&self) -> ExitCode {
        match self.verdict() {
            Verdict::Held => ExitCode::SUCCESS,
            Verdict::Broken => ExitCode::FAILURE,
            Verdict::NotRun => ExitCode::from(2),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            let verdict = match part.verdict {
                Verdict::Held => "held",
                Verdict::Broken => "BROKEN",
                Verdict::NotRun => "not run",
            };
            let figures: Vec<String> = part.figures.iter().map(|(name, figure)| format!("{figure} {name}")).collect();
            writeln!(f, "{:<28} {verdict:<8} {}", part.name, figures.join(", "))?;
            for finding in &part.findings {
                writeln!(f, "    {finding}")?;
            }
        }
        let verdict = match self.verdict() {
            Verdict::Held => "everything that was promised was kept",
            Verdict::Broken => "something that was promised was NOT kept",
            Verdict::NotRun => "nothing could be tried here",
        };
        write!(f, "{}: {verdict}; {:.1} s", self.campaign, f64::from(u32::try_from(self.milliseconds).unwrap_or(u32::MAX)) / 1000.0)
    }
}
