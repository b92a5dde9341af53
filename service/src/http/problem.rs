//! Refusals: every answer that is not what was asked for is a problem (RFC 9457).

use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use signalbox_contract::problem::MEDIA_TYPE;
use signalbox_contract::{Code, Problem};

use crate::telemetry::request_id;

/// A problem as an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal(pub Problem);

/// All that a caller learns of a fault of the service.
pub(super) const SEE_LOG: &str = "The service's log says more under this request's id.";

/// What a handler answers, or why not.
pub type Result<T> = std::result::Result<T, Refusal>;

/// The refusal of a service that failed. The error and its causes are logged here, once, under the request's id; the
/// caller learns nothing of them.
pub fn internal(error: impl Into<anyhow::Error>) -> Refusal {
    let error = error.into();
    tracing::error!(error = %chain(&error), "request.failed");
    Refusal(Problem::new(Code::Internal).detail(SEE_LOG))
}

/// An error and its causes in one line.
fn chain(error: &anyhow::Error) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    causes.join(": ")
}

impl From<Problem> for Refusal {
    /// A problem that only names its fields is put in words here, for all handlers.
    fn from(problem: Problem) -> Self {
        Self(super::words::in_words(problem))
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        refusal.0
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Refusal {}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut problem = super::words::in_words(self.0);
        if problem.instance.is_none() {
            problem.instance = request_id::current().map(|id| id.to_string());
        }
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // A problem is made of strings and numbers: it can always be written.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = problem.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        // What is taken instead is said where it was the encoding that was not (RFC 9110, section 15.5.16).
        if problem.code == Code::UnsupportedMediaType && problem.errors.iter().any(|fault| fault.field == super::body::ENCODING) {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The problem that stands for a bare status, for answers that no handler of ours gave.
pub(super) fn of_status(status: StatusCode) -> Problem {
    let code = match status.as_u16() {
        401 => Code::Unauthenticated,
        403 => Code::Forbidden,
        404 => Code::NotFound,
        405 => Code::MethodNotAllowed,
        408 => Code::Timeout,
        409 => Code::NotAllowedNow,
        412 => Code::PreconditionFailed,
        413 => Code::TooLarge,
        414 => Code::UriTooLong,
        415 => Code::UnsupportedMediaType,
        416 => Code::RangeNotSatisfiable,
        422 => Code::NotConfigured,
        429 => Code::TooManyRequests,
        502 | 504 => Code::Upstream,
        503 => Code::Unavailable,
        507 => Code::InsufficientStorage,
        400..500 => Code::InvalidRequest,
        _ => Code::Internal,
    };
    let mut problem = Problem::new(code);
    problem.status = status.as_u16();
    problem
}
