//! A request that carries a capability: one narrow thing, for as long as its attempt lasts.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::response::{IntoResponse, Response};
use http::header::WWW_AUTHENTICATE;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use signalbox_contract::token::{Capability, CapabilityClaims};
use signalbox_contract::{ArtifactName, AttemptKey, Code, Digest, Problem, RepoName};

use super::bearer::bearer_or_password;
use super::{Denied, Verifier};
use crate::http::Refusal;
use crate::secret::ExposeSecret as _;
use crate::telemetry::request_id;

/// The user as whom git gives a capability, which is the password.
pub const GIT_USER: &str = "signalbox";

/// Whoever holds a capability. It comes as a bearer token, or as the password of [`GIT_USER`].
#[derive(Debug, Clone)]
pub struct Capable(pub CapabilityClaims);

impl Capable {
    /// Goes on only if the capability is to read this repository.
    ///
    /// # Errors
    /// 403.
    pub fn reads_repo(&self, repo: &RepoName) -> crate::http::Result<()> {
        match &self.0.cap {
            Capability::ReadRepo { repo: allowed, .. } if allowed == repo => Ok(()),
            _ => Err(narrow("This capability is not for reading this repository.")),
        }
    }

    /// Goes on only if the capability is to read this blob.
    ///
    /// # Errors
    /// 403.
    pub fn reads_digest(&self, digest: &Digest) -> crate::http::Result<()> {
        match &self.0.cap {
            Capability::ReadDigest { digest: allowed } if allowed == digest => Ok(()),
            _ => Err(narrow("This capability is not for reading this blob.")),
        }
    }

    /// Goes on only if the capability is to put this artifact into this attempt's grant. Tells how many bytes all of the
    /// attempt's artifacts together may have.
    ///
    /// # Errors
    /// 403.
    pub fn puts(&self, key: &AttemptKey, name: &ArtifactName) -> crate::http::Result<u64> {
        match &self.0.cap {
            Capability::PutGrant { names, max_bytes } if self.0.key == *key && names.contains(name) => Ok(*max_bytes),
            _ => Err(narrow("This capability is not for putting this artifact.")),
        }
    }
}

fn narrow(detail: &str) -> Refusal {
    Problem::new(Code::Forbidden).detail(detail).into()
}

/// Why a capability was not taken. It also asks for a password, or git would not send one.
#[derive(Debug, Clone, Copy)]
pub struct CapableRefusal(pub Denied);

impl IntoResponse for CapableRefusal {
    fn into_response(self) -> Response {
        let mut response = Refusal::from(self.0).into_response();
        if response.status() == StatusCode::UNAUTHORIZED {
            response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"signalbox\""));
        }
        response
    }
}

impl From<Denied> for CapableRefusal {
    fn from(denied: Denied) -> Self {
        Self(denied)
    }
}

impl<S> FromRequestParts<S> for Capable
where
    Arc<Verifier>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = CapableRefusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, CapableRefusal> {
        let token = bearer_or_password(parts)?;
        let verifier = Arc::<Verifier>::from_ref(state);
        let claims = verifier.capability(token.expose_secret())?;
        request_id::serves(&claims.key);
        Ok(Self(claims))
    }
}
