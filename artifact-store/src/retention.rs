//! Collecting what nobody needs, and what a crash left over.
//!
//! One pass takes no input and can be repeated; it runs on a timer, and first of all at the start.

use std::sync::Arc;
use std::time::Duration;

use signalbox_contract::Digest;
use signalbox_service::http::Readiness;
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::causes;

use crate::catalog::CatalogError;
use crate::meters::gauge;
use crate::store::Store;

/// How often the store looks at itself.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Why a pass did not come to its end. The next one begins again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CollectError {
    /// The catalog cannot be used.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The folders cannot be read.
    #[error("the folders of blobs cannot be read")]
    Disk(#[from] std::io::Error),
}

/// Collects every `every`, what nobody has needed for `grace`, until the end.
pub(crate) async fn run(store: Arc<Store>, every: Duration, grace: Duration, shutdown: Shutdown) {
    loop {
        let pass = collect(&store, grace, &shutdown);
        if let Err(error) = pass.await {
            tracing::error!(error = %causes(&error), "collecting failed; it is tried again");
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = shutdown.requested() => return,
        }
    }
}

/// One pass. Answers how many blobs were removed.
pub(crate) async fn collect(store: &Arc<Store>, grace: Duration, shutdown: &Shutdown) -> Result<u64, CollectError> {
    store.catalog.forget_old().await?;
    let mut collected = 0;
    let mut after = 0;
    while !shutdown.begun() {
        let needless = store.catalog.needless(after, grace).await?;
        let Some(last) = needless.last() else { break };
        after = *last;
        let guard = store.catalog.collecting().await;
        let gone = store.catalog.forget(needless, &guard).await?;
        collected += gone.len() as u64;
        remove(store, gone).await?;
        drop(guard);
    }
    if store.files.take_strays() {
        sweep_strays(store, shutdown).await.inspect_err(|_| store.files.suspect_strays())?;
    }
    store.meters.collected.inc_by(collected);
    store.meters.total_bytes.set(gauge(store.catalog.stored()));
    if collected > 0 {
        tracing::info!(collected, "blobs that nobody needs were removed");
    }
    Ok(collected)
}

/// Removes files that the catalog does not know: a crash came between their place and their entry.
async fn sweep_strays(store: &Arc<Store>, shutdown: &Shutdown) -> Result<(), CollectError> {
    for first in 0..=u8::MAX {
        if shutdown.begun() {
            store.files.suspect_strays();
            return Ok(());
        }
        let files = Arc::clone(&store.files);
        let found = blocking(move || files.list(first)).await?;
        for some in found.chunks(1000) {
            if store.catalog.unknown(some).await?.is_empty() {
                continue;
            }
            // What was just arriving is known once nothing arrives any more.
            let guard = store.catalog.collecting().await;
            let strays = store.catalog.unknown(some).await?;
            tracing::info!(files = strays.len(), "files that the catalog does not know are removed");
            remove(store, strays).await?;
            drop(guard);
        }
    }
    Ok(())
}

async fn remove(store: &Arc<Store>, digests: Vec<Digest>) -> Result<(), CollectError> {
    let files = Arc::clone(&store.files);
    blocking(move || {
        for digest in digests {
            if let Err(error) = files.remove(&digest) {
                // It takes room and does no harm; a later sweep finds it.
                tracing::warn!(%digest, %error, "a blob's file could not be removed");
                files.suspect_strays();
            }
        }
        Ok(())
    })
    .await?;
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

/// Keeps the gauges and the readiness up to date until the end.
pub(crate) async fn look(store: Arc<Store>, readiness: Readiness, shutdown: Shutdown) {
    loop {
        if store.catalog.answers().await {
            readiness.met("catalog");
        } else {
            readiness.missing("catalog", "the catalog does not answer");
        }
        if let Ok(rotten) = store.catalog.rotten().await {
            store.meters.rotten.set(gauge(rotten));
        }
        if let Ok(free) = store.files.free() {
            store.meters.free_bytes.set(gauge(free));
        }
        store.meters.total_bytes.set(gauge(store.catalog.stored()));
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = shutdown.requested() => return,
        }
    }
}
