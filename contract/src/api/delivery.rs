//! Deliveries: what forges said, and what was done about it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Digest, ForgeName, RepoName, RunId};

/// A delivery, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeliverySummary {
    /// Its number; later ones have greater ones.
    pub id: u64,
    /// The forge that it came from.
    pub source: ForgeName,
    /// The way that it came.
    pub via: Via,
    /// Its kind, in the forge's word.
    pub kind: String,
    /// How far it is.
    pub state: DeliveryState,
    /// When it came first.
    pub received_at: Timestamp,
    /// How often it came.
    pub copies: u64,
    /// How many bytes it had.
    pub size: u64,
    /// The digest of its bytes as they came.
    pub digest: Digest,
    /// When it was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acted_at: Option<Timestamp>,
    /// The repository that it is about, where one is configured for its project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<RepoName>,
    /// Why nothing was done, or what it waits for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What was done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deeds: Vec<DeedView>,
}

/// A delivery, whole: `GET /deliveries/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeliveryView {
    /// What the lists show of it.
    pub summary: DeliverySummary,
    /// The headers that are kept.
    pub headers: Vec<(String, String)>,
    /// What is kept of its body: without secrets; nothing where it was too large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub body: Option<serde_json::Value>,
}

/// The way that a delivery came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// The forge called us.
    Webhook,
    /// We listened to its stream of events.
    Stream,
}

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Written down; its turn comes.
    Received,
    /// Acted on.
    Done,
    /// Understood, and nothing had to be done.
    Ignored,
    /// It could not be acted on; it may be replayed.
    Failed,
}

/// One thing that was done about a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeedView {
    /// What.
    pub what: DeedKind,
    /// The run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What was done about a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeedKind {
    /// A run was started.
    Started,
    /// There is a run for it already.
    Known,
    /// A run was stopped.
    Stopped,
    /// A run could not be started.
    Refused,
}
