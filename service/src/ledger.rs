//! The ledger: what a worker was asked to do, and what came of it, by operation and attempt.
//!
//! Asking again is posting again. The first ask is written down, synced, before the work begins; the work then belongs to
//! the ledger, not to the connection that asked for it. Later asks join it, or get the stored result, for 30 days. After
//! a crash what was begun is begun again at the next ask, so work must be able to find what an earlier try left behind.
//!
//! Architecture invariant: one key means one body. Of the body only its digest is kept, never its text, which may have
//! held a secret.

mod book;
mod flight;

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use http::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use signalbox_contract::api::Answer;
use signalbox_contract::{AttemptKey, Code, Digest, Failure, FailureCode, Problem};
use tokio::sync::watch;

use book::Book;
pub use book::{Entry, StoredState};
use flight::{Boarding, Ending, Flights, Id, Phase};

use crate::auth::MAX_WAIT;
use crate::clock::SharedClock;
use crate::http::{Json, internal};
use crate::shutdown::Shutdown;
use crate::sqlite::DatabaseError;
use crate::telemetry::causes;

/// The ledger's file in a data folder.
pub const FILE: &str = "ledger.db";

/// The largest result that is kept, in bytes of JSON.
const MAX_RESULT: usize = 1024 * 1024;

/// How long an ask waits for its first row to be written.
const WRITING: Duration = Duration::from_secs(10);

/// How long work may go on once the service is ending. Less than the service's own drain.
const GRACE: Duration = Duration::from_secs(15);

/// How often old rows are removed.
const SWEEP_EVERY: Duration = Duration::from_hours(1);

/// After how many seconds a caller may ask again for what failed for now.
const AGAIN_AFTER: u32 = 5;

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Its file cannot be opened.
    #[error("the ledger cannot be opened")]
    Open(#[source] DatabaseError),
    /// It cannot be read.
    #[error("the ledger cannot be read")]
    Read(#[source] sqlx::Error),
    /// It cannot be written.
    #[error("the ledger cannot be written")]
    Write(#[source] sqlx::Error),
    /// A row holds what this version cannot have written.
    #[error("the ledger holds a row that makes no sense")]
    Damaged,
}

/// Why work did not give a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkError {
    /// It failed, once and for all: every later ask is told the same.
    Failed(Failure),
    /// It failed for now: those who wait are told, and the next ask tries again.
    Again(Failure),
}

impl WorkError {
    /// What failed.
    pub const fn failure(&self) -> &Failure {
        match self {
            Self::Failed(failure) | Self::Again(failure) => failure,
        }
    }
}

/// A ledger. Clones are the same ledger.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    book: Book,
    flights: Mutex<Flights>,
    shutdown: Shutdown,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}

impl Ledger {
    /// Opens the ledger in the data folder `data`, and removes what is old now and then.
    ///
    /// # Errors
    /// When its database cannot be opened.
    pub async fn open(data: &Path, clock: SharedClock, shutdown: Shutdown) -> Result<Self, LedgerError> {
        let book = Book::open(&data.join(FILE), clock).await?;
        let ledger = Self(Arc::new(Inner { book, flights: Mutex::default(), shutdown }));
        ledger.0.shutdown.spawn("ledger-sweep", sweep_for_ever(ledger.clone()));
        Ok(ledger)
    }

    /// Asks for the act `op` of the attempt `key`. `work` does it, if it is not done and nobody is at it; it runs to its
    /// end whatever becomes of this call. The answer comes when the work has ended, or after `wait`.
    ///
    /// # Errors
    /// 422 when the key came before with another body, 503 when the work failed for now, when too much is being worked on
    /// or when the service is ending, 507 when the ledger is full, 500 when it cannot be read.
    pub async fn ask<R, F, Fut>(&self, op: &str, key: &AttemptKey, body: &Digest, wait: Duration, work: F) -> crate::http::Result<Answer<R>>
    where
        R: Serialize + DeserializeOwned,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<R, WorkError>> + Send + 'static,
    {
        if let Some(entry) = self.0.book.find(op, key).await.map_err(internal)? {
            if entry.body != *body {
                return Err(reused());
            }
            match entry.state {
                StoredState::Working => {}
                StoredState::Done(result) => return done(&result),
                StoredState::Failed(failure) => return Ok(Answer::Failed { failure }),
            }
        }
        let id: Id = (op.to_owned(), *key);
        let boarding = self.0.flights().board(id.clone(), body);
        let flight = match boarding {
            Boarding::Join(flight) => flight,
            Boarding::Begin(sender, flight) => {
                self.take_off(id, *body, sender, work)?;
                flight
            }
            Boarding::Unheard(failure) => return Err(again(&failure)),
            Boarding::Reused => return Err(reused()),
            Boarding::Full => return Err(unavailable("Too much is being worked on; ask again.")),
        };
        self.listen(flight, wait).await
    }

    /// Begins a flight. Its work is told the same request id and span as the ask that began it.
    fn take_off<R, F, Fut>(&self, id: Id, body: Digest, sender: watch::Sender<Phase>, work: F) -> crate::http::Result<()>
    where
        R: Serialize,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<R, WorkError>> + Send + 'static,
    {
        let refusal = if self.0.shutdown.begun() {
            Some(unavailable("The service is ending."))
        } else if self.0.book.is_full() {
            Some(Problem::new(Code::InsufficientStorage).detail("The ledger is full.").into())
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.0.flights().land(&id, &sender, Ending::Stopped);
            return Err(refusal);
        }
        let inner = Arc::clone(&self.0);
        let flight = async move {
            let ending = inner.fly(&id, &body, &sender, work).await;
            inner.flights().land(&id, &sender, ending);
        };
        self.0.shutdown.spawn("ledger-work", crate::telemetry::request_id::inherit(flight));
        Ok(())
    }

    /// Waits for the end of a flight, for as long as is wanted.
    async fn listen<R: DeserializeOwned>(&self, mut flight: watch::Receiver<Phase>, wait: Duration) -> crate::http::Result<Answer<R>> {
        let written = tokio::time::timeout(WRITING, flight.wait_for(|phase| !matches!(phase, Phase::Starting))).await.is_ok();
        if !written {
            return Err(unavailable("The ledger is slow; ask again."));
        }
        let ended = async {
            // An error means that the flight was dropped; what it last said is still there.
            let _ = flight.wait_for(|phase| matches!(phase, Phase::Ended(_))).await;
        };
        tokio::select! {
            () = ended => {}
            () = tokio::time::sleep(wait.min(MAX_WAIT)) => {}
            () = self.0.shutdown.requested() => {}
        }
        let phase = flight.borrow().clone();
        match phase {
            Phase::Working { since } => Ok(Answer::Working { since }),
            Phase::Ended(Ending::Done(result)) => done(&result),
            Phase::Ended(Ending::Failed(failure)) => Ok(Answer::Failed { failure }),
            Phase::Ended(Ending::Again(failure)) => Err(again(&failure)),
            Phase::Ended(Ending::Reused) => Err(reused()),
            Phase::Starting | Phase::Ended(Ending::Stopped) => Err(unavailable("The service is ending.")),
        }
    }

    /// What is stored under an operation and a key.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn find(&self, op: &str, key: &AttemptKey) -> Result<Option<Entry>, LedgerError> {
        self.0.book.find(op, key).await
    }

    /// Removes what was kept long enough, and tells how many rows that were. The ledger does it by itself every hour.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn sweep(&self) -> Result<u64, LedgerError> {
        self.0.book.sweep().await
    }

    /// Closes the database, once nothing asks any more.
    pub async fn close(&self) {
        self.0.book.close().await;
    }
}

impl Inner {
    fn flights(&self) -> MutexGuard<'_, Flights> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fly<R, F, Fut>(&self, id: &Id, body: &Digest, sender: &watch::Sender<Phase>, work: F) -> Ending
    where
        R: Serialize,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<R, WorkError>>,
    {
        let (op, key) = (id.0.as_str(), &id.1);
        let entry = match self.book.begin(op, key, body).await {
            Ok(entry) => entry,
            Err(error) => return not_written(&error),
        };
        if entry.body != *body {
            return Ending::Reused;
        }
        match entry.state {
            StoredState::Working => {}
            StoredState::Done(result) => return Ending::Done(result),
            StoredState::Failed(failure) => return Ending::Failed(failure),
        }
        sender.send_replace(Phase::Working { since: entry.since });
        // Calling `work` is part of what may panic.
        let guarded = AssertUnwindSafe(async { work().await }).catch_unwind();
        let outcome = tokio::select! {
            outcome = guarded => outcome,
            () = self.too_long_after_the_end() => return Ending::Stopped,
        };
        let state = match settle(op, key, outcome) {
            Ok(state) => state,
            Err(failure) => return Ending::Again(failure),
        };
        match self.book.end(op, key, &state).await {
            Ok(_) => {}
            // What was done is not written down: it is asked for again, and done again.
            Err(error) => return not_written(&error),
        }
        match state {
            StoredState::Done(result) => Ending::Done(result),
            StoredState::Failed(failure) => Ending::Failed(failure),
            StoredState::Working => Ending::Stopped,
        }
    }

    async fn too_long_after_the_end(&self) {
        self.shutdown.requested().await;
        tokio::time::sleep(GRACE).await;
    }
}

/// What is to be written of how work ended; a failure if it is to be tried again.
fn settle<R: Serialize>(
    op: &str,
    key: &AttemptKey,
    outcome: Result<Result<R, WorkError>, Box<dyn Any + Send>>,
) -> Result<StoredState, Failure> {
    match outcome {
        Ok(Ok(result)) => Ok(match serde_json::to_string(&result) {
            Ok(text) if text.len() <= MAX_RESULT => StoredState::Done(text),
            Ok(_) => StoredState::Failed(Failure::new(FailureCode::Internal, "The result is larger than can be kept.")),
            Err(error) => {
                tracing::error!(op, %key, error = %causes(&error), "the result cannot be written as JSON");
                StoredState::Failed(Failure::new(FailureCode::Internal, "The result cannot be kept."))
            }
        }),
        Ok(Err(WorkError::Failed(failure))) => Ok(StoredState::Failed(failure)),
        Ok(Err(WorkError::Again(failure))) => Err(failure),
        Err(panic) => {
            tracing::error!(op, %key, panic = panic_text(&*panic), "the work panicked");
            Err(Failure::new(FailureCode::Internal, "The work met a fault of the service."))
        }
    }
}

async fn sweep_for_ever(ledger: Ledger) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = ledger.0.shutdown.requested() => return,
        }
        match ledger.sweep().await {
            Ok(0) => {}
            Ok(removed) => tracing::debug!(removed, "swept the ledger"),
            Err(error) => tracing::error!(error = %causes(&error), "the ledger was not swept"),
        }
    }
}

/// An answer of the ledger's as an HTTP answer: 202 while at work, 200 once it has ended.
pub fn respond<R: Serialize>(answer: Answer<R>) -> Response {
    let status = match &answer {
        Answer::Working { .. } => StatusCode::ACCEPTED,
        Answer::Done { .. } | Answer::Failed { .. } => StatusCode::OK,
    };
    let mut response = Json(answer).into_response();
    if response.status().is_success() {
        *response.status_mut() = status;
    }
    response
}

fn done<R: DeserializeOwned>(result: &str) -> crate::http::Result<Answer<R>> {
    serde_json::from_str(result).map(|result| Answer::Done { result }).map_err(internal)
}

fn reused() -> crate::http::Refusal {
    Problem::new(Code::KeyReused).detail("This attempt asked for the same with another body before.").into()
}

fn again(failure: &Failure) -> crate::http::Refusal {
    Problem::new(Code::Unavailable).failure(failure).retry_after(AGAIN_AFTER).into()
}

fn unavailable(detail: &str) -> crate::http::Refusal {
    Problem::new(Code::Unavailable).detail(detail).retry_after(AGAIN_AFTER).into()
}

fn not_written(error: &LedgerError) -> Ending {
    tracing::error!(error = %causes(error), "the ledger failed");
    Ending::Again(Failure::new(FailureCode::Internal, "The ledger cannot be written now."))
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}

#[cfg(test)]
mod tests;
