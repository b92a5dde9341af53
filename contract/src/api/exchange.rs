//! `POST /token`: a build shows what its executor gave it to show who it is, and is given what it may upload with
//! (RFC 8693).

use serde::{Deserialize, Serialize};
use url::Url;

use crate::{ArtifactName, AttemptKey};

/// The grant type of an exchange.
pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// The type of what is shown: an ID token.
pub const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

/// The type of what is given: an access token.
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// What is asked, as a form. Parameters of RFC 8693 that are not listed here are not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ExchangeRequest {
    /// `urn:ietf:params:oauth:grant-type:token-exchange`.
    pub grant_type: String,
    /// The ID token that the executor gave the build.
    pub subject_token: String,
    /// `urn:ietf:params:oauth:token-type:id_token`, or `…:jwt`.
    pub subject_token_type: String,
    /// `urn:ietf:params:oauth:token-type:access_token`, if it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_token_type: Option<String>,
}

/// What is given: a capability to put these artifacts into the attempt's grant, and nothing else, until the attempt must
/// have ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Exchanged {
    /// The token for the artifact store, as `Authorization: Bearer`.
    pub access_token: String,
    /// `urn:ietf:params:oauth:token-type:access_token`.
    pub issued_token_type: String,
    /// `Bearer`.
    pub token_type: String,
    /// For how many seconds it is good.
    pub expires_in: u64,
    /// Where the artifacts are put: this address, with the artifact's name behind it.
    pub upload: Url,
    /// The artifacts that may be put.
    pub artifacts: Vec<ArtifactName>,
    /// How many bytes they may have together.
    pub max_bytes: u64,
    /// The attempt whose build it is.
    pub attempt: AttemptKey,
}
