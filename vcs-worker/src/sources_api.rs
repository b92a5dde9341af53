//! The part of the API that examines sources.

use axum::extract::State;
use signalbox_contract::api::vcs::{ExamineSources, MAX_SOURCES, SourceFinding};
use signalbox_contract::{Code, Problem};
use signalbox_service::auth::Act;
use signalbox_service::http::{Json, Result};

use crate::api::Api;

/// Says of each of these sources whether its name is free for it, whether an entry of the configuration covers it, and whether
/// it can be read with that entry's credential. Nothing is fetched.
#[utoipa::path(
    post,
    path = "/sources/examine",
    request_body = ExamineSources,
    responses((status = 200, description = "What was found of each, in their order", body = Vec<SourceFinding>)),
    security(("act" = []))
)]
pub(crate) async fn examine(State(api): State<Api>, act: Act<ExamineSources>) -> Result<Json<Vec<SourceFinding>>> {
    if act.body.sources.len() > MAX_SOURCES {
        return Err(Problem::new(Code::InvalidBody).field("sources", format!("must be {MAX_SOURCES} at most")).into());
    }
    Ok(Json(api.work.examine(act.body.sources).await))
}
