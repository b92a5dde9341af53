//! The only place that starts git, and the one way in which it is started.
//!
//! Invariants, each with a test:
//!
//! * Git sees none of our environment and no configuration but the one made here: none of the system's, none of a user's,
//!   an empty home. A hostile `GIT_ALLOW_PROTOCOL` or `GIT_TRACE` of the operator's shell does not reach it.
//! * One protocol is allowed, the one of the remote; for local work, none.
//! * A credential travels in the environment, bound to the remote's origin; never in an argument or a URL. Redirects are not
//!   followed, so it reaches no other host. The address that was checked is the address that is used.
//! * What follows [`Command::operands`] can never be read as an option.
//! * Objects are checked when they arrive, and no more bytes are taken than are allowed.
//! * Every command has a deadline, which ends the whole process group: git's helpers and its ssh with it.
//! * What git and the server say is bounded, freed of control characters and credentials, and mapped to a [`Fault`].

mod checkout;
mod command;
mod credential;
mod environment;
mod error;
mod push;
mod remote;
mod said;
pub mod testing;
#[cfg(test)]
mod tests;
mod transfer;

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::process::Program;

pub use checkout::Checkout;
pub use command::Command;
pub use credential::Credential;
pub use error::{Fault, GitError};
pub use push::{MOST_UPDATES, Push, Update};
pub use remote::{Access, Remote};
pub use transfer::{Fetch, Shown};

/// The oldest git that has all that is needed: pinned addresses (`http.curloptResolve`) came with it.
pub const OLDEST: (u32, u32) = (2, 37);

/// Git, as every command here runs it.
#[derive(Debug, Clone)]
pub struct Git {
    /// An empty folder of ours: the home, and where commands run that need no other.
    home: PathBuf,
}

impl Git {
    /// Git with `home` as its empty home. The folder is made if it is not there.
    ///
    /// # Errors
    /// When the folder cannot be made, or is not empty.
    pub fn new(home: &Path) -> Result<Self, GitError> {
        let unusable = |source: std::io::Error| GitError::new(Fault::Local, format!("{} cannot be used: {source}", home.display()));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(home).map_err(unusable)?;
        let home = home.canonicalize().map_err(unusable)?;
        if std::fs::read_dir(&home).map_err(unusable)?.next().is_some() {
            return Err(GitError::new(Fault::Local, format!("{} must be empty: it is git's home", home.display())));
        }
        Ok(Self { home })
    }

    /// A command that works on the bare repository `folder` and speaks with nobody.
    pub fn local(&self, folder: &Path) -> Command {
        Command::new(self.program(folder), environment::local())
    }

    /// A command that speaks with `remote`, from the bare repository `folder`.
    pub fn toward(&self, folder: &Path, remote: &Remote) -> Command {
        Command::new(self.program(folder), environment::toward(remote)).hiding(remote.secrets())
    }

    /// A command that speaks with `remote`, from no repository at all.
    pub fn toward_from_nowhere(&self, remote: &Remote) -> Command {
        self.toward(&self.home.join("none"), remote)
    }

    /// Makes sure that git is there and new enough, and answers its version.
    ///
    /// # Errors
    /// When it is not.
    pub async fn version(&self) -> Result<(u32, u32), GitError> {
        let said = self.local(&self.home.join("none")).arg("version").run().await?;
        let said = String::from_utf8_lossy(&said);
        let mut numbers = said.trim().trim_start_matches("git version ").split('.').map_while(|part| part.parse::<u32>().ok());
        match (numbers.next(), numbers.next()) {
            (Some(major), Some(minor)) if (major, minor) >= OLDEST => Ok((major, minor)),
            _ => Err(GitError::new(Fault::Local, format!("git {}.{} or newer is needed; install it", OLDEST.0, OLDEST.1))),
        }
    }

    /// Makes an empty bare repository for objects of this length of id. Nothing is copied from a template: no hooks.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn init_bare(&self, folder: &Path, sha_digits: usize) -> Result<(), GitError> {
        let format = object_format(sha_digits);
        self.local(folder).args(["init", "--quiet", "--bare", "--template=", format]).run().await.map(drop)
    }

    /// A program with the environment that all commands share.
    fn program(&self, git_dir: &Path) -> Program {
        environment::base(&self.home)
            .into_iter()
            .fold(Program::new("git"), |program, (key, value)| program.env(key, value))
            .env("GIT_DIR", git_dir)
            .dir(&self.home)
    }
}

const fn object_format(sha_digits: usize) -> &'static str {
    if sha_digits == 64 { "--object-format=sha256" } else { "--object-format=sha1" }
}
