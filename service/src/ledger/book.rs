//! The ledger's rows.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use signalbox_contract::{AttemptKey, Digest, Failure};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::LedgerError;
use crate::clock::SharedClock;
use crate::sqlite::Database;

/// How long a row is kept after it was last written.
pub(super) const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How many rows there may be: more than a month of a very busy worker, less than a disk.
const MAX_ROWS: i64 = 4_000_000;

/// How many rows one statement of the sweep removes, so that no ask waits for long.
const SWEEP_STEP: i64 = 1000;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/ledger");

/// What the ledger holds under one operation and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The SHA-256 of the request's body.
    pub body: Digest,
    /// When it was first asked for.
    pub since: Timestamp,
    /// How far it is.
    pub state: StoredState,
}

/// How far an act is, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredState {
    /// Begun; whether anybody is at it now, only the running service knows.
    Working,
    /// Done, with the result as JSON.
    Done(String),
    /// Failed, once and for all.
    Failed(Failure),
}

/// The database, and how many rows it has.
pub(super) struct Book {
    database: Database,
    clock: SharedClock,
    rows: AtomicI64,
}

impl Book {
    pub(super) async fn open(path: &Path, clock: SharedClock) -> Result<Self, LedgerError> {
        let database = Database::open(path, &MIGRATIONS, 2).await.map_err(LedgerError::Open)?;
        let book = Self { database, clock, rows: AtomicI64::default() };
        book.count().await?;
        Ok(book)
    }

    async fn count(&self) -> Result<(), LedgerError> {
        let query = sqlx::query_scalar("SELECT count(*) FROM ledger");
        let rows: i64 = query.fetch_one(&self.database.readers).await.map_err(LedgerError::Read)?;
        self.rows.store(rows, Ordering::Relaxed);
        Ok(())
    }

    pub(super) async fn close(&self) {
        self.database.close().await;
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows.load(Ordering::Relaxed) >= MAX_ROWS
    }

    /// What is there, without writing.
    pub(super) async fn find(&self, op: &str, key: &AttemptKey) -> Result<Option<Entry>, LedgerError> {
        sqlx::query("SELECT body, state, result, created FROM ledger WHERE op = $1 AND key = $2")
            .bind(op)
            .bind(key.to_string())
            .fetch_optional(&self.database.readers)
            .await
            .map_err(LedgerError::Read)?
            .as_ref()
            .map(entry)
            .transpose()
    }

    /// Writes that work begins, and tells what is there then: another may have been quicker.
    pub(super) async fn begin(&self, op: &str, key: &AttemptKey, body: &Digest) -> Result<Entry, LedgerError> {
        let now = self.clock.now();
        // All rows are fetched, although there is one: only when the statement has run to its end is it committed, and
        // only then does a full disk show.
        let rows = sqlx::query(
            "INSERT INTO ledger (op, key, body, state, created, updated, expires) VALUES ($1, $2, $3, 'working', $4, $4, $5) \
             ON CONFLICT (op, key) DO UPDATE SET updated = CASE state WHEN 'working' THEN excluded.updated ELSE updated END, \
             expires = CASE state WHEN 'working' THEN excluded.expires ELSE expires END \
             RETURNING body, state, result, created",
        )
        .bind(op)
        .bind(key.to_string())
        .bind(body.to_string())
        .bind(now.as_millisecond())
        .bind(expiry(now))
        .fetch_all(&self.database.writer)
        .await
        .map_err(LedgerError::Write)?;
        let entry = entry(rows.first().ok_or(LedgerError::Damaged)?)?;
        if entry.since.as_millisecond() == now.as_millisecond() {
            // Close enough: what is begun again in the same millisecond counts twice until the next sweep.
            self.rows.fetch_add(1, Ordering::Relaxed);
        }
        Ok(entry)
    }

    /// Writes how work ended. A row that has ended stays as it is.
    pub(super) async fn end(&self, op: &str, key: &AttemptKey, state: &StoredState) -> Result<bool, LedgerError> {
        let (word, result) = match state {
            StoredState::Working => return Ok(false),
            StoredState::Done(result) => ("done", result.clone()),
            StoredState::Failed(failure) => ("failed", serde_json::to_string(failure).map_err(|_| LedgerError::Damaged)?),
        };
        let now = self.clock.now();
        let done = sqlx::query(
            "UPDATE ledger SET state = $3, result = $4, updated = $5, expires = $6 WHERE op = $1 AND key = $2 AND state = 'working'",
        )
        .bind(op)
        .bind(key.to_string())
        .bind(word)
        .bind(result)
        .bind(now.as_millisecond())
        .bind(expiry(now))
        .execute(&self.database.writer)
        .await
        .map_err(LedgerError::Write)?;
        Ok(done.rows_affected() == 1)
    }

    /// Removes what is kept long enough, and tells how much that was.
    pub(super) async fn sweep(&self) -> Result<u64, LedgerError> {
        let mut removed = 0;
        loop {
            let step = sqlx::query(
                "DELETE FROM ledger WHERE (op, key) IN (SELECT op, key FROM ledger WHERE expires <= $1 ORDER BY expires LIMIT $2)",
            )
            .bind(self.clock.now().as_millisecond())
            .bind(SWEEP_STEP)
            .execute(&self.database.writer)
            .await
            .map_err(LedgerError::Write)?
            .rows_affected();
            removed += step;
            if step < SWEEP_STEP.unsigned_abs() {
                self.count().await?;
                return Ok(removed);
            }
        }
    }
}

fn expiry(now: Timestamp) -> i64 {
    now.saturating_add(KEPT).unwrap_or(Timestamp::MAX).as_millisecond()
}

fn time(row: &SqliteRow) -> Result<Timestamp, LedgerError> {
    let millis = row.try_get("created").map_err(LedgerError::Read)?;
    Timestamp::from_millisecond(millis).map_err(|_| LedgerError::Damaged)
}

fn entry(row: &SqliteRow) -> Result<Entry, LedgerError> {
    let body: String = row.try_get("body").map_err(LedgerError::Read)?;
    let state: String = row.try_get("state").map_err(LedgerError::Read)?;
    let result: Option<String> = row.try_get("result").map_err(LedgerError::Read)?;
    let state = match (state.as_str(), result) {
        ("working", None) => StoredState::Working,
        ("done", Some(result)) => StoredState::Done(result),
        ("failed", Some(failure)) => StoredState::Failed(serde_json::from_str(&failure).map_err(|_| LedgerError::Damaged)?),
        _ => return Err(LedgerError::Damaged),
    };
    Ok(Entry { body: body.parse().map_err(|_| LedgerError::Damaged)?, since: time(row)?, state })
}
