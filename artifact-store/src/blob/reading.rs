//! Reading a large blob: every chunk is proven before a byte of it is handed on.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::{Blob, BlobFiles, CHUNK, Keeping};

/// Why bytes could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// They are not what was stored.
    #[error("the stored bytes do not have their digest")]
    Corrupt,
    /// The file is not there.
    #[error("the stored bytes are missing")]
    Missing,
    /// The disk failed.
    #[error("the stored bytes cannot be read")]
    Disk(#[source] io::Error),
}

/// A part of a blob that is being read, one chunk ahead of who reads it.
pub(crate) struct Reading {
    blob: Arc<Blob>,
    source: Source,
    /// What is still to be handed on.
    from: u64,
    until: u64,
}

enum Source {
    Small(Bytes),
    File { file: Arc<File>, ahead: Ahead },
}

/// The chunk after the one that was handed on.
enum Ahead {
    Nothing,
    Read(Bytes),
    Reading(JoinHandle<Result<Bytes, ReadError>>),
}

impl Reading {
    /// Opens the blob to read `from` (included) until `until` (excluded), which lie within it.
    pub(crate) async fn open(files: &Arc<BlobFiles>, blob: Arc<Blob>, from: u64, until: u64) -> Result<Self, ReadError> {
        let source = match &blob.keeping {
            Keeping::Corrupt { .. } => return Err(ReadError::Corrupt),
            Keeping::Small(bytes) => Source::Small(bytes.clone()),
            Keeping::Chunked(_) => {
                let (files, wanted) = (Arc::clone(files), Arc::clone(&blob));
                // The first chunk is read with the same step to another thread that opens the file.
                let opened = tokio::task::spawn_blocking(move || {
                    let file = files.read(&wanted.digest, wanted.size).map_err(why)?;
                    let first = chunk(&file, &wanted, from / CHUNK as u64)?;
                    Ok((file, first))
                });
                let (file, first) = joined(opened).await?;
                Source::File { file: Arc::new(file), ahead: Ahead::Read(first) }
            }
        };
        Ok(Self { blob, source, from, until })
    }

    /// The next proven bytes; none when all were handed on.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        if self.from >= self.until {
            return None;
        }
        match &mut self.source {
            Source::Small(bytes) => {
                let part = bytes.slice(clamp(self.from)..clamp(self.until));
                self.from = self.until;
                Some(Ok(part))
            }
            Source::File { file, ahead } => {
                let index = self.from / CHUNK as u64;
                let begin = |index| {
                    tokio::task::spawn_blocking({
                        let (file, blob) = (Arc::clone(file), Arc::clone(&self.blob));
                        move || chunk(&file, &blob, index)
                    })
                };
                let current = std::mem::replace(ahead, Ahead::Nothing);
                if (index + 1) * (CHUNK as u64) < self.until {
                    *ahead = Ahead::Reading(begin(index + 1));
                }
                let read = match current {
                    Ahead::Read(bytes) => Ok(bytes),
                    Ahead::Reading(task) => joined(task).await,
                    Ahead::Nothing => joined(begin(index)).await,
                };
                let bytes = match read {
                    Ok(bytes) => bytes,
                    Err(error) => return Some(Err(error)),
                };
                let start = index * CHUNK as u64;
                let part = bytes.slice(clamp(self.from - start)..clamp((self.until - start).min(bytes.len() as u64)));
                self.from += part.len() as u64;
                Some(Ok(part))
            }
        }
    }

    /// The blob that is read.
    pub(crate) fn blob(&self) -> &Arc<Blob> {
        &self.blob
    }
}

/// A position within a chunk always fits; the saturated value would only make a slice panic-free and empty.
fn clamp(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

/// Reads one whole chunk and proves it.
fn chunk(file: &File, blob: &Blob, index: u64) -> Result<Bytes, ReadError> {
    let Keeping::Chunked(tags) = &blob.keeping else {
        return Err(ReadError::Corrupt);
    };
    let start = index * CHUNK as u64;
    let length = clamp(blob.size.saturating_sub(start).min(CHUNK as u64));
    // Read again once: what the first try got may have been spoilt on the way from the disk.
    for _ in 0..2 {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let offset = start + bytes.len() as u64;
            match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), offset) {
                Ok(0) => return Err(ReadError::Corrupt),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(ReadError::Disk(error.into())),
            }
        }
        bytes.truncate(length);
        if tags.prove(clamp(index), &bytes) {
            return Ok(Bytes::from(bytes));
        }
    }
    Err(ReadError::Corrupt)
}

/// Why a file could not be opened.
fn why(error: io::Error) -> ReadError {
    use rustix::io::Errno;
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT) => ReadError::Missing,
        // A link, a socket, or a file where a folder should be: something was planted.
        Some(Errno::LOOP | Errno::NXIO | Errno::NOTDIR) => ReadError::Corrupt,
        None if error.kind() == io::ErrorKind::InvalidData => ReadError::Corrupt,
        _ => ReadError::Disk(error),
    }
}

async fn joined<T>(task: JoinHandle<Result<T, ReadError>>) -> Result<T, ReadError> {
    task.await.unwrap_or_else(|error| Err(ReadError::Disk(io::Error::other(error))))
}
