//! What a page shows instead of what was asked for.

use askama::Template;
use axum::response::{Html, IntoResponse, Redirect, Response};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use signalbox_contract::problem::MEDIA_TYPE;
use signalbox_contract::{Code, Problem};
use signalbox_service::http::Refusal;

use super::Visitor;
use crate::store::StoreError;

/// The largest problem that is made a page, in bytes.
const MAX_PROBLEM: usize = 64 * 1024;

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
    visitor: Option<Visitor>,
    refresh: bool,
}

/// What a person who asked for a page sees of a problem that came up before the page's own code, such as a token that has
/// ended: a page too.
pub(super) async fn as_page(response: Response) -> Response {
    if response.headers().get(CONTENT_TYPE).is_none_or(|kind| kind != MEDIA_TYPE) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, MAX_PROBLEM).await else { return parts.status.into_response() };
    match serde_json::from_slice::<Problem>(&bytes) {
        Ok(problem) => PageError::Refused(problem.into()).into_response(),
        Err(_) => (parts, bytes).into_response(),
    }
}

/// What is answered where nothing is: a page to whoever takes one, else the problem itself.
pub(super) async fn nowhere(headers: HeaderMap) -> Response {
    let takes_pages = headers.get_all(ACCEPT).iter().any(|value| value.to_str().is_ok_and(|value| value.contains("text/html")));
    if takes_pages {
        return PageError::Refused(Problem::not_found().into()).into_response();
    }
    Refusal::from(Problem::not_found()).into_response()
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
        // Where there is nothing beyond the title, it is not said twice.
        let detail = Some(problem.to_string()).filter(|detail| *detail != problem.title).unwrap_or_default();
        let message = Message { title: problem.title, detail, visitor: None, refresh: false };
        match message.render() {
            Ok(text) => (status, Html(text)).into_response(),
            Err(_) => status.into_response(),
        }
    }
}
