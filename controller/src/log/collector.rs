//! Reading on in the logs of builds.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use signalbox_adapters::executor::{ExecutorError, LogCursor, PartRef, Scope, Tracked};
use signalbox_contract::{AttemptKey, ExecutorName};

use super::{LogBook, LogState, Mask};
use crate::engine::Executors;

/// The name of the one part that executors without parts of their own show.
pub const PART: &str = "build";

/// How many pieces one pass reads, so that no log holds up the others.
const PIECES: usize = 32;

/// What stands at the end of a log that was cut off.
const CUT: &[u8] = b"\n[the log is longer than is kept; the rest was left out]\n";

/// Why a log could not be read on.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The executor could not be asked.
    #[error("the executor could not be asked")]
    Executor(#[from] ExecutorError),
    /// What was read could not be kept.
    #[error("what was read could not be kept")]
    Kept(#[from] sqlx::Error),
    /// The log has not ended yet.
    #[error("the log has not ended yet")]
    NotYet,
}

/// Reads logs from executors and keeps them.
pub struct Collector {
    book: LogBook,
    executors: Executors,
    mask: Mask,
    max: u64,
    /// One reader a log: two would keep the same bytes twice.
    busy: Mutex<HashMap<AttemptKey, Arc<tokio::sync::Mutex<()>>>>,
}

impl Collector {
    /// A collector that keeps at most `max` bytes of each log.
    pub fn new(book: LogBook, executors: Executors, mask: Mask, max: u64) -> Self {
        Self { book, executors, mask, max, busy: Mutex::default() }
    }

    /// The kept logs.
    pub const fn book(&self) -> &LogBook {
        &self.book
    }

    /// Reads on in the log of a build that may be running.
    ///
    /// # Errors
    /// When the executor cannot be asked, or what was read cannot be kept.
    pub async fn read_on(&self, key: &AttemptKey, executor: &ExecutorName, build: Option<&str>) -> Result<LogState, CollectError> {
        let turn = Arc::clone(self.busy.lock().unwrap_or_else(PoisonError::into_inner).entry(*key).or_default());
        let held = turn.lock().await;
        let read = self.pass(key, executor, build).await;
        drop(held);
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::strong_count(&turn) <= 2 {
            busy.remove(key);
        }
        read
    }

    /// Reads the rest of the log of a build that has ended.
    ///
    /// # Errors
    /// When the executor cannot be asked or the log has not ended; asking again reads on.
    pub async fn finish(&self, key: &AttemptKey, executor: &ExecutorName, build: Option<&str>) -> Result<(), CollectError> {
        loop {
            let before = self.book.state(key, PART).await?;
            let after = match self.read_on(key, executor, build).await {
                // The executor keeps nothing of it: what we have is all that there is.
                Err(CollectError::Executor(ExecutorError::Refused(_))) => LogState { complete: true, ..before.clone() },
                other => other?,
            };
            if after.complete {
                self.book.append(key, PART, &[], &after).await?;
                return Ok(());
            }
            if after == before {
                return Err(CollectError::NotYet);
            }
        }
    }

    async fn pass(&self, key: &AttemptKey, executor: &ExecutorName, build: Option<&str>) -> Result<LogState, CollectError> {
        let mut state = self.book.state(key, PART).await?;
        // What was never started has no log; what is not configured any more cannot be asked.
        let (Some(executor), Some(build)) = (self.executors.get(executor), build.and_then(|build| build.parse().ok())) else {
            return Ok(LogState { complete: true, ..state });
        };
        let part = PartRef { tracked: Tracked { key: *key, build, scope: Scope::default() }, part: PART.to_owned() };
        let mut window = Vec::new();
        // The pieces that `window` and the bytes to be skipped came from.
        let mut pieces: VecDeque<(LogCursor, u64)> = VecDeque::new();
        let mut at = state.cursor.clone();
        let begun = state.length;
        let mut read = 0;
        while !state.complete {
            let chunk = executor.log(&part, &at).await?;
            let known = if pieces.is_empty() { usize::try_from(state.skip).unwrap_or(usize::MAX) } else { 0 };
            window.extend_from_slice(chunk.bytes.get(known..).unwrap_or_default());
            pieces.push_back((at, chunk.bytes.len() as u64));
            let idle = chunk.bytes.len() <= known;
            self.keep(key, &mut window, &mut pieces, &mut state, &chunk.next, chunk.complete).await?;
            read += 1;
            // What may be the beginning of a secret can be longer than many pieces: then it has to be read on all the same.
            if idle || (read >= PIECES && state.length > begun) {
                break;
            }
            at = chunk.next;
        }
        Ok(state)
    }

    /// Keeps as much of `window` as may be shown.
    async fn keep(
        &self,
        key: &AttemptKey,
        window: &mut Vec<u8>,
        pieces: &mut VecDeque<(LogCursor, u64)>,
        state: &mut LogState,
        next: &LogCursor,
        end: bool,
    ) -> Result<(), CollectError> {
        let mut masked = window.clone();
        let shown = self.mask.apply(&mut masked, end);
        masked.truncate(shown);
        window.drain(..shown);
        // Move the place from which reading goes on behind what is shown now.
        let mut skip = state.skip + shown as u64;
        while let Some((_, length)) = pieces.front().filter(|(_, length)| *length <= skip) {
            skip -= length;
            pieces.pop_front();
        }
        let cursor = pieces.front().map_or_else(|| next.clone(), |(cursor, _)| cursor.clone());
        let mut after = LogState { length: state.length + shown as u64, cursor, skip, complete: end };
        if after.length > self.max {
            let room = usize::try_from(self.max.saturating_sub(state.length)).unwrap_or(usize::MAX);
            masked.truncate(room);
            masked.extend_from_slice(CUT);
            after.length = state.length + masked.len() as u64;
            after.complete = true;
        }
        if after != *state {
            self.book.append(key, PART, &masked, &after).await?;
            *state = after;
        }
        Ok(())
    }
}
