//! The catalog: which bytes there are, what they are called, and who needs them.
//!
//! Architecture invariants:
//! - what a caller was told is committed and synced; changes of names that arrive together share one transaction;
//! - bytes are durable before the catalog names them, and are removed after it forgot them;
//! - an older line never hides a newer one;
//! - the cache holds nothing that the catalog does not say: it is told of each change before the caller is.

mod cache;
mod change;
mod commit;
mod error;
mod grant;
mod pin;
mod read;
mod retention;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use signalbox_contract::Digest;
use signalbox_service::clock::SharedClock;
use signalbox_service::folder::DataFolder;
use signalbox_service::shutdown::Shutdown;
use signalbox_service::sqlite::{Database, DatabaseError};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, mpsc, oneshot};

use crate::blob::Blob;

pub(crate) use change::{Condition, Precondition};
pub(crate) use error::{CatalogError, ChangeError, GrantError};
pub(crate) use grant::GrantPut;
pub(crate) use writer::{Changed, NameChange, What};

use cache::Cache;

/// How many changes may wait for the writer before callers are told to come back.
const QUEUE: usize = 1024;

/// What bounds the catalog.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// How many bytes all blobs together may have; none when there is no bound.
    pub(crate) max_total: Option<u64>,
    /// How many versions of a name are kept.
    pub(crate) keep_versions: u64,
}

/// The catalog. Clones are handles on the same one; it is closed when the last is dropped.
#[derive(Clone)]
pub(crate) struct Catalog {
    changes: mpsc::Sender<NameChange>,
    shared: Arc<Shared>,
}

/// What the writer and all handles share.
pub(crate) struct Shared {
    db: Database,
    cache: Cache,
    clock: SharedClock,
    bounds: Bounds,
    /// How many bytes the blobs have together.
    stored: AtomicU64,
    /// Held (shared) from before a blob's file gets its place until the catalog names it, and (alone) while blobs that
    /// nobody needs are removed: so no bytes go that have just come again.
    arriving: Arc<RwLock<()>>,
    shutdown: Shutdown,
}

/// Bytes are arriving: nothing is collected while this lives.
pub(crate) type ArrivingGuard = OwnedRwLockReadGuard<()>;

/// Nothing arrives while this lives.
pub(crate) type CollectingGuard = OwnedRwLockWriteGuard<()>;

impl Catalog {
    /// Opens the catalog in the data folder, and starts its writer, which keeps the folder until the catalog is closed.
    pub(crate) async fn open(folder: DataFolder, bounds: Bounds, clock: SharedClock, shutdown: &Shutdown) -> Result<Self, DatabaseError> {
        let path = folder.path().join("artifact-store.db");
        let db = Database::open(&path, &sqlx::migrate!(), 4).await?;
        let stored: i64 = sqlx::query_scalar("SELECT coalesce(sum(size), 0) FROM blob")
            .fetch_one(&db.readers)
            .await
            .map_err(|source| DatabaseError::Open { path, source })?;
        let shared = Arc::new(Shared {
            db,
            cache: Cache::default(),
            clock,
            bounds,
            stored: AtomicU64::new(u64::try_from(stored).unwrap_or_default()),
            arriving: Arc::default(),
            shutdown: shutdown.clone(),
        });
        let (changes, queue) = mpsc::channel(QUEUE);
        shutdown.spawn("catalog", writer::run(Arc::clone(&shared), queue, folder));
        Ok(Self { changes, shared })
    }

    /// Changes what a name shows. Done, durable and visible when this answers; done all the same when the caller has
    /// gone away.
    pub(crate) async fn change(&self, what: What, arriving: Option<ArrivingGuard>) -> Result<Changed, ChangeError> {
        let (reply, answer) = oneshot::channel();
        let change = NameChange { what, arriving, reply };
        self.changes.try_send(change).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ChangeError::Busy,
            mpsc::error::TrySendError::Closed(_) => ChangeError::Catalog(CatalogError::Closing),
        })?;
        answer.await.unwrap_or(Err(ChangeError::Catalog(CatalogError::Closing)))
    }

    /// Whether so many more bytes would be more than may be stored.
    pub(crate) fn has_room(&self, more: u64) -> bool {
        self.shared.has_room(more)
    }

    /// How many bytes the blobs have together.
    pub(crate) fn stored(&self) -> u64 {
        self.shared.stored.load(Ordering::Relaxed)
    }

    /// Waits until bytes may arrive. The guard goes with them into the catalog.
    pub(crate) async fn arriving(&self) -> ArrivingGuard {
        Arc::clone(&self.shared.arriving).read_owned().await
    }

    /// Waits until nothing is arriving.
    pub(crate) async fn collecting(&self) -> CollectingGuard {
        Arc::clone(&self.shared.arriving).write_owned().await
    }

    /// Whether the catalog answers.
    pub(crate) async fn answers(&self) -> bool {
        sqlx::query("SELECT 1").execute(&self.shared.db.readers).await.is_ok()
    }

    /// Runs a change to its end, even if the caller goes away in the middle: the cache must hear of what was committed.
    async fn apart<T, E, F>(&self, work: impl FnOnce(Self) -> F + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<CatalogError> + Send + 'static,
        F: Future<Output = Result<T, E>> + Send,
    {
        let (reply, answer) = oneshot::channel();
        let catalog = self.clone();
        self.shared.shutdown.spawn("catalog change", async move {
            // Nobody waits any more when the caller has gone away.
            let _ = reply.send(work(catalog).await);
        });
        answer.await.unwrap_or_else(|_| Err(CatalogError::Closing.into()))
    }
}

impl Shared {
    fn has_room(&self, more: u64) -> bool {
        self.bounds.max_total.is_none_or(|max| self.stored.load(Ordering::Relaxed).saturating_add(more) <= max)
    }

    fn now(&self) -> i64 {
        self.clock.now().as_microsecond()
    }
}

/// A digest that the catalog wrote.
fn digest(bytes: &[u8]) -> Result<Digest, CatalogError> {
    bytes.try_into().map(Digest::from_bytes).map_err(|_| CatalogError::Nonsense("a digest"))
}

/// A number that the catalog wrote and that cannot be negative.
fn number(value: i64) -> Result<u64, CatalogError> {
    u64::try_from(value).map_err(|_| CatalogError::Nonsense("a number"))
}

/// A number as the catalog keeps it.
fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// How much memory a blob takes in the cache.
fn weight(blob: &Blob) -> usize {
    use crate::blob::Keeping;
    512 + match &blob.keeping {
        Keeping::Small(bytes) => bytes.len(),
        Keeping::Chunked(tags) => tags.weight(),
        Keeping::Corrupt { .. } => 0,
    }
}
