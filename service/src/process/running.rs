//! A program that runs, and the end of its group.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal, kill_process_group, pidfd_open, prlimit};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio_util::sync::CancellationToken;

use super::ProcessError;

/// A program that was started. Dropping it kills its whole group.
#[derive(Debug)]
pub struct Running {
    /// What it reads. Dropping it tells the program that there is no more.
    pub stdin: Option<ChildStdin>,
    /// What it prints.
    pub stdout: Option<ChildStdout>,
    /// What it prints on standard error.
    pub stderr: Option<ChildStderr>,
    program: PathBuf,
    group: Pid,
    /// Becomes readable when the leader has ended, without reaping it.
    ended: AsyncFd<OwnedFd>,
    /// Gone once it has been reaped.
    child: Option<Child>,
}

impl Running {
    pub(super) fn watch(program: PathBuf, mut child: Child) -> Result<Self, ProcessError> {
        let watch = |source| ProcessError::Watch { program: program.clone(), source };
        let group = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
            .ok_or_else(|| watch(std::io::Error::other("it has no process id")))?;
        let opened = pidfd_open(group, PidfdFlags::NONBLOCK).map_err(Into::into).and_then(register);
        let ended = match opened {
            Ok(ended) => ended,
            Err(source) => {
                end(group, child);
                return Err(watch(source));
            }
        };
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        Ok(Self { stdin, stdout, stderr, program, group, ended, child: Some(child) })
    }

    /// Its process id, which is its group's too.
    pub fn id(&self) -> u32 {
        self.group.as_raw_nonzero().get().unsigned_abs()
    }

    /// The program, for errors.
    pub(super) const fn program(&self) -> &PathBuf {
        &self.program
    }

    /// Sets a limit that the kernel keeps, for it and all that it starts from now on.
    pub(super) fn restrict(&self, resource: Resource, value: u64) -> Result<(), ProcessError> {
        let limit = Rlimit { current: Some(value), maximum: Some(value) };
        match prlimit(Some(self.group), resource, limit) {
            // It may have ended already; then there is nothing to limit.
            Ok(_) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(ProcessError::Watch { program: self.program.clone(), source: error.into() }),
        }
    }

    /// Waits for its end, kills what is left of its group, and reaps it. May be asked again.
    ///
    /// # Errors
    /// When its end cannot be seen.
    pub async fn wait(&mut self) -> Result<ExitStatus, ProcessError> {
        let watch = |source| ProcessError::Watch { program: self.program.clone(), source };
        // Nothing is taken from the descriptor: it stays readable, so asking again answers at once.
        self.ended.readable().await.map_err(watch)?.retain_ready();
        let Some(child) = self.child.as_mut() else {
            return Err(watch(std::io::Error::other("it was reaped before")));
        };
        if child.id().is_some() {
            kill(self.group);
        }
        child.wait().await.map_err(watch)
    }

    /// Waits for its end, no longer than `limit` and only until `cancel` fires; then the group is killed.
    ///
    /// # Errors
    /// When it had to be killed, or cannot be watched.
    pub async fn wait_within(&mut self, limit: Duration, cancel: &CancellationToken) -> Result<ExitStatus, ProcessError> {
        let early = tokio::select! {
            status = self.wait() => return status,
            () = tokio::time::sleep(limit) => ProcessError::Deadline { program: self.program.clone(), after: limit },
            () = cancel.cancelled() => ProcessError::Cancelled { program: self.program.clone() },
        };
        self.kill().await;
        Err(early)
    }

    /// Kills the whole group, and reaps the leader.
    pub async fn kill(&mut self) {
        if self.child.as_ref().is_some_and(|child| child.id().is_some()) {
            kill(self.group);
        }
        // A killed process ends; that its end could not be read changes nothing for the caller.
        let _ = self.wait().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = self.child.take().filter(|child| child.id().is_some()) {
            end(self.group, child);
        }
    }
}

/// Has the runtime watch a descriptor that we own, and so keep open for as long as it is watched.
#[expect(deprecated, reason = "the constructor that replaces it is unsafe; what it guards against cannot happen to an owned descriptor")]
fn register(descriptor: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}

fn kill(group: Pid) {
    // That there is no such group (any more) is what is wanted.
    let _ = kill_process_group(group, Signal::KILL);
}

/// Kills a group whose leader nobody waits for, and has it reaped in the background.
fn end(group: Pid, mut child: Child) {
    kill(group);
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(async move {
            let _ = child.wait().await;
        });
    }
    // Outside of a runtime the process is about to end itself; tokio reaps what it can.
}
