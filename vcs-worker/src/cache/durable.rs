//! Making durable what git has done in a copy.
//!
//! Git syncs the files that it writes, as it is configured here (`core.fsync`), but no folder: after a power cut a pack or a ref
//! of which we have told may have lost its name. So whoever had git change something settles that before telling anybody.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use signalbox_service::git::GitError;

use super::copy::local;

/// How deep refs are at most; what is deeper is not ours.
const DEPTH: usize = 16;

/// Syncs a new repository that is still small: every file, every folder, and the folder that it lies in.
pub(super) async fn settle_new(repository: &Path) -> Result<(), GitError> {
    blocking(repository, |repository| {
        each(repository, DEPTH, true)?;
        repository.parent().map_or(Ok(()), sync)
    })
    .await
}

/// Syncs the folder that a repository lies in, after it got another name there.
pub(super) async fn settle_name(repository: &Path) -> Result<(), GitError> {
    blocking(repository, |repository| repository.parent().map_or(Ok(()), sync)).await
}

/// Syncs the folders in which packs get their names.
pub(super) async fn settle_packs(repository: &Path) -> Result<(), GitError> {
    blocking(repository, |repository| {
        sync(&repository.join("objects/pack"))?;
        sync(&repository.join("objects"))
    })
    .await
}

/// Syncs the folders in which refs get their names, and that of the packed ones.
pub(super) async fn settle_refs(repository: &Path) -> Result<(), GitError> {
    blocking(repository, |repository| {
        each(&repository.join("refs"), DEPTH, false)?;
        sync(repository)
    })
    .await
}

async fn blocking(repository: &Path, work: impl FnOnce(&Path) -> io::Result<()> + Send + 'static) -> Result<(), GitError> {
    let repository: PathBuf = repository.to_owned();
    let done = tokio::task::spawn_blocking(move || work(&repository)).await;
    done.map_err(io::Error::other).flatten().map_err(|error| local(&error))
}

/// Syncs a folder and those below it, and their files where these are meant too.
fn each(folder: &Path, depth: usize, files: bool) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // Git may remove what it has just listed.
        let done = match entry.file_type()? {
            kind if kind.is_dir() && depth > 0 => each(&entry.path(), depth - 1, files),
            kind if kind.is_file() && files => sync(&entry.path()),
            _ => Ok(()),
        };
        match done {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync(folder)
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
