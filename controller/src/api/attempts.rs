//! One attempt by itself.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use signalbox_contract::api::run::AttemptView;
use signalbox_contract::{AttemptKey, Problem, RunId};
use signalbox_controller_core::{Run, view};
use signalbox_service::auth::Operator;
use signalbox_service::http::{self as service_http, Json, Path};

use super::Api;
use super::caching::{Caching, matches_tag};

/// One attempt of a step: what `GET /runs/{id}` shows of it.
///
/// Once it has ended it never changes, and the answer may be kept for ever. Until then it has an `ETag`, to ask again with
/// `If-None-Match`.
#[utoipa::path(get, path = "/runs/{id}/steps/{step}/attempts/{attempt}", tag = "runs", params(
    ("id" = RunId, Path, description = "The run."),
    ("step" = String, Path, description = "The step's name or index."),
    ("attempt" = u16, Path, description = "The attempt's number, from 1."),
), responses(
    (status = 200, description = "The attempt.", body = AttemptView),
    (status = 304, description = "It has not changed."),
    (status = 404, description = "There is no such run, step or attempt, or the token's grants do not cover it.", body = Problem),
))]
pub(super) async fn get(
    State(api): State<Api>,
    operator: Operator,
    Path((id, step, attempt)): Path<(RunId, String, u16)>,
    headers: HeaderMap,
) -> service_http::Result<Response> {
    let run = api.run(&operator, id).await?;
    let key = named(&run, &step, Some(attempt))?;
    let view = view::attempt(&run, &key).ok_or_else(Problem::not_found)?;
    // Of an attempt that goes on, every change is one of its run.
    let version = if view.ended { "ended".to_owned() } else { run.version.to_string() };
    let (tag, caching) = (format!("\"{key}-{version}\""), Caching::of(view.ended));
    if matches_tag(&headers, &tag) {
        return caching.unchanged(&tag);
    }
    Ok((caching.headers(&tag)?, Json(view)).into_response())
}

/// The attempt that is meant: of a step by its name or index, the last one unless its number is given.
pub(super) fn named(run: &Run, step: &str, attempt: Option<u16>) -> Result<AttemptKey, Problem> {
    let found = (0_u16..).zip(&run.steps).find(|(index, candidate)| candidate.plan.name == step || index.to_string() == step);
    let (index, step) = found.ok_or_else(Problem::not_found)?;
    let last = u16::try_from(step.attempts.len()).unwrap_or(u16::MAX);
    let attempt = attempt.unwrap_or(last);
    if attempt == 0 || attempt > last {
        return Err(Problem::not_found().detail("The step has no such attempt (yet)."));
    }
    Ok(AttemptKey { run: run.id, step: index, attempt })
}
