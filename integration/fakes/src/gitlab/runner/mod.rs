//! What runners speak: they register, ask for jobs, tell how those go, and hand in what they made.
//!
//! `registry` knows runners, `queue` chooses a job for one, `errand` writes down all that it must know of it, `trace`,
//! `end` and `artifacts` take what it brings, `watch` notices when it brings nothing any more. A job's token is good while the job runs, and then no more.

mod artifacts;
mod end;
mod errand;
mod gate;
mod multipart;
mod queue;
mod registry;
mod trace;
mod watch;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{patch, post, put};

pub(crate) use queue::Queue;

use super::fake::Fake;

/// The largest archive that a job may leave.
const LARGEST_ARTIFACT: usize = 512 * 1024 * 1024;
/// The largest piece of a log.
const LARGEST_PIECE: usize = 8 * 1024 * 1024;

/// What runners ask for.
pub(crate) fn routes() -> Router<Arc<Fake>> {
    Router::new()
        .route("/runners", post(registry::register).delete(registry::unregister))
        .route("/runners/verify", post(registry::verify))
        .route("/runners/reset_authentication_token", post(registry::reset))
        .route("/user/runners", post(registry::create))
        .route("/jobs/request", post(queue::request))
        .route("/jobs/{job_id}", put(end::update))
        .route("/jobs/{job_id}/trace", patch(trace::append).layer(DefaultBodyLimit::max(LARGEST_PIECE)))
        .route("/jobs/{job_id}/artifacts", post(artifacts::upload).get(artifacts::download).layer(DefaultBodyLimit::max(LARGEST_ARTIFACT)))
}
