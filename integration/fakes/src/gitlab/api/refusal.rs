//! Refusals, in the several shapes that GitLab has for them.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

/// What is answered instead of what was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    status: StatusCode,
    body: Value,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What a handler answers.
pub(crate) type Answer = Result<Response, Refusal>;

impl Refusal {
    /// A status with a message.
    pub(crate) fn message(status: StatusCode, message: impl Into<Value>) -> Self {
        Self { status, body: json!({ "message": message.into() }), headers: Vec::new() }
    }

    /// A status with an error and nothing else: the second shape.
    pub(crate) fn error(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, body: json!({ "error": error.into() }), headers: Vec::new() }
    }

    /// A parameter that must be there is not.
    pub(crate) fn missing(name: &str) -> Self {
        Self::error(StatusCode::BAD_REQUEST, format!("{name} is missing"))
    }

    /// A parameter has no value that it could have.
    pub(crate) fn invalid(name: &str) -> Self {
        Self::error(StatusCode::BAD_REQUEST, format!("{name} does not have a valid value"))
    }

    /// Fields that are wrong, each with why.
    pub(crate) fn fields(fields: &[(&str, &str)]) -> Self {
        let fields: Map<String, Value> = fields.iter().map(|(field, why)| ((*field).to_owned(), json!([why]))).collect();
        Self::message(StatusCode::BAD_REQUEST, fields)
    }

    /// It cannot be done: a message without fields.
    pub(crate) fn bad(message: &str) -> Self {
        Self::message(StatusCode::BAD_REQUEST, message)
    }

    /// Something is not there, or not for those eyes.
    pub(crate) fn not_found(what: &str) -> Self {
        let message = if what.is_empty() { "404 Not found".to_owned() } else { format!("404 {what} Not Found") };
        Self::message(StatusCode::NOT_FOUND, message)
    }

    /// The role does not suffice.
    pub(crate) fn forbidden() -> Self {
        Self::message(StatusCode::FORBIDDEN, "403 Forbidden")
    }

    /// Nobody said who asks.
    pub(crate) fn unauthorized() -> Self {
        Self::message(StatusCode::UNAUTHORIZED, "401 Unauthorized")
    }

    /// The token is too old, or was taken back.
    pub(crate) fn spent(why: &str) -> Self {
        let body = json!({ "error": "invalid_token", "error_description": why });
        Self { status: StatusCode::UNAUTHORIZED, body, headers: Vec::new() }
    }

    /// The token was made for other things.
    pub(crate) fn insufficient_scope(scope: &str) -> Self {
        let words = "The request requires higher privileges than provided by the access token.";
        let body = json!({ "error": "insufficient_scope", "error_description": words, "scope": scope });
        Self { status: StatusCode::FORBIDDEN, body, headers: Vec::new() }
    }

    /// Something is there already.
    pub(crate) fn conflict(message: &str) -> Self {
        Self::message(StatusCode::CONFLICT, message)
    }

    /// The same with a header.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::try_from(value) {
            self.headers.push((HeaderName::from_static(name), value));
        }
        self
    }

    /// What went wrong here and is nobody's business.
    pub(crate) fn broken(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "fake_gitlab.request_failed");
        Self::message(StatusCode::INTERNAL_SERVER_ERROR, "500 Internal Server Error")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        response
            .headers_mut()
            .extend(self.headers.into_iter().map(|(name, value)| (Some(name), value)).filter_map(|(name, value)| Some((name?, value))));
        response
    }
}

/// An answer of JSON.
pub(crate) fn show(status: StatusCode, body: impl Into<Value>) -> Answer {
    Ok((status, Json(body.into())).into_response())
}

/// What was asked for.
pub(crate) fn ok(body: impl Into<Value>) -> Answer {
    show(StatusCode::OK, body)
}

/// What was made.
pub(crate) fn created(body: impl Into<Value>) -> Answer {
    show(StatusCode::CREATED, body)
}

/// It is gone.
pub(crate) fn gone() -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}
