//! Extractors whose refusals are problems that name the field at fault.

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request};
use serde::de::DeserializeOwned;
use serde::de::value::SeqDeserializer;
use serde::{Deserialize, Serialize};
use signalbox_contract::{Code, Problem};

use super::body::{body_refusal, refusal_within};
use super::pairs::{parse_known, parse_pairs};
use super::parameters::UnknownParameters;
use super::problem::{Refusal, internal};
use super::shape::parse_json;
use super::words;

/// The media type of JSON.
const JSON: &str = "application/json";

/// The media type of a form.
const FORM: &str = "application/x-www-form-urlencoded";

/// A JSON body, in a request and in an answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json<T>(pub T);

/// A JSON body that may be left out where everything in it has a default.
#[derive(Debug, Clone, Copy, Default)]
pub struct OptionalJson<T>(pub T);

/// No body, or an empty object: of an operation to which nothing more can be said. What is said all the same is refused, for
/// it was meant.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoBody;

/// An object without members.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

/// A form, as a page sends it. One without fields may be no body at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Form<T>(pub T);

/// The query's parameters.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query<T>(pub T);

/// The path's parameters.
#[derive(Debug, Clone, Copy, Default)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request<Body>, _state: &S) -> Result<Self, Refusal> {
        require_json(request.headers())?;
        let body = whole_body(request.into_body()).await?;
        parse_json(&body).map(Self)
    }
}

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request<Body>, _state: &S) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        // What is announced as something else is refused also where nothing comes: it was meant to be a body.
        if parts.headers.contains_key(CONTENT_TYPE) {
            require_json(&parts.headers)?;
        }
        let body = whole_body(body).await?;
        if body.is_empty() {
            return Ok(Self::default());
        }
        require_json(&parts.headers)?;
        parse_json(&body).map(Self)
    }
}

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = Refusal;

    async fn from_request(request: Request<Body>, _state: &S) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let body = whole_body(body).await?;
        if !body.is_empty() {
            require_json(&parts.headers)?;
            let Empty {} = parse_json(&body)?;
        }
        Ok(Self)
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Form<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request<Body>, _state: &S) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let body = whole_body(body).await?;
        if !body.is_empty() {
            require_type(&parts.headers, FORM)?;
        }
        let text =
            std::str::from_utf8(&body).map_err(|_| Problem::new(Code::InvalidBody).detail("The body is not UTF-8, as a form must be."))?;
        parse_pairs(Code::InvalidBody, text).map(Self).map_err(Into::into)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(CONTENT_TYPE, HeaderValue::from_static(JSON))], body).into_response(),
            Err(error) => internal(error).into_response(),
        }
    }
}

/// Refuses a body that does not say that it is JSON. A browser can send any other type across origins without asking.
///
/// # Errors
/// 415 when the content type is missing, or another one.
pub fn require_json(headers: &HeaderMap) -> Result<(), Refusal> {
    require_type(headers, JSON)
}

fn require_type(headers: &HeaderMap, wanted: &str) -> Result<(), Refusal> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let value = values.next().and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    if values.next().is_none() && essence.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    Err(Problem::new(Code::UnsupportedMediaType).detail(format!("Send the body as {wanted}.")).into())
}

/// The whole body in memory. The layers bound its size and its time.
///
/// # Errors
/// 413 or 408 when it is larger or slower than is allowed, 400 when it is cut short.
pub async fn whole_body(body: Body) -> Result<Bytes, Refusal> {
    // The limit of the route is in the body itself; this one only catches a route that has none.
    axum::body::to_bytes(body, super::options::MAX_BUFFERED).await.map_err(body_refusal)
}

/// The whole body in memory, of a route that takes less than its layers do. No more than `max` bytes of it are kept.
///
/// # Errors
/// As [`whole_body`].
pub async fn body_within(body: Body, max: usize) -> Result<Bytes, Refusal> {
    axum::body::to_bytes(body, max).await.map_err(|error| refusal_within(error, max))
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let unknown = parts.extensions.get::<UnknownParameters>().map_or(&[][..], |unknown| &unknown.0);
        parse_known(Code::InvalidRequest, parts.uri.query().unwrap_or_default(), unknown).map(Self).map_err(Into::into)
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        use axum::extract::path::ErrorKind;
        use axum::extract::rejection::PathRejection;
        let error = match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => return Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => error.into_kind(),
            Err(error) => return Err(internal(error)),
        };
        let invalid = |field: &str, detail: &str| words::at_field(Code::InvalidRequest, field, detail).into();
        // A handler whose parameters are no structure learns no name from serde; the route has it.
        let fault = match RawPathParams::from_request_parts(parts, state).await {
            Ok(params) => at_fault::<T>(&params),
            Err(_) => String::new(),
        };
        Err(match error {
            ErrorKind::ParseErrorAtKey { key, expected_type, .. } => invalid(&key, &format!("must be {}", words::plainly(expected_type))),
            ErrorKind::ParseErrorAtIndex { expected_type, .. } | ErrorKind::ParseError { expected_type, .. } => {
                invalid(&fault, &format!("must be {}", words::plainly(expected_type)))
            }
            ErrorKind::InvalidUtf8InPathParam { key } => invalid(&key, "must be UTF-8"),
            ErrorKind::DeserializeError { key, message, .. } => invalid(&key, &message),
            ErrorKind::Message(message) => invalid(&fault, &message),
            // The route and its handler disagree: our fault, not the caller's.
            error => internal(anyhow::anyhow!("a path cannot be taken apart: {error}")),
        })
    }
}

/// The name of the parameter at which taking one after another fails: the only one, if there is but one.
fn at_fault<T: DeserializeOwned>(params: &RawPathParams) -> String {
    let mut reached = params.iter().next().map_or_else(String::new, |(name, _)| name.to_owned());
    let values = params.iter().map(|(name, value)| {
        name.clone_into(&mut reached);
        value.to_owned()
    });
    let _ = T::deserialize(SeqDeserializer::<_, serde::de::value::Error>::new(values));
    reached
}
