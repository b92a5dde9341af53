//! What a job prints, read on from where we are.
//!
//! A trace has no end mark: GitLab may still be filing away the last of it when the job is over. So a log is complete when
//! the job was seen to have ended, and the trace has then been found as long as before. The cursor remembers both:
//! `OFFSET`, or `OFFSET+` once the job was over with nothing new.

use bytes::{Bytes, BytesMut};
use signalbox_contract::{Failure, FailureCode, Invalid};

use super::GitLabExecutor;
use super::part::{JobRef, TESTS};
use super::place::PipelineRef;
use super::refusal::translate;
use crate::executor::{ExecutorError, LogChunk, LogCursor, PartRef};
use crate::gitlab::GitLabError;

/// How many bytes are answered at once.
const CHUNK: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cursor {
    offset: u64,
    /// Whether the job was over when nothing new was found here.
    over: bool,
}

impl Cursor {
    fn read(cursor: &LogCursor) -> Option<Self> {
        let text = cursor.as_str();
        if text.is_empty() {
            return Some(Self { offset: 0, over: false });
        }
        let (number, over) = text.strip_suffix('+').map_or((text, false), |number| (number, true));
        Some(Self { offset: number.parse().ok()?, over })
    }

    fn word(self) -> Result<LogCursor, ExecutorError> {
        let text = format!("{}{}", self.offset, if self.over { "+" } else { "" });
        text.parse().map_err(|invalid: Invalid| ExecutorError::Unknown(invalid.into()))
    }
}

impl GitLabExecutor {
    pub(super) async fn read_on(&self, part: &PartRef, from: &LogCursor) -> Result<LogChunk, ExecutorError> {
        let refused = |detail: &str| ExecutorError::Refused(Failure::new(FailureCode::ExecutorRefused, detail));
        let cursor = Cursor::read(from).ok_or_else(|| refused("The log's cursor is not one of this executor's."))?;
        let build = PipelineRef::read(&part.tracked.build).ok_or_else(|| refused("The build's name is not one of this executor's."))?;
        if part.part == TESTS {
            return self.read_tests(build, cursor).await;
        }
        let job = JobRef::read(&part.part, build).ok_or_else(|| refused("The part's name is not one of this executor's."))?;
        let bytes = match self.trace_from(job, cursor.offset).await {
            Ok(bytes) => bytes,
            // Erased, or thrown away by GitLab: there is nothing more.
            Err(GitLabError::NotFound { .. }) if cursor.over => Bytes::new(),
            Err(GitLabError::NotFound { .. }) if self.is_over(job).await? => Bytes::new(),
            Err(error) => return Err(translate(error)),
        };
        if !bytes.is_empty() {
            let next = Cursor { offset: cursor.offset.saturating_add(bytes.len() as u64), over: cursor.over };
            return Ok(LogChunk { bytes, next: next.word()?, complete: false });
        }
        if cursor.over {
            return Ok(LogChunk { bytes, next: cursor.word()?, complete: true });
        }
        let over = self.is_over(job).await?;
        Ok(LogChunk { bytes, next: Cursor { over, ..cursor }.word()?, complete: false })
    }

    async fn is_over(&self, job: JobRef) -> Result<bool, ExecutorError> {
        match self.gitlab.job(&job.reference(), job.job).await {
            Ok(job) => Ok(job.status.has_ended()),
            Err(error) if error.is_not_found() => Ok(true),
            Err(error) => Err(translate(error)),
        }
    }

    /// Bytes of a trace from here on, some. A GitLab that cannot begin there sends all, of which the front is dropped.
    async fn trace_from(&self, job: JobRef, offset: u64) -> Result<Bytes, GitLabError> {
        let Some(mut download) = self.gitlab.trace(&job.reference(), job.job, offset).await? else { return Ok(Bytes::new()) };
        let first = download.offset();
        if first > offset {
            return Err(GitLabError::Unreadable { what: "it begins behind what was asked for".to_owned() });
        }
        let mut drop = offset - first;
        let mut bytes = BytesMut::new();
        loop {
            let chunk = match download.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                // What has come is of the log, whatever became of the rest.
                Err(_) if !bytes.is_empty() => break,
                Err(error) => return Err(error),
            };
            let dropped = usize::try_from(drop).unwrap_or(usize::MAX).min(chunk.len());
            drop -= dropped as u64;
            let chunk = &chunk[dropped..];
            let room = CHUNK - bytes.len();
            bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if bytes.len() == CHUNK {
                break;
            }
        }
        Ok(bytes.freeze())
    }

    async fn read_tests(&self, build: PipelineRef, cursor: Cursor) -> Result<LogChunk, ExecutorError> {
        let text = Bytes::from(self.tests_log(build).await.map_err(translate)?);
        let start = usize::try_from(cursor.offset).unwrap_or(usize::MAX).min(text.len());
        let bytes = text.slice(start..text.len().min(start + CHUNK));
        let offset = (start + bytes.len()) as u64;
        let complete = start + bytes.len() == text.len();
        Ok(LogChunk { bytes, next: Cursor { offset, over: complete }.word()?, complete })
    }
}
