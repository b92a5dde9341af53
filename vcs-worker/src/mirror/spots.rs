//! Which repositories were shown at which configured mirrors, and when last: what there may be to list and to collect.
//!
//! Each is a small file, written before anything is pushed there, and after that once a day at most.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use signalbox_contract::{MirrorName, RepoName};
use signalbox_service::auth::sha256;

/// How old a time may be before it is written anew.
const STALE: SignedDuration = SignedDuration::from_hours(24);

/// A repository at a configured mirror.
pub(super) type Spot = (MirrorName, RepoName);

/// All that is known.
pub(super) struct Spots {
    folder: PathBuf,
    known: Mutex<BTreeMap<Spot, Timestamp>>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    mirror: MirrorName,
    name: RepoName,
    used_at: Timestamp,
}

impl Spots {
    /// Reads what is known in `folder`.
    pub(super) fn open(folder: PathBuf) -> std::io::Result<Self> {
        let mut known = BTreeMap::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                // What a crash left of a file that was being written.
                std::fs::remove_file(&path)?;
                continue;
            }
            let line: Line = serde_json::from_slice(&std::fs::read(&path)?)
                .map_err(|error| std::io::Error::other(format!("{} is damaged ({error}); remove it", path.display())))?;
            known.insert((line.mirror, line.name), line.used_at);
        }
        Ok(Self { folder, known: Mutex::new(known) })
    }

    /// Notes that a repository is shown somewhere.
    pub(super) fn note(&self, mirror: &MirrorName, name: &RepoName, now: Timestamp) -> std::io::Result<()> {
        let spot = (mirror.clone(), name.clone());
        // Held until it is written: of two at once, each would write the same file, and one would find it gone.
        let mut known = self.known();
        if known.get(&spot).is_some_and(|used| now.duration_since(*used) < STALE) {
            return Ok(());
        }
        let stem = sha256(format!("{mirror}\0{name}").as_bytes()).hex();
        let (new, path) = (self.folder.join(format!("{stem}.new")), self.folder.join(format!("{stem}.json")));
        let line = Line { mirror: mirror.clone(), name: name.clone(), used_at: now };
        let mut file = std::fs::File::create(&new)?;
        file.write_all(&serde_json::to_vec(&line)?)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        std::fs::File::open(&self.folder)?.sync_all()?;
        known.insert(spot, now);
        Ok(())
    }

    /// All of them, and when something was last shown there.
    pub(super) fn all(&self) -> BTreeMap<Spot, Timestamp> {
        self.known().clone()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Spot, Timestamp>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_write_down_at_once_is_written_for_each_of_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let spots = Spots::open(folder.path().to_owned()).expect("opened");
        let (mirror, now): (MirrorName, Timestamp) = ("lab".parse().expect("a name"), "2026-01-31T10:00:00Z".parse().expect("a time"));
        for round in 0..20 {
            let name: RepoName = format!("hello-{round}").parse().expect("a name");
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| spots.note(&mirror, &name, now).expect("written"));
                }
            });
        }
        assert_eq!(Spots::open(folder.path().to_owned()).expect("read again").known().len(), 20);
    }
}
