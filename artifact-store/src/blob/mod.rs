//! Bytes under a digest: how they are written, kept and read.
//!
//! Small blobs are kept in the catalog, large ones in files whose name is their digest. Either way no byte leaves the
//! store before it was proven: a small blob is hashed when it is loaded, a large one is proven chunk by chunk.

mod files;
mod incoming;
mod reading;
mod tags;

use bytes::Bytes;
use signalbox_contract::Digest;

pub(crate) use files::BlobFiles;
pub(crate) use incoming::{Incoming, Sealed, hash, small};
pub(crate) use reading::{ReadError, Reading};
pub(crate) use tags::Tags;

/// How much is hashed, written, read and proven at a time.
pub(crate) const CHUNK: usize = 256 * 1024;

/// The largest blob that is kept in the catalog.
pub(crate) const SMALL: usize = 16 * 1024;

/// A blob that the catalog knows.
#[derive(Debug)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) keeping: Keeping,
}

/// Where a blob's bytes are.
#[derive(Debug)]
pub(crate) enum Keeping {
    /// Here: they were proven when they were loaded.
    Small(Bytes),
    /// In a file, with what proves its chunks.
    Chunked(Tags),
    /// Somewhere, but they are not what they were; `noted` if the catalog says so already.
    Corrupt { noted: bool },
}

/// Bytes that arrived and are durable, or will be with the catalog's next commit.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) bytes: ArrivedBytes,
}

/// What the catalog must keep of bytes that arrived.
#[derive(Debug, Clone)]
pub(crate) enum ArrivedBytes {
    /// All of them.
    Small(Bytes),
    /// What proves the file's chunks.
    Chunked {
        /// The key of the tags.
        key: [u8; 32],
        /// A tag for each chunk.
        tags: Bytes,
    },
}
