//! What a page shows instead of what was asked for.

use askama::Template;
use axum::body::Body;
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
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
    if !is_problem(&response) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, MAX_PROBLEM).await else { return parts.status.into_response() };
    match serde_json::from_slice::<Problem>(&bytes) {
        Ok(problem) => PageError::Refused(problem.into()).into_response(),
        Err(_) => (parts, bytes).into_response(),
    }
}

/// What is answered where nothing is.
pub(super) async fn nowhere() -> Refusal {
    Problem::not_found().into()
}

/// Whoever would rather have a page than JSON gets every refusal as a page, wherever it comes from: of an address of the API
/// that somebody opens in a browser, of a method that is not there, of a fault.
pub(crate) async fn to_readers(request: Request<Body>, next: Next) -> Response {
    let reader = prefers_pages(request.headers());
    let response = next.run(request).await;
    if !reader || !is_problem(&response) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, MAX_PROBLEM).await else { return parts.status.into_response() };
    let page = serde_json::from_slice::<Problem>(&bytes).ok().and_then(|problem| message(problem).render().ok());
    let Some(page) = page else { return (parts, bytes).into_response() };
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    super::guard(&mut parts.headers);
    (parts, page).into_response()
}

fn is_problem(response: &Response) -> bool {
    response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == MEDIA_TYPE)
}

/// Whether HTML is wanted more than JSON. Whoever takes anything wants what the API answers.
fn prefers_pages(headers: &HeaderMap) -> bool {
    let (mut html, mut json) = (0.0, 0.0);
    for range in headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |weight| weight.parse().unwrap_or(0.0_f32));
        match kind.as_str() {
            "text/html" | "application/xhtml+xml" => html = weight.max(html),
            "application/json" | MEDIA_TYPE => json = weight.max(json),
            _ => {}
        }
    }
    html > json
}

/// What a page says of a problem.
fn message(problem: Problem) -> Message {
    // Where there is nothing beyond the title, it is not said twice.
    let detail = Some(problem.to_string()).filter(|detail| *detail != problem.title).unwrap_or_default();
    Message { title: problem.title, detail, visitor: None, refresh: false }
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
        let again = problem.retry_after.map(|seconds| [(RETRY_AFTER, seconds.to_string())]);
        match message(problem).render() {
            Ok(text) => (status, again, Html(text)).into_response(),
            Err(_) => status.into_response(),
        }
    }
}
