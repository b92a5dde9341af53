//! The data folder of a service: one process at a time.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, FlockOperation, access, flock};

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
        make(path).map_err(unusable)?;
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
        let lock =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path.join("lock")).map_err(unusable)?;
        if !locked(&lock) {
            let mut holder = String::new();
            // Whoever holds it wrote its name first; a file that cannot be read only makes the message poorer.
            let _ = (&lock).take(200).read_to_string(&mut holder);
            let holder = if holder.trim().is_empty() { "another process".to_owned() } else { holder.trim().to_owned() };
            return Err(FolderError::Held { path: path.to_owned(), holder });
        }
        let mut owner = String::new();
        (&lock).take(200).read_to_string(&mut owner).map_err(unusable)?;
        // A power cut in the middle of the first claim can leave a line without its bytes.
        let owner = owner.split(',').next().unwrap_or_default().trim_matches('\0');
        if !(owner == service || owner.is_empty() && others.is_empty()) {
            return Err(FolderError::Foreign { path: path.to_owned(), what: format!("the data of {owner}") });
        }
        // Written over what is there, which begins with the same words: were it emptied first, a power cut at that moment would
        // leave a folder of which nobody knows whose it is.
        let line = format!("{service}, process {}\n", std::process::id());
        lock.write_all_at(line.as_bytes(), 0).map_err(unusable)?;
        lock.set_len(line.len() as u64).map_err(unusable)?;
        if owner.is_empty() {
            lock.sync_all().and_then(|()| sync(path)).map_err(unusable)?;
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Whether [`DataFolder::claim`] would be possible but for another process that has it. Makes and changes nothing.
    ///
    /// # Errors
    /// When the folder cannot be used, cannot be made, or is not this service's.
    pub fn check(path: &Path, service: &str) -> Result<(), FolderError> {
        let unusable = |source| FolderError::Unusable { path: path.to_owned(), source };
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return may_be_made(path).map_err(unusable),
            Err(error) => return Err(unusable(error)),
        };
        let mode = metadata.mode() & 0o777;
        if mode & 0o066 != 0 {
            return Err(FolderError::Exposed { path: path.to_owned(), mode });
        }
        let mut entries = std::fs::read_dir(path).map_err(unusable)?;
        access(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).map_err(|error| unusable(error.into()))?;
        match std::fs::read_to_string(path.join("lock")) {
            Ok(owner) => match owner.split(',').next().unwrap_or_default().trim() {
                owner if owner == service || owner.is_empty() => Ok(()),
                owner => Err(FolderError::Foreign { path: path.to_owned(), what: format!("the data of {owner}") }),
            },
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(unusable(error)),
            Err(_) if entries.next().is_none() => Ok(()),
            Err(_) => Err(FolderError::Foreign { path: path.to_owned(), what: "files of something else".to_owned() }),
        }
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
        make(&path).map_err(|source| FolderError::Unusable { path: path.clone(), source })?;
        Ok(path)
    }
}

/// Makes a folder and those above it that are not there, readable by their owner alone, and durable: what is synced in a folder
/// is lost all the same when the folder's own name is.
fn make(path: &Path) -> std::io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|above| !above.as_os_str().is_empty() && !above.exists()).collect();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    missing.into_iter().rev().filter_map(Path::parent).try_for_each(sync)
}

fn sync(folder: &Path) -> std::io::Result<()> {
    // A relative path's last ancestor is nothing, which means the present folder.
    File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?.sync_all()
}

/// Whether a folder that is not there could be made: the nearest one above it that is there must be writable.
fn may_be_made(path: &Path) -> std::io::Result<()> {
    for above in path.ancestors().skip(1) {
        // A relative path's last ancestor is nothing, which means the present folder.
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match std::fs::metadata(above) {
            Ok(found) if !found.is_dir() => return Err(std::io::ErrorKind::NotADirectory.into()),
            Ok(_) => return Ok(access(above, Access::WRITE_OK | Access::EXEC_OK)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(std::io::ErrorKind::NotFound.into())
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

    // Threat 64.
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

    // A power cut can leave of a file that was just written its length alone.
    #[test]
    fn a_first_claim_that_was_cut_off_is_made_again_and_a_later_one_never_loses_whose_the_folder_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data");
        std::fs::DirBuilder::new().mode(0o700).create(&path).expect("a folder");
        std::fs::write(path.join("lock"), [0; 24]).expect("written");
        drop(DataFolder::claim(&path, "controller").expect("nobody's"));
        std::fs::write(path.join("controller.db"), "precious").expect("written");
        let long = "controller, process 1234567890\n";
        std::fs::write(path.join("lock"), long).expect("written");
        let claimed = DataFolder::claim(&path, "controller").expect("its own");
        let line = std::fs::read_to_string(path.join("lock")).expect("readable");
        assert_eq!(line, format!("controller, process {}\n", std::process::id()), "nothing is left of a longer line");
        drop(claimed);
    }

    #[test]
    fn a_check_finds_what_a_start_would_and_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("a/b");
        DataFolder::check(&deep, "controller").expect("it could be made");
        assert!(!folder.path().join("a").exists(), "and was not");
        std::fs::write(folder.path().join("file"), "").expect("written");
        let refused = DataFolder::check(&folder.path().join("file/data"), "controller").expect_err("below a file");
        assert!(matches!(refused, FolderError::Unusable { .. }), "{refused:?}");
        let claimed = DataFolder::claim(&deep, "controller").expect("free");
        DataFolder::check(&deep, "controller").expect("in use by its own service, which is as it should be");
        assert!(matches!(DataFolder::check(&deep, "vcs-worker"), Err(FolderError::Foreign { .. })));
        drop(claimed);
        std::fs::write(folder.path().join("a/mine"), "").expect("written");
        let exposed = DataFolder::check(folder.path().join("a").as_path(), "controller").expect_err("somebody's files");
        assert!(matches!(exposed, FolderError::Foreign { .. } | FolderError::Exposed { .. }), "{exposed:?}");
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
