//! Watching a program by `strace`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use signalbox_service::process::{Program, Running};

use super::trace::{Call, read};

/// The calls that change files, tell where in them a program is, or answer somebody.
const WATCHED: &str = "trace=open,openat,openat2,creat,close,dup,dup2,dup3,fcntl,chdir,fchdir,read,readv,lseek,getdents64,write,writev,pwrite64,\
    pwritev,pwritev2,sendto,sendmsg,sendfile,copy_file_range,splice,truncate,ftruncate,fallocate,rename,renameat,renameat2,link,linkat,\
    symlink,symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat,chmod,fchmod,fchmodat,fsync,fdatasync,sync,syncfs,mmap,clone,clone3,fork,vfork,\
    io_uring_setup";

/// More than any program of ours writes in one call, so that all bytes are shown.
const SHOWN: &str = "4194304";

/// How long a watched program may take to end. Only a hanging one takes so long.
const PATIENCE: Duration = Duration::from_mins(1);

/// Why a program could not be watched.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// `strace` or the program cannot be started, or does not end.
    #[error("{0} cannot be watched by strace")]
    Program(PathBuf, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// It did not end by itself when it was told to.
    #[error("{0} does not end")]
    Hangs(PathBuf),
    /// What was written down cannot be read.
    #[error("the recording of {0} cannot be read")]
    Unreadable(PathBuf, #[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A program that is being watched.
#[derive(Debug)]
pub struct Recorder {
    program: PathBuf,
    trace: PathBuf,
    running: Running,
}

impl Recorder {
    /// Starts a program. What it prints goes to `log`, what it calls to `trace`; `more` is what `strace` is told besides.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &Path, arguments: &[&str], log: &Path, trace: &Path, more: &[&str]) -> Result<Self, RecorderError> {
        let failed = |error| RecorderError::Program(program.to_owned(), Box::new(error));
        let running = Program::new("/bin/sh")
            .args(["-c", "log=$1; shift; exec \"$0\" \"$@\" >>\"$log\" 2>&1 </dev/null", "strace"])
            .arg(log)
            .args(["-f", "-y", "-xx", "--seccomp-bpf", "-s", SHOWN, "-e", WATCHED])
            .args(more)
            .arg("-o")
            .arg(trace)
            .arg(program)
            .args(arguments)
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("SIGNALBOX_LOG", "info")
            .start()
            .map_err(failed)?;
        Ok(Self { program: program.to_owned(), trace: trace.to_owned(), running })
    }

    /// Tells the program to end as an operator would, waits until it has, and answers what it called.
    ///
    /// # Errors
    /// When it does not end, or what it called cannot be read.
    pub async fn end(self) -> Result<Vec<Call>, RecorderError> {
        let text = std::fs::read_to_string(&self.trace).unwrap_or_default();
        // The first to call anything is the program itself.
        let first = text.split_whitespace().next().and_then(|number| number.parse().ok()).and_then(Pid::from_raw);
        if let Some(first) = first {
            // It may have ended by itself.
            let _ = kill_process(first, Signal::TERM);
        }
        self.ended().await
    }

    /// Waits until the program has come to its own end, and answers what it called.
    ///
    /// # Errors
    /// When it does not end, or what it called cannot be read.
    pub async fn ended(mut self) -> Result<Vec<Call>, RecorderError> {
        let ended = tokio::time::timeout(PATIENCE, self.running.wait()).await;
        let _ = ended
            .map_err(|_| RecorderError::Hangs(self.program.clone()))?
            .map_err(|error| RecorderError::Program(self.program.clone(), Box::new(error)))?;
        let unreadable = |error| RecorderError::Unreadable(self.program.clone(), error);
        let text = std::fs::read_to_string(&self.trace).map_err(|error| unreadable(Box::new(error)))?;
        read(&text).map_err(|error| unreadable(Box::new(error)))
    }
}
