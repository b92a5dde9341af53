//! `POST /unpin` and `POST /resolve`.

use axum::extract::State;
use axum::response::Response;
use signalbox_contract::api::store::{BlobInfo, ResolveRequest, UnpinRequest};
use signalbox_contract::api::{Answer, Nothing};
use signalbox_contract::{Failure, FailureCode, Problem};
use signalbox_service::auth::Act;
use signalbox_service::http::Result;
use signalbox_service::ledger::{WorkError, respond};

use super::App;
use super::grants::again;

/// Let go of everything that a run has pinned.
#[utoipa::path(
    post, path = "/unpin", tag = "pins", security(("act" = [])), request_body = UnpinRequest,
    responses(
        (status = 200, description = "Nothing is pinned for the run.", body = Answer<Nothing>),
        (status = 202, description = "At work.", body = Answer<Nothing>),
        (status = 401, description = "No valid token.", body = Problem),
        (status = 403, description = "The token is not for this request.", body = Problem),
    )
)]
pub(super) async fn unpin(State(app): State<App>, act: Act<UnpinRequest>) -> Result<Response> {
    let key = act.attempt()?;
    let (store, owner) = (app.store, act.body.owner);
    let work = move || async move { store.catalog.unpin(owner).await.map(|()| Nothing {}).map_err(|error| again(&error)) };
    app.ledger.ask("unpin", &key, &act.digest, act.wait, work).await.map(respond)
}

/// Find what a name shows now, and pin it for a run.
#[utoipa::path(
    post, path = "/resolve", tag = "pins", security(("act" = [])), request_body = ResolveRequest,
    responses(
        (status = 200, description = "What the name shows, or that it shows nothing.", body = Answer<BlobInfo>),
        (status = 202, description = "At work.", body = Answer<BlobInfo>),
        (status = 401, description = "No valid token.", body = Problem),
        (status = 403, description = "The token is not for this request.", body = Problem),
    )
)]
pub(super) async fn resolve(State(app): State<App>, act: Act<ResolveRequest>) -> Result<Response> {
    let key = act.attempt()?;
    let (store, ResolveRequest { name, pin }) = (app.store, act.body);
    let work = move || async move {
        match store.catalog.resolve(name.clone(), pin).await {
            Ok(Some(info)) => Ok(info),
            Ok(None) => Err(WorkError::Failed(
                Failure::new(FailureCode::ArtifactUnavailable, format!("The artifact store has nothing under the name {name}."))
                    .hint("Build it, or upload it, and try again."),
            )),
            Err(error) => Err(again(&error)),
        }
    };
    app.ledger.ask("resolve", &key, &act.digest, act.wait, work).await.map(respond)
}
