//! The artifact store.

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use signalbox_contract::api::Nothing;
use signalbox_contract::api::store::{BlobInfo, CloseRequest, CloseResult, GrantInfo, PutResult, ResolveRequest, UnpinRequest};
use signalbox_contract::{ArtifactName, AttemptKey, Code, Digest, Failure, FailureCode, Problem, RunId};
use signalbox_service::auth::{Act, Capable, sha256};
use signalbox_service::clock::{Clock as _, SystemClock};

use super::{Desk, refusal};

/// What the store holds.
#[derive(Default)]
pub(crate) struct Blobs {
    grants: BTreeMap<AttemptKey, BTreeMap<ArtifactName, (Digest, u64)>>,
    /// What each name shows.
    pub(crate) shown: BTreeMap<ArtifactName, (Digest, u64)>,
    /// For which runs something is pinned.
    pub(crate) pinned: BTreeSet<RunId>,
}

impl Blobs {
    /// A build puts something into its attempt's grant.
    pub(super) fn put(&mut self, key: AttemptKey, name: ArtifactName, bytes: &[u8]) {
        self.grants.entry(key).or_default().insert(name, (sha256(bytes), bytes.len() as u64));
    }

    /// Somebody put a blob under a public name.
    pub(crate) fn publish(&mut self, name: &str, bytes: &[u8]) -> Digest {
        let digest = sha256(bytes);
        self.shown.insert(name.parse().expect("a name"), (digest, bytes.len() as u64));
        digest
    }
}

pub(super) fn router() -> Router<Desk> {
    Router::new()
        .route("/grants/{key}", get(in_grant))
        .route("/grants/{key}/close", post(close))
        .route("/grants/{key}/{*name}", put(put_grant))
        .route("/resolve", post(resolve))
        .route("/unpin", post(unpin))
}

async fn put_grant(
    State(desk): State<Desk>,
    Path((key, name)): Path<(AttemptKey, ArtifactName)>,
    capable: Capable,
    body: axum::body::Body,
) -> Response {
    let room = match capable.puts(&key, &name) {
        Ok(room) => room,
        Err(refused) => return refused.into_response(),
    };
    // Whole or not at all: what breaks off on its way is not kept.
    let Ok(bytes) = axum::body::to_bytes(body, usize::try_from(room).unwrap_or(usize::MAX)).await else {
        return refusal(Problem::new(Code::TooLarge));
    };
    desk.look(|world| {
        world.blobs().put(key, name.clone(), &bytes);
        Ok(PutResult { name, digest: sha256(&bytes), size: bytes.len() as u64 })
    })
    .await
}

async fn in_grant(State(desk): State<Desk>, Path(key): Path<AttemptKey>, _act: Act<()>) -> Response {
    desk.look(|world| {
        let put = world.blobs().grants.get(&key).cloned().unwrap_or_default();
        Ok(GrantInfo { artifacts: put.into_iter().map(|(name, (digest, size))| PutResult { name, digest, size }).collect(), closed: false })
    })
    .await
}

async fn close(State(desk): State<Desk>, Path(path): Path<AttemptKey>, act: Act<CloseRequest>) -> Response {
    if act.key != Some(path) {
        desk.complain("a grant was closed with the key of another attempt");
    }
    desk.once("close", act, |world, key, request| {
        let mut blobs = world.blobs();
        let put = blobs.grants.remove(&key).unwrap_or_default();
        if request.publish {
            blobs.shown.extend(put.clone());
            blobs.pinned.insert(request.pin);
        }
        Ok(CloseResult { artifacts: put.into_iter().map(|(name, (digest, size))| PutResult { name, digest, size }).collect() })
    })
    .await
}

async fn resolve(State(desk): State<Desk>, act: Act<ResolveRequest>) -> Response {
    desk.once("resolve", act, |world, _, request| {
        let mut blobs = world.blobs();
        let Some((digest, size)) = blobs.shown.get(&request.name).copied() else {
            return Err(Failure::new(FailureCode::ArtifactMissing, format!("There is no artifact {}.", request.name)));
        };
        blobs.pinned.insert(request.pin);
        let content_type = "application/octet-stream".to_owned();
        Ok(BlobInfo { name: request.name, digest, size, version: 1, content_type, stored_at: SystemClock.now(), run: None })
    })
    .await
}

async fn unpin(State(desk): State<Desk>, act: Act<UnpinRequest>) -> Response {
    desk.once("unpin", act, |world, _, request| {
        world.blobs().pinned.remove(&request.owner);
        Ok(Nothing {})
    })
    .await
}
