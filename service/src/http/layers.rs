//! What every request and every answer passes.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, ETAG};
use http::header::{REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version};
use signalbox_contract::token::CAPABILITY_HEADER;
use signalbox_contract::{Code, Problem};
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use super::body::{BodyLimits, BoundedBody, refuse_encoded, too_large};
use super::options::{ServeOptions, StreamLimits};
use super::problem::{Refusal, SEE_LOG, of_status};
use super::{head, health};
use crate::shutdown::Shutdown;
use crate::telemetry::Telemetry;
use crate::telemetry::request_id::{self, RequestId};

/// Puts all layers around a service's routes, and adds the routes for its health.
pub fn finish(ordinary: Router, options: &ServeOptions, telemetry: &Telemetry) -> Router {
    finish_with(ordinary, Router::new(), options, telemetry)
}

/// Like [`finish`], with routes besides that [`streaming`] has given bounds of their own.
pub fn finish_with(ordinary: Router, streaming: Router, options: &ServeOptions, telemetry: &Telemetry) -> Router {
    options.metrics.register(&mut telemetry.registry());
    let bounds = Bounds {
        body: BodyLimits { max: options.max_body as u64, deadline: options.body_deadline, idle: None },
        response: options.response_timeout,
    };
    let conversation = Conversation { telemetry: telemetry.clone(), room: Semaphore::new(options.max_requests) };
    ordinary
        .merge(health::routes(telemetry))
        .layer(from_fn_with_state(bounds, keep_bounds))
        .layer(from_fn(keep_plain))
        .merge(streaming)
        .layer(from_fn_with_state(Arc::new(conversation), converse))
}

/// Gives routes whose bodies are streams their own bounds.
pub fn streaming(routes: Router, limits: StreamLimits) -> Router {
    let bounds = Bounds {
        body: BodyLimits { max: limits.max_body, deadline: limits.body_deadline, idle: Some(limits.idle) },
        response: limits.body_deadline.saturating_add(limits.response_timeout),
    };
    routes.route_layer(from_fn_with_state(bounds, keep_bounds))
}

/// A stream that ends when the service does: an answer that lasts as long as its reader would otherwise hold up the end
/// until the drain's deadline.
pub fn until_the_end<S: Stream>(stream: S, shutdown: &Shutdown) -> impl Stream<Item = S::Item> + use<S> {
    stream.take_until(shutdown.token().cancelled_owned())
}

/// The bounds of a route.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    body: BodyLimits,
    response: Duration,
}

async fn keep_bounds(State(bounds): State<Bounds>, request: Request<Body>, next: Next) -> Response {
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > bounds.body.max) {
        return too_large(bounds.body.max).into_response();
    }
    let request = request.map(|body| Body::new(BoundedBody::new(body, bounds.body)));
    let Ok(response) = tokio::time::timeout(bounds.response, next.run(request)).await else {
        tracing::warn!(limit_ms = millis(bounds.response), "request.timed_out");
        return Refusal(Problem::new(Code::Timeout).detail("The service did not answer in time.")).into_response();
    };
    response
}

/// Refuses packed bodies. Routes whose bodies are streams say for themselves what they take; where there is no body, nothing is
/// packed.
async fn keep_plain(request: Request<Body>, next: Next) -> Response {
    let read_only = [Method::GET, Method::HEAD].contains(request.method());
    match refuse_encoded(request.headers(), "send the body as it is") {
        Err(problem) if !read_only => Refusal(problem).into_response(),
        _ => next.run(request).await,
    }
}

/// What all requests of a service share.
struct Conversation {
    telemetry: Telemetry,
    room: Semaphore,
}

async fn converse(State(shared): State<Arc<Conversation>>, mut request: Request<Body>, next: Next) -> Response {
    let begun = Instant::now();
    let id = RequestId::from_headers(request.headers()).unwrap_or_else(RequestId::random);
    let method = method_label(request.method());
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("unmatched", MatchedPath::as_str);
    // Which attempt it is for is known once its token is checked.
    let span = tracing::info_span!("request", id = %id, method, route, key = tracing::field::Empty);
    let version = request.version();
    conceal(request.headers_mut());
    let work = async {
        let mut response = answer(&shared, request, next).await;
        complete(&mut response);
        part(&mut response, version);
        response.headers_mut().insert(request_id::HEADER, id.to_header());
        let (status, took) = (response.status().as_u16(), begun.elapsed());
        shared.telemetry.observe_request(method, route, status, took);
        let ms = millis(took);
        match (status, method) {
            (500.., _) => tracing::warn!(status, ms, "request.answered"),
            // Whoever polls must not fill the log.
            (..400, "GET" | "HEAD") => tracing::debug!(status, ms, "request.answered"),
            _ => tracing::info!(status, ms, "request.answered"),
        }
        response
    };
    request_id::scope(id.clone(), work).instrument(span).await
}

/// Checks the head, finds room, and lets the handler answer; what it does not answer becomes a problem.
async fn answer(shared: &Conversation, request: Request<Body>, next: Next) -> Response {
    if let Err(refusal) = head::check(&request) {
        return refusal.into_response();
    }
    let Ok(_room) = shared.room.try_acquire() else {
        let problem = Problem::new(Code::Unavailable).detail("Too many requests are at work.").retry_after(1);
        return Refusal(problem).into_response();
    };
    let Ok(response) = AssertUnwindSafe(next.run(request)).catch_unwind().await else {
        // What the panic said and where, the process's hook tells.
        tracing::error!("request.panicked");
        return Refusal(Problem::new(Code::Internal).detail(SEE_LOG)).into_response();
    };
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || response.headers().contains_key(CONTENT_TYPE) {
        return response;
    }
    // The router's own answers (404, 405) have no body; their headers, such as `Allow`, stay.
    let mut problem = Refusal(of_status(status)).into_response();
    for (name, value) in response.headers() {
        if name != CONTENT_LENGTH {
            problem.headers_mut().insert(name, value.clone());
        }
    }
    problem
}

/// Says that the connection ends where the rest of a body is not waited for: a client that took it for a good one would lose
/// its next request on it.
fn part(response: &mut Response, version: Version) {
    let unread = [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::REQUEST_TIMEOUT].contains(&response.status());
    if unread && version <= Version::HTTP_11 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Marks what must not be shown, should anything ever print a head.
fn conceal(headers: &mut HeaderMap) {
    for name in [AUTHORIZATION, COOKIE, HeaderName::from_static(CAPABILITY_HEADER)] {
        if let http::header::Entry::Occupied(mut entry) = headers.entry(name) {
            entry.iter_mut().for_each(|value| value.set_sensitive(true));
        }
    }
}

/// Adds the headers that keep a browser from making more of an answer than it is, where the handler has not said
/// otherwise.
fn complete(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"));
    if !headers.contains_key(CACHE_CONTROL) {
        let value = if headers.contains_key(ETAG) { "private, no-cache" } else { "no-store" };
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(value));
    }
}

/// The method for a label: hostile clients must not be able to make new ones.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
