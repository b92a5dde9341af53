//! `POST /token`: a build shows what its executor gave it to show who it is, and is given what it may upload with
//! (RFC 8693).

use std::fmt;

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
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
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

impl fmt::Debug for ExchangeRequest {
    /// The ID token is left out: it is for nobody's log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeRequest")
            .field("grant_type", &self.grant_type)
            .field("subject_token_type", &self.subject_token_type)
            .field("requested_token_type", &self.requested_token_type)
            .finish_non_exhaustive()
    }
}

/// What is given: a capability to put these artifacts into the attempt's grant, and nothing else, until the attempt must
/// have ended.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
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

impl fmt::Debug for Exchanged {
    /// The capability is left out: it is for nobody's log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchanged")
            .field("issued_token_type", &self.issued_token_type)
            .field("token_type", &self.token_type)
            .field("expires_in", &self.expires_in)
            .field("upload", &self.upload)
            .field("artifacts", &self.artifacts)
            .field("max_bytes", &self.max_bytes)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunId;
    use crate::api::token::{TokenCreated, TokenInfo};
    use crate::token::Service;

    #[test]
    fn what_carries_a_token_is_printed_without_it() {
        let text = |value: &str| value.to_owned();
        let request = ExchangeRequest {
            grant_type: text(GRANT_TYPE),
            subject_token: text("canary"),
            subject_token_type: text(ID_TOKEN),
            requested_token_type: None,
        };
        let given = Exchanged {
            access_token: text("canary"),
            issued_token_type: text(ACCESS_TOKEN),
            token_type: text("Bearer"),
            expires_in: 60,
            upload: Url::parse("https://store.example.org/grants/").expect("an address"),
            artifacts: vec!["site/hello".parse().expect("a name")],
            max_bytes: 1,
            attempt: AttemptKey { run: RunId::from_uuid(uuid::Uuid::nil()), step: 1, attempt: 1 },
        };
        let info = TokenInfo {
            jti: uuid::Uuid::nil(),
            principal: text("anna"),
            audience: Service::Controller,
            grants: Vec::new(),
            expires_at: jiff::Timestamp::MAX,
            revoked_at: None,
        };
        let created = TokenCreated { token: text("canary"), info };
        let printed = format!("{request:?} {given:?} {created:?}");
        assert!(printed.contains("site/hello") && printed.contains(GRANT_TYPE) && printed.contains("anna"), "{printed}");
        assert!(!printed.contains("canary"), "{printed}");
    }
}
