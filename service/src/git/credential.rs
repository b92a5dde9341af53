//! Where a credential lies.

use std::path::PathBuf;

use super::Access;
use crate::secret::{SecretFileError, read_secret};

/// Where the credential for a remote lies. It is read each time it is used, so that a new one counts at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// There is none.
    None,
    /// A file with a token, for HTTP's bearer scheme.
    Bearer {
        /// The file.
        file: PathBuf,
    },
    /// A file with a password or token, for HTTP's basic scheme.
    Basic {
        /// The name that goes with it.
        username: String,
        /// The file.
        file: PathBuf,
    },
    /// A key, for ssh.
    SshKey {
        /// The file with the private key.
        key: PathBuf,
        /// The file with the host keys that are believed.
        known_hosts: PathBuf,
    },
}

impl Credential {
    /// What tells this credential from another, without holding it.
    pub fn identity(&self) -> String {
        match self {
            Self::None => "anonymous".to_owned(),
            Self::Bearer { file } => format!("bearer\0{}", file.display()),
            Self::Basic { username, file } => format!("basic\0{username}\0{}", file.display()),
            Self::SshKey { key, .. } => format!("key\0{}", key.display()),
        }
    }

    /// The credential itself.
    ///
    /// # Errors
    /// When its file cannot be read, or others may read it.
    pub fn access(&self) -> Result<Access, SecretFileError> {
        Ok(match self {
            Self::None => Access::Anonymous,
            Self::Bearer { file } => Access::Bearer(read_secret(file)?),
            Self::Basic { username, file } => Access::Basic { username: username.clone(), password: read_secret(file)? },
            Self::SshKey { key, known_hosts } => Access::SshKey { key: key.clone(), known_hosts: known_hosts.clone() },
        })
    }
}
