//! `GET` and `HEAD /digests/DIGEST`: bytes by what they are, whatever they are called.

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Method};
use signalbox_contract::grant::Action;
use signalbox_contract::{Code, Digest, Problem};
use signalbox_service::auth::{Capable, CapableRefusal, Operator};
use signalbox_service::http::{Path, Refusal, Result};

use super::answer::{Asked, NoAnswer, answer, refuse};
use super::blobs::target;
use super::{App, problem};

/// Get the bytes with a digest.
///
/// For a capability to read exactly these, and for operators who may read a name that shows them or has shown them.
#[utoipa::path(
    get, path = "/digests/{digest}", tag = "blobs", security(("operator" = []), ("capability" = [])),
    params(
        ("digest" = Digest, Path, description = "The digest."),
        ("Range" = Option<String>, Header, description = "One range of bytes."),
    ),
    responses(
        (status = 200, description = "The bytes.", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 206, description = "A part of them.", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 304, description = "They are what the caller has."),
        (status = 401, description = "No valid token.", body = Problem),
        (status = 404, description = "There are no such bytes, or the token does not allow to see them.", body = Problem),
        (status = 416, description = "The range lies outside of what there is.", body = Problem),
        (status = 500, description = "The bytes rotted and are not served.", body = Problem),
    )
)]
pub(super) async fn get_digest(
    operator: std::result::Result<Operator, Refusal>,
    capable: std::result::Result<Capable, CapableRefusal>,
    Path(digest): Path<Digest>,
    State(app): State<App>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response> {
    allow(&app, operator, capable, &digest).await?;
    // What is found may be collected before it is opened; then it is no longer there.
    for last in [false, true] {
        let blob = app.store.catalog.blob(&digest).await.map_err(|error| problem::catalog(&error))?;
        let Some(blob) = blob else { break };
        let asked = Asked { method: &method, headers: &headers, blob: blob.clone(), shown: None };
        match answer(&app, asked).await {
            Ok(response) => return Ok(response),
            Err(NoAnswer::Refused(refusal)) => return Err(refusal),
            Err(NoAnswer::Gone(error)) if last => return Err(refuse(&app, &blob, &error)),
            Err(NoAnswer::Gone(_)) => {}
        }
    }
    Err(Problem::not_found().into())
}

async fn allow(
    app: &App,
    operator: std::result::Result<Operator, Refusal>,
    capable: std::result::Result<Capable, CapableRefusal>,
    digest: &Digest,
) -> Result<()> {
    match (operator, capable) {
        (_, Ok(capable)) => capable.reads_digest(digest),
        (Ok(operator), Err(_)) => {
            let sees = |name: &_| operator.may(Action::BlobRead, &target(name));
            match app.store.catalog.named(digest, sees).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(Problem::not_found().into()),
                Err(error) => Err(problem::catalog(&error)),
            }
        }
        // A token that is good for neither: what it was meant for tells which refusal helps.
        (Err(refusal), Err(CapableRefusal(denied))) => Err(if refusal.0.code == Code::Unauthenticated { refusal } else { denied.into() }),
    }
}
