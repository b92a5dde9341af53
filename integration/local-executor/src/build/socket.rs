//! The socket by which a build puts artifacts itself: `curl --unix-socket "$SIGNALBOX_SOCKET" -T FILE http://x/artifacts/NAME`.
//!
//! The build has no credential and no network. The executor, outside, adds the attempt's capability, which allows the
//! names of its grant and no other.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path as UrlPath, State};
use axum::routing::put;
use futures_util::TryStreamExt as _;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use signalbox_contract::api::store::PutResult;
use signalbox_contract::{ArtifactName, AttemptKey, Code, Problem};
use signalbox_service::client::{CallError, Client};
use signalbox_service::http::{Json, Refusal};
use signalbox_service::secret::SecretString;
use signalbox_service::telemetry::causes;
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use super::Ended;
use super::desk::{Desk, Order};
use super::work::broken;
use crate::workspace::Workspace;

/// How many connections a build may have open; further ones wait.
const CONNECTIONS: usize = 8;

/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(10);

/// What of a request's headers the store is shown: those about the bytes.
const PASSED_ON: [&str; 2] = ["content-type", "content-digest"];

/// A socket that is served until it is dropped.
pub(super) struct Socket {
    path: PathBuf,
    arrived: Arc<Mutex<BTreeSet<ArtifactName>>>,
    _server: AbortOnDropHandle<()>,
}

#[derive(Clone)]
struct Counter {
    client: Client,
    key: AttemptKey,
    put: SecretString,
    arrived: Arc<Mutex<BTreeSet<ArtifactName>>>,
}

/// Opens the socket of a build, for the build's `user`.
pub(super) fn open(desk: &Desk, order: &Order, user: Option<u32>, workspace: &Workspace) -> Result<Socket, Ended> {
    let path = workspace.socket();
    let listener = listen(&path, user).map_err(|error| broken(order, "Its socket could not be made", &error))?;
    let arrived = Arc::<Mutex<BTreeSet<ArtifactName>>>::default();
    let counter = Counter { client: desk.store_client(order)?, key: order.key, put: order.put.clone(), arrived: Arc::clone(&arrived) };
    let router = Router::new().route("/artifacts/{*name}", put(take)).with_state(counter);
    Ok(Socket { path, arrived, _server: AbortOnDropHandle::new(tokio::spawn(serve(listener, router))) })
}

impl Socket {
    /// Where it is, outside.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Closes it, and tells what came.
    pub(super) fn close(self) -> BTreeSet<ArtifactName> {
        std::mem::take(&mut self.arrived.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn listen(path: &Path, user: Option<u32>) -> io::Result<UnixListener> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Err(io::ErrorKind::InvalidInput.into()) };
    // A socket's path may have 107 bytes, and a data folder's can have more: this way it is short.
    let folder = std::fs::File::open(folder)?;
    let listener = UnixListener::bind(Path::new(&format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name))?;
    if let Some(user) = user {
        std::os::unix::fs::chown(path, Some(user), Some(user))?;
    }
    Ok(listener)
}

async fn serve(listener: UnixListener, router: Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely; that passes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let service = TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false);
            // What goes wrong on it, the build itself is told or caused.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
            drop(permit);
        });
    }
}

async fn take(
    State(counter): State<Counter>,
    UrlPath(name): UrlPath<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<PutResult>, Refusal> {
    let name: ArtifactName =
        name.parse().map_err(|rule: signalbox_contract::Invalid| Problem::new(Code::InvalidRequest).field("name", rule.to_string()))?;
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let length =
        length.ok_or_else(|| Problem::new(Code::InvalidRequest).field("content-length", "is needed: send a file, not a stream"))?;
    let passed_on = PASSED_ON.map(HeaderName::from_static).into_iter();
    let passed_on: HeaderMap = passed_on.filter_map(|name| headers.get(&name).cloned().map(|value| (name, value))).collect();
    let path = format!("/grants/{}/{name}", counter.key);
    let bytes = body.into_data_stream().map_err(io::Error::other);
    let answer: Result<PutResult, CallError> = counter.client.put_stream(&path, Some(&counter.put), passed_on, length, bytes).await;
    match answer {
        Ok(result) => {
            counter.arrived.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
            Ok(Json(result))
        }
        Err(error) => {
            tracing::info!(key = %counter.key, artifact = %name, error = %causes(&error), "artifact.not_taken");
            Err(error.problem().cloned().unwrap_or_else(|| Problem::new(Code::Upstream)).into())
        }
    }
}
