//! The folder of the control sockets.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use signalbox_service::clock::SharedClock;

use super::options::check_path;

/// The longest path of the folder. A socket's path may have 107 bytes; ssh first makes the socket under a name that is 17
/// longer, and the socket's own name takes up to 12.
const LONGEST: usize = 76;

/// Why there is no folder for control sockets.
#[derive(Debug, thiserror::Error)]
#[error("the folder {path} for control sockets cannot be made")]
pub struct ControlFolderError {
    /// The folder.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// A folder that only this user may enter, in which each connection has its socket. It is removed with this value.
#[derive(Debug)]
pub(super) struct ControlFolder {
    path: PathBuf,
    next: AtomicU64,
}

impl ControlFolder {
    /// Makes the folder in `data`, or, where its path would be too long for a socket or not plain enough for ssh, in the
    /// system's folder for temporary files. What an earlier process left there is removed; its connections ended with it.
    pub(super) fn make(data: &Path, clock: &SharedClock) -> Result<Self, ControlFolderError> {
        let near = data.join("ssh");
        let fits = near.as_os_str().len() <= LONGEST && near.is_absolute() && check_path(&near).is_ok();
        let path = if fits { near } else { std::env::temp_dir().join(format!("signalbox-{}", clock.uuid().simple())) };
        let failed = |source| ControlFolderError { path: path.clone(), source };
        if fits {
            match std::fs::remove_dir_all(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        // Not recursive: a folder that somebody else made there first is refused.
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        let mode = std::fs::symlink_metadata(&path).map_err(failed)?.mode();
        if mode & 0o077 != 0 {
            return Err(failed(io::Error::new(io::ErrorKind::PermissionDenied, "others may enter it")));
        }
        Ok(Self { path, next: AtomicU64::new(0) })
    }

    /// A socket's path that was not used before.
    pub(super) fn socket(&self) -> PathBuf {
        self.path.join(format!("c{}", self.next.fetch_add(1, Ordering::Relaxed)))
    }
}

impl Drop for ControlFolder {
    fn drop(&mut self) {
        // Sockets that are still there belong to connections that end now; an empty folder that stays harms nobody.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
