//! What an attempt's build is looked for by, and the names that we make of GitLab's numbers.

use serde::{Deserialize, Serialize};
use signalbox_contract::api::vcs::Naming;
use signalbox_contract::{Failure, FailureCode};

use crate::executor::{Anchor, BuildRef, ExecutorError};
use crate::gitlab::{Pipeline, ProjectRef};

/// Where an attempt's pipeline will be, and what was newest there before: the anchor's content. The names are short because
/// an anchor is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The project's full path.
    #[serde(rename = "p")]
    pub(super) path: String,
    /// Its number, where it was there before.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub(super) project: Option<u64>,
    /// The newest pipeline that there was.
    #[serde(rename = "n", default)]
    pub(super) newest: u64,
    /// The short name of the branch or tag.
    #[serde(rename = "r")]
    pub(super) ref_name: String,
    /// The commit.
    #[serde(rename = "s")]
    pub(super) sha: String,
    /// How the commit is named there.
    #[serde(rename = "m")]
    pub(super) naming: Naming,
}

impl Place {
    pub(super) fn anchor(&self) -> Result<Anchor, ExecutorError> {
        let text = serde_json::to_string(self).map_err(|error| ExecutorError::NotSent(error.into()))?;
        text.parse().map_err(|_| {
            let failure = Failure::new(FailureCode::ExecutorRefused, "The names of the project and of the branch are too long together.");
            ExecutorError::Refused(failure.hint("Use a shorter group, repository or branch name."))
        })
    }

    pub(super) fn read(anchor: &Anchor) -> Result<Self, ExecutorError> {
        serde_json::from_str(anchor.as_str()).map_err(|_| {
            ExecutorError::Refused(Failure::new(FailureCode::Internal, "What was noted before the start is not this executor's."))
        })
    }

    /// Whether the attempt has a ref of its own.
    pub(super) const fn is_alone(&self) -> bool {
        matches!(self.naming, Naming::Run)
    }

    /// How the project is asked for. One that replaces another has a new number under the same path.
    pub(super) fn reference(&self) -> ProjectRef {
        match (self.project, self.naming) {
            (Some(id), Naming::Run | Naming::Same) => ProjectRef::Id(id),
            _ => ProjectRef::Path(self.path.clone()),
        }
    }

    /// Whether a pipeline of this project may be the attempt's, as far as its own fields tell.
    pub(super) fn admits(&self, pipeline: &Pipeline) -> bool {
        if pipeline.ref_name.as_deref().is_some_and(|name| name != self.ref_name) {
            return false;
        }
        let source = pipeline.source.as_deref();
        if self.is_alone() {
            // GitLab may record a push that was told to start nothing as a pipeline that was skipped.
            return !(source == Some("push") && pipeline.status == crate::gitlab::Status::Skipped);
        }
        // Schedules, merge requests and external statuses make pipelines on the same ref and commit, too.
        pipeline.id > self.newest && pipeline.sha == self.sha && source.is_none_or(|source| matches!(source, "push" | "api"))
    }
}

/// A pipeline's full name: `PROJECT/PIPELINE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PipelineRef {
    pub(super) project: u64,
    pub(super) pipeline: u64,
}

impl PipelineRef {
    /// What a build's name says; nothing if it is none of ours, as that of a build which was never found.
    pub(super) fn read(build: &BuildRef) -> Option<Self> {
        let (project, pipeline) = build.as_str().split_once('/')?;
        Some(Self { project: project.parse().ok()?, pipeline: pipeline.parse().ok()? })
    }

    pub(super) fn build(self) -> Result<BuildRef, ExecutorError> {
        format!("{}/{}", self.project, self.pipeline)
            .parse()
            .map_err(|invalid: signalbox_contract::Invalid| ExecutorError::Unknown(invalid.into()))
    }

    pub(super) const fn reference(self) -> ProjectRef {
        ProjectRef::Id(self.project)
    }
}
