//! Mirrors: what is at them, and cleaning them. The VCS worker is asked; it alone knows, and it alone may.

use axum::extract::State;
use serde::Deserialize;
use signalbox_contract::Problem;
use signalbox_contract::api::Page;
use signalbox_contract::api::mirrors::{CollectRequest, CollectResult, MirrorInfo};
use signalbox_contract::grant::{Action, Target};
use signalbox_service::auth::Operator;
use signalbox_service::http::{self as service_http, Json, Limit, Query};
use utoipa::IntoParams;

use super::cd::of;
use super::{Api, not_answered, oversees};

/// How many repositories a page has at most: with all their refs, they fit into one answer.
const MOST: u32 = 20;

/// Which repositories are wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct MirrorsQuery {
    /// The `next` of the page before.
    cursor: Option<String>,
    /// How many; 20 unless given, and at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 20)]
    limit: Option<Limit<MOST>>,
}

/// What is at the mirrors: of each repository the project, our refs with their age, the size. The mirrors' servers are
/// asked. Needs `operate` on the repositories; others are left out.
#[utoipa::path(get, path = "/mirrors", tag = "mirrors", params(MirrorsQuery), responses(
    (status = 200, description = "A page of repositories at mirrors. One that may not be seen is left out, so it may be short.", body = Page<MirrorInfo>),
    (status = 400, description = "A parameter is not valid.", body = Problem),
    (status = 401, description = "No valid token.", body = Problem),
    (status = 403, description = "The token's grants do not cover it.", body = Problem),
    (status = 502, description = "The VCS worker did not answer.", body = Problem),
))]
pub(super) async fn list(
    State(api): State<Api>,
    operator: Operator,
    Query(query): Query<MirrorsQuery>,
) -> service_http::Result<Json<Page<MirrorInfo>>> {
    operator.require(Action::Operate, &Target::default())?;
    let limit = query.limit.map_or(MOST, Limit::get);
    let mut page = api.workers.mirrors(query.cursor.as_deref(), limit).await.map_err(|error| not_answered("VCS worker", &error))?;
    page.items.retain(|info| operator.may(Action::Operate, &of(&info.name)));
    Ok(Json(page))
}

/// Remove refs of attempts at mirrors, and copies of sources, that are older than the VCS worker's `retention` allows; or tell
/// what that would be. Needs `operate` on all repositories.
#[utoipa::path(post, path = "/mirrors/collect", tag = "mirrors", request_body = CollectRequest, responses(
    (status = 200, description = "What went, or would go. With `more` there is more: ask again.", body = CollectResult),
    (status = 400, description = "The body is not valid; `errors` names the fields.", body = Problem),
    (status = 403, description = "The token's grants do not cover it.", body = Problem),
    (status = 502, description = "The VCS worker did not answer. What it had begun with may have gone.", body = Problem),
    (status = 503, description = "It is being done already.", body = Problem),
))]
pub(super) async fn collect(
    State(api): State<Api>,
    operator: Operator,
    Json(request): Json<CollectRequest>,
) -> service_http::Result<Json<CollectResult>> {
    oversees(&operator)?;
    let collected = api.workers.collect_mirrors(request).await.map_err(|error| not_answered("VCS worker", &error))?;
    if !request.dry_run {
        let (refs, copies) = (collected.refs.len(), collected.copies.len());
        tracing::info!(by = operator.principal(), refs, copies, "the mirrors were cleaned");
    }
    Ok(Json(collected))
}
