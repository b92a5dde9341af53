//! What the tests of a pipeline said, as a part of the attempt: its state is their result, its log names what failed. So it is
//! kept as long as the attempt is, when GitLab has long thrown the reports away.

use std::fmt::Write as _;

use signalbox_contract::build::{BuildState, PartState};
use signalbox_contract::{FailureClass, Verdict};

use super::GitLabExecutor;
use super::gather::Gathered;
use super::part::TESTS;
use super::place::PipelineRef;
use crate::gitlab::{TestReport, plain};

/// How many tests that did not pass are named.
const NAMED: usize = 1000;

impl GitLabExecutor {
    /// The part, where there were tests. A report that is not to be had hides nothing else.
    pub(super) async fn tests_part(&self, build: PipelineRef, gathered: &Gathered) -> Option<PartState> {
        let report = self.gitlab.test_report(&build.reference(), build.pipeline).await.ok()?;
        if report.total_count == 0 && report.test_suites.iter().all(|suite| suite.suite_error.is_none()) {
            return None;
        }
        let broken = report.failed_count + report.error_count > 0 || report.test_suites.iter().any(|suite| suite.suite_error.is_some());
        let (verdict, class) = if broken { (Verdict::Failed, Some(FailureClass::Work)) } else { (Verdict::Success, None) };
        let state = BuildState::Ended { verdict, class, reason: summary(&report) };
        // GitLab's own jobs decide whether the pipeline passed; this part only shows.
        let url = gathered.pipeline.web_url.clone().and_then(|url| format!("{url}/test_report").parse().ok());
        Some(PartState { may_fail: true, url, ..PartState::new(TESTS, "tests", state) })
    }

    /// The part's log.
    pub(super) async fn tests_log(&self, build: PipelineRef) -> Result<Vec<u8>, crate::gitlab::GitLabError> {
        let report = self.gitlab.test_report(&build.reference(), build.pipeline).await?;
        Ok(write(&report).into_bytes())
    }
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
