//! A runner says how a job goes, and how it ended.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State as Shared};
use axum::response::IntoResponse as _;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::{errand, gate, trace};
use crate::gitlab::api::refusal::{Answer, Refusal};
use crate::gitlab::fake::Fake;
use crate::gitlab::state::State;
use crate::gitlab::state::job::Job;
use crate::gitlab::state::status::Status;

/// What a runner says.
#[derive(Debug, Deserialize)]
pub(super) struct Update {
    token: Option<String>,
    #[serde(default)]
    state: String,
    failure_reason: Option<String>,
    exit_code: Option<i32>,
    output: Option<Output>,
    // Runners from before the log was sent in pieces sent it whole, at the end.
    trace: Option<String>,
}

/// What the whole log is to be.
#[derive(Debug, Deserialize)]
struct Output {
    checksum: Option<String>,
    bytesize: Option<usize>,
}

/// Takes what a runner says of a job. It may say the end only once its whole log is here.
pub(super) async fn update(Shared(fake): Shared<Arc<Fake>>, Path(id): Path<u64>, headers: HeaderMap, Json(update): Json<Update>) -> Answer {
    let token = gate::shown(&headers, update.token.clone());
    let (answer, over) = fake.change(|state| {
        gate::enter(state, id, token.as_deref())?;
        fake.queue.heard(id);
        let job = state.jobs.get_mut(&id).ok_or_else(|| Refusal::not_found(""))?;
        if let Some(whole) = update.trace.as_deref().filter(|_| job.trace.is_empty()) {
            job.trace.extend_from_slice(whole.as_bytes());
        }
        let status = match update.state.as_str() {
            "success" => Status::Success,
            "failed" => Status::Failed,
            "running" | "" => return Ok((said(StatusCode::OK, job.status.word()), None)),
            _ => return Err(Refusal::bad("400 Bad request - Invalid state")),
        };
        if !is_whole(&job.trace, update.output.as_ref()) {
            return Ok((said(StatusCode::ACCEPTED, job.status.word()), None));
        }
        end(state, id, status, &update);
        let job = state.jobs.get(&id).ok_or_else(|| Refusal::not_found(""))?;
        let over =
            state.pipelines.get(&job.pipeline).filter(|pipeline| pipeline.status.complete()).map(|pipeline| (job.project, pipeline.id));
        Ok::<_, Refusal>((said(StatusCode::OK, job.status.word()), over))
    })?;
    if let Some((project, pipeline)) = over
        && let Err(error) = fake.repository(project).point(&errand::kept_ref(pipeline), None, None).await
    {
        tracing::warn!(error = %error, pipeline, "fake_gitlab.commit_not_let_go");
    }
    Ok(answer)
}

fn said(code: StatusCode, status: &'static str) -> axum::response::Response {
    let heads = [("job-status", status), (trace::INTERVAL_HEADER, trace::INTERVAL)];
    (code, heads, Json(serde_json::json!(code.as_u16().to_string()))).into_response()
}

/// Whether the log is all here. One that is longer than it should be, or other than it should be, does not become right by waiting.
fn is_whole(trace: &[u8], output: Option<&Output>) -> bool {
    let Some(output) = output else { return true };
    match (output.bytesize, &output.checksum) {
        (Some(size), _) => trace.len() >= size,
        (None, Some(sum)) => sum.strip_prefix("crc32:").is_none_or(|sum| sum == crc32(trace)),
        (None, None) => true,
    }
}

fn crc32(bytes: &[u8]) -> String {
    let mut sum = flate2::Crc::new();
    sum.update(bytes);
    format!("{:08x}", sum.sum())
}

fn end(state: &mut State, id: u64, status: Status, update: &Update) {
    let Some(job) = state.jobs.get_mut(&id) else { return };
    job.exit_code = update.exit_code;
    if status == Status::Failed {
        let reason = update.failure_reason.as_deref().filter(|reason| !reason.is_empty()).unwrap_or("unknown_failure");
        return fail(state, id, reason);
    }
    job.coverage = coverage(job);
    state.end_job(id, status, None);
}

/// A job fails. Whether that is allowed, and tried again, is said by the definition; the state only counts.
pub(super) fn fail(state: &mut State, id: u64, reason: &str) {
    let Some(job) = state.jobs.get_mut(&id) else { return };
    let code = job.exit_code.map(i64::from);
    if let Some(work) = job.plan.definition.clone() {
        job.plan.allow_failure |= work.allow_failure.covers(code);
        if !work.retry.again(job.attempt, reason, code) {
            job.plan.retry = 0;
        }
    }
    state.end_job(id, Status::Failed, Some(reason));
}

/// The last number that the definition's pattern finds in the log.
fn coverage(job: &Job) -> Option<f64> {
    let pattern = regex::RegexBuilder::new(job.plan.definition.as_ref()?.coverage.as_ref()?).size_limit(1 << 20).build().ok()?;
    let text = String::from_utf8_lossy(&job.trace);
    let found = pattern.find_iter(&text).last()?.as_str().to_owned();
    let number: String = found.chars().skip_while(|c| !c.is_ascii_digit()).take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    number.parse().ok()
}
