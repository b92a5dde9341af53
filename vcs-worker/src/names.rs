//! Which source a repository's name belongs to, and which copy of ours is behind it.
//!
//! Invariant: a name is bound to the first source that was fetched and proven under it, for good: what it shows to executors
//! is never another source's. What was only asked for binds nothing, so that a slip can be corrected. Each binding is a small
//! file, synced before anybody is told of it; after a crash between the fetch and the file the name is free, and asking again
//! binds it.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use signalbox_contract::{Digest, RepoName, SourceConflict, SourceUrl};
use signalbox_service::auth::sha256;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Binding {
    /// The name.
    pub(crate) name: RepoName,
    /// The source that it belongs to.
    pub(crate) source: SourceUrl,
    /// The copy behind it. It changes when the source gets another credential.
    pub(crate) copy: Digest,
}

impl Binding {
    fn conflict(&self, wanted: &SourceUrl) -> Option<SourceConflict> {
        let (name, bound) = (self.name.clone(), self.source.clone());
        (bound != *wanted).then(|| SourceConflict { name, bound, wanted: wanted.clone() })
    }
}

/// The bindings of all names.
#[derive(Debug)]
pub(crate) struct Names {
    folder: PathBuf,
    bindings: Mutex<HashMap<RepoName, Binding>>,
}

/// A name that belongs to another source.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    /// It belongs to another source.
    #[error(transparent)]
    Taken(Box<SourceConflict>),
    /// The binding cannot be written.
    #[error("the name's binding cannot be written")]
    Write(#[source] std::io::Error),
}

impl Names {
    /// Reads all bindings in `folder`.
    pub(crate) fn open(folder: PathBuf) -> std::io::Result<Self> {
        let mut bindings = HashMap::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                // What a crash left of a file that was being written.
                std::fs::remove_file(&path)?;
                continue;
            }
            let binding: Binding = serde_json::from_slice(&std::fs::read(&path)?).map_err(|error| {
                std::io::Error::other(format!("{} is damaged ({error}); remove it, and the next fetch makes it anew", path.display()))
            })?;
            bindings.insert(binding.name.clone(), binding);
        }
        Ok(Self { folder, bindings: Mutex::new(bindings) })
    }

    /// What a name stands for.
    pub(crate) fn get(&self, name: &RepoName) -> Option<Binding> {
        self.bindings().get(name).cloned()
    }

    /// All bindings.
    pub(crate) fn all(&self) -> Vec<Binding> {
        self.bindings().values().cloned().collect()
    }

    /// Why the name may not be used for this source, if it may not.
    pub(crate) fn conflict(&self, name: &RepoName, wanted: &SourceUrl) -> Option<SourceConflict> {
        self.bindings().get(name).and_then(|binding| binding.conflict(wanted))
    }

    /// Binds a name, or makes sure that it is bound like this.
    pub(crate) fn bind(&self, binding: Binding) -> Result<(), BindError> {
        // The lock is held while the small file is written: two first sources of one name cannot both win.
        let mut bindings = self.bindings();
        if let Some(bound) = bindings.get(&binding.name) {
            if let Some(conflict) = bound.conflict(&binding.source) {
                return Err(BindError::Taken(Box::new(conflict)));
            }
            if *bound == binding {
                return Ok(());
            }
        }
        write(&self.folder, &binding).map_err(BindError::Write)?;
        bindings.insert(binding.name.clone(), binding);
        Ok(())
    }

    fn bindings(&self) -> MutexGuard<'_, HashMap<RepoName, Binding>> {
        self.bindings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name may hold slashes, so its file is called by a digest; no two names share one.
fn write(folder: &Path, binding: &Binding) -> std::io::Result<()> {
    let stem = sha256(binding.name.as_str().as_bytes()).hex();
    let (new, path) = (folder.join(format!("{stem}.new")), folder.join(format!("{stem}.json")));
    let mut file = std::fs::File::create(&new)?;
    file.write_all(&serde_json::to_vec(binding)?)?;
    file.sync_all()?;
    std::fs::rename(&new, &path)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(name: &str, source: &str) -> Binding {
        Binding { name: name.parse().expect("a name"), source: source.parse().expect("a source"), copy: sha256(source.as_bytes()) }
    }

    // Threat 31.
    #[test]
    fn a_name_belongs_to_its_first_source_for_good() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = Names::open(folder.path().to_owned()).expect("open");
        let first = binding("a/b", "https://example.org/x");
        names.bind(first.clone()).expect("free");
        names.bind(first.clone()).expect("the same again");
        names.bind(binding("a-b", "https://example.org/x")).expect("another name of the same source");
        let names = Names::open(folder.path().to_owned()).expect("open again");
        assert!(matches!(names.bind(binding("a/b", "https://example.org/y")), Err(BindError::Taken(_))));
        assert_eq!(names.get(&first.name), Some(first));
    }
}
