//! A run's events as they happen (server-sent events).

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use http::{HeaderMap, HeaderName, HeaderValue};
use signalbox_contract::api::run::{EventView, RunState};
use signalbox_contract::{Code, Problem, RunId};
use signalbox_service::auth::Operator;
use signalbox_service::http::{self as service_http, Path};

use super::Api;
use super::streams::Seat;
use crate::store::Following;

/// How many events are read at once.
const PIECE: u32 = 100;

/// How often the reader's right is checked while nothing happens.
const CHECK: Duration = Duration::from_secs(5);

/// Follow a run: each entry of its event log, as it is written, with its number as the event's id.
///
/// Reconnect with `Last-Event-ID` to go on where it broke off. The stream ends with an event `end` when the run is over,
/// and without one when the token expires or is revoked, or the service stops.
#[utoipa::path(get, path = "/runs/{id}/live", tag = "runs", params(
    ("id" = RunId, Path, description = "The run."),
    ("Last-Event-ID" = Option<u64>, Header, description = "The number of the last entry that was received."),
), responses(
    (status = 200, description = "The events.", content_type = "text/event-stream"),
    (status = 404, description = "There is no such run, or the token's grants do not cover it.", body = Problem),
    (status = 429, description = "The token's principal has as many streams as one may have.", body = Problem),
    (status = 503, description = "There are as many streams as there may be.", body = Problem),
))]
pub(super) async fn get(
    State(api): State<Api>,
    operator: Operator,
    Path(id): Path<RunId>,
    headers: HeaderMap,
) -> service_http::Result<Response> {
    api.run(&operator, id).await?;
    let after = match headers.get("last-event-id").map(|value| value.to_str().unwrap_or_default().parse::<u64>()) {
        None => 0,
        Some(Ok(after)) => after,
        Some(Err(_)) => return Err(Problem::new(Code::InvalidRequest).field("Last-Event-ID", "must be a number").into()),
    };
    let seat = api.streams.enter(operator.principal())?;
    let shutdown = api.shutdown.clone();
    let follower = Follower { changes: api.store.follow(id), api, operator, id, after, waiting: Vec::new(), over: false, _seat: seat };
    let events = service_http::until_the_end(follower.stream(), &shutdown);
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"))];
    Ok((unbuffered, Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))).into_response())
}

struct Follower {
    api: Api,
    operator: Operator,
    id: RunId,
    after: u64,
    /// Read and not yet sent, last first.
    waiting: Vec<EventView>,
    over: bool,
    changes: Following,
    _seat: Seat,
}

impl Follower {
    fn stream(self) -> impl Stream<Item = Result<sse::Event, Infallible>> {
        stream::unfold(self, |mut follower| async move { follower.next().await.map(|event| (Ok(event), follower)) })
    }

    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            if let Some(event) = self.waiting.pop() {
                self.after = event.n;
                return sse::Event::default().id(event.n.to_string()).event("event").json_data(&event).ok();
            }
            if self.over {
                return None;
            }
            // The token may have been revoked, or the run removed, since the last event.
            if !self.api.verifier.still_good(&self.operator.0) {
                return None;
            }
            self.changes.begin();
            let run = self.api.run(&self.operator, self.id).await.ok()?;
            let page = self.api.store.events(self.id, self.after, PIECE).await.ok()?;
            if page.items.is_empty() {
                if run.state() == RunState::Finished {
                    self.over = true;
                    return Some(sse::Event::default().event("end").data("{}"));
                }
                // What changed this run wakes us; the check alone does too.
                let _ = tokio::time::timeout(CHECK, self.changes.changed()).await;
            }
            self.waiting = page.items.into_iter().rev().collect();
        }
    }
}
