//! What the tests of a pipeline said, as a part of the attempt: its state is their result, its log names what failed. So it is
//! kept as long as the attempt is, when GitLab has long thrown the reports away.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::SignedDuration;
use signalbox_contract::build::{BuildState, PartState, TestCounts};
use signalbox_contract::{FailureClass, Verdict};
use signalbox_service::telemetry::causes;

use super::GitLabExecutor;
use super::gather::Gathered;
use super::part::TESTS;
use super::place::PipelineRef;
use crate::gitlab::{GitLabError, TestReport, plain};

/// How many tests that did not pass are named.
const NAMED: usize = 1000;

/// How long a report that is expected is asked for again.
const PATIENCE: SignedDuration = SignedDuration::from_secs(60);

/// What is known of a pipeline's tests when it has ended.
pub(super) enum Tests {
    /// Nothing was tested.
    None,
    /// They came to this.
    Part(Box<PartState>),
    /// The report could not be had, and is asked for again.
    NotYet,
}

impl GitLabExecutor {
    /// The part, where there were tests. What has ended stays as it was when it ended; so it is waited for, for a while.
    pub(super) async fn tests(&self, build: PipelineRef, gathered: &Gathered) -> Tests {
        let uploaded = gathered.jobs.iter().any(|job| job.is_own() && job.job.has_test_report());
        let missing = match self.gitlab.test_report(&build.reference(), build.pipeline).await {
            Ok(report) if says_something(&report) => return Tests::Part(Box::new(part(&report, gathered))),
            // Whatever GitLab says then, there is nothing to be had.
            Ok(_) | Err(_) if !uploaded => return Tests::None,
            // GitLab reads what was uploaded a little later.
            Ok(_) => "it is empty".to_owned(),
            Err(error) => causes(&error),
        };
        if self.memory.awaited_for(build, self.clock.now()) < PATIENCE {
            return Tests::NotYet;
        }
        let reason = format!("Jobs have uploaded reports of tests, and GitLab does not tell what they say: {missing}.");
        let state = BuildState::Ended { verdict: Verdict::Failed, class: Some(FailureClass::Infrastructure), reason };
        Tests::Part(Box::new(PartState { may_fail: true, has_log: false, ..PartState::new(TESTS, "tests", state) }))
    }

    /// The part's log.
    pub(super) async fn tests_log(&self, build: PipelineRef) -> Result<Vec<u8>, GitLabError> {
        let report = self.gitlab.test_report(&build.reference(), build.pipeline).await?;
        Ok(write(&report).into_bytes())
    }
}

fn says_something(report: &TestReport) -> bool {
    report.total_count > 0 || report.test_suites.iter().any(|suite| suite.suite_error.is_some())
}

fn part(report: &TestReport, gathered: &Gathered) -> PartState {
    let broken = report.failed_count > 0 || report.error_count > 0 || report.test_suites.iter().any(|suite| suite.suite_error.is_some());
    let (verdict, class) = if broken { (Verdict::Failed, Some(FailureClass::Work)) } else { (Verdict::Success, None) };
    let state = BuildState::Ended { verdict, class, reason: summary(report) };
    // GitLab's own jobs decide whether the pipeline passed; this part only shows.
    let url = gathered.pipeline.web_url.clone().and_then(|url| format!("{url}/test_report").parse().ok());
    let took = report.total_time.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    let counts = TestCounts {
        total: count(report.total_count),
        failed: count(report.failed_count),
        errors: count(report.error_count),
        skipped: count(report.skipped_count),
        took_ms: took.and_then(|took| u64::try_from(took.as_millis()).ok()),
    };
    PartState { may_fail: true, url, tests: Some(counts), ..PartState::new(TESTS, "tests", state) }
}

fn summary(report: &TestReport) -> String {
    let TestReport { total_count, success_count, failed_count, skipped_count, error_count, .. } = report;
    let mut words = format!("{total_count} tests: {success_count} passed");
    for (count, what) in [(failed_count, "failed"), (error_count, "ended in errors"), (skipped_count, "were skipped")] {
        if *count > 0 {
            let _ = write!(words, ", {count} {what}");
        }
    }
    words.push('.');
    words
}

fn write(report: &TestReport) -> String {
    let mut text = summary(report);
    text.push('\n');
    if let Some(seconds) = report.total_time {
        let _ = writeln!(text, "They took {seconds:.1} seconds.");
    }
    let mut left = NAMED;
    for suite in &report.test_suites {
        let name = plain(suite.name.as_deref().unwrap_or("a suite"));
        if let Some(error) = &suite.suite_error {
            let _ = writeln!(text, "{name}: GitLab could not read its report: {}", plain(error));
        }
        for case in &suite.test_cases {
            let status = case.status.as_deref().unwrap_or("unknown");
            if matches!(status, "success" | "skipped") {
                continue;
            }
            let Some(rest) = left.checked_sub(1) else {
                text.push_str("… and more.\n");
                return text;
            };
            left = rest;
            let (class, case) = (case.classname.as_deref().unwrap_or_default(), case.name.as_deref().unwrap_or("a test"));
            let _ = writeln!(text, "{}: {name}: {}", plain(status).to_uppercase(), plain(&format!("{class} {case}")));
        }
    }
    text
}
