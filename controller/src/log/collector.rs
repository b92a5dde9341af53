//! Reading on in the logs of builds.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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

/// How long a log that is complete is left alone.
const COMPLETE: Duration = Duration::from_hours(1);

/// A build whose logs are read.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// The attempt.
    pub key: AttemptKey,
    /// The executor.
    pub executor: &'a ExecutorName,
    /// The executor's own name for the build.
    pub build: Option<&'a str>,
    /// The parts that are known to have a log.
    pub parts: &'a [String],
}

/// When a part is read next, and how often in a row nothing had come.
#[derive(Debug, Clone, Copy)]
struct Turn {
    at: Instant,
    idle: u32,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads logs from executors and keeps them.
pub struct Collector {
    book: LogBook,
    executors: Executors,
    mask: Mask,
    max: u64,
    /// One reader a log: two would keep the same bytes twice.
    busy: Mutex<HashMap<AttemptKey, Arc<tokio::sync::Mutex<()>>>>,
    turns: Mutex<HashMap<(AttemptKey, String), Turn>>,
}

impl Collector {
    /// A collector that keeps at most `max` bytes of each log.
    pub fn new(book: LogBook, executors: Executors, mask: Mask, max: u64) -> Self {
        Self { book, executors, mask, max, busy: Mutex::default(), turns: Mutex::default() }
    }

    /// The kept logs.
    pub const fn book(&self) -> &LogBook {
        &self.book
    }

    /// Reads on in the logs of a build that may be running, one part after the other, each as far as one pass goes. A part in
    /// which nothing comes is looked at less and less often, as its executor wants it.
    ///
    /// # Errors
    /// When the executor cannot be asked, or what was read cannot be kept. What other parts have written was kept.
    pub async fn read_on(&self, reading: &Reading<'_>) -> Result<(), CollectError> {
        let mut trouble = None;
        for part in self.parts(reading) {
            if !self.is_due(reading.key, &part) {
                continue;
            }
            let before = self.book.state(&reading.key, &part).await?;
            let read = self.in_turn(reading, &part).await;
            self.read_next(reading, &part, read.as_ref().ok().map(|after| (after.complete, *after != before)));
            trouble = read.err().or(trouble);
        }
        trouble.map_or(Ok(()), Err)
    }

    /// Reads the rest of the logs of a build that has ended.
    ///
    /// # Errors
    /// When the executor cannot be asked or a log has not ended; asking again reads on.
    pub async fn finish(&self, reading: &Reading<'_>) -> Result<(), CollectError> {
        for part in self.parts(reading) {
            self.finish_part(reading, &part).await?;
        }
        held(&self.turns).retain(|(key, _), _| *key != reading.key);
        Ok(())
    }

    /// Forgets when to read what is not read any more.
    pub fn only(&self, live: &BTreeSet<AttemptKey>) {
        held(&self.turns).retain(|(key, _), _| live.contains(key));
    }

    /// The parts that are read. An executor that runs our jobs and shows no parts has one log all the same.
    fn parts(&self, reading: &Reading<'_>) -> Vec<String> {
        let jobs = self.executors.get(reading.executor).is_none_or(|executor| executor.abilities().jobs);
        if reading.parts.is_empty() && jobs { vec![PART.to_owned()] } else { reading.parts.to_vec() }
    }

    fn is_due(&self, key: AttemptKey, part: &str) -> bool {
        held(&self.turns).get(&(key, part.to_owned())).is_none_or(|turn| turn.at <= Instant::now())
    }

    /// Sets when a part is read next, by whether it is complete and whether it moved; neither is known of one that could not
    /// be read.
    fn read_next(&self, reading: &Reading<'_>, part: &str, seen: Option<(bool, bool)>) {
        let Some(pace) = self.executors.get(reading.executor).map(|executor| executor.abilities().pace) else { return };
        let mut turns = held(&self.turns);
        let turn = turns.entry((reading.key, part.to_owned())).or_insert(Turn { at: Instant::now(), idle: 0 });
        turn.idle = if matches!(seen, Some((_, true))) { 0 } else { turn.idle.saturating_add(1) };
        let wait = pace.quickest.saturating_mul(1 << turn.idle.min(8)).min(pace.slowest);
        let complete = matches!(seen, Some((true, _)));
        turn.at = Instant::now() + if complete { COMPLETE } else { wait };
    }

    async fn in_turn(&self, reading: &Reading<'_>, part: &str) -> Result<LogState, CollectError> {
        let key = reading.key;
        let turn = Arc::clone(held(&self.busy).entry(key).or_default());
        let reader = turn.lock().await;
        let read = self.pass(reading, part).await;
        drop(reader);
        let mut busy = held(&self.busy);
        if Arc::strong_count(&turn) <= 2 {
            busy.remove(&key);
        }
        read
    }

    async fn finish_part(&self, reading: &Reading<'_>, part: &str) -> Result<(), CollectError> {
        loop {
            let before = self.book.state(&reading.key, part).await?;
            if before.complete {
                return Ok(());
            }
            let after = match self.in_turn(reading, part).await {
                // The executor keeps nothing of it: what we have is all that there is.
                Err(CollectError::Executor(ExecutorError::Refused(_))) => LogState { complete: true, ..before.clone() },
                other => other?,
            };
            if after.complete {
                self.book.append(&reading.key, part, &[], &after).await?;
                return Ok(());
            }
            if after == before {
                return Err(CollectError::NotYet);
            }
        }
    }

    async fn pass(&self, reading: &Reading<'_>, name: &str) -> Result<LogState, CollectError> {
        let key = &reading.key;
        let mut state = self.book.state(key, name).await?;
        // What was never started has no log; what is not configured any more cannot be asked.
        let build = reading.build.and_then(|build| build.parse().ok());
        let (Some(executor), Some(build)) = (self.executors.get(reading.executor), build) else {
            return Ok(LogState { complete: true, ..state });
        };
        let part = PartRef { tracked: Tracked { key: *key, build, scope: Scope::default() }, part: name.to_owned() };
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
            self.keep((key, name), &mut window, &mut pieces, &mut state, &chunk.next, chunk.complete).await?;
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
        (key, name): (&AttemptKey, &str),
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
            self.book.append(key, name, &masked, &after).await?;
            *state = after;
        }
        Ok(())
    }
}
