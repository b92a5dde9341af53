//! A disk that is soon full.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::not_run;

/// A small disk in memory, mounted over a folder until it is dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one over `folder`, which is made if it is not there, with tmpfs's options for its size: `size=12m`. None
    /// where this machine lets nothing be mounted, which is said, and is a failure where [`not_run`] makes it one.
    ///
    /// # Panics
    /// When the folder cannot be made.
    #[expect(clippy::expect_used, reason = "a test names its own folders and sizes")]
    pub fn mount(folder: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(folder).expect("a folder");
        let options = CString::new(format!("{size},mode=0700")).expect("text");
        match mount("tmpfs", folder, "tmpfs", MountFlags::empty(), options.as_c_str()) {
            Ok(()) => Some(Self(folder.to_owned())),
            Err(error) => {
                not_run(&format!("the right to mount a small disk ({error})"));
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Detached, it goes when the last file on it is closed.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}
