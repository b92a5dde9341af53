//! Receiving a body: hashed and written while it arrives, in constant memory.
//!
//! While one chunk is hashed and written, the next is received; while much has been written, it is already being synced.
//! Nothing is kept here: a body that is cut, too large or not what was announced leaves nothing behind.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use signalbox_contract::Digest;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::blob::{Arrived, BlobFiles, CHUNK, Incoming, SMALL, Sealed, small};

/// How much is written before it begins to be synced, so that little is left to sync at the end.
const SYNC_EVERY: usize = 16 * 1024 * 1024;

/// Why a body was not received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    /// It did not come, in time or at all.
    #[error("the body did not arrive")]
    Body(#[source] axum::Error),
    /// It is larger than is allowed.
    #[error("the body has more than {limit} bytes")]
    TooLarge {
        /// How many bytes are allowed.
        limit: u64,
    },
    /// It could not be written.
    #[error("the body cannot be written")]
    Disk(#[source] io::Error),
}

/// A body that arrived whole.
pub(crate) enum Received {
    /// It is in memory.
    Small(Arrived),
    /// It is in a file.
    Large(Sealed),
}

impl Received {
    /// The digest of what arrived.
    pub(crate) fn digest(&self) -> Digest {
        match self {
            Self::Small(arrived) => arrived.digest,
            Self::Large(sealed) => sealed.digest(),
        }
    }

    /// How many bytes arrived.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Small(arrived) => arrived.size,
            Self::Large(sealed) => sealed.size(),
        }
    }
}

/// Receives a body of at most `limit` bytes.
pub(crate) async fn receive(files: &Arc<BlobFiles>, mut body: Body, limit: u64) -> Result<Received, ReceiveError> {
    let mut size = 0_u64;
    let mut first = BytesMut::new();
    let mut file: Option<Receiving> = None;
    while let Some(frame) = body.frame().await {
        // Trailers say nothing that the store would believe.
        let Ok(data) = frame.map_err(ReceiveError::Body)?.into_data() else { continue };
        size = size.saturating_add(data.len() as u64);
        if size > limit {
            return Err(ReceiveError::TooLarge { limit });
        }
        if file.is_none() && size <= SMALL as u64 {
            first.extend_from_slice(&data);
            continue;
        }
        let receiving = if let Some(receiving) = &mut file {
            receiving
        } else {
            let mut receiving = Receiving::begin(files).await?;
            receiving.add(std::mem::take(&mut first).freeze()).await?;
            file.insert(receiving)
        };
        receiving.add(data).await?;
    }
    match file {
        None => Ok(Received::Small(small(first.freeze()))),
        Some(receiving) => receiving.finish().await.map(Received::Large),
    }
}

/// A file and an empty buffer, at rest.
type Resting = Box<(Incoming, Vec<u8>)>;

/// A body that is on its way into a file.
struct Receiving {
    /// What came since the last chunk was written.
    buffer: Vec<u8>,
    file: Step,
    syncing: Option<JoinHandle<io::Result<()>>>,
    unsynced: usize,
}

enum Step {
    Resting(Resting),
    /// A chunk is being hashed and written; the buffer comes back empty.
    Writing(JoinHandle<io::Result<Resting>>),
    /// Writing failed.
    Failed,
}

impl Receiving {
    async fn begin(files: &Arc<BlobFiles>) -> Result<Self, ReceiveError> {
        let files = Arc::clone(files);
        let incoming = joined(spawn_blocking(move || files.begin())).await?;
        let resting = Box::new((incoming, Vec::with_capacity(CHUNK)));
        Ok(Self { buffer: Vec::with_capacity(CHUNK), file: Step::Resting(resting), syncing: None, unsynced: 0 })
    }

    async fn add(&mut self, mut data: Bytes) -> Result<(), ReceiveError> {
        while !data.is_empty() {
            let part = data.len().min(CHUNK - self.buffer.len());
            self.buffer.extend_from_slice(&data[..part]);
            data.advance(part);
            if self.buffer.len() == CHUNK {
                self.write().await?;
            }
        }
        Ok(())
    }

    /// Hands the buffer over to be written, once the one before is.
    async fn write(&mut self) -> Result<(), ReceiveError> {
        let mut resting = self.rest().await?;
        self.unsynced += self.buffer.len();
        if self.unsynced >= SYNC_EVERY && self.syncing.as_ref().is_none_or(JoinHandle::is_finished) {
            self.synced().await?;
            self.unsynced = 0;
            let file = resting.0.file();
            self.syncing = Some(spawn_blocking(move || file.sync_data()));
        }
        let mut full = std::mem::replace(&mut self.buffer, std::mem::take(&mut resting.1));
        self.file = Step::Writing(spawn_blocking(move || {
            resting.0.write(&full)?;
            full.clear();
            resting.1 = full;
            Ok(resting)
        }));
        Ok(())
    }

    async fn rest(&mut self) -> Result<Resting, ReceiveError> {
        match std::mem::replace(&mut self.file, Step::Failed) {
            Step::Resting(resting) => Ok(resting),
            Step::Writing(task) => joined(task).await,
            Step::Failed => Err(ReceiveError::Disk(io::Error::other("an earlier write failed"))),
        }
    }

    /// Waits for a sync that was begun. Its error must be heard: the system reports a lost write only once.
    async fn synced(&mut self) -> Result<(), ReceiveError> {
        match self.syncing.take() {
            Some(task) => joined(task).await,
            None => Ok(()),
        }
    }

    async fn finish(mut self) -> Result<Sealed, ReceiveError> {
        if !self.buffer.is_empty() {
            self.write().await?;
        }
        let resting = self.rest().await?;
        self.synced().await?;
        Ok(resting.0.seal())
    }
}

async fn joined<T>(task: JoinHandle<io::Result<T>>) -> Result<T, ReceiveError> {
    task.await.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(ReceiveError::Disk)
}
