//! The data folder of a service: one process at a time.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

/// Why a data folder could not be claimed.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process has it.
    #[error("the data folder {path} is in use by {holder}")]
    Held {
        /// The folder.
        path: PathBuf,
        /// Who has it, as it wrote itself: `controller, process 4711`.
        holder: String,
    },
    /// It holds something else.
    #[error("the data folder {path} holds {what}; give an empty one, or, with a backup, its file `lock` too")]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// What it holds, as far as that is known.
        what: String,
    },
    /// Others may read or change it.
    #[error("the data folder {path} may be read or changed by others than its owner (mode {mode:03o}); make it 0700")]
    Exposed {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It cannot be made or opened.
    #[error("the data folder {path} cannot be used")]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A data folder that this process alone uses, for as long as this value lives. The lock goes with the process, however
/// it ends.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Claims a folder for `service`, and makes it if it is not there, readable by its owner alone. Services tidy up in
    /// their folders, so one that holds anything else is not taken.
    ///
    /// # Errors
    /// When another process has it, when it holds what is not this service's, when others may read it, or when it cannot be
    /// made.
    pub fn claim(path: &Path, service: &str) -> Result<Self, FolderError> {
        let unusable = |source| FolderError::Unusable { path: path.to_owned(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let mode = std::fs::metadata(path).map_err(unusable)?.mode() & 0o777;
        if mode & 0o066 != 0 {
            return Err(FolderError::Exposed { path: path.to_owned(), mode });
        }
        let others: Vec<String> = std::fs::read_dir(path)
            .map_err(unusable)?
            .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
            .filter(|name| name != "lock")
            .take(3)
            .collect();
        // Nothing but a folder that was claimed before may hold anything; a lock is made in no other.
        if !others.is_empty() && !path.join("lock").exists() {
            return Err(FolderError::Foreign { path: path.to_owned(), what: format!("files of something else: {}", others.join(", ")) });
        }
        let mut lock =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path.join("lock")).map_err(unusable)?;
        if !locked(&lock) {
            let mut holder = String::new();
            // Whoever holds it wrote its name first; a file that cannot be read only makes the message poorer.
            let _ = (&mut lock).take(200).read_to_string(&mut holder);
            let holder = if holder.trim().is_empty() { "another process".to_owned() } else { holder.trim().to_owned() };
            return Err(FolderError::Held { path: path.to_owned(), holder });
        }
        let mut owner = String::new();
        (&mut lock).take(200).read_to_string(&mut owner).map_err(unusable)?;
        let owner = owner.split(',').next().unwrap_or_default();
        if !(owner == service || owner.is_empty() && others.is_empty()) {
            return Err(FolderError::Foreign { path: path.to_owned(), what: format!("the data of {owner}") });
        }
        lock.set_len(0).map_err(unusable)?;
        lock.rewind().map_err(unusable)?;
        writeln!(lock, "{service}, process {}", std::process::id()).map_err(unusable)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in it, made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn sub(&self, name: &str) -> Result<PathBuf, FolderError> {
        let path = self.path.join(name);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|source| FolderError::Unusable { path: path.clone(), source })?;
        Ok(path)
    }
}

/// Locks the file, if nobody holds it. A program that its last holder was just starting holds it too, until that program
/// begins; so it is tried for a moment.
fn locked(lock: &File) -> bool {
    (0..20).any(|attempt| {
        if attempt > 0 {
            std::thread::sleep(Duration::from_millis(25));
        }
        flock(lock, FlockOperation::NonBlockingLockExclusive).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_told_who_has_the_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data");
        let first = DataFolder::claim(&path, "controller").expect("free");
        let refused = DataFolder::claim(&path, "controller").expect_err("held").to_string();
        assert!(refused.contains(&format!("controller, process {}", std::process::id())), "{refused}");
        drop(first);
        DataFolder::claim(&path, "controller").expect("free again");
    }

    #[test]
    fn a_folder_that_holds_something_else_is_not_taken() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let mine = folder.path().join("mine");
        std::fs::create_dir(&mine).expect("made");
        std::fs::set_permissions(&mine, std::fs::Permissions::from_mode(0o755)).expect("changed");
        assert!(matches!(DataFolder::claim(&mine, "controller"), Err(FolderError::Exposed { mode: 0o755, .. })));
        std::fs::set_permissions(&mine, std::fs::Permissions::from_mode(0o700)).expect("changed");
        drop(DataFolder::claim(&mine, "controller").expect("empty"));
        assert!(matches!(DataFolder::claim(&mine, "vcs-worker"), Err(FolderError::Foreign { .. })), "another service's");
        std::fs::remove_file(mine.join("lock")).expect("removed");
        std::fs::write(mine.join("precious"), "").expect("written");
        assert!(matches!(DataFolder::claim(&mine, "controller"), Err(FolderError::Foreign { .. })), "somebody's files");
        assert!(!mine.join("lock").exists(), "and nothing was changed there");
    }
}
