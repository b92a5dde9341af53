//! Operators' tokens: how they are asked for, listed and revoked.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::grant::Grant;
use crate::token::Service;

/// `POST /tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Who it is for: a name that the audit shows.
    pub principal: String,
    /// The service that it is for.
    pub audience: Service,
    /// How long it lasts, in seconds; a year at most.
    pub lifetime: u32,
    /// What it may do.
    pub grants: Vec<Grant>,
}

/// What is recorded of a token. Never the token itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TokenInfo {
    /// Its id.
    pub jti: Uuid,
    /// Who it is for.
    pub principal: String,
    /// The service that it is for.
    pub audience: Service,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// The answer to `POST /tokens`: the one time that the token is shown.
#[derive(Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TokenCreated {
    /// The token.
    pub token: String,
    /// What is recorded of it.
    pub info: TokenInfo,
}

impl std::fmt::Debug for TokenCreated {
    /// The token is left out: it is for nobody's log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenCreated").field("info", &self.info).finish_non_exhaustive()
    }
}

/// The answer to `DELETE /tokens/{jti}`: a token of this id is refused from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Revoked {
    /// The id.
    pub jti: Uuid,
    /// Whether the controller had a token of this id on its list. It has not those that were made with the keys at hand; nor
    /// any for an id that was mistyped.
    pub listed: bool,
}

/// `GET /revocations`: the ids of the tokens that are revoked and have not ended by themselves. For the artifact store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Revocations {
    /// The ids.
    pub revoked: Vec<Uuid>,
    /// What to give as `cursor` for further ones; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Uuid>,
}
