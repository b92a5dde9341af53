//! One command of git's, with its bounds.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use rustix::process::Resource;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::environment::Environment;
use super::error::{Fault, GitError};
use super::said;
use crate::process::{Bounds, Program, Running};

/// How long a command may take that was given no other deadline.
const DEADLINE: Duration = Duration::from_mins(1);

/// Memory that git may take for itself, mapped files not counted: what stops a bomb, far above what work needs.
const MEMORY: u64 = 3 * 1024 * 1024 * 1024;

/// A command of git's that is to be run.
#[derive(Debug)]
pub struct Command {
    program: Program,
    bounds: Bounds,
    secrets: Vec<SecretString>,
    limited: bool,
}

impl Command {
    pub(super) fn new(program: Program, environment: Environment) -> Self {
        let program = environment.into_iter().fold(program, |program, (key, value)| program.env(key, value));
        let program = program.limit(Resource::Core, 0).limit(Resource::Data, MEMORY);
        Self { program, bounds: Bounds::new(DEADLINE), secrets: Vec::new(), limited: false }
    }

    pub(super) fn hiding(mut self, secrets: Vec<SecretString>) -> Self {
        self.secrets = secrets;
        self
    }

    /// One more argument that we wrote: a command's name, an option. What comes from outside is an operand.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.program = self.program.arg(arg);
        self
    }

    /// More arguments that we wrote.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Self {
        self.program = self.program.args(args);
        self
    }

    /// What the command is about. None of it can be read as an option.
    #[must_use]
    pub fn operands<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(self, operands: I) -> Self {
        let operands: Vec<OsString> = operands.into_iter().map(|operand| operand.as_ref().to_owned()).collect();
        self.arg("--end-of-options").args(operands)
    }

    /// One more variable, for what git takes from nowhere else.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.program = self.program.env(key, value);
        self
    }

    /// Where it runs.
    #[must_use]
    pub fn dir(mut self, dir: &std::path::Path) -> Self {
        self.program = self.program.dir(dir);
        self
    }

    /// What it reads.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.program = self.program.stdin(bytes);
        self
    }

    /// How long it may take.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.bounds.deadline = deadline;
        self
    }

    /// How many bytes it may print.
    #[must_use]
    pub const fn stdout(mut self, bytes: usize) -> Self {
        self.bounds.stdout = bytes;
        self
    }

    /// How large a file it may write: so, how much may be fetched, since a fetch is one pack.
    #[must_use]
    pub fn at_most(mut self, bytes: u64) -> Self {
        // Below this, git's own small files would be caught.
        self.program = self.program.limit(Resource::Fsize, bytes.max(64 * 1024));
        self.limited = true;
        self
    }

    /// Ends it early.
    #[must_use]
    pub fn cancelled_by(mut self, token: CancellationToken) -> Self {
        self.bounds.cancel = token;
        self
    }

    /// Runs it to its end, and answers what it printed. Dropping the future kills it and all that it started.
    ///
    /// # Errors
    /// When it failed, or did not end within its bounds.
    pub async fn run(self) -> Result<Vec<u8>, GitError> {
        let Self { program, bounds, secrets, limited } = self;
        let output = program.run(bounds).await?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(said::judge(&output.stderr, &output.stdout, output.status, &secrets, limited))
    }

    /// Runs it to its end, and answers what it had to say beside what it printed: the end of its standard error.
    ///
    /// # Errors
    /// When it failed, or did not end within its bounds.
    pub(super) async fn listen(self) -> Result<Vec<u8>, GitError> {
        let Self { program, bounds, secrets, limited } = self;
        let output = program.run(bounds).await?;
        if output.status.success() {
            return Ok(output.stderr);
        }
        Err(said::judge(&output.stderr, &output.stdout, output.status, &secrets, limited))
    }

    /// Starts it with its streams open, for one that is spoken with. Its deadline is the caller's.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(self) -> Result<Running, GitError> {
        Ok(self.program.start()?)
    }
}

impl From<crate::process::ProcessError> for GitError {
    fn from(error: crate::process::ProcessError) -> Self {
        use crate::process::ProcessError;
        match error {
            ProcessError::Deadline { after, .. } => Self::new(Fault::Timeout, format!("git did not finish within {} s", after.as_secs())),
            ProcessError::Cancelled { .. } => Self::new(Fault::Cancelled, ""),
            ProcessError::TooMuchOutput { limit, .. } => Self::new(Fault::TooLarge, format!("git printed more than {limit} bytes")),
            error @ (ProcessError::Start { .. } | ProcessError::Watch { .. }) => Self::caused(Fault::Local, error),
        }
    }
}
