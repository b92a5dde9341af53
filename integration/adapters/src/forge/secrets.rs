//! The secrets with which deliveries are signed, taken from their files again whenever those change: they are changed without
//! a restart, and while they are, the old and the new are both good.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use signalbox_service::secret::{SecretFileError, SecretString, read_secret};
use signalbox_service::telemetry::causes;

/// What was seen of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// It is there. What tells one state of it from another: which file, how long, and when it was changed.
    Here(u64, u64, i64, i64),
    /// It was removed.
    Gone,
    /// Whether it is there cannot be told: its folder cannot be looked into, or its disk fails.
    Hidden,
}

/// Some secrets, each of which is good.
#[derive(Debug, Clone, Default)]
pub struct Secrets(Arc<Mutex<Vec<Held>>>);

/// One secret.
#[derive(Debug)]
struct Held {
    /// Where it is from; nowhere, if it never changes.
    file: Option<PathBuf>,
    seen: Seen,
    secret: Option<SecretString>,
}

impl Secrets {
    /// Those in these files.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn read(files: Vec<PathBuf>) -> Result<Self, SecretFileError> {
        let read = |file: PathBuf| {
            let seen = look(&file);
            Ok(Held { secret: Some(read_secret(&file)?), seen, file: Some(file) })
        };
        let held: Vec<Held> = files.into_iter().map(read).collect::<Result<_, SecretFileError>>()?;
        Ok(Self(Arc::new(Mutex::new(held))))
    }

    /// Those that are good now.
    pub fn current(&self) -> Vec<SecretString> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter_mut().for_each(Held::follow);
        held.iter().filter_map(|held| held.secret.clone()).collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().all(|held| held.secret.is_none())
    }
}

impl Held {
    /// Reads the file again, if it is another one than it was.
    fn follow(&mut self) {
        let Some(file) = &self.file else { return };
        let seen = look(file);
        if seen == self.seen {
            return;
        }
        self.seen = seen;
        match read_secret(file) {
            Ok(secret) => {
                tracing::info!(file = %file.display(), "a webhook's secret was read again");
                self.secret = Some(secret);
            }
            // A secret whose file was removed is to be good no more; one that is being written, or cannot be looked at, will be
            // readable soon, and is what it was until then.
            Err(error) => {
                tracing::warn!(file = %file.display(), error = %causes(&error), "a webhook's secret cannot be read");
                if seen == Seen::Gone {
                    self.secret = None;
                }
            }
        }
    }
}

impl From<Vec<SecretString>> for Secrets {
    fn from(secrets: Vec<SecretString>) -> Self {
        let held = |secret| Held { file: None, seen: Seen::Gone, secret: Some(secret) };
        Self(Arc::new(Mutex::new(secrets.into_iter().map(held).collect())))
    }
}

fn look(file: &Path) -> Seen {
    match std::fs::metadata(file) {
        Ok(found) => Seen::Here(found.ino(), found.len(), found.ctime(), found.ctime_nsec()),
        Err(error) if error.kind() == ErrorKind::NotFound => Seen::Gone,
        Err(_) => Seen::Hidden,
    }
}

#[cfg(test)]
mod tests {
    use signalbox_service::secret::{ExposeSecret as _, write_secret};

    use super::*;

    fn said(secrets: &Secrets) -> Vec<String> {
        secrets.current().iter().map(|secret| secret.expose_secret().to_owned()).collect()
    }

    #[test]
    fn a_secret_is_changed_without_a_restart_and_one_that_was_removed_is_good_no_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        let write = |file: &Path, text: &str| {
            let aside = folder.path().join("aside");
            write_secret(&aside, &SecretString::from(text)).expect("written");
            std::fs::rename(&aside, file).expect("moved");
        };
        write(&old, "one");
        write(&new, "two");
        let secrets = Secrets::read(vec![old.clone(), new.clone()]).expect("readable");
        assert_eq!(said(&secrets), ["one", "two"]);
        write(&new, "three");
        assert_eq!(said(&secrets), ["one", "three"]);
        std::fs::remove_file(&old).expect("removed");
        assert_eq!(said(&secrets), ["three"]);
        write(&old, "four");
        assert_eq!(said(&secrets), ["four", "three"]);
        // What is no secret leaves the one that there was.
        std::fs::write(&new, "").expect("written");
        assert_eq!(said(&secrets), ["four", "three"]);
        assert!(Secrets::read(vec![folder.path().join("none")]).is_err() && Secrets::default().is_empty());
    }
    #[test]
    fn a_secret_whose_file_cannot_be_looked_at_for_a_while_stays_good() {
        let folder = tempfile::tempdir().expect("a folder");
        let (inner, away) = (folder.path().join("secrets"), folder.path().join("away"));
        std::fs::create_dir(&inner).expect("made");
        let file = inner.join("hook");
        write_secret(&file, &SecretString::from("one")).expect("written");
        let secrets = Secrets::read(vec![file.clone()]).expect("readable");
        // Not that there is no such file: what should be its folder is none.
        std::fs::rename(&inner, &away).expect("moved");
        std::fs::write(&inner, "").expect("written");
        assert_eq!((look(&file), said(&secrets)), (Seen::Hidden, vec!["one".to_owned()]));
        std::fs::remove_file(&inner).expect("removed");
        assert!(said(&secrets).is_empty());
        std::fs::rename(&away, &inner).expect("moved");
        assert_eq!(said(&secrets), ["one"]);
    }
}
