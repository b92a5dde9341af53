//! Another origin that gives out artifacts, as object storage does. It remembers the headers that it was sent, which must
//! hold no token of GitLab's.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use signalbox_service::http::{ServeOptions, bind, serve};

use super::StartError;
use super::archive;
use super::fake::Fake;

/// How many requests it remembers.
const REMEMBERED: usize = 10_000;

/// Opens it beside this GitLab.
pub(crate) fn open(fake: &Arc<Fake>) -> Result<(), StartError> {
    let wanted = SocketAddr::new(fake.options.listen.ip(), 0);
    let listener = bind(wanted).map_err(|source| StartError::Listen(wanted, source))?;
    let address = listener.local_addr().map_err(|source| StartError::Listen(wanted, source))?;
    // It is set once, here.
    let _ = fake.storage.set(format!("http://{address}"));
    let router = Router::new().route("/artifacts/{job}/{*path}", get(give)).with_state(Arc::clone(fake));
    let mut options = ServeOptions::new("fake-object-storage");
    options.drain = std::time::Duration::from_millis(200);
    fake.shutdown.spawn("storage", serve(listener, router, options, fake.shutdown.clone()));
    Ok(())
}

async fn give(State(fake): State<Arc<Fake>>, Path((job, path)): Path<(u64, String)>, headers: HeaderMap) -> Response {
    let mut seen = fake.seen_by_storage.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.len() < REMEMBERED {
        seen.push(headers);
    }
    drop(seen);
    let archive = fake.change(|state| state.jobs.get(&job).and_then(|job| job.artifact("archive")).map(|found| found.bytes.clone()));
    let bytes = match archive {
        Some(archive) if path == "artifacts.zip" => Some(archive.to_vec()),
        Some(archive) => archive::file_of(&archive, &path),
        None => None,
    };
    match bytes {
        Some(bytes) => ([(CONTENT_TYPE, "application/octet-stream")], bytes).into_response(),
        None => (StatusCode::NOT_FOUND, "<Error><Code>NoSuchKey</Code></Error>").into_response(),
    }
}
