//! A file that is looked at again, now and then, when it is used: no thread, no timer, no inotify.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the file is looked at, at most.
pub(super) const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    seconds: i64,
    nanos: i64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self { inode: metadata.ino(), size: metadata.size(), seconds: metadata.mtime(), nanos: metadata.mtime_nsec() })
    }
}

/// A file and the state in which it was last read.
#[derive(Debug)]
pub(super) struct Watched {
    path: PathBuf,
    since: Instant,
    due: AtomicU64,
    seen: Mutex<Option<Stamp>>,
}

impl Watched {
    /// Watches `path`. Make it before the file is read: what changes in between is then noticed at the next look.
    pub(super) fn new(path: PathBuf) -> Self {
        let seen = Mutex::new(Stamp::of(&path));
        Self { path, since: Instant::now(), due: AtomicU64::new(millis(EVERY)), seen }
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file changed since it was last read, and is there. Most calls find that it was looked at a moment
    /// ago, and cost no system call that matters; of several at once, one looks.
    pub(super) fn changed(&self) -> bool {
        let now = millis(self.since.elapsed());
        let due = self.due.load(Ordering::Relaxed);
        now >= due && self.due.compare_exchange(due, now + millis(EVERY), Ordering::Relaxed, Ordering::Relaxed).is_ok() && self.look()
    }

    /// The same, at once.
    pub(super) fn look(&self) -> bool {
        let stamp = Stamp::of(&self.path);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *seen != stamp;
        *seen = stamp;
        changed && stamp.is_some()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
