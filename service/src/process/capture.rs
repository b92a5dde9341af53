//! Running a program to its end, and collecting what it prints.

use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use super::{Bounds, ProcessError, Program};

/// What a program left behind.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed on standard output, all of it.
    pub stdout: Vec<u8>,
    /// The end of what it printed on standard error.
    pub stderr: Vec<u8>,
}

impl Program {
    /// Runs it to its end and collects what it prints. Dropping the future kills it.
    ///
    /// # Errors
    /// When it cannot be started, or did not come to its own end within the bounds. How it ended is not judged here.
    pub async fn run(mut self, bounds: Bounds) -> Result<Output, ProcessError> {
        let input = self.stdin.take();
        let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
        let mut running = self.spawn(stdin)?;
        let program = running.program().clone();
        let (stdin, stdout, stderr) = (running.stdin.take(), running.stdout.take(), running.stderr.take());
        let watch = |source| ProcessError::Watch { program: program.clone(), source };

        let feed = async {
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                // A program that ends without reading everything is judged by how it ends.
                let _ = stdin.write_all(&input).await;
            }
        };
        let collect = async {
            let mut all = Vec::new();
            if let Some(stdout) = stdout {
                let limit = u64::try_from(bounds.stdout).unwrap_or(u64::MAX).saturating_add(1);
                stdout.take(limit).read_to_end(&mut all).await.map_err(watch)?;
            }
            if all.len() > bounds.stdout {
                return Err(ProcessError::TooMuchOutput { program: program.clone(), limit: bounds.stdout });
            }
            Ok(all)
        };
        let complain = async {
            let mut tail = Tail::new(bounds.stderr);
            if let Some(stderr) = stderr {
                tail.read(stderr).await.map_err(watch)?;
            }
            Ok(tail.into_bytes())
        };
        // The leader's end comes with the end of its group: nobody is left who could hold the streams open.
        let ended = async { running.wait().await };
        let whole = async {
            tokio::try_join!(
                async {
                    feed.await;
                    Ok(())
                },
                collect,
                complain,
                ended
            )
        };
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(bounds.deadline, whole) => outcome
                .unwrap_or_else(|_| Err(ProcessError::Deadline { program: program.clone(), after: bounds.deadline })),
            () = bounds.cancel.cancelled() => Err(ProcessError::Cancelled { program: program.clone() }),
        };
        match outcome {
            Ok(((), stdout, stderr, status)) => Ok(Output { status, stdout, stderr }),
            Err(error) => {
                running.kill().await;
                Err(error)
            }
        }
    }
}

/// The end of a stream of any length, in bounded memory.
#[derive(Debug, Clone)]
pub struct Tail {
    limit: usize,
    bytes: Vec<u8>,
}

impl Tail {
    /// Keeps the last `limit` bytes.
    pub const fn new(limit: usize) -> Self {
        Self { limit, bytes: Vec::new() }
    }

    /// Reads a stream to its end.
    ///
    /// # Errors
    /// When the stream cannot be read.
    pub async fn read(&mut self, mut stream: impl AsyncRead + Unpin) -> std::io::Result<()> {
        let mut chunk = [0; 4096];
        loop {
            let count = stream.read(&mut chunk).await?;
            if count == 0 {
                return Ok(());
            }
            self.push(&chunk[..count]);
        }
    }

    /// Adds bytes, and forgets the oldest where there are too many.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        // Twice the limit is kept before anything is moved, so that each byte is moved once on average.
        if self.bytes.len() > self.limit.saturating_mul(2).max(8192) {
            self.trim();
        }
    }

    /// What was kept.
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.trim();
        self.bytes
    }

    fn trim(&mut self) {
        let surplus = self.bytes.len().saturating_sub(self.limit);
        self.bytes.drain(..surplus);
    }
}
