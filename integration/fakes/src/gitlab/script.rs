//! Scripted jobs: how they go is said by whoever tests, and no runner is needed. Thousands of runs cost next to nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::gitlab::archive::zip;
use crate::gitlab::state::job::{Artifact, Job};
use crate::gitlab::state::pipeline::Pipeline;
use crate::gitlab::state::status::Status;

/// How a job goes.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How long it waits for its imagined runner; none means that there is no runner for it.
    pub(crate) waits: Option<Duration>,
    /// How long it runs; none means that it never ends by itself.
    pub(crate) runs: Option<Duration>,
    pub(crate) status: Status,
    pub(crate) reason: Option<String>,
    pub(crate) trace: Vec<u8>,
    pub(crate) files: Vec<(String, Vec<u8>)>,
    pub(crate) junit: Option<Vec<u8>>,
    pub(crate) coverage: Option<f64>,
}

impl Outcome {
    fn ending(status: Status) -> Self {
        Self {
            waits: Some(Duration::ZERO),
            runs: Some(Duration::ZERO),
            status,
            reason: None,
            trace: Vec::new(),
            files: Vec::new(),
            junit: None,
            coverage: None,
        }
    }

    /// It passes at once.
    pub fn success() -> Self {
        Self::ending(Status::Success)
    }

    /// It fails at once, for this reason: `script_failure`, `runner_system_failure` …
    pub fn failure(reason: &str) -> Self {
        Self { reason: Some(reason.to_owned()), ..Self::ending(Status::Failed) }
    }

    /// It begins, and never ends by itself.
    pub fn hangs() -> Self {
        Self { runs: None, ..Self::ending(Status::Success) }
    }

    /// No runner ever takes it.
    pub fn stuck() -> Self {
        Self { waits: None, ..Self::ending(Status::Success) }
    }

    /// The same, after waiting this long for a runner.
    #[must_use]
    pub const fn after(mut self, wait: Duration) -> Self {
        self.waits = Some(wait);
        self
    }

    /// The same, running this long.
    #[must_use]
    pub const fn lasting(mut self, runs: Duration) -> Self {
        self.runs = Some(runs);
        self
    }

    /// The same, with this log: its first half while it runs, the rest at its end.
    #[must_use]
    pub fn saying(mut self, trace: impl Into<Vec<u8>>) -> Self {
        self.trace = trace.into();
        self
    }

    /// The same, leaving a file in its archive.
    #[must_use]
    pub fn leaving(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), bytes.into()));
        self
    }

    /// The same, with a report of its tests.
    #[must_use]
    pub fn reporting(mut self, junit: impl Into<Vec<u8>>) -> Self {
        self.junit = Some(junit.into());
        self
    }

    /// The same, with the share of code that its tests reach.
    #[must_use]
    pub const fn covering(mut self, share: f64) -> Self {
        self.coverage = Some(share);
        self
    }

    /// What it leaves, as GitLab keeps it.
    pub(crate) fn artifacts(&self) -> Vec<Artifact> {
        let mut artifacts = Vec::new();
        let mut add = |file_type: &str, format: &str, name: &str, bytes: Vec<u8>| {
            artifacts.push(Artifact {
                file_type: file_type.to_owned(),
                file_format: format.to_owned(),
                filename: name.to_owned(),
                bytes: Bytes::from(bytes),
            });
        };
        if !self.files.is_empty() {
            add("archive", "zip", "artifacts.zip", zip(&self.files));
        }
        if let Some(junit) = &self.junit {
            add("junit", "gzip", "junit.xml.gz", crate::gitlab::archive::gzip(junit));
        }
        artifacts
    }
}

/// How jobs go: none means that a runner is waited for.
pub type Script = Arc<dyn Fn(&Job, &Pipeline) -> Option<Outcome> + Send + Sync>;
