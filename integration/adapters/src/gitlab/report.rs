//! What the tests of pipelines said.

use serde::Deserialize;

use super::client::GitLab;
use super::error::GitLabError;
use super::lenient;
use super::project::ProjectRef;
use super::request::Request;

/// What the tests of a pipeline said, from its `JUnit` reports.
#[derive(Debug, Clone, Deserialize)]
pub struct TestReport {
    /// How many there were.
    #[serde(default)]
    pub total_count: u64,
    /// How many passed.
    #[serde(default)]
    pub success_count: u64,
    /// How many failed.
    #[serde(default)]
    pub failed_count: u64,
    /// How many were skipped.
    #[serde(default)]
    pub skipped_count: u64,
    /// How many ended in an error.
    #[serde(default)]
    pub error_count: u64,
    /// How long they took, in seconds.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub total_time: Option<f64>,
    /// The suites, one for a job.
    #[serde(default, deserialize_with = "lenient::list")]
    pub test_suites: Vec<TestSuite>,
}

/// The tests of one job.
#[derive(Debug, Clone, Deserialize)]
pub struct TestSuite {
    /// Its name: the job's.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub name: Option<String>,
    /// What is wrong with the report.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub suite_error: Option<String>,
    /// The tests.
    #[serde(default, deserialize_with = "lenient::list")]
    pub test_cases: Vec<TestCase>,
}

/// One test.
#[derive(Debug, Clone, Deserialize)]
pub struct TestCase {
    /// `success`, `failed`, `error` or `skipped`.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub status: Option<String>,
    /// Its name.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub name: Option<String>,
    /// Its class.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub classname: Option<String>,
}

/// The sums of a report, and its suites without their tests.
#[derive(Debug, Deserialize)]
struct Summary {
    total: Sums,
    #[serde(default, deserialize_with = "lenient::list")]
    test_suites: Vec<TestSuite>,
}

#[derive(Debug, Deserialize)]
struct Sums {
    count: u64,
    #[serde(default)]
    success: u64,
    #[serde(default)]
    failed: u64,
    #[serde(default)]
    skipped: u64,
    #[serde(default)]
    error: u64,
    #[serde(default, deserialize_with = "lenient::optional")]
    time: Option<f64>,
}

impl From<Summary> for TestReport {
    fn from(Summary { total, test_suites }: Summary) -> Self {
        Self {
            total_count: total.count,
            success_count: total.success,
            failed_count: total.failed,
            skipped_count: total.skipped,
            error_count: total.error,
            total_time: total.time,
            test_suites,
        }
    }
}

impl GitLab {
    /// What the tests of a pipeline said; where that is more than is read of an answer, the sums alone.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn test_report(&self, project: &ProjectRef, pipeline: u64) -> Result<TestReport, GitLabError> {
        let pipeline = pipeline.to_string();
        match self.call(Request::get(project.segments(["pipelines", &pipeline, "test_report"]))).await {
            Err(GitLabError::Unreadable { .. }) => {
                let summary: Summary = self.call(Request::get(project.segments(["pipelines", &pipeline, "test_report_summary"]))).await?;
                Ok(summary.into())
            }
            answer => answer,
        }
    }
}
