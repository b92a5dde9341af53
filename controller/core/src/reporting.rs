//! What a forge is told of a run. It is level-triggered: what counts is how the run stands now, not what happened to it, so
//! that a forge that was away for a day is told the last of it and nothing else.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use signalbox_contract::api::run::ReportView;
use signalbox_contract::{Failure, FailureClass, Standing, Verdict};

use crate::plan::{Request, Work};
use crate::run::{Run, Step};

/// How far the telling is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reporting {
    /// What the forge should show.
    pub wanted: Standing,
    /// Rises each time that something else is wanted.
    pub serial: u32,
    /// What it was told last.
    pub told: Option<Standing>,
    /// Which telling that was. What was wanted between it and the present one may have been told as well, without an answer.
    #[serde(default)]
    pub told_as: u32,
    /// When.
    pub told_at: Option<Timestamp>,
    /// What it made of that, for people.
    pub remarks: Vec<String>,
    /// Why it was given up to tell it what is wanted.
    pub failure: Option<Failure>,
}

impl Reporting {
    /// Nothing was told yet.
    pub const fn new(wanted: Standing) -> Self {
        Self { wanted, serial: 1, told: None, told_as: 0, told_at: None, remarks: Vec::new(), failure: None }
    }

    /// Whether nothing is left to do.
    pub fn settled(&self) -> bool {
        (self.told == Some(self.wanted) && self.told_as == self.serial) || self.failure.is_some()
    }

    /// What its readers see of it.
    pub fn view(&self) -> ReportView {
        ReportView {
            wanted: self.wanted,
            told: self.told,
            told_at: self.told_at,
            remarks: self.remarks.clone(),
            failure: self.failure.clone(),
        }
    }
}

/// How a run stands where its change came from; none if nobody there is told of it.
pub fn standing(run: &Run) -> Option<Standing> {
    let Request::Cd(order) = &run.request else { return None };
    order.origin.forge().filter(|_| order.vote)?;
    Some(match (run.outcome, run.steps.iter().find(|step| !step.passed())) {
        (None, _) => Standing::Started,
        (Some(_), None) => Standing::Passed,
        (Some(_), Some(step)) if speaks_against(step) => Standing::Failed,
        (Some(_), Some(_)) => Standing::Undecided,
    })
}

/// Whether a step that has not passed says something about the change. One that was stopped, skipped, lost or overtaken
/// does not, nor one that failed because a machine did, nor one that was over before it could begin.
fn speaks_against(step: &Step) -> bool {
    let Some(attempt) = step.latest() else { return false };
    let machine = attempt.class == Some(FailureClass::Infrastructure);
    match step.verdict() {
        Some(Verdict::Failed | Verdict::Unstable) => !machine,
        Some(Verdict::TimedOut) => !machine && (attempt.build.is_some() || !matches!(step.plan.work, Work::Build { .. })),
        Some(Verdict::Success | Verdict::Aborted | Verdict::Skipped | Verdict::Lost) | None => false,
    }
}
