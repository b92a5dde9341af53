//! The files of large blobs: `blobs/ab/cdef…`, and `incoming/` for what is on its way.
//!
//! Whatever is planted in the data folder (a link, a pipe, a folder where a file should be) is refused: nothing is
//! followed, and only plain files are read. This is the border behind which another place for bytes would stand.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use signalbox_contract::Digest;

use super::Incoming;

/// The folders in which the files lie, held open.
#[derive(Debug)]
pub(crate) struct BlobFiles {
    incoming: OwnedFd,
    blobs: OwnedFd,
    strays: AtomicBool,
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn folder(path: &Path) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(rustix::fs::openat(CWD, path, FOLDER, Mode::empty())?),
        Err(error) => Err(error.into()),
    }
}

impl BlobFiles {
    /// Opens the folders in the data folder, and makes them if they are not there. Until [`BlobFiles::take_strays`] is
    /// asked, it is assumed that a crash left something over.
    pub(crate) fn open(data: &Path) -> io::Result<Self> {
        let incoming = folder(&data.join("incoming"))?;
        let blobs = folder(&data.join("blobs"))?;
        for first in 0..=u8::MAX {
            match rustix::fs::mkdirat(&blobs, format!("{first:02x}"), Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        rustix::fs::fsync(&blobs)?;
        File::open(data)?.sync_all()?;
        Ok(Self { incoming, blobs, strays: AtomicBool::new(true) })
    }

    /// A new file for bytes that are about to arrive.
    pub(crate) fn begin(self: &Arc<Self>) -> io::Result<Incoming> {
        let mut random = [0_u8; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no random bytes"))?;
        let name = format!("{:032x}", u128::from_be_bytes(random));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.incoming, &name, flags, Mode::RUSR | Mode::WUSR)?;
        Incoming::new(Arc::clone(self), File::from(file), name)
    }

    /// Removes an incoming file. One that cannot be removed is swept at the next start.
    pub(super) fn discard(&self, name: &str) {
        if let Err(error) = rustix::fs::unlinkat(&self.incoming, name, AtFlags::empty()) {
            tracing::warn!(%error, "an incoming file could not be removed");
        }
    }

    /// Gives an incoming file, which must be synced, its place; durable when this returns.
    pub(super) fn keep(&self, name: &str, digest: &Digest) -> io::Result<()> {
        let hex = digest.hex();
        let (first, rest) = hex.split_at(2);
        let folder = rustix::fs::openat(&self.blobs, first, FOLDER, Mode::empty())?;
        // From here on the file may lie there unknown to the catalog, until the caller has told it.
        rustix::fs::renameat(&self.incoming, name, &folder, rest)?;
        rustix::fs::fsync(&folder).inspect_err(|_| self.suspect_strays())?;
        Ok(())
    }

    /// Opens a blob's file, which must be a plain file of the size that the catalog knows.
    pub(crate) fn read(&self, digest: &Digest, size: u64) -> io::Result<File> {
        let hex = digest.hex();
        let (first, rest) = hex.split_at(2);
        let folder = rustix::fs::openat(&self.blobs, first, FOLDER | OFlags::PATH, Mode::empty())?;
        // Without NONBLOCK, opening a pipe that was planted would wait for a writer for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&folder, rest, flags, Mode::empty())?);
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || u64::try_from(stat.st_size) != Ok(size) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a plain file of the right size"));
        }
        Ok(file)
    }

    /// Removes a blob's file, if there is one.
    pub(crate) fn remove(&self, digest: &Digest) -> io::Result<()> {
        let hex = digest.hex();
        let (first, rest) = hex.split_at(2);
        let folder = rustix::fs::openat(&self.blobs, first, FOLDER | OFlags::PATH, Mode::empty())?;
        match rustix::fs::unlinkat(&folder, rest, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what uploads left over that were cut by the end of the process. Answers how many.
    pub(crate) fn sweep_incoming(&self) -> io::Result<usize> {
        let mut swept = 0;
        for entry in Dir::read_from(&self.incoming)? {
            let entry = entry?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            match rustix::fs::unlinkat(&self.incoming, entry.file_name(), AtFlags::empty()) {
                Ok(()) => swept += 1,
                // A folder is nothing of ours; it does no harm where it is.
                Err(error) => tracing::warn!(%error, "something in the folder of incoming files could not be removed"),
            }
        }
        Ok(swept)
    }

    /// The digests whose first byte is `first` and for which there is something in the folder.
    pub(crate) fn list(&self, first: u8) -> io::Result<Vec<Digest>> {
        let name = format!("{first:02x}");
        let folder = rustix::fs::openat(&self.blobs, &name, FOLDER, Mode::empty())?;
        let mut digests = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            if let Some(digest) = entry.file_name().to_str().ok().and_then(|rest| Digest::from_hex(&format!("{name}{rest}")).ok()) {
                digests.push(digest);
            }
        }
        Ok(digests)
    }

    /// How many bytes the file system still has for us.
    pub(crate) fn free(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.blobs)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Notes that a file may lie here that the catalog does not know.
    pub(crate) fn suspect_strays(&self) {
        self.strays.store(true, Ordering::Relaxed);
    }

    /// Whether there may be such files; asking forgets it.
    pub(crate) fn take_strays(&self) -> bool {
        self.strays.swap(false, Ordering::Relaxed)
    }
}
