//! Who may say something about a job: whoever shows its token, while it runs.

use http::{HeaderMap, StatusCode};
use secrecy::ExposeSecret as _;

use super::watch;
use crate::gitlab::api::refusal::Refusal;
use crate::gitlab::state::State;

/// The header in which runners show a job's token.
const TOKEN: &str = "job-token";

/// The token of a header, or of the body.
pub(super) fn shown(headers: &HeaderMap, body: Option<String>) -> Option<String> {
    headers.get(TOKEN).and_then(|value| value.to_str().ok()).map(str::to_owned).or(body)
}

/// Lets a runner speak about a running job. Whoever is refused learns what became of it.
pub(super) fn enter(state: &State, id: u64, token: Option<&str>) -> Result<(), Refusal> {
    let job = state.jobs.get(&id).ok_or_else(|| Refusal::not_found(""))?;
    if !token.is_some_and(|token| same(token, job.token.expose_secret())) {
        return Err(Refusal::forbidden());
    }
    if watch::is_out(job.status) {
        return Ok(());
    }
    Err(Refusal::message(StatusCode::FORBIDDEN, "403 Forbidden - Job is not processing on runner").header("job-status", job.status.word()))
}

/// Compares without telling by the time it takes how much was right.
fn same(one: &str, other: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}
