//! A request by the controller, bound to its token by method, path and body.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRef, FromRequest, OriginalUri};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request};
use serde::de::DeserializeOwned;
use signalbox_contract::token::CAPABILITY_HEADER;
use signalbox_contract::{AttemptKey, Code, Digest, Problem};

use super::bearer::{bearer, token};
use super::verifier::check_body;
use super::{Verifier, sha256};
use crate::http::{Refusal, body_within, parse_json, require_json};
use crate::secret::{ExposeSecret as _, SecretString};
use crate::telemetry::request_id;

/// The largest body of an act, in bytes.
pub const MAX_ACT_BODY: usize = 256 * 1024;

/// The longest that a caller may have a worker wait before it answers 202.
pub const MAX_WAIT: Duration = Duration::from_secs(20);

/// How long an act's body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// One request of the controller's. A request without a body (a GET) has the digest of no bytes, and gives a `T` that can
/// be made of nothing: `()`, or a structure without required fields.
#[derive(Debug)]
pub struct Act<T> {
    /// The attempt on whose behalf it is made; none for reading.
    pub key: Option<AttemptKey>,
    /// What is asked.
    pub body: T,
    /// The SHA-256 of the body's bytes, as they came.
    pub digest: Digest,
    /// How long the caller would wait for the end (`Prefer: wait=N`), 20 seconds at most.
    pub wait: Duration,
    /// The capability that came along, for the receiver to use towards a third service.
    pub capability: Option<SecretString>,
}

impl<T> Act<T> {
    /// The attempt's key, where an act cannot be done without one.
    ///
    /// # Errors
    /// 403: the token is not for changing anything.
    pub fn attempt(&self) -> crate::http::Result<AttemptKey> {
        self.key.ok_or_else(|| Problem::new(Code::Forbidden).detail("The token names no attempt, which this needs.").into())
    }

    /// The capability that came along, where an act cannot be done without one.
    ///
    /// # Errors
    /// 400, naming the header.
    pub fn needed_capability(&self) -> crate::http::Result<&SecretString> {
        self.capability.as_ref().ok_or_else(|| bad_header(CAPABILITY_HEADER, "is needed here"))
    }
}

impl<T, S> FromRequest<S> for Act<T>
where
    T: DeserializeOwned,
    Arc<Verifier>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Refusal;

    async fn from_request(request: Request<Body>, state: &S) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let op = operation(&parts);
        let verifier = Arc::<Verifier>::from_ref(state);
        // The token first: a stranger's body is not waited for.
        let claims = verifier.act_before_body(bearer(&parts)?.expose_secret(), &op)?;
        if let Some(key) = &claims.key {
            request_id::serves(key);
        }
        let capability = capability(&parts.headers)?;
        let wait = wait(&parts.headers);
        let bytes = buffer(body).await?;
        let digest = sha256(&bytes);
        check_body(&claims, &digest)?;
        let body = if bytes.is_empty() {
            nothing()?
        } else {
            require_json(&parts.headers)?;
            parse_json(&bytes)?
        };
        Ok(Self { key: claims.key, body, digest, wait, capability })
    }
}

/// The method and the whole path as they came, also where the route is nested under another.
fn operation(parts: &Parts) -> String {
    let path = parts.extensions.get::<OriginalUri>().map_or_else(|| parts.uri.path(), |original| original.0.path());
    format!("{} {path}", parts.method)
}

async fn buffer(body: Body) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(BODY_DEADLINE, body_within(body, MAX_ACT_BODY)).await {
        Ok(bytes) => bytes,
        Err(_) => Err(Problem::new(Code::Timeout).detail("The body did not arrive in time.").into()),
    }
}

/// What an absent body stands for.
fn nothing<T: DeserializeOwned>() -> Result<T, Refusal> {
    serde_json::from_slice(b"null")
        .or_else(|_| serde_json::from_slice(b"{}"))
        .map_err(|_| Problem::new(Code::InvalidBody).detail("A body is needed here.").into())
}

fn capability(headers: &HeaderMap) -> Result<Option<SecretString>, Refusal> {
    let mut values = headers.get_all(CAPABILITY_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(bad_header(CAPABILITY_HEADER, "must be given once"));
    }
    let text = value.to_str().ok().and_then(|text| token(text).ok());
    text.map(Some).ok_or_else(|| bad_header(CAPABILITY_HEADER, "must be a token"))
}

/// The `wait` of RFC 7240. A preference that makes no sense is no preference.
fn wait(headers: &HeaderMap) -> Duration {
    headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|preference| preference.split(';').next()?.trim().split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))
        .and_then(|(_, seconds)| seconds.trim().trim_matches('"').parse().ok())
        .map_or(Duration::ZERO, |seconds: u32| Duration::from_secs(seconds.into()).min(MAX_WAIT))
}

fn bad_header(name: &str, detail: &str) -> Refusal {
    Problem::new(Code::InvalidRequest).field(name, detail).into()
}
