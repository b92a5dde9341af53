//! The part of the API that tells of mirrors, and cleans them.

use std::time::Duration;

use axum::extract::State;
use serde::Deserialize;
use signalbox_contract::api::Page;
use signalbox_contract::api::mirrors::{CollectRequest, CollectResult, MAX_MIRRORS, MirrorFinding, MirrorInfo};
use signalbox_contract::{Code, Problem};
use signalbox_service::auth::Act;
use signalbox_service::http::{Json, Query, Result};

use crate::api::Api;

/// How many repositories a page has where nothing else is asked for.
const DEFAULT: u32 = 20;

/// How long places are begun with in one request: less than whoever asks waits.
const ROUND: Duration = Duration::from_secs(20);

/// Which repositories are wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MirrorsQuery {
    cursor: Option<String>,
    limit: Option<u32>,
}

/// Tells what is at the mirrors: repositories, projects, the refs of attempts with their age, sizes.
#[utoipa::path(
    get,
    path = "/mirrors",
    params(
        ("cursor" = Option<String>, Query, description = "The `next` of the page before."),
        ("limit" = Option<u32>, Query, description = "How many, 100 at most; 20 if it is not given."),
    ),
    responses((status = 200, description = "A page of repositories", body = Page<MirrorInfo>)),
    security(("act" = []))
)]
pub(crate) async fn list(State(api): State<Api>, Query(query): Query<MirrorsQuery>, _act: Act<()>) -> Result<Json<Page<MirrorInfo>>> {
    let limit = match query.limit.unwrap_or(DEFAULT) {
        given @ 1..=MAX_MIRRORS => given as usize,
        _ => return Err(Problem::new(Code::InvalidRequest).field("limit", format!("must be between 1 and {MAX_MIRRORS}")).into()),
    };
    Ok(Json(api.work.places.survey(query.cursor.as_deref(), limit).await))
}

/// Removes refs of attempts, and copies of sources, that are older than the configuration's `retention` allows; or tells
/// what that would be.
#[utoipa::path(
    post,
    path = "/mirrors/collect",
    request_body = CollectRequest,
    responses(
        (status = 200, description = "What went, or would go", body = CollectResult),
        (status = 503, description = "It is being done already", body = Problem),
    ),
    security(("act" = []))
)]
pub(crate) async fn collect(State(api): State<Api>, act: Act<CollectRequest>) -> Result<Json<CollectResult>> {
    let busy = || Problem::new(Code::Unavailable).detail("The mirrors are being cleaned already.").retry_after(10);
    Ok(Json(api.work.places.collect(act.body.dry_run, ROUND).await.ok_or_else(busy)?))
}

/// Looks for what keeps mirrors from being used, now or one day, and says what to do about it.
#[utoipa::path(
    get,
    path = "/mirrors/doctor",
    responses((status = 200, description = "What was found", body = Vec<MirrorFinding>)),
    security(("act" = []))
)]
pub(crate) async fn doctor(State(api): State<Api>, _act: Act<()>) -> Json<Vec<MirrorFinding>> {
    Json(api.work.places.examine().await)
}
