//! The deployment worker: `POST /deploy`, `POST /activate`, `GET /environments`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::grant::Glob;
use crate::{ArtifactName, Digest, EnvironmentName, Failure, HostName, PublishedName, RunId};

/// `POST /deploy`: bring these bytes to each host of the environment and switch to them. The capability to read the digest
/// comes in the header `Signalbox-Capability`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployRequest {
    /// The artifact's name, for people.
    pub artifact_id: ArtifactName,
    /// The name under which it is published.
    pub published_name: PublishedName,
    /// Where.
    pub environment: EnvironmentName,
    /// The bytes.
    pub digest: Digest,
    /// The activation's number. A host that has a higher one for this name keeps it.
    pub sequence: u64,
    /// The run on whose behalf.
    pub run: RunId,
}

/// `POST /activate`: switch each host back to a release that it still has. No bytes are moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivateRequest {
    /// The published name.
    pub published_name: PublishedName,
    /// Where.
    pub environment: EnvironmentName,
    /// Which release: the one with these bytes, or, without it, the one that was active before the present one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The activation's number.
    pub sequence: u64,
    /// The run on whose behalf.
    pub run: RunId,
}

/// What came of a deployment or an activation, host by host. That a host failed is part of this result, not a failure of
/// the whole: the others were switched all the same. Whether that is good enough is for the controller to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeployResult {
    /// Each host.
    pub hosts: Vec<HostResult>,
}

/// What came of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HostResult {
    /// The host, by its name in the environment.
    pub host: HostName,
    /// What happened.
    pub outcome: HostOutcome,
    /// The digest that the host shows under the published name now, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The digest that it showed before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
    /// The later activation that it keeps, where it was not switched because of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newer: Option<NewerActivation>,
    /// Bytes of the artifact that were moved to it.
    pub bytes: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// An activation that a host was asked for before, with a higher number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NewerActivation {
    /// Its number.
    pub sequence: u64,
    /// The run on whose behalf, where the host says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
}

impl HostResult {
    /// Why it failed, if it did, in words that name the host, and name it once.
    pub fn complaint(&self) -> Option<String> {
        let HostOutcome::Failed { failure } = &self.outcome else { return None };
        let named = failure.detail.strip_prefix(self.host.as_str()).is_some_and(|rest| rest.starts_with([':', ' ']));
        Some(if named { failure.to_string() } else { format!("{}: {failure}", self.host) })
    }
}

impl HostResult {
    /// What it showed before and what it shows now, in short, where it was switched and says both.
    pub fn change(&self) -> Option<String> {
        let (previous, digest) = (self.previous.as_ref()?, self.digest.as_ref()?);
        let switched = self.outcome == HostOutcome::Switched && previous != digest;
        switched.then(|| format!("{} → {}", previous.short(), digest.short()))
    }
}

/// What happened on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum HostOutcome {
    /// It shows the new bytes.
    Switched,
    /// It showed them already; nothing was moved.
    Unchanged,
    /// It has a later activation and keeps it.
    Superseded,
    /// It failed and shows what it showed before.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// An environment, as the deployment worker's configuration defines it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EnvironmentInfo {
    /// Its name.
    pub name: EnvironmentName,
    /// Its hosts.
    pub hosts: Vec<HostName>,
    /// Patterns of the names under which something may be published; absent if the worker does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<Glob>>,
    /// What each host shows, by the hosts' names. Only in the answer for one environment, and there a page of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shown: Vec<HostState>,
    /// What to give as `cursor` for what further hosts show; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<HostName>,
}

/// What one host shows, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HostState {
    /// The host.
    pub host: HostName,
    /// Why it could not be asked, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What it shows, by published name.
    pub releases: Vec<ReleaseInfo>,
}

/// A published name on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ReleaseInfo {
    /// The published name.
    pub name: PublishedName,
    /// The bytes.
    pub digest: Digest,
    /// The activation that switched to them.
    pub sequence: u64,
    /// Since when.
    pub since: Timestamp,
    /// By which run.
    pub run: RunId,
    /// Digests of the other releases that the host keeps, newest first: what can be rolled back to.
    pub kept: Vec<Digest>,
}
