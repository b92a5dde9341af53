//! Secrets: they come from files that nobody else may read, and live in a type that cannot be printed.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

pub use secrecy::{ExposeSecret, SecretString};

/// The largest secret that is read, in bytes.
pub const MAX_SECRET: u64 = 64 * 1024;

/// Why a file with a secret was not read.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// It cannot be opened or read.
    #[error("the secret in {path} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others may read it.
    #[error("{path} may be read by others than its owner (mode {mode:03o}); make it 0600")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is empty, too large, or not text.
    #[error("{path} does not hold a secret: it is empty, larger than 64 KiB, or not text")]
    NotASecret {
        /// The file.
        path: PathBuf,
    },
}

/// Reads a secret from a file, without the line's end after it.
///
/// # Errors
/// When the file cannot be read, when others than its owner may read it, or when it holds no secret.
pub fn read_secret(path: &Path) -> Result<SecretString, SecretFileError> {
    let unreadable = |source| SecretFileError::Unreadable { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    // The opened file is what is checked, not the path: the two could differ a moment later.
    let mode = file.metadata().map_err(unreadable)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretFileError::Exposed { path: path.to_owned(), mode });
    }
    let not_a_secret = || SecretFileError::NotASecret { path: path.to_owned() };
    let mut text = String::new();
    file.take(MAX_SECRET + 1).read_to_string(&mut text).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => not_a_secret(),
        _ => unreadable(error),
    })?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    if secret.is_empty() || text.len() as u64 > MAX_SECRET {
        return Err(not_a_secret());
    }
    Ok(SecretString::from(secret.to_owned()))
}

/// Writes a secret to a new file that only its owner may read.
///
/// # Errors
/// When the file exists already or cannot be written.
pub fn write_secret(path: &Path, secret: &SecretString) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(secret.expose_secret().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

/// Whether two secrets are the same, in a time that does not tell where they differ.
pub fn is_same_secret(one: &SecretString, other: &SecretString) -> bool {
    crate::auth::constant_time_eq(one.expose_secret().as_bytes(), other.expose_secret().as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        write_secret(&path, &SecretString::from("s3cret")).expect("written");
        assert_eq!(read_secret(&path).expect("private").expose_secret(), "s3cret");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("changed");
        assert!(matches!(read_secret(&path), Err(SecretFileError::Exposed { mode: 0o640, .. })));
    }

    // Threat 65.
    #[test]
    fn a_secret_is_never_printed() {
        assert!(!format!("{:?}", SecretString::from("s3cret")).contains("s3cret"));
    }
}
