//! An artifact store that has just what the worker needs, and can be told to misbehave.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRef, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use signalbox_contract::{Code, Digest, Problem};
use signalbox_service::auth::{Capable, Verifier, sha256};
use signalbox_service::http::{Path, Refusal, ServeOptions, bind, finish, serve};
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::Telemetry;
use signalbox_service::testing::free_port;
use url::Url;

/// What the store does when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// What it should.
    Good,
    /// It gives other bytes of the same length.
    Lying,
    /// It cannot do it now.
    Busy,
}

#[derive(Clone)]
pub(crate) struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    verifier: Arc<Verifier>,
    blobs: Mutex<HashMap<Digest, Vec<u8>>>,
    mood: Mutex<Mood>,
    asked: AtomicU64,
}

impl FromRef<Store> for Arc<Verifier> {
    fn from_ref(store: &Store) -> Self {
        Self::clone(&store.inner.verifier)
    }
}

impl Store {
    pub(crate) fn start(verifier: Arc<Verifier>, shutdown: &Shutdown) -> (Self, Url) {
        let inner = Inner { verifier, blobs: Mutex::default(), mood: Mutex::new(Mood::Good), asked: AtomicU64::new(0) };
        let store = Self { inner: Arc::new(inner) };
        let address = free_port();
        let listener = bind(address).expect("a free port");
        let options = ServeOptions::new("store");
        let routes = Router::new().route("/digests/{digest}", get(give)).with_state(store.clone());
        let router = finish(routes, &options, &Telemetry::new("store"));
        shutdown.spawn("store", serve(listener, router, options, shutdown.clone()));
        (store, format!("http://{address}/").parse().expect("a URL"))
    }

    pub(crate) fn put(&self, bytes: &[u8]) -> Digest {
        let digest = sha256(bytes);
        self.inner.blobs.lock().expect("held briefly").insert(digest, bytes.to_vec());
        digest
    }

    pub(crate) fn be(&self, mood: Mood) {
        *self.inner.mood.lock().expect("held briefly") = mood;
    }

    /// How often bytes were asked for.
    pub(crate) fn asked(&self) -> u64 {
        self.inner.asked.load(Ordering::SeqCst)
    }
}

async fn give(State(store): State<Store>, capable: Capable, Path(digest): Path<Digest>) -> Result<Response, Refusal> {
    capable.reads_digest(&digest)?;
    store.inner.asked.fetch_add(1, Ordering::SeqCst);
    let mood = *store.inner.mood.lock().expect("held briefly");
    if mood == Mood::Busy {
        return Err(Problem::new(Code::Unavailable).retry_after(1).into());
    }
    let blobs = store.inner.blobs.lock().expect("held briefly");
    let mut bytes = blobs.get(&digest).cloned().ok_or_else(Problem::not_found)?;
    if mood == Mood::Lying
        && let Some(first) = bytes.first_mut()
    {
        *first ^= 1;
    }
    Ok(Body::from(bytes).into_response())
}
