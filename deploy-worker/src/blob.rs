//! The bytes of artifacts: fetched once from the artifact store, proven, kept for a while, and read from there by every
//! host's connection.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use aws_lc_rs::digest::{Context, SHA256};
use http::HeaderMap;
use signalbox_contract::Digest;
use signalbox_service::client::{CallError, Client};
use signalbox_service::clock::SharedClock;
use signalbox_service::secret::SecretString;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Why an artifact's bytes are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The store did not give them.
    #[error("the artifact store did not give the bytes")]
    Store(#[source] CallError),
    /// The store gave other bytes.
    #[error("the artifact store gave bytes that have another digest")]
    Wrong,
    /// They are larger than what may be kept here.
    #[error("the artifact is larger than the {limit} bytes that may be kept here (`cache_size`)")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// There is no room on the disk here.
    #[error("there is no room on the worker's disk")]
    DiskFull,
    /// They cannot be kept here.
    #[error("the cache cannot be used")]
    Local(#[source] std::io::Error),
}

impl BlobError {
    /// Whether trying again later may help.
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Store(error) => error.may_pass(),
            Self::Wrong | Self::DiskFull | Self::Local(_) => true,
            Self::TooLarge { .. } => false,
        }
    }
}

/// The bytes of an artifact, on the disk here. While this value lives they are not removed to make room.
#[derive(Debug)]
pub struct Blob {
    /// The file.
    pub path: PathBuf,
    /// How many bytes it has.
    pub size: u64,
}

/// The bytes that are kept here.
pub struct Cache {
    folder: PathBuf,
    limit: u64,
    store: Client,
    clock: SharedClock,
    entries: Mutex<HashMap<Digest, Entry>>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("folder", &self.folder).field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// One digest. Whoever needs it first holds `ready` while it is fetched; the others wait for that.
#[derive(Debug, Clone, Default)]
struct Entry {
    ready: Arc<tokio::sync::Mutex<Option<Arc<Blob>>>>,
    /// Counts up with each use.
    used: u64,
    size: u64,
}

impl Cache {
    /// Opens the cache in `folder`. What an earlier process left is kept, and proven again before it is used.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn open(folder: &Path, limit: u64, store: Client, clock: SharedClock) -> std::io::Result<Self> {
        let mut found: Vec<(SystemTime, Digest, u64)> = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let data = entry.metadata()?;
            match entry.file_name().to_str().and_then(|name| Digest::from_hex(name).ok()) {
                Some(digest) if data.is_file() => found.push((data.modified()?, digest, data.len())),
                // A download that a crash cut off.
                _ if data.is_file() => std::fs::remove_file(entry.path())?,
                _ => {}
            }
        }
        found.sort_unstable_by_key(|(modified, ..)| *modified);
        let numbered = (1..).zip(found);
        let entries = numbered.map(|(used, (_, digest, size))| (digest, Entry { ready: Arc::default(), used, size })).collect();
        let cache = Self { folder: folder.to_owned(), limit, store, clock, entries: Mutex::new(entries) };
        cache.make_room(0);
        Ok(cache)
    }

    /// The bytes with this digest, fetched if they are not here. Those who ask at the same time share one download.
    ///
    /// # Errors
    /// When they are not to be had.
    pub async fn fetch(&self, digest: &Digest, capability: &SecretString) -> Result<Arc<Blob>, BlobError> {
        let ready = {
            let mut entries = self.entries();
            let used = 1 + entries.values().map(|entry| entry.used).max().unwrap_or_default();
            let entry = entries.entry(*digest).or_default();
            entry.used = used;
            Arc::clone(&entry.ready)
        };
        let blob = self.obtain(&ready, digest, capability).await;
        drop(ready);
        if blob.is_err() {
            self.forget_absent(digest);
        }
        blob
    }

    async fn obtain(
        &self,
        ready: &tokio::sync::Mutex<Option<Arc<Blob>>>,
        digest: &Digest,
        capability: &SecretString,
    ) -> Result<Arc<Blob>, BlobError> {
        let mut ready = ready.lock().await;
        if let Some(blob) = ready.as_ref() {
            return Ok(Arc::clone(blob));
        }
        let path = self.folder.join(digest.hex());
        let blob = match prove(&path, digest).await {
            Ok(Some(size)) => Arc::new(Blob { path, size }),
            Ok(None) => Arc::new(self.download(digest, &path, capability).await?),
            Err(error) => return Err(local(error)),
        };
        *ready = Some(Arc::clone(&blob));
        if let Some(entry) = self.entries().get_mut(digest) {
            entry.size = blob.size;
        }
        Ok(blob)
    }

    /// Lets go of a digest whose bytes did not come, if nobody else is waiting for them.
    fn forget_absent(&self, digest: &Digest) {
        let mut entries = self.entries();
        if entries.get(digest).is_some_and(|entry| entry.size == 0 && Arc::strong_count(&entry.ready) == 1) {
            entries.remove(digest);
        }
    }

    /// Removes bytes that turned out to be wrong, so that the next who asks gets them anew.
    pub async fn forget(&self, digest: &Digest) {
        let entry = self.entries().remove(digest);
        if let Some(entry) = entry {
            let mut ready = entry.ready.lock().await;
            *ready = None;
            remove(&self.folder.join(digest.hex()));
        }
    }

    async fn download(&self, digest: &Digest, path: &Path, capability: &SecretString) -> Result<Blob, BlobError> {
        let asked = format!("/digests/{digest}");
        let mut download = self.store.get_stream(&asked, Some(capability), HeaderMap::new()).await.map_err(BlobError::Store)?;
        let too_large = || BlobError::TooLarge { limit: self.limit };
        if download.content_length().is_some_and(|length| length > self.limit) {
            return Err(too_large());
        }
        self.make_room(download.content_length().unwrap_or_default());
        let partial = Partial(self.folder.join(format!("{}.{}.part", digest.hex(), self.clock.uuid().simple())));
        let mut file = tokio::fs::File::create_new(&partial.0).await.map_err(local)?;
        let (mut context, mut size) = (Context::new(&SHA256), 0_u64);
        while let Some(chunk) = download.chunk().await.map_err(BlobError::Store)? {
            size += chunk.len() as u64;
            if size > self.limit {
                return Err(too_large());
            }
            context.update(&chunk);
            file.write_all(&chunk).await.map_err(local)?;
        }
        file.flush().await.map_err(local)?;
        if context.finish().as_ref() != digest.as_bytes() {
            return Err(BlobError::Wrong);
        }
        // It need not be durable: what is found here after a start is proven before it is used.
        tokio::fs::rename(&partial.0, path).await.map_err(local)?;
        Ok(Blob { path: path.to_owned(), size })
    }

    /// Removes what was not used for longest until `more` bytes fit. What is in use stays.
    fn make_room(&self, more: u64) {
        let mut entries = self.entries();
        let mut total: u64 = entries.values().map(|entry| entry.size).sum::<u64>().saturating_add(more);
        let mut oldest: Vec<(u64, Digest)> = entries.iter().map(|(digest, entry)| (entry.used, *digest)).collect();
        oldest.sort_unstable();
        for (_, digest) in oldest {
            if total <= self.limit {
                return;
            }
            let idle = entries.get(&digest).is_some_and(|entry| {
                Arc::strong_count(&entry.ready) == 1
                    && entry.ready.try_lock().is_ok_and(|ready| ready.as_ref().is_none_or(|blob| Arc::strong_count(blob) == 1))
            });
            if idle && let Some(entry) = entries.remove(&digest) {
                total = total.saturating_sub(entry.size);
                remove(&self.folder.join(digest.hex()));
            }
        }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Digest, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A download that is not whole. It is removed unless it was renamed before.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "cache.file_not_removed");
        }
        _ => {}
    }
}

fn local(error: std::io::Error) -> BlobError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => BlobError::DiskFull,
        _ => BlobError::Local(error),
    }
}

/// The size of the file, if it is there and has this digest. One that has not is removed.
async fn prove(path: &Path, digest: &Digest) -> std::io::Result<Option<u64>> {
    let mut file = match tokio::fs::File::open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let (mut context, mut size, mut chunk) = (Context::new(&SHA256), 0_u64, vec![0; 256 * 1024]);
    loop {
        let count = file.read(&mut chunk).await?;
        if count == 0 {
            break;
        }
        context.update(&chunk[..count]);
        size += count as u64;
    }
    if context.finish().as_ref() == digest.as_bytes() {
        return Ok(Some(size));
    }
    tracing::warn!(%digest, "cache.file_rotten");
    remove(path);
    Ok(None)
}
