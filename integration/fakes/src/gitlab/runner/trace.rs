//! A job's log arrives in pieces, each with its place.

use std::sync::Arc;

use axum::extract::{Path, State as Shared};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::gate;
use crate::gitlab::api::refusal::{Answer, Refusal};
use crate::gitlab::fake::Fake;
use crate::gitlab::state::status::Status;

/// The largest log; a job that says more fails.
const LARGEST: usize = 64 * 1024 * 1024;
/// How often a runner is to send what is new, in seconds.
pub(super) const INTERVAL: &str = "3";
/// The header that says so.
pub(super) const INTERVAL_HEADER: &str = "x-gitlab-trace-update-interval";

/// Adds a piece that begins where the log ends so far.
pub(super) async fn append(Shared(fake): Shared<Arc<Fake>>, Path(id): Path<u64>, headers: HeaderMap, piece: Bytes) -> Answer {
    let token = gate::shown(&headers, None);
    let range = headers.get("content-range").and_then(|value| value.to_str().ok());
    let range = range.map(str::to_owned).ok_or_else(|| Refusal::message(StatusCode::BAD_REQUEST, "400 Missing header Content-Range"));
    fake.change(|state| {
        gate::enter(state, id, token.as_deref())?;
        fake.queue.heard(id);
        let range = range?;
        let start: usize =
            range.split_once('-').and_then(|(start, _)| start.trim().parse().ok()).ok_or_else(|| Refusal::bad("400 Bad request"))?;
        let Some(job) = state.jobs.get_mut(&id) else { return Err(Refusal::not_found("")) };
        if start != job.trace.len() {
            let at = format!("0-{}", job.trace.len());
            let heads = [("range", at), ("job-status", job.status.word().to_owned())];
            return Ok((
                StatusCode::RANGE_NOT_SATISFIABLE,
                heads,
                axum::Json(serde_json::json!({ "message": "416 Range Not Satisfiable" })),
            )
                .into_response());
        }
        if job.trace.len() + piece.len() > LARGEST {
            state.end_job(id, Status::Failed, Some("trace_size_exceeded"));
            return Err(
                Refusal::message(StatusCode::FORBIDDEN, "403 Forbidden - Job is not processing on runner").header("job-status", "failed")
            );
        }
        job.trace.extend_from_slice(&piece);
        let heads = [
            ("range", format!("0-{}", job.trace.len())),
            ("job-status", job.status.word().to_owned()),
            (INTERVAL_HEADER, INTERVAL.to_owned()),
        ];
        Ok((StatusCode::ACCEPTED, heads, axum::Json(job.trace.len())).into_response())
    })
}
