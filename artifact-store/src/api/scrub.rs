//! `POST /scrub`.

use axum::extract::State;
use signalbox_contract::api::store::{RottenBlob, ScrubRequest, ScrubResult};
use signalbox_contract::grant::{Action, Target};
use signalbox_contract::{Code, Problem};
use signalbox_service::auth::Operator;
use signalbox_service::http::{Json, Result};

use super::blobs::target;
use super::{App, problem};
use crate::scrub::{Place, scrub};

/// Prove stored bytes, from a place on and for about two seconds, and tell which have rotted.
///
/// What has rotted is served no more until the same bytes are uploaded again. Needs `operate`; names are told to those who may
/// read them.
#[utoipa::path(
    post, path = "/scrub", tag = "blobs", security(("operator" = [])), request_body = ScrubRequest,
    responses(
        (status = 200, description = "What was looked at and what has rotted. With `next` there is more: ask again.", body = ScrubResult),
        (status = 400, description = "The body is not valid, or `cursor` is none that was given.", body = Problem),
        (status = 401, description = "No valid token.", body = Problem),
        (status = 403, description = "The token's grants do not cover it.", body = Problem),
        (status = 503, description = "The disk or the catalog cannot be read now.", body = Problem),
    )
)]
pub(super) async fn post_scrub(State(app): State<App>, operator: Operator, Json(request): Json<ScrubRequest>) -> Result<Json<ScrubResult>> {
    operator.require(Action::Operate, &Target::default())?;
    let from = match request.cursor.as_deref().map(str::parse) {
        None => Place::default(),
        Some(Ok(place)) => place,
        Some(Err(())) => return Err(Problem::new(Code::InvalidRequest).field("cursor", "is not one that was given").into()),
    };
    let slice = scrub(&app.store, from).await.map_err(|error| problem::catalog(&error))?;
    let mut rotten = Vec::with_capacity(slice.rotten.len());
    for (blob, damage) in slice.rotten {
        let mut names = app.store.catalog.names_of(&blob.digest).await.map_err(|error| problem::catalog(&error))?;
        names.retain(|name| operator.may(Action::BlobRead, &target(name)));
        rotten.push(RottenBlob { digest: blob.digest, size: blob.size, damage, names });
    }
    let next = slice.next.map(|place| place.to_string());
    Ok(Json(ScrubResult { blobs: slice.blobs, bytes: slice.bytes, stored: app.store.catalog.stored(), rotten, next }))
}
