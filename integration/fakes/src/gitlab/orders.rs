//! Faults and scripted jobs in a file, for those who start a fake from the command line:
//!
//! ```yaml
//! answers:
//!   - { method: POST, path: /pipeline, fault: lost, times: 2 }
//!   - { path: /api/, fault: { status: 503 }, share: 0.1 }
//! hooks: { dropped: 0.1, doubled: 0.1, delayed: 0.2, delay: 5s }
//! pipelines: { late: 1h }
//! jobs:
//!   - { name: "unit*", outcome: failed, reason: script_failure, waits: 2s, runs: 10s, says: "1 test failed" }
//!   - { name: compile, leaves: { out/hello: "hello" } }
//! ```
//!
//! Whatever it does not know is an error, and never passed over.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use serde::Deserialize;

use super::ci::seconds;
use super::fault::{AnswerFault, Faults, HookFaults, PipelineFault};
use super::script::Outcome;
use super::state::project::matches;

/// What is ordered.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Orders {
    answers: Vec<AnswerOrder>,
    hooks: Option<HookOrder>,
    pipelines: Option<PipelineOrder>,
    jobs: Vec<JobOrder>,
}

/// An answer that is wrong.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerOrder {
    method: Option<String>,
    path: String,
    fault: Mishap,
    times: Option<u32>,
    share: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mishap {
    Status(u16),
    TooMany(Time),
    Slow(Time),
    Cut,
    Lost,
    Refused,
    Html,
    Huge(u64),
    WrongType,
    Redirect(String),
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HookOrder {
    dropped: f64,
    doubled: f64,
    delayed: f64,
    delay: Time,
    off: bool,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PipelineOrder {
    Late(Time),
    Never,
    Hung,
}

/// How the jobs of a name go.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct JobOrder {
    /// `*` stands for any letters.
    name: String,
    #[serde(default)]
    outcome: Ending,
    reason: Option<String>,
    waits: Option<Time>,
    runs: Option<Time>,
    says: Option<String>,
    #[serde(default)]
    leaves: BTreeMap<String, String>,
    junit: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ending {
    #[default]
    Success,
    Failed,
    /// It never ends by itself.
    Hangs,
    /// No runner takes it.
    Stuck,
}

/// A time as GitLab writes it: `90s`, `1h 30m`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(try_from = "String")]
struct Time(Duration);

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let words = || format!("{text:?} is no time; write it like 90s or 1h 30m");
        seconds(&text).map(|seconds| Self(Duration::from_secs(seconds))).ok_or_else(words)
    }
}

impl Orders {
    /// What a file orders.
    ///
    /// # Errors
    /// Where it is wrong, and how.
    pub fn read(text: &str) -> Result<Self, String> {
        let orders: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let is_share = |share: f64| (0.0..=1.0).contains(&share);
        let hooks = orders.hooks.unwrap_or_default();
        let shares = orders.answers.iter().filter_map(|answer| answer.share).chain([hooks.dropped, hooks.doubled, hooks.delayed]);
        if let Some(share) = shares.into_iter().find(|share| !is_share(*share)) {
            return Err(format!("{share} is no share between 0 and 1"));
        }
        for answer in &orders.answers {
            if answer.times.is_some() && answer.share.is_some() {
                return Err(format!("the answers of {:?} have both times and share", answer.path));
            }
            if let Some(method) = &answer.method
                && ![Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE].iter().any(|known| known == method.as_str())
            {
                return Err(format!("{method:?} is no method"));
            }
            if let Mishap::Status(status) = answer.fault
                && !(400..600).contains(&status)
            {
                return Err(format!("{status} is no status of a fault"));
            }
        }
        Ok(orders)
    }

    /// Orders the faults.
    pub fn order(&self, faults: &Faults) {
        for answer in &self.answers {
            let method = answer.method.as_deref().and_then(|method| Method::from_bytes(method.as_bytes()).ok());
            match (answer.times, answer.share) {
                (Some(times), _) => faults.answer(method, &answer.path, answer.fault.fault(), times),
                (None, share) => faults.answer_some(method, &answer.path, answer.fault.fault(), share.unwrap_or(1.0)),
            }
        }
        if let Some(HookOrder { dropped, doubled, delayed, delay: Time(delay), off }) = self.hooks {
            faults.hooks(HookFaults { dropped, doubled, delayed, delay, off });
        }
        faults.pipelines(match self.pipelines {
            None => PipelineFault::None,
            Some(PipelineOrder::Late(Time(late))) => PipelineFault::Late(late),
            Some(PipelineOrder::Never) => PipelineFault::Never,
            Some(PipelineOrder::Hung) => PipelineFault::Hung,
        });
    }

    /// How a job of this name goes: as the first says that fits; none where none does.
    pub fn outcome(&self, job: &str) -> Option<Outcome> {
        let order = self.jobs.iter().find(|order| matches(&order.name, job))?;
        let mut outcome = match order.outcome {
            Ending::Success => Outcome::success(),
            Ending::Failed => Outcome::failure(order.reason.as_deref().unwrap_or("script_failure")),
            Ending::Hangs => Outcome::hangs(),
            Ending::Stuck => Outcome::stuck(),
        };
        if let Some(Time(wait)) = order.waits {
            outcome = outcome.after(wait);
        }
        if let Some(Time(runs)) = order.runs {
            outcome = outcome.lasting(runs);
        }
        if let Some(says) = &order.says {
            outcome = outcome.saying(says.as_str());
        }
        if let Some(junit) = &order.junit {
            outcome = outcome.reporting(junit.as_str());
        }
        Some(order.leaves.iter().fold(outcome, |outcome, (path, text)| outcome.leaving(path, text.as_str())))
    }
}

impl Mishap {
    fn fault(&self) -> AnswerFault {
        match self {
            Self::Status(status) => AnswerFault::Status(*status),
            Self::TooMany(Time(after)) => AnswerFault::TooMany(*after),
            Self::Slow(Time(by)) => AnswerFault::Slow(*by),
            Self::Cut => AnswerFault::Cut,
            Self::Lost => AnswerFault::Lost,
            Self::Refused => AnswerFault::Refused,
            Self::Html => AnswerFault::Html,
            Self::Huge(bytes) => AnswerFault::Huge(*bytes),
            Self::WrongType => AnswerFault::WrongType,
            Self::Redirect(target) => AnswerFault::Redirect(302, target.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "
answers:
  - { method: POST, path: /pipeline, fault: lost, times: 2 }
  - { path: /jobs, fault: { status: 503 }, share: 1 }
  - { path: /hooks, fault: { too_many: 1m } }
hooks: { dropped: 0.1, delayed: 1, delay: 5s }
pipelines: { late: 1h }
jobs:
  - { name: \"unit*\", outcome: failed, reason: stuck_or_timeout_failure, waits: 2s, runs: 10s, says: failed }
  - { name: compile, leaves: { out/hello: hello }, junit: <testsuite/> }
";

    #[test]
    fn what_a_file_orders_is_what_goes_wrong() {
        let (orders, faults) = (Orders::read(ALL).expect("it is right"), Faults::new(1));
        orders.order(&faults);
        for fault in [Some(AnswerFault::Lost), Some(AnswerFault::Lost), None] {
            assert_eq!(faults.of_answer(&Method::POST, "/api/v4/projects/1/pipeline"), fault);
        }
        assert_eq!(faults.of_answer(&Method::GET, "/api/v4/projects/1/pipeline"), None);
        assert_eq!(faults.of_answer(&Method::GET, "/api/v4/jobs"), Some(AnswerFault::Status(503)));
        assert_eq!(faults.of_answer(&Method::GET, "/api/v4/hooks"), Some(AnswerFault::TooMany(Duration::from_mins(1))));
        assert_eq!(faults.of_pipelines(), PipelineFault::Late(Duration::from_hours(1)));
        let failed = orders.outcome("unit 1/2").expect("it is scripted");
        assert_eq!((failed.waits, failed.runs), (Some(Duration::from_secs(2)), Some(Duration::from_secs(10))));
        assert_eq!(failed.reason.as_deref(), Some("stuck_or_timeout_failure"));
        let passed = orders.outcome("compile").expect("it is scripted");
        let left: Vec<String> = passed.artifacts().into_iter().map(|artifact| artifact.file_type).collect();
        assert_eq!(left, ["archive", "junit"]);
        assert!(orders.outcome("deploy").is_none(), "it waits for a runner");
    }

    #[test]
    fn what_a_file_orders_that_is_not_known_is_an_error() {
        for (text, words) in [
            ("answer: []", "unknown field"),
            ("answers: [{ path: /, fault: explode }]", "explode"),
            ("answers: [{ path: /, fault: cut, share: 2 }]", "2 is no share"),
            ("answers: [{ path: /, fault: cut, share: 0.5, times: 2 }]", "both times and share"),
            ("answers: [{ path: /, method: FETCH, fault: cut }]", "is no method"),
            ("answers: [{ path: /, fault: { status: 200 } }]", "200 is no status of a fault"),
            ("pipelines: { late: soon }", "is no time"),
            ("jobs: [{ outcome: failed }]", "name"),
        ] {
            let wrong = Orders::read(text).expect_err(text);
            assert!(wrong.contains(words), "{text}: {wrong}");
        }
    }
}
