//! Our copies of sources: a bare repository for each source and credential.
//!
//! Invariants: a copy's folder is named by a digest, so no name of anything outside can steer where it lies. Copies share no
//! objects. One fetch at a time writes to a copy; those who ask for the same meanwhile share what came of it. What a killed
//! process left (programs, locks, half a pack) is gone before a copy is used.

mod bring;
mod copy;
mod durable;
mod elsewhere;
mod flights;
mod upkeep;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use signalbox_contract::Digest;
use signalbox_service::git::Git;
use signalbox_service::process::end_orphans;
use signalbox_service::shutdown::Shutdown;
use tokio::sync::Semaphore;

use crate::config::Limits;

pub(crate) use bring::{Brought, Wanted};
pub(crate) use copy::Copy;
use copy::remove_locks;

/// All copies.
pub(crate) struct Cache {
    root: PathBuf,
    git: Git,
    limits: Limits,
    copies: Mutex<HashMap<Digest, Arc<Copy>>>,
    /// Room for fetches, of all copies together.
    room: Arc<Semaphore>,
    shutdown: Shutdown,
}

impl Cache {
    /// Opens the copies in `root`, which only we use, ends what a killed process left running there, and removes its locks.
    pub(crate) fn open(root: &Path, git: Git, limits: Limits, shutdown: Shutdown) -> std::io::Result<Self> {
        let root = root.canonicalize()?;
        let orphans = end_orphans("GIT_DIR", &root);
        if orphans > 0 {
            tracing::warn!(orphans, "cache.orphans_ended");
        }
        for entry in std::fs::read_dir(&root)? {
            let path = entry?.path();
            // A copy gets its name when it is whole.
            if path.extension().is_some_and(|extension| extension == "new") {
                std::fs::remove_dir_all(path)?;
                continue;
            }
            // From now on refs are changed while others are fetched, so a lock may be somebody's.
            let removed = remove_locks(&path, 0)?;
            if removed > 0 {
                tracing::warn!(removed, copy = %path.display(), "cache.locks_removed");
            }
        }
        let room = Arc::new(Semaphore::new(limits.max_concurrent));
        Ok(Self { root, git, limits, copies: Mutex::default(), room, shutdown })
    }

    /// All copies that are there.
    pub(crate) fn all(&self) -> Vec<Arc<Copy>> {
        let Ok(entries) = std::fs::read_dir(&self.root) else { return Vec::new() };
        let digests = entries.flatten().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            format!("sha256:{}", name.strip_suffix(".git")?).parse::<Digest>().ok()
        });
        digests.map(|digest| self.copy(&digest)).filter(|copy| copy.exists()).collect()
    }

    /// The copy that is called by this digest, whether it is there already or not.
    pub(crate) fn copy(&self, digest: &Digest) -> Arc<Copy> {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let copy = copies.entry(*digest).or_insert_with(|| {
            let path = self.root.join(format!("{}.git", digest.hex()));
            Arc::new(Copy::new(path, self.git.clone(), self.limits, Arc::clone(&self.room), self.shutdown.clone()))
        });
        Arc::clone(copy)
    }
}
