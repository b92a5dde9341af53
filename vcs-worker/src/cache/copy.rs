//! One copy on disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::Timestamp;
use signalbox_adapters::mirror::OURS;
use signalbox_contract::api::vcs::Transferred;
use signalbox_contract::{CommitSha, RefName};
use signalbox_service::git::{Fault, Git, GitError};
use signalbox_service::ledger::WorkError;
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::causes;
use tokio::sync::{Mutex, Semaphore};

use super::bring::{Brought, Sought};
use super::durable;
use super::flights::Flights;
use crate::config::Limits;
use crate::proof::Inspector;

/// How long a small change to our own copy may take.
const SHORT: Duration = Duration::from_secs(30);

/// The file in a copy that says when it was last used.
const USED: &str = "signalbox-used";

/// How often that is written.
const OFTEN: Duration = Duration::from_hours(1);

/// Our copy of one source.
pub(crate) struct Copy {
    pub(super) path: PathBuf,
    pub(super) git: Git,
    pub(super) limits: Limits,
    pub(super) room: Arc<Semaphore>,
    pub(super) shutdown: Shutdown,
    /// Whose turn it is to write objects. It holds whether the copy was swept since the start.
    pub(super) turn: Mutex<Swept>,
    pub(super) flights: Flights<Sought, Result<Brought, WorkError>>,
    /// Whether the source's server wants `.git` after the path.
    pub(super) suffixed: AtomicBool,
}

/// Whether what a killed process may have left in the copy was removed.
#[derive(Debug, Default)]
pub(super) struct Swept(bool);

impl Copy {
    pub(super) fn new(path: PathBuf, git: Git, limits: Limits, room: Arc<Semaphore>, shutdown: Shutdown) -> Self {
        Self { path, git, limits, room, shutdown, turn: Mutex::default(), flights: Flights::default(), suffixed: AtomicBool::new(false) }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is there.
    pub(crate) fn exists(&self) -> bool {
        self.path.join("HEAD").is_file()
    }

    /// Begins to read from it.
    pub(crate) fn inspect(&self) -> Result<Inspector, GitError> {
        Inspector::begin(&self.git, &self.path)
    }

    /// Makes it, if it is not there, and removes what a killed process may have left in it.
    pub(super) async fn prepare(&self, swept: &mut Swept, sha_digits: usize) -> Result<(), GitError> {
        if self.exists() {
            return self.sweep_once(swept);
        }
        let new = self.path.with_extension("new");
        remove(&new)?;
        remove(&self.path)?;
        self.git.init_bare(&new, sha_digits).await?;
        durable::settle_new(&new).await?;
        std::fs::rename(&new, &self.path).map_err(|error| local(&error))?;
        durable::settle_name(&self.path).await?;
        swept.0 = true;
        Ok(())
    }

    /// Removes what a killed process may have left, if that was not done since the start.
    pub(super) fn sweep_once(&self, swept: &mut Swept) -> Result<(), GitError> {
        if !swept.0 && self.exists() {
            self.sweep()?;
            swept.0 = true;
        }
        Ok(())
    }

    /// Removes half a pack, and loose objects, which only a server without git's protocol leaves.
    pub(super) fn sweep(&self) -> Result<(), GitError> {
        for entry in std::fs::read_dir(self.path.join("objects")).map_err(|error| local(&error))?.flatten() {
            if entry.file_name().len() == 2 {
                std::fs::remove_dir_all(entry.path()).map_err(|error| local(&error))?;
            }
        }
        for entry in std::fs::read_dir(self.path.join("objects/pack")).map_err(|error| local(&error))?.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("tmp_") || name.starts_with(".tmp") {
                std::fs::remove_file(entry.path()).map_err(|error| local(&error))?;
            }
        }
        Ok(())
    }

    /// What lies in its packs: how many objects, and how many bytes.
    pub(super) fn measure(&self) -> Transferred {
        let Ok(entries) = std::fs::read_dir(self.path.join("objects/pack")) else {
            return Transferred::default();
        };
        let mut sum = Transferred::default();
        for entry in entries.flatten().filter(|entry| entry.path().extension().is_some_and(|extension| extension == "pack")) {
            sum.bytes += entry.metadata().map_or(0, |file| file.len());
            sum.objects += objects_in(&entry.path());
        }
        sum
    }

    /// The attempts' refs in it.
    pub(crate) async fn attempts(&self) -> Result<Vec<(RefName, CommitSha)>, GitError> {
        let listed = self
            .git
            .local(&self.path)
            .args(["for-each-ref", "--format=%(objectname) %(refname)"])
            .operands([OURS])
            .stdout(64 * 1024 * 1024)
            .run()
            .await?;
        let listed = String::from_utf8_lossy(&listed);
        let refs = listed.lines().filter_map(|line| line.split_once(' '));
        Ok(refs.filter_map(|(sha, name)| Some((name.parse().ok()?, sha.parse().ok()?))).collect())
    }

    /// When it was last used, as far as that was written down: once an hour at most.
    pub(crate) fn used_at(&self) -> Option<Timestamp> {
        std::fs::read_to_string(self.path.join(USED)).ok()?.trim().parse().ok()
    }

    /// Writes down that it is used.
    pub(crate) fn note_use(&self, now: Timestamp) {
        let known = self.used_at().is_some_and(|used| now.duration_since(used).unsigned_abs() < OFTEN);
        if known || !self.exists() {
            return;
        }
        if let Err(error) = std::fs::write(self.path.join(USED), now.to_string()) {
            tracing::warn!(error = %causes(&error), "cache.use_not_written");
        }
    }

    /// Removes it, if nobody has used it since `before`, and nobody is at it. It is made anew when it is wanted.
    pub(crate) async fn remove_unused(&self, before: Timestamp) -> bool {
        let mut swept = self.turn.lock().await;
        if self.used_at().is_none_or(|used| used >= before) {
            return false;
        }
        let gone = self.path.with_extension("new");
        let removed = std::fs::rename(&self.path, &gone).and_then(|()| std::fs::remove_dir_all(&gone));
        swept.0 = false;
        match removed {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(error = %causes(&error), copy = %self.path.display(), "cache.copy_not_removed");
                false
            }
        }
    }

    /// How much room its objects take.
    pub(crate) fn size(&self) -> u64 {
        self.measure().bytes
    }

    /// Changes refs, all or none: lines of `git update-ref --stdin`. Durable when this returns.
    pub(crate) async fn update_refs(&self, lines: &str) -> Result<(), GitError> {
        self.git
            .local(&self.path)
            .args(["-c", "core.filesRefLockTimeout=5000", "-c", "core.packedRefsTimeout=5000"])
            .args(["update-ref", "--no-deref", "--stdin"])
            .stdin(lines)
            .deadline(SHORT)
            .run()
            .await?;
        durable::settle_refs(&self.path).await
    }
}

pub(super) fn local(error: &std::io::Error) -> GitError {
    let fault = if error.kind() == std::io::ErrorKind::StorageFull { Fault::DiskFull } else { Fault::Local };
    GitError::new(fault, error.to_string())
}

fn remove(path: &Path) -> Result<(), GitError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(local(&error)),
        _ => Ok(()),
    }
}

/// How many objects a pack says that it has: its header's third number.
fn objects_in(pack: &Path) -> u64 {
    use std::io::Read as _;
    let mut header = [0; 12];
    let read = std::fs::File::open(pack).and_then(|mut file| file.read_exact(&mut header));
    if read.is_err() {
        return 0;
    }
    u64::from(u32::from_be_bytes([header[8], header[9], header[10], header[11]]))
}

/// Removes git's locks, outside of where objects lie: at the start, when nobody can hold one yet.
pub(super) fn remove_locks(folder: &Path, depth: usize) -> std::io::Result<usize> {
    // Refs are at most this deep; what is deeper is not ours.
    if depth > 16 {
        return Ok(0);
    }
    let mut removed = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() && !(depth == 0 && entry.file_name() == "objects") {
            removed += remove_locks(&entry.path(), depth + 1)?;
        } else if kind.is_file() && entry.path().extension().is_some_and(|extension| extension == "lock") {
            std::fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}
