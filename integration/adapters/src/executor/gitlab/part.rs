//! The names of an attempt's parts.

use super::place::PipelineRef;
use crate::gitlab::ProjectRef;

/// The part that shows what the tests said.
pub(super) const TESTS: &str = "tests";

/// A job of a build: `JOB` in its own project, `PROJECT-JOB` in another one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct JobRef {
    pub(super) project: u64,
    pub(super) job: u64,
}

impl JobRef {
    pub(super) fn name(self, build: PipelineRef) -> String {
        if self.project == build.project { self.job.to_string() } else { format!("{}-{}", self.project, self.job) }
    }

    pub(super) fn read(part: &str, build: PipelineRef) -> Option<Self> {
        match part.split_once('-') {
            Some((project, job)) => Some(Self { project: project.parse().ok()?, job: job.parse().ok()? }),
            None => Some(Self { project: build.project, job: part.parse().ok()? }),
        }
    }

    pub(super) const fn reference(self) -> ProjectRef {
        ProjectRef::Id(self.project)
    }
}
