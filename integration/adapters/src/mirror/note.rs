//! What a ref was before we pushed it.
//!
//! A process may die between a push and the moment when its outcome is written down. Whoever tries again finds the ref as it
//! should be, and could not tell its own push, which started a pipeline, from a ref that was there all along, which started
//! none. So what was there is written down first.

use std::io::Write as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use signalbox_contract::{CommitSha, RefName};

/// The largest note that is read, in bytes.
const LONGEST: u64 = 16 * 1024;

/// A small file that belongs to one attempt.
#[derive(Debug, Clone)]
pub struct Note {
    path: PathBuf,
}

/// What the note says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Before {
    /// The ref that was to be pushed.
    #[serde(rename = "ref")]
    pub(super) ref_name: RefName,
    /// What it was; none if it was not there.
    #[serde(default)]
    pub(super) object: Option<CommitSha>,
    /// The project that was to be replaced, in the server's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replaced: Option<String>,
}

impl Note {
    /// The note at this path, which may be written or not.
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// What it says. A note that is damaged, which a synced file never is, says nothing.
    pub(super) fn read(&self) -> std::io::Result<Option<Before>> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        match std::fs::File::open(&self.path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes)) {
            Ok(_) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes it down, durably.
    pub(super) fn write(&self, before: &Before) -> std::io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = std::fs::File::create(&new)?;
        file.write_all(&serde_json::to_vec(before)?)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        self.path.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
    }

    /// Throws it away.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn discard(&self) -> std::io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_back_and_half_a_note_says_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let note = Note::new(folder.path().join("k.json"));
        assert_eq!(note.read().expect("readable"), None);
        let before = Before { ref_name: "refs/heads/main".parse().expect("a ref"), object: None, replaced: Some("7".to_owned()) };
        note.write(&before).expect("written");
        assert_eq!(note.read().expect("readable"), Some(before));
        std::fs::write(folder.path().join("k.json"), "{\"ref\":\"refs/he").expect("written");
        assert_eq!(note.read().expect("readable"), None);
        note.discard().expect("removed");
        note.discard().expect("gone is as good");
    }
}
