//! A file on its way into the store.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use signalbox_contract::Digest;

use super::tags::Tagger;
use super::{Arrived, ArrivedBytes, BlobFiles};

/// A file that is being written. It is removed when this is dropped, whatever the reason. All methods block.
pub(crate) struct Incoming {
    place: Place,
    file: Arc<File>,
    hash: Context,
    tagger: Tagger,
    size: u64,
}

/// An incoming file's name, which ends with it unless the file is kept.
struct Place {
    files: Arc<BlobFiles>,
    name: Option<String>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            self.files.discard(&name);
        }
    }
}

/// A file that arrived completely and is not kept yet. It is removed when this is dropped.
pub(crate) struct Sealed {
    place: Place,
    file: Arc<File>,
    arrived: Arrived,
}

impl Incoming {
    pub(super) fn new(files: Arc<BlobFiles>, file: File, name: String) -> io::Result<Self> {
        let place = Place { files, name: Some(name) };
        let tagger = Tagger::new().map_err(io::Error::other)?;
        Ok(Self { place, file: Arc::new(file), hash: Context::new(&SHA256), tagger, size: 0 })
    }

    /// Writes the next chunk; only the last may be shorter than [`super::CHUNK`].
    pub(crate) fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        (&*self.file).write_all(chunk)?;
        self.hash.update(chunk);
        self.tagger.add(chunk).map_err(io::Error::other)?;
        self.size += chunk.len() as u64;
        Ok(())
    }

    /// The file, so that it can be synced while more arrives.
    pub(crate) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Says that all has arrived.
    pub(crate) fn seal(self) -> Sealed {
        let (key, tags) = self.tagger.finish();
        let digest = digest_of(self.hash);
        let arrived = Arrived { digest, size: self.size, bytes: ArrivedBytes::Chunked { key, tags } };
        Sealed { place: self.place, file: self.file, arrived }
    }
}

impl Sealed {
    /// The digest of what arrived.
    pub(crate) fn digest(&self) -> Digest {
        self.arrived.digest
    }

    /// How much arrived.
    pub(crate) fn size(&self) -> u64 {
        self.arrived.size
    }

    /// Makes the bytes durable under their digest. Bytes that are there already are replaced by the same bytes, which
    /// mends them if they rotted.
    pub(crate) fn keep(mut self) -> io::Result<Arrived> {
        self.file.sync_data()?;
        if let Some(name) = &self.place.name {
            self.place.files.keep(name, &self.arrived.digest)?;
            self.place.name = None;
        }
        Ok(self.arrived.clone())
    }
}

/// The digest of bytes that are in memory.
pub(crate) fn hash(bytes: &[u8]) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    digest_of(context)
}

/// A small blob that arrived.
pub(crate) fn small(bytes: Bytes) -> Arrived {
    Arrived { digest: hash(&bytes), size: bytes.len() as u64, bytes: ArrivedBytes::Small(bytes) }
}

fn digest_of(context: Context) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    Digest::from_bytes(bytes)
}
