//! What surrounds every answer: limits, faults, and the headers that GitLab always sends.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};

use super::caller::Caller;
use crate::gitlab::fake::Fake;
use crate::gitlab::fault::AnswerFault;
use crate::gitlab::git;
use crate::gitlab::limit::Usage;

/// What is not the API may be git's.
pub(super) async fn git(State(fake): State<Arc<Fake>>, request: Request<Body>) -> Response {
    git::serve(fake, request).await
}

/// Counts a request, lets it go wrong if that was ordered, and answers it.
pub(super) async fn surround(State(fake): State<Arc<Fake>>, request: Request<Body>, next: Next) -> Response {
    let api = request.uri().path().starts_with("/api/");
    let usage = if api { count(&fake, &request) } else { None };
    let mut response = match usage.filter(|usage| usage.exceeded()) {
        Some(usage) => too_many(usage.reset),
        None => answer(&fake, request, next).await,
    };
    let headers = response.headers_mut();
    if let Some(usage) = usage {
        show_usage(&fake, usage, headers);
    }
    set(headers, "x-request-id", &fake.options.clock.uuid().simple().to_string());
    set(headers, "x-gitlab-meta", "{\"version\":\"1\"}");
    set(headers, "cache-control", "max-age=0, private, must-revalidate");
    response
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.entry(HeaderName::from_static(name)).or_insert(value);
    }
}

fn count(fake: &Fake, request: &Request<Body>) -> Option<Usage> {
    let caller = Caller::find(fake, request.headers(), request.uri().query().unwrap_or_default()).ok().and_then(|caller| caller.user);
    fake.meter.count(&caller.map_or_else(|| "nobody".to_owned(), |user| user.to_string()))
}

fn show_usage(fake: &Fake, usage: Usage, headers: &mut HeaderMap) {
    let reset = fake.options.clock.now().as_second().saturating_add(i64::try_from(usage.reset).unwrap_or_default());
    set(headers, "ratelimit-limit", &usage.limit.to_string());
    set(headers, "ratelimit-name", "throttle_authenticated_api");
    set(headers, "ratelimit-observed", &usage.observed.to_string());
    set(headers, "ratelimit-remaining", &usage.limit.saturating_sub(usage.observed).to_string());
    set(headers, "ratelimit-reset", &reset.to_string());
    if let Ok(at) = jiff::Timestamp::from_second(reset) {
        set(headers, "ratelimit-resettime", &at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
    }
}

fn too_many(seconds: u64) -> Response {
    let plain = (CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    (StatusCode::TOO_MANY_REQUESTS, [plain, (RETRY_AFTER, HeaderValue::from(seconds))], "Retry later\n").into_response()
}

async fn answer(fake: &Arc<Fake>, request: Request<Body>, next: Next) -> Response {
    match fake.faults.of_answer(request.method(), request.uri().path()) {
        None => next.run(request).await,
        Some(AnswerFault::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            if status.is_server_error() {
                // What stands before GitLab answers such errors with a page for people.
                return (
                    status,
                    [(CONTENT_TYPE, "text/html")],
                    "<!DOCTYPE html><html><head><title>GitLab is not responding</title></head></html>",
                )
                    .into_response();
            }
            (status, axum::Json(serde_json::json!({ "message": status.to_string() }))).into_response()
        }
        Some(AnswerFault::TooMany(after)) => too_many(after.as_secs()),
        Some(AnswerFault::Slow(delay)) => {
            tokio::time::sleep(delay).await;
            next.run(request).await
        }
        Some(AnswerFault::Cut) => cut(next.run(request).await).await,
        Some(AnswerFault::Lost) => {
            drop(next.run(request).await);
            torn(Bytes::new())
        }
        Some(AnswerFault::Refused) => torn(Bytes::new()),
        Some(AnswerFault::Html) => {
            ([(CONTENT_TYPE, "text/html; charset=utf-8")], "<!DOCTYPE html><html><body>Sign in</body></html>").into_response()
        }
        Some(AnswerFault::Huge(bytes)) => huge(bytes),
        Some(AnswerFault::WrongType) => {
            axum::Json(serde_json::json!([[{ "id": "not a number", "status": 7, "name": null }], true])).into_response()
        }
        Some(AnswerFault::Redirect(status, to)) => {
            (StatusCode::from_u16(status).unwrap_or(StatusCode::FOUND), [(LOCATION, to)]).into_response()
        }
    }
}

/// The right head, half of the body, and then nothing.
async fn cut(response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 64 * 1024 * 1024).await.unwrap_or_default();
    let mut half = torn(bytes.slice(..bytes.len() / 2));
    *half.status_mut() = parts.status;
    *half.headers_mut() = parts.headers;
    half.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    half
}

/// A body that ends in the middle; an empty beginning cuts the connection before a byte is sent.
fn torn(beginning: Bytes) -> Response {
    let broken = || std::io::Error::new(std::io::ErrorKind::ConnectionReset, "cut as ordered");
    if beginning.is_empty() {
        return Response::new(Body::from_stream(futures_util::stream::once(async move { Err::<Bytes, _>(broken()) })));
    }
    let first = Some(Ok(beginning));
    let chunks = futures_util::stream::iter(first).chain(futures_util::stream::once(async move {
        // What was said before is on its way when the connection goes.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        Err(broken())
    }));
    Response::new(Body::from_stream(chunks))
}

fn huge(bytes: u64) -> Response {
    let chunk = Bytes::from(vec![b' '; 64 * 1024]);
    let chunks = futures_util::stream::unfold(bytes, move |left| {
        let chunk = chunk.clone();
        async move { (left > 0).then(|| (Ok::<_, std::io::Error>(chunk.clone()), left.saturating_sub(chunk.len() as u64))) }
    });
    let start = futures_util::stream::once(async { Ok(Bytes::from_static(b"[")) });
    ([(CONTENT_TYPE, "application/json")], Body::from_stream(start.chain(chunks))).into_response()
}
