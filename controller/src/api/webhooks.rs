//! `POST /webhooks/{forge}`: what forges deliver.
//!
//! A delivery that is genuine is written down and answered with 2xx, whether it is needed or not: a forge that is told
//! otherwise stops delivering for good. What it means is found out afterwards.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use signalbox_adapters::forge::{Admitted, Forge, Forged, Knock};
use signalbox_contract::api::delivery::Via;
use signalbox_contract::{Code, Digest, ForgeName, Problem};
use signalbox_service::auth::sha256;
use signalbox_service::http::{self as service_http, Path, body_refusal};
use tokio::sync::Semaphore;

use super::{Api, refused};
use crate::engine::Forges;
use crate::intake::Calls;
use crate::metrics::Deliveries;
use crate::store::NewDelivery;

/// The largest body that is read at all: what GitLab sends at most, and a little more.
pub(crate) const LARGEST: u64 = 26 << 20;

/// How many KiB of bodies may be in memory at a time.
const ROOM: usize = 64 << 10;

/// What the handler works with.
#[derive(Clone)]
pub struct Desk {
    pub(crate) forges: Arc<Forges>,
    pub(crate) calls: Calls,
    pub(crate) counts: Deliveries,
    room: Arc<Semaphore>,
}

impl Desk {
    /// A desk for these forges.
    pub fn new(forges: Forges, calls: Calls, counts: Deliveries) -> Self {
        Self { forges: Arc::new(forges), calls, counts, room: Arc::new(Semaphore::new(ROOM)) }
    }
}

/// What a forge delivers. Needs no token: each delivery is signed as the forge's configuration says. A forge that can only
/// carry a secret in the path appends it: `/webhooks/{forge}/SECRET`; it is never logged.
#[utoipa::path(post, path = "/webhooks/{forge}", tag = "deliveries", security(()), params(("forge" = ForgeName, Path, description = "The forge.")), responses(
    (status = 204, description = "It is recorded durably, or was before; what is done about it shows `GET /deliveries`."),
    (status = 401, description = "It is not signed as it should be.", body = Problem),
    (status = 404, description = "There is no such forge.", body = Problem),
    (status = 413, description = "It has more than 26 MiB.", body = Problem),
    (status = 503, description = "Too many wait to be acted on; deliver it again.", body = Problem),
))]
pub(super) async fn post(
    State(api): State<Api>,
    Path(forge): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> service_http::Result<Response> {
    receive(&api, &forge, "", &headers, body).await
}

/// The same for a forge that can carry its secret only in the path. The path is never logged, and kept of no delivery.
#[utoipa::path(post, path = "/webhooks/{forge}/{path}", tag = "deliveries", security(()), params(
    ("forge" = ForgeName, Path, description = "The forge."),
    ("path" = String, Path, description = "The secret. It may have slashes."),
), responses(
    (status = 204, description = "It is recorded durably, or was before; what is done about it shows `GET /deliveries`."),
    (status = 401, description = "It is not signed as it should be.", body = Problem),
    (status = 404, description = "There is no such forge.", body = Problem),
    (status = 413, description = "It has more than 26 MiB.", body = Problem),
    (status = 503, description = "Too many wait to be acted on; deliver it again.", body = Problem),
))]
pub(super) async fn post_with_path(
    State(api): State<Api>,
    Path((forge, path)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> service_http::Result<Response> {
    receive(&api, &forge, &path, &headers, body).await
}

async fn receive(api: &Api, forge: &str, path: &str, headers: &HeaderMap, body: Body) -> service_http::Result<Response> {
    let known = forge.parse::<ForgeName>().ok().and_then(|name| api.desk.forges.get_key_value(&name));
    let (name, forge) = known.ok_or_else(Problem::not_found)?;
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    // Bodies that all come at once must not fill the memory.
    let kib = u32::try_from(announced.unwrap_or(api.config.intake.body).min(LARGEST).div_ceil(1024)).unwrap_or(u32::MAX).max(1);
    let busy = || Problem::new(Code::Unavailable).detail("Too much is being delivered at once.").retry_after(1);
    let _room = api.desk.room.try_acquire_many(kib).map_err(|_| busy())?;
    let body = read(body).await?;
    let digest = sha256(&body);
    let kept = match admit(forge.as_ref(), &Knock { headers, path, body: &body, at: api.clock.now() }) {
        Ok(kept) => kept,
        Err(forged) => {
            api.desk.counts.count(name, if forged == Forged::Stale { "stale" } else { "unsigned" });
            tracing::warn!(forge = %name, reason = %forged, "a delivery was refused");
            return Err(Problem::new(Code::Unauthenticated).detail("The delivery is not signed as this forge's deliveries are.").into());
        }
    };
    let size = body.len() as u64;
    let (delivery, lost) = delivery(name, kept, digest, size, api.config.intake.body);
    let receipt = api.store.receive(delivery).await.map_err(refused)?;
    api.desk.counts.count(name, if receipt.fresh { "received" } else { "again" });
    if lost && receipt.fresh {
        api.desk.calls.compare(name);
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What is kept of a delivery that is genuine; nothing of one that cannot be read.
fn admit(forge: &dyn Forge, knock: &Knock<'_>) -> Result<Option<Admitted>, Forged> {
    match forge.admit(knock) {
        Ok(admitted) => Ok(Some(admitted)),
        Err(Forged::Unreadable) => Ok(None),
        Err(forged) => Err(forged),
    }
}

/// What is written down of it, and whether what it said is lost by that.
fn delivery(name: &ForgeName, kept: Option<Admitted>, digest: Digest, size: u64, limit: u64) -> (NewDelivery, bool) {
    let nothing = |key, kind, headers, settled: &str| NewDelivery {
        source: name.clone(),
        via: Via::Webhook,
        key,
        kind,
        headers,
        body: None,
        size,
        digest,
        settled: Some(settled.to_owned()),
    };
    match kept {
        Some(Admitted { id, kind, headers, body }) if size <= limit => {
            let body = String::from_utf8_lossy(&body).into_owned();
            let whole = nothing(id, kind, headers, "");
            (NewDelivery { body: Some(body), settled: None, ..whole }, false)
        }
        Some(Admitted { id, kind, headers, .. }) => {
            (nothing(id, kind, headers, "It was too large to be kept. What is there is compared with what is known."), true)
        }
        None => (nothing(format!("unreadable {digest}"), "unreadable".to_owned(), Vec::new(), "Its body is no JSON object."), false),
    }
}

async fn read(body: Body) -> service_http::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut frames = body.into_data_stream();
    while let Some(frame) = frames.next().await {
        bytes.extend_from_slice(&frame.map_err(body_refusal)?);
    }
    Ok(bytes)
}
