//! What starts a run, or runs one again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ArtifactName, Digest, EnvironmentName, ExecutorName, JobName, PublishedName, RefName, RunId};

/// How many inputs a request may carry.
pub const MAX_INPUTS: usize = 32;

/// How many bytes an input's value may have.
pub const MAX_INPUT: usize = 4096;

/// `POST /cd`: mirror, build and, where an artifact is named, deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CdRequest {
    /// A repository that the server's configuration names, or a source URL that belongs to one.
    #[schema(example = "hello")]
    pub repo: String,
    /// The branch, tag or full ref.
    #[serde(rename = "ref")]
    pub ref_name: RefName,
    /// The artifact to deploy. Without it nothing is deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<ArtifactName>,
    /// The job in `.signalbox.yaml`. Default: `cd`, else the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobName>,
    /// Where to deploy. Default: what the server's configuration says for the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentName>,
    /// The name to publish under. Default: the artifact's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_name: Option<PublishedName>,
    /// Where to build. Default: what the server's configuration says for the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor: Option<ExecutorName>,
    /// Values for the build, given to it as variables of these names.
    #[serde(default, deserialize_with = "crate::job::distinct", skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub inputs: crate::job::Variables,
}

/// `POST /environments/{name}/deploy`: deploy an artifact that is in the store already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployArtifactRequest {
    /// The artifact's name in the store.
    pub artifact_id: ArtifactName,
    /// The name to publish under.
    pub published_name: PublishedName,
}

/// `POST /environments/{name}/rollback`: go back to a release that the hosts still have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The published name.
    pub published_name: PublishedName,
    /// The release to go back to. Default: the one before the present one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// `POST /runs/{id}/rerun`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RerunRequest {
    /// From where. Default: from the step that did not pass.
    #[serde(default)]
    pub from: RerunFrom,
}

/// Where a rerun begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RerunFrom {
    /// At the first step that did not pass.
    #[default]
    Failed,
    /// At the beginning.
    Start,
}

/// `202`: the run is recorded durably and goes on by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Accepted {
    /// The run.
    pub run: RunId,
    /// Where to look at it, relative to the service.
    pub url: String,
}
