//! `POST /webhooks/{forge}`: what forges deliver.
//!
//! A delivery that is genuine is written down and answered with 2xx, whether it is needed or not: a forge that is told
//! otherwise stops delivering for good. What it means is found out afterwards.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode};
use signalbox_adapters::forge::{Admitted, Forge, Forged, Glance, Knock};
use signalbox_contract::api::delivery::Via;
use signalbox_contract::{Code, Digest, ForgeName, Problem};
use signalbox_service::auth::sha256;
use signalbox_service::http::{self as service_http, Path, Refusal, body_refusal};
use tokio::sync::Semaphore;

use super::{Api, refused};
use crate::engine::Forges;
use crate::intake::Calls;
use crate::metrics::Deliveries;
use crate::store::{NewDelivery, StoreError};

/// The largest body that is read at all: what GitLab sends at most, and a little more.
pub(crate) const LARGEST: u64 = 26 << 20;

/// How many KiB of one forge's bodies may be in memory at a time: of those whose senders have shown that they know a secret.
const KNOWN: usize = 64 << 10;

/// How many KiB of those that bear a signature, which may be anybody's until all of the body is there.
const SIGNED: usize = 32 << 10;

/// How many shares each of these is cut into: one address may hold one of them, so that it leaves room to the others.
const SHARES: usize = 2;

/// How long a body may take. A forge waits no longer for its answer.
const BODY: Duration = Duration::from_secs(10);

/// What the handler works with.
#[derive(Clone)]
pub struct Desk {
    pub(crate) forges: Arc<Forges>,
    pub(crate) calls: Calls,
    pub(crate) counts: Deliveries,
    rooms: Arc<BTreeMap<ForgeName, Room>>,
}

/// The room for one forge's bodies: what is sent in another's name, or in none, takes nothing of it.
#[derive(Debug)]
struct Room {
    known: Space,
    signed: Space,
}

/// Room of one kind, in KiB.
#[derive(Debug)]
struct Space {
    free: Semaphore,
    /// How much one address may hold.
    share: usize,
    /// How much each holds.
    held: Mutex<BTreeMap<IpAddr, usize>>,
}

/// What one body holds of it, until it is dropped.
#[derive(Debug)]
struct Held<'a> {
    space: &'a Space,
    peer: IpAddr,
    kib: usize,
}

impl Space {
    fn new(kib: usize) -> Self {
        Self { free: Semaphore::new(kib), share: kib / SHARES, held: Mutex::default() }
    }

    /// Room for a body from there, of which nothing has come yet.
    fn of(&self, peer: IpAddr) -> Held<'_> {
        Held { space: self, peer: network(peer), kib: 0 }
    }
}

impl Held<'_> {
    /// Room for a body of this size. False where there is none, for anybody or for this address.
    fn holds(&mut self, size: usize) -> bool {
        let more = size.div_ceil(1024).saturating_sub(self.kib);
        if more == 0 {
            return true;
        }
        let mut held = self.space.held.lock().unwrap_or_else(PoisonError::into_inner);
        let has = held.get(&self.peer).copied().unwrap_or_default();
        if has + more > self.space.share {
            return false;
        }
        let Ok(free) = self.space.free.try_acquire_many(u32::try_from(more).unwrap_or(u32::MAX)) else { return false };
        // It is given back when this is dropped.
        free.forget();
        held.insert(self.peer, has + more);
        self.kib += more;
        true
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut held = self.space.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(has) = held.get_mut(&self.peer) {
            *has -= self.kib;
            if *has == 0 {
                held.remove(&self.peer);
            }
        }
        self.space.free.add_permits(self.kib);
    }
}

/// An address as far as it says who somebody is: of IPv6 everybody has as many as they like in a network of their own.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Desk {
    /// A desk for these forges.
    pub fn new(forges: Forges, calls: Calls, counts: Deliveries) -> Self {
        let room = |name: &ForgeName| (name.clone(), Room { known: Space::new(KNOWN), signed: Space::new(SIGNED) });
        let rooms = Arc::new(forges.keys().map(room).collect());
        Self { forges: Arc::new(forges), calls, counts, rooms }
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
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(forge): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> service_http::Result<Response> {
    receive(&api, &forge, "", peer.ip(), &headers, body).await
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
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path((forge, path)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> service_http::Result<Response> {
    receive(&api, &forge, &path, peer.ip(), &headers, body).await
}

async fn receive(api: &Api, forge: &str, path: &str, peer: IpAddr, headers: &HeaderMap, body: Body) -> service_http::Result<Response> {
    let known = forge.parse::<ForgeName>().ok().and_then(|name| api.desk.forges.get_key_value(&name));
    let (name, forge) = known.ok_or_else(Problem::not_found)?;
    let unsigned = |forged: Forged| {
        api.desk.counts.count(name, if forged == Forged::Stale { "stale" } else { "unsigned" });
        tracing::warn!(forge = %name, reason = %forged, "a delivery was refused");
        Problem::new(Code::Unauthenticated).detail("The delivery is not signed as this forge's deliveries are.")
    };
    // Who does not even seem to know a secret has no body read.
    let glance = forge.glance(headers, path).map_err(unsigned)?;
    service_http::refuse_encoded(headers, "deliver the body as it is").inspect_err(|_| api.desk.counts.count(name, "unread"))?;
    let room = api.desk.rooms.get(name).ok_or_else(Problem::not_found)?;
    let mut room = if glance == Glance::Known { &room.known } else { &room.signed }.of(peer);
    let body = match tokio::time::timeout(BODY, read(body, &mut room)).await {
        Ok(Ok(body)) => body,
        Ok(Err(Unread::Busy)) => {
            api.desk.counts.count(name, "busy");
            tracing::warn!(forge = %name, %peer, "there was no room for a delivery");
            return Err(Problem::new(Code::Unavailable).detail("Too much is being delivered at once.").retry_after(1).into());
        }
        Ok(Err(Unread::Refused(refusal))) => {
            api.desk.counts.count(name, if refusal.0.code == Code::Timeout { "late" } else { "unread" });
            return Err(refusal);
        }
        Err(_) => {
            api.desk.counts.count(name, "late");
            tracing::warn!(forge = %name, %peer, "a delivery's body did not arrive in time");
            return Err(Problem::new(Code::Timeout).detail("The body did not arrive in time.").into());
        }
    };
    let digest = sha256(&body);
    let kept = match admit(forge.as_ref(), &Knock { headers, path, body: &body, at: api.clock.now() }) {
        Ok(kept) => kept,
        Err(forged) => return Err(unsigned(forged).into()),
    };
    let size = body.len() as u64;
    let (delivery, lost) = delivery(name, kept, digest, size, api.config.intake.body);
    let receipt = match api.store.receive(delivery).await {
        Ok(receipt) => receipt,
        Err(error) => {
            api.desk.counts.count(name, if matches!(error, StoreError::QueueFull) { "full" } else { "unwritten" });
            return Err(refused(error));
        }
    };
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
        None => (NewDelivery::unreadable(name, Via::Webhook, digest, size), true),
    }
}

/// Why a body was not read.
enum Unread {
    /// There is no room for it now.
    Busy,
    /// It is too large, or was cut.
    Refused(Refusal),
}

/// Reads a body into the room that there is. What has not arrived yet takes none, however much is announced.
async fn read(body: Body, room: &mut Held<'_>) -> Result<Vec<u8>, Unread> {
    let mut bytes = Vec::new();
    let mut frames = body.into_data_stream();
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|error| Unread::Refused(body_refusal(error)))?;
        if !room.holds(bytes.len() + frame.len()) {
            return Err(Unread::Busy);
        }
        bytes.extend_from_slice(&frame);
    }
    Ok(bytes)
}
