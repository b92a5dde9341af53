//! The folder of one build.
//!
//! ```text
//! DATA/work/KEY/build     the commit's files, in which the script is run
//! DATA/work/KEY/home      the build's home, empty at first
//! DATA/work/KEY/socket    where the build puts artifacts itself
//! DATA/work/KEY/control   what the executor gives it: its script, its variables; never writable from inside
//! ```

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use signalbox_contract::{AttemptKey, RefName};

use super::tree::{self, Measure};

/// The folder of one build.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Makes an attempt's folder under `work`. What was there before is removed.
    pub(crate) fn create(work: &Path, key: &AttemptKey) -> io::Result<Self> {
        Self::make(Self::at(work, key).root)
    }

    /// An attempt's folder under `work`, whether it is there or not.
    pub(crate) fn at(work: &Path, key: &AttemptKey) -> Self {
        Self { root: work.join(key.to_string()) }
    }

    /// Empties the folder for the commit's files.
    pub(crate) fn start_over(&self) -> io::Result<()> {
        tree::remove(&self.build())?;
        std::fs::DirBuilder::new().mode(0o700).create(self.build())
    }

    /// Makes a build's folder at `root`. What was there before is removed.
    pub(crate) fn make(root: PathBuf) -> io::Result<Self> {
        tree::remove(&root)?;
        let workspace = Self { root };
        for folder in [workspace.root.clone(), workspace.build(), workspace.home()] {
            std::fs::DirBuilder::new().mode(0o700).create(folder)?;
        }
        // The build's user reads it, and gets no further: it lies in a folder that is closed to it.
        std::fs::create_dir(workspace.control())?;
        std::fs::set_permissions(workspace.control(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Ok(workspace)
    }

    /// Gives what the build may change to its user.
    pub(crate) fn give(&self, user: u32) -> io::Result<()> {
        tree::give(&self.build(), user)?;
        tree::give(&self.home(), user)
    }

    /// What all of it takes on the disk.
    pub(crate) fn measure(&self) -> io::Result<Measure> {
        tree::measure(&self.root)
    }

    /// What the build may change.
    pub(crate) fn build(&self) -> PathBuf {
        self.root.join("build")
    }

    /// The build's home.
    pub(crate) fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// The socket by which it puts artifacts itself.
    pub(crate) fn socket(&self) -> PathBuf {
        self.root.join("socket")
    }

    /// What the executor gives it.
    pub(crate) fn control(&self) -> PathBuf {
        self.root.join("control")
    }

    /// Removes it all.
    pub(crate) fn remove(&self) -> io::Result<()> {
        tree::remove(&self.root)
    }

    /// Puts the checkout on a branch of this name, which is what people's scripts expect to see. Any other kind of ref
    /// leaves it detached.
    pub(crate) fn name_branch(&self, fetched: &RefName, branch: &RefName, sha: &str) -> io::Result<()> {
        let git = self.build().join(".git");
        // The attempt's own ref would be in the way of a branch whose name it begins with; nobody needs it any more.
        let own = git.join(fetched.as_str());
        match std::fs::remove_file(&own) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for parent in own.ancestors().skip(1).take_while(|parent| *parent != git.join("refs")) {
            // It stays if something else is in it.
            let _ = std::fs::remove_dir(parent);
        }
        if branch.as_str().starts_with("refs/") && !branch.as_str().starts_with("refs/heads/") {
            return Ok(());
        }
        let name = format!("refs/heads/{}", branch.short());
        let file = git.join(&name);
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(file, format!("{sha}\n"))?;
        std::fs::write(git.join("HEAD"), format!("ref: {name}\n"))
    }
}

/// Removes every folder of a build under `work`.
pub(crate) fn clear(work: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(work)? {
        tree::remove(&entry?.path())?;
    }
    Ok(())
}
