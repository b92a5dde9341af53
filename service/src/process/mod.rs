//! The only place that starts programs.
//!
//! Invariants:
//!
//! * A program gets the environment that it is given, and nothing of ours; nor, once [`keep_inherited`] was called, a descriptor.
//! * It leads a process group of its own. Whatever ends it (its own end, a deadline, a cancelled token, a dropped future)
//!   ends the whole group: killing git alone would leave its ssh alive.
//! * It is always reaped. While the group may still have members, its leader is not, so that its number cannot have been
//!   given to somebody else when the group is killed.
//! * What it prints is bounded.
//!
//! [`Program::run`] waits for the end and collects what was printed; [`Program::start`] hands out the streams.
//!
//! A program is started from the calling thread. Call it from a task, not from a short-lived blocking thread: `bwrap
//! --die-with-parent` fires when the *thread* that started it ends.

mod capture;
mod inherited;
mod orphan;
mod running;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Resource;
use tokio_util::sync::CancellationToken;

pub use capture::{Output, Tail};
pub use inherited::keep_inherited;
pub use orphan::end_orphans;
pub use running::Running;

/// Why a program did not come to its own end.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("{program} cannot be started")]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It did not end in time, and was killed.
    #[error("{program} was killed: it did not end within {after:?}")]
    Deadline {
        /// The program.
        program: PathBuf,
        /// The time that it had.
        after: Duration,
    },
    /// Nobody waits for it any more; it was killed.
    #[error("{program} was killed: it was cancelled")]
    Cancelled {
        /// The program.
        program: PathBuf,
    },
    /// It printed more than is taken, and was killed.
    #[error("{program} was killed: it printed more than {limit} bytes")]
    TooMuchOutput {
        /// The program.
        program: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// Its streams or its end could not be read.
    #[error("{program} cannot be watched")]
    Watch {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// How long a program may run and how much it may print when its output is collected.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// How long it may run.
    pub deadline: Duration,
    /// How many bytes it may print on standard output; more is an error.
    pub stdout: usize,
    /// How many bytes of standard error are kept; the last ones, since the reason for a failure comes last.
    pub stderr: usize,
    /// Ends it early.
    pub cancel: CancellationToken,
}

impl Bounds {
    /// Bounds with this deadline, a megabyte of output, and 16 KiB of standard error.
    pub fn new(deadline: Duration) -> Self {
        Self { deadline, stdout: 1024 * 1024, stderr: 16 * 1024, cancel: CancellationToken::new() }
    }

    /// The same, with another limit on standard output.
    #[must_use]
    pub const fn stdout(mut self, bytes: usize) -> Self {
        self.stdout = bytes;
        self
    }

    /// The same, ended early by `token`.
    #[must_use]
    pub fn cancelled_by(mut self, token: CancellationToken) -> Self {
        self.cancel = token;
        self
    }
}

/// A program that is to be started, with an empty environment, its standard input closed and the root as its folder
/// unless it is told otherwise.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: PathBuf,
    stdin: Option<Vec<u8>>,
    limits: Vec<(Resource, u64)>,
    own_stderr: bool,
}

impl Program {
    /// The program at `path`. A bare name is looked up in the `PATH` that the program is given.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            args: Vec::new(),
            env: Vec::new(),
            dir: PathBuf::from("/"),
            stdin: None,
            limits: Vec::new(),
            own_stderr: false,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// One more variable in its environment.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The folder in which it is started.
    #[must_use]
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        dir.as_ref().clone_into(&mut self.dir);
        self
    }

    /// What it reads from standard input, when its output is collected.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// A limit that the kernel keeps for it and for all that it starts. It is set the moment after the start, so it suits
    /// programs that are trusted and whose input is not.
    #[must_use]
    pub fn limit(mut self, resource: Resource, value: u64) -> Self {
        self.limits.push((resource, value));
        self
    }

    /// What it prints on standard error goes where our own goes, instead of to the caller: for a part of this program in a
    /// process of its own.
    #[must_use]
    pub const fn own_stderr(mut self) -> Self {
        self.own_stderr = true;
        self
    }

    /// Starts it with all three streams open to the caller.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(self) -> Result<Running, ProcessError> {
        self.spawn(Stdio::piped())
    }

    fn spawn(self, stdin: Stdio) -> Result<Running, ProcessError> {
        let failed = |source| ProcessError::Start { program: self.path.clone(), source };
        #[expect(clippy::disallowed_methods, reason = "this is the one place that starts programs")]
        let mut command = tokio::process::Command::new(&self.path);
        command
            .args(&self.args)
            .env_clear()
            .envs(self.env.iter().map(|(key, value)| (key, value)))
            .current_dir(&self.dir)
            .process_group(0)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(if self.own_stderr { Stdio::inherit() } else { Stdio::piped() });
        let child = command.spawn().map_err(failed)?;
        let running = Running::watch(self.path.clone(), child)?;
        for (resource, value) in &self.limits {
            running.restrict(*resource, *value)?;
        }
        Ok(running)
    }
}
