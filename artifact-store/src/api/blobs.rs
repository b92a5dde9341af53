//! `PUT`, `GET`, `HEAD` and `DELETE /blobs/NAME`.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use signalbox_contract::api::Page;
use signalbox_contract::api::store::BlobInfo;
use signalbox_contract::grant::{Action, Target};
use signalbox_contract::name::HISTORY;
use signalbox_contract::{ArtifactName, Invalid, Problem};
use signalbox_service::auth::Operator;
use signalbox_service::http::{Json, Path, Query, Result, internal};

use super::answer::{Asked, NoAnswer, answer, refuse};
use super::condition::{preconditions, tag};
use super::fields::{announced_digest, announced_size, content_type, refuse_unsupported};
use super::lists::{VersionsQuery, versions};
use super::{App, problem};
use crate::catalog::{Changed, What};
use crate::store::Announced;

/// What an action on an artifact is about.
pub(super) fn target(name: &ArtifactName) -> Target<'_> {
    Target { artifact: Some(name), ..Target::default() }
}

/// Store bytes under a name.
///
/// The bytes are durable when this answers. A name that shows bytes already shows the new ones from then on, all at once;
/// the old ones become part of its history. An upload that is cut, or refused, changes nothing.
#[utoipa::path(
    put, path = "/blobs/{name}", tag = "blobs", security(("operator" = [])),
    params(
        ("name" = ArtifactName, Path, description = "The name; may have parts divided by `/`."),
        ("Content-Type" = Option<String>, Header, description = "Kept as it is given. `application/octet-stream` if it is not."),
        ("Content-Digest" = Option<String>, Header, description = "RFC 9530, `sha-256=:BASE64:`. Bytes that have another digest are refused, and so is a digest without `sha-256`, which could not be compared."),
        ("If-Match" = Option<String>, Header, description = "Only if the name shows these bytes now."),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if the name shows nothing now."),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 201, description = "The name shows the bytes and showed none before.", body = BlobInfo),
        (status = 200, description = "The name shows the bytes instead of others.", body = BlobInfo),
        (status = 400, description = "The name or a header is not valid.", body = Problem),
        (status = 401, description = "No valid token.", body = Problem),
        (status = 403, description = "The token does not allow it.", body = Problem),
        (status = 412, description = "A precondition does not hold.", body = Problem),
        (status = 413, description = "The body is too large.", body = Problem),
        (status = 422, description = "The bytes do not have the digest that was given.", body = Problem),
        (status = 503, description = "The store cannot write now.", body = Problem),
        (status = 507, description = "There is no room.", body = Problem),
    )
)]
pub(super) async fn put_blob(
    operator: Operator,
    Path(name): Path<ArtifactName>,
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    operator.require(Action::BlobWrite, &target(&name))?;
    refuse_unsupported(&headers)?;
    let precondition = preconditions(&headers)?;
    let content_type = content_type(&headers)?;
    let announced = Announced { size: announced_size(&headers), digest: announced_digest(&headers)?, limit: app.store.max_blob };
    if precondition.if_match.is_some() || precondition.if_none_match.is_some() {
        // Asked again when the name is changed; now it only spares the way of the bytes.
        let shown = app.store.catalog.shown(&name).await.map_err(|error| problem::catalog(&error))?;
        if !precondition.holds(shown.as_ref().map(|shown| &shown.info.digest)) {
            return Err(problem::precondition());
        }
    }
    let changed = app.store.put(name, content_type, precondition, &announced, body).await.map_err(problem::store)?;
    match changed {
        Changed::Stored { info, created } => {
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            let etag = HeaderValue::try_from(tag(&info.digest)).map_err(internal)?;
            Ok((status, [(header::ETAG, etag)], Json(info)).into_response())
        }
        Changed::Deleted => Err(internal(Mixed)),
    }
}

/// The catalog answered a change with the answer to another kind of change.
#[derive(Debug, thiserror::Error)]
#[error("the catalog mixed up its answers")]
struct Mixed;

/// What is read below `/blobs/`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Wanted {
    /// What a name shows.
    Bytes(ArtifactName),
    /// What it shows and has shown.
    History(ArtifactName),
}

impl TryFrom<String> for Wanted {
    type Error = Invalid;

    fn try_from(path: String) -> std::result::Result<Self, Invalid> {
        match path.strip_suffix(HISTORY) {
            Some(name) => name.parse().map(Self::History),
            None => path.parse().map(Self::Bytes),
        }
    }
}

/// Get the bytes that a name shows.
///
/// The entity tag is the digest. The bytes are proven before they are sent; if some rotted, none of them is sent, or the
/// connection is cut. `GET /blobs/NAME/versions` answers with the history of `NAME`, like `GET /versions/NAME`: no artifact
/// has a name that ends like that.
#[utoipa::path(
    get, path = "/blobs/{name}", tag = "blobs", security(("operator" = [])),
    params(
        ("name" = ArtifactName, Path, description = "The name."),
        ("Range" = Option<String>, Header, description = "One range of bytes. Several at once are answered with the whole."),
        ("If-Range" = Option<String>, Header, description = "The range only if this is still the entity tag."),
        ("If-None-Match" = Option<String>, Header, description = "304 if this is still the entity tag."),
    ),
    responses(
        (status = 200, description = "The bytes.", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 206, description = "A part of them.", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 304, description = "They are what the caller has."),
        (status = 401, description = "No valid token.", body = Problem),
        (status = 404, description = "The name shows nothing, or the token does not allow to see it.", body = Problem),
        (status = 412, description = "`If-Match` does not hold.", body = Problem),
        (status = 416, description = "The range lies outside of what there is.", body = Problem),
        (status = 500, description = "The bytes rotted and are not served.", body = Problem),
    )
)]
pub(super) async fn get_blob(
    operator: Operator,
    Path(wanted): Path<Wanted>,
    State(app): State<App>,
    method: Method,
    headers: HeaderMap,
    Query(page): Query<VersionsQuery>,
) -> Result<Response> {
    let name = match wanted {
        Wanted::Bytes(name) => name,
        Wanted::History(name) => {
            return versions(&app, &operator, &name, &page).await.map(|page: Json<Page<BlobInfo>>| page.into_response());
        }
    };
    if operator.may(Action::BlobRead, &target(&name)) {
        // What is found may be overwritten and collected before it is opened; then the name shows something else.
        for last in [false, true] {
            let Some(shown) = app.store.catalog.shown(&name).await.map_err(|error| problem::catalog(&error))? else { break };
            let face = Some((shown.info.content_type.as_str(), name.as_str()));
            let asked = Asked { method: &method, headers: &headers, blob: shown.blob.clone(), shown: face };
            match answer(&app, asked).await {
                Ok(response) => return Ok(response),
                Err(NoAnswer::Refused(refusal)) => return Err(refusal),
                Err(NoAnswer::Gone(error)) if last => return Err(refuse(&app, &shown.blob, &error)),
                Err(NoAnswer::Gone(_)) => {}
            }
        }
    }
    Err(Problem::not_found().into())
}

/// Delete a name and its history.
///
/// Bytes that a run still needs are kept until it lets go of them; others are collected later.
#[utoipa::path(
    delete, path = "/blobs/{name}", tag = "blobs", security(("operator" = [])),
    params(
        ("name" = ArtifactName, Path, description = "The name."),
        ("If-Match" = Option<String>, Header, description = "Only if the name shows these bytes now."),
    ),
    responses(
        (status = 204, description = "The name shows nothing any more."),
        (status = 401, description = "No valid token.", body = Problem),
        (status = 403, description = "The token does not allow it.", body = Problem),
        (status = 404, description = "The name shows nothing.", body = Problem),
        (status = 412, description = "A precondition does not hold.", body = Problem),
    )
)]
pub(super) async fn delete_blob(
    operator: Operator,
    Path(name): Path<ArtifactName>,
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<StatusCode> {
    operator.require(Action::BlobWrite, &target(&name))?;
    let precondition = preconditions(&headers)?;
    app.store.catalog.change(What::Delete { name, precondition }, None).await.map_err(|error| problem::change(&error))?;
    Ok(StatusCode::NO_CONTENT)
}
