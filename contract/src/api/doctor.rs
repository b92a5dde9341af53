//! Having everything examined that Signalbox depends on. `GET /doctor`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use super::mirrors::Severity;

/// What was looked at, and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DoctorReport {
    /// The worst of what was found.
    pub worst: Severity,
    /// What time it is at the controller.
    pub at: Timestamp,
    /// What was found, in the order in which it is best looked at.
    pub findings: Vec<DoctorFinding>,
}

/// Something that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DoctorFinding {
    /// What was looked at: a service, an executor, a forge, a mirror, an environment.
    pub about: String,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
}
