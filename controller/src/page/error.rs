//! What a page shows instead of what was asked for.

use askama::Template;
use axum::response::{Html, IntoResponse, Redirect, Response};
use http::StatusCode;
use signalbox_contract::Code;
use signalbox_service::http::Refusal;

use crate::store::StoreError;

/// Why a page cannot be shown.
pub(super) enum PageError {
    /// The problem that the API would answer.
    Refused(Refusal),
}

#[derive(Template)]
#[template(path = "message.html")]
struct Message {
    title: String,
    detail: String,
    principal: Option<String>,
    refresh: bool,
}

impl From<Refusal> for PageError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for PageError {
    fn from(error: StoreError) -> Self {
        Self::Refused(crate::api::refused(error))
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let Self::Refused(Refusal(problem)) = self;
        // Whoever is not signed in, or not any more, is asked to sign in.
        if problem.code == Code::Unauthenticated {
            return Redirect::to("/sign-in").into_response();
        }
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let detail = problem.to_string();
        let message = Message { title: problem.title, detail, principal: None, refresh: false };
        match message.render() {
            Ok(text) => (status, Html(text)).into_response(),
            Err(_) => status.into_response(),
        }
    }
}
