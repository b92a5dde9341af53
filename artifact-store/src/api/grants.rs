//! `PUT /grants/KEY/NAME` and `POST /grants/KEY/close`.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use jiff::Timestamp;
use signalbox_contract::api::Answer;
use signalbox_contract::api::store::{CloseRequest, CloseResult, GrantInfo, PutResult};
use signalbox_contract::{ArtifactName, AttemptKey, Code, Failure, FailureCode, Problem};
use signalbox_service::auth::{Act, Capable, CapableRefusal};
use signalbox_service::http::{Json, Path, Refusal, Result};
use signalbox_service::ledger::{WorkError, respond};
use signalbox_service::telemetry::causes;

use super::fields::{announced_digest, announced_size, content_type, refuse_unsupported};
use super::{App, problem};
use crate::catalog::{CatalogError, GrantPut};
use crate::store::Announced;

/// Put an artifact into an attempt's grant.
///
/// The bytes lie beside, not under the public name, until the grant is closed. Putting a name again replaces what was put
/// before.
#[utoipa::path(
    put, path = "/grants/{key}/{name}", tag = "grants", security(("capability" = [])),
    params(
        ("key" = AttemptKey, Path, description = "The attempt."),
        ("name" = ArtifactName, Path, description = "The artifact's name."),
        ("Content-Digest" = Option<String>, Header, description = "RFC 9530, `sha-256=:BASE64:`, as for `PUT /blobs/{name}`."),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "The bytes are kept.", body = PutResult),
        (status = 400, description = "A name, a key or a header is not valid.", body = Problem),
        (status = 401, description = "No valid capability.", body = Problem),
        (status = 403, description = "The capability is not for this attempt and name.", body = Problem),
        (status = 409, description = "The grant is closed.", body = Problem),
        (status = 413, description = "The grant does not allow so many bytes.", body = Problem),
        (status = 422, description = "The bytes do not have the digest that was given.", body = Problem),
        (status = 507, description = "There is no room.", body = Problem),
    )
)]
pub(super) async fn put_grant(
    capable: std::result::Result<Capable, CapableRefusal>,
    Path((key, name)): Path<(AttemptKey, ArtifactName)>,
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<PutResult>> {
    let capable = capable.map_err(|CapableRefusal(denied)| Refusal::from(denied))?;
    put(&app, &capable, key, name, &headers, body).await
}

/// Put an artifact that is called `close` into an attempt's grant. Nothing is closed by it; that takes `POST`.
#[utoipa::path(
    put, path = "/grants/{key}/close", tag = "grants", security(("capability" = [])),
    params(
        ("key" = AttemptKey, Path, description = "The attempt."),
        ("Content-Digest" = Option<String>, Header, description = "RFC 9530, `sha-256=:BASE64:`."),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "The bytes are kept.", body = PutResult),
        (status = 400, description = "A name, a key or a header is not valid.", body = Problem),
        (status = 401, description = "No valid capability.", body = Problem),
        (status = 403, description = "The capability is not for this attempt and name.", body = Problem),
        (status = 409, description = "The grant is closed.", body = Problem),
        (status = 413, description = "The grant does not allow so many bytes.", body = Problem),
        (status = 422, description = "The bytes do not have the digest that was given.", body = Problem),
        (status = 507, description = "There is no room.", body = Problem),
    )
)]
pub(super) async fn put_grant_close(
    capable: std::result::Result<Capable, CapableRefusal>,
    Path(key): Path<AttemptKey>,
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<PutResult>> {
    let capable = capable.map_err(|CapableRefusal(denied)| Refusal::from(denied))?;
    let name = "close".parse().map_err(signalbox_service::http::internal)?;
    put(&app, &capable, key, name, &headers, body).await
}

async fn put(
    app: &App,
    capable: &Capable,
    key: AttemptKey,
    name: ArtifactName,
    headers: &HeaderMap,
    body: Body,
) -> Result<Json<PutResult>> {
    let max_bytes = capable.puts(&key, &name)?;
    refuse_unsupported(headers)?;
    let content_type = content_type(headers)?;
    let digest = announced_digest(headers)?;
    let room = app.store.catalog.grant_room(&key, &name, max_bytes).await.map_err(|error| problem::grant(&error))?;
    let announced = Announced { size: announced_size(headers), digest, limit: room.min(app.store.max_blob) };
    let expires_at = Timestamp::from_second(capable.0.exp).unwrap_or(Timestamp::MAX);
    let put = GrantPut { key, name, content_type, max_bytes, expires_at };
    app.store.put_into_grant(put, &announced, body).await.map(Json).map_err(problem::store)
}

/// See what lies in an attempt's grant.
///
/// A grant that is closed, or into which nothing was put, holds nothing.
#[utoipa::path(
    get, path = "/grants/{key}", tag = "grants", security(("act" = [])),
    params(("key" = AttemptKey, Path, description = "The attempt.")),
    responses(
        (status = 200, description = "What was put so far.", body = GrantInfo),
        (status = 401, description = "No valid token.", body = Problem),
        (status = 403, description = "The token is not for this request.", body = Problem),
    )
)]
pub(super) async fn get_grant(Path(key): Path<AttemptKey>, State(app): State<App>, _act: Act<()>) -> Result<Json<GrantInfo>> {
    app.store.catalog.in_grant(&key).await.map(Json).map_err(|error| problem::catalog(&error))
}

/// Close an attempt's grant: publish and pin what came, or throw it away.
///
/// A name that shows something of a newer line keeps showing it; what is older becomes part of its history.
#[utoipa::path(
    post, path = "/grants/{key}/close", tag = "grants", security(("act" = [])),
    params(("key" = AttemptKey, Path, description = "The attempt.")),
    request_body = CloseRequest,
    responses(
        (status = 200, description = "It is closed.", body = Answer<CloseResult>),
        (status = 202, description = "It is being closed.", body = Answer<CloseResult>),
        (status = 401, description = "No valid token.", body = Problem),
        (status = 403, description = "The token is not for this request.", body = Problem),
        (status = 422, description = "The grant was closed with another body before.", body = Problem),
    )
)]
pub(super) async fn close_grant(Path(key): Path<AttemptKey>, State(app): State<App>, act: Act<CloseRequest>) -> Result<Response> {
    if act.attempt()? != key {
        return Err(Problem::new(Code::Forbidden).detail("The token is for another attempt.").into());
    }
    let (store, request) = (app.store, act.body);
    let work = move || async move { store.catalog.close_grant(key, request).await.map_err(|error| again(&error)) };
    app.ledger.ask("close", &key, &act.digest, act.wait, work).await.map(respond)
}

/// What the catalog cannot do now it may be able to do at the next ask.
pub(super) fn again(error: &CatalogError) -> WorkError {
    let code = match error {
        CatalogError::Full(_) => FailureCode::DiskFull,
        _ => FailureCode::Internal,
    };
    tracing::error!(error = %causes(error), "the catalog failed");
    WorkError::Again(Failure::new(code, "The store's catalog cannot be written now."))
}
