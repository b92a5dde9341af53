//! The store: what a body that arrives passes through, from the socket to the catalog.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use signalbox_contract::api::store::PutResult;
use signalbox_contract::{ArtifactName, Digest};
use signalbox_service::shutdown::Shutdown;
use tokio::sync::{Semaphore, oneshot};

use crate::blob::{Arrived, BlobFiles};
use crate::catalog::{ArrivingGuard, Catalog, CatalogError, ChangeError, Changed, GrantError, GrantPut, Precondition, What};
use crate::meters::{Meters, gauge};
use crate::upload::{ReceiveError, Received, receive};

/// How many files may be synced and given their place at a time. More at once make a journal slower, not faster.
const FINISHING: usize = 8;

/// How many bodies may be on their way at a time: each takes memory for two chunks.
const UPLOADS: usize = 256;

/// Bytes, names and grants.
pub(crate) struct Store {
    pub(crate) files: Arc<BlobFiles>,
    pub(crate) catalog: Catalog,
    pub(crate) meters: Meters,
    pub(crate) max_blob: u64,
    pub(crate) keep_free: u64,
    shutdown: Shutdown,
    uploads: Semaphore,
    finishing: Arc<Semaphore>,
}

/// Why bytes were not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The body did not arrive as it must.
    #[error("the body was not received")]
    Receive(#[source] ReceiveError),
    /// What arrived is not what was announced.
    #[error("the bytes do not have the digest that was given")]
    Mismatch,
    /// The disk is nearly full, or the quota is used up.
    #[error("there is no room")]
    NoRoom,
    /// Too much is on its way already.
    #[error("too many uploads")]
    Busy,
    /// The bytes cannot be kept.
    #[error("the bytes cannot be kept")]
    Disk(#[source] io::Error),
    /// The name was not changed.
    #[error("the name was not changed")]
    Change(#[source] ChangeError),
    /// The grant does not take them.
    #[error("the bytes were not put into the grant")]
    Grant(#[source] GrantError),
}

/// What is known of a body before it comes.
pub(crate) struct Announced {
    /// Its size, if it was given.
    pub(crate) size: Option<u64>,
    /// The digest that it must have, if one was given.
    pub(crate) digest: Option<Digest>,
    /// The most that is taken.
    pub(crate) limit: u64,
}

impl Store {
    pub(crate) fn new(files: Arc<BlobFiles>, catalog: Catalog, meters: Meters, bounds: (u64, u64), shutdown: Shutdown) -> Self {
        let (max_blob, keep_free) = bounds;
        let (uploads, finishing) = (Semaphore::new(UPLOADS), Arc::new(Semaphore::new(FINISHING)));
        Self { files, catalog, meters, max_blob, keep_free, shutdown, uploads, finishing }
    }

    /// Receives a body and shows it under a name.
    pub(crate) async fn put(
        self: &Arc<Self>,
        name: ArtifactName,
        content_type: String,
        precondition: Precondition,
        announced: &Announced,
        body: Body,
    ) -> Result<Changed, StoreError> {
        let received = self.receive(announced, body).await?;
        let change = async |store: &Self, arrived, arriving| {
            let what = What::Put { name, arrived, content_type, precondition };
            store.catalog.change(what, arriving).await.map_err(StoreError::Change)
        };
        match received {
            // The catalog finishes what it was told, also when the caller goes away.
            Received::Small(arrived) => self.note(&arrived, change(self, arrived.clone(), None).await),
            Received::Large(sealed) => {
                self.apart(move |store| async move {
                    let (arrived, arriving) = store.keep(sealed).await?;
                    store.note(&arrived, change(&store, arrived.clone(), Some(arriving)).await)
                })
                .await
            }
        }
    }

    /// Receives a body and puts it into a grant.
    pub(crate) async fn put_into_grant(
        self: &Arc<Self>,
        put: GrantPut,
        announced: &Announced,
        body: Body,
    ) -> Result<PutResult, StoreError> {
        let received = self.receive(announced, body).await?;
        self.apart(move |store| async move {
            let (arrived, arriving) = match received {
                Received::Small(arrived) => (arrived, store.catalog.arriving().await),
                Received::Large(sealed) => store.keep(sealed).await?,
            };
            let result = store.catalog.put_into_grant(put, arrived.clone(), arriving).await;
            store.note(&arrived, result.map_err(StoreError::Grant))
        })
        .await
    }

    async fn receive(&self, announced: &Announced, body: Body) -> Result<Received, StoreError> {
        let expected = announced.size.unwrap_or_default();
        if expected > announced.limit {
            return Err(StoreError::Receive(ReceiveError::TooLarge { limit: announced.limit }));
        }
        // Asked before the body is: what surely has no room is not waited for.
        if !self.catalog.has_room(expected) || self.free()? < self.keep_free.saturating_add(expected) {
            return Err(StoreError::NoRoom);
        }
        let _place = self.uploads.try_acquire().map_err(|_| StoreError::Busy)?;
        let received = receive(&self.files, body, announced.limit).await.map_err(StoreError::Receive)?;
        if announced.digest.is_some_and(|digest| digest != received.digest()) {
            return Err(StoreError::Mismatch);
        }
        if !self.catalog.has_room(received.size()) && self.is_new(&received).await {
            return Err(StoreError::NoRoom);
        }
        Ok(received)
    }

    /// How many bytes the disk still has; what cannot be asked is not the caller's business.
    fn free(&self) -> Result<u64, StoreError> {
        self.files.free().map_err(StoreError::Disk)
    }

    /// Whether these bytes are not here yet. The catalog decides; this only spares the disk.
    async fn is_new(&self, received: &Received) -> bool {
        !matches!(self.catalog.blob(&received.digest()).await, Ok(Some(_)))
    }

    /// Makes a file durable under its digest. The guard keeps the collector away until the catalog knows of it.
    async fn keep(&self, sealed: crate::blob::Sealed) -> Result<(Arrived, ArrivingGuard), StoreError> {
        let closing = |_| StoreError::Change(ChangeError::Catalog(CatalogError::Closing));
        let permit = Arc::clone(&self.finishing).acquire_owned().await.map_err(closing)?;
        let arriving = self.catalog.arriving().await;
        let kept = tokio::task::spawn_blocking(move || {
            let kept = sealed.keep();
            drop(permit);
            kept
        });
        let arrived = kept.await.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(StoreError::Disk)?;
        Ok((arrived, arriving))
    }

    fn note<T>(&self, arrived: &Arrived, result: Result<T, StoreError>) -> Result<T, StoreError> {
        match &result {
            Ok(_) => {
                self.meters.stored.inc();
                self.meters.stored_bytes.inc_by(arrived.size);
                self.meters.total_bytes.set(gauge(self.catalog.stored()));
            }
            // The file may have its place without the catalog knowing it.
            Err(_) => self.files.suspect_strays(),
        }
        result
    }

    /// Runs what follows a body that arrived whole to its end, even if the caller goes away.
    async fn apart<T, F>(self: &Arc<Self>, work: impl FnOnce(Arc<Self>) -> F + Send + 'static) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        let (reply, answer) = oneshot::channel();
        let store = Arc::clone(self);
        self.shutdown.spawn("upload", async move {
            // Nobody waits any more when the caller has gone away.
            let _ = reply.send(work(store).await);
        });
        answer.await.unwrap_or(Err(StoreError::Change(ChangeError::Catalog(CatalogError::Closing))))
    }
}
