//! Where logs are kept.

use std::path::Path;

use signalbox_adapters::executor::LogCursor;
use signalbox_contract::{AttemptKey, RunId};
use signalbox_service::sqlite::{Database, DatabaseError};
use sqlx::Row as _;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations-log");

/// The largest piece of a log that is read at once, in bytes.
pub const MAX_READ: u64 = 1024 * 1024;

/// The kept logs. Clones are handles on the same ones.
#[derive(Debug, Clone)]
pub struct LogBook {
    db: Database,
}

/// How far a log was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogState {
    /// How many bytes are kept.
    pub length: u64,
    /// Where at the executor reading goes on.
    pub cursor: LogCursor,
    /// How many bytes behind the cursor are kept already.
    pub skip: u64,
    /// Whether nothing more will come.
    pub complete: bool,
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

impl LogBook {
    /// Opens the logs in the file `path`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn open(path: &Path, readers: u32) -> Result<Self, DatabaseError> {
        Ok(Self { db: Database::open(path, &MIGRATIONS, readers).await? })
    }

    /// How far a log was read; nothing of it, if it is not known.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn state(&self, key: &AttemptKey, part: &str) -> Result<LogState, sqlx::Error> {
        let row = sqlx::query("SELECT length, cursor, skip, complete FROM log WHERE key = $1 AND part = $2")
            .bind(key.to_string())
            .bind(part)
            .fetch_optional(&self.db.readers)
            .await?;
        let Some(row) = row else { return Ok(LogState::default()) };
        Ok(LogState {
            length: unsigned(row.try_get(0)?),
            cursor: row.try_get::<String, _>(1)?.parse().unwrap_or_default(),
            skip: unsigned(row.try_get(2)?),
            complete: row.try_get::<i64, _>(3)? != 0,
        })
    }

    /// Ends a log whose attempt is over: what is kept of it is all that there will be, also where its build never began.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn close(&self, key: &AttemptKey, part: &str) -> Result<LogState, sqlx::Error> {
        sqlx::query(
            "INSERT INTO log (key, part, length, cursor, skip, complete) VALUES ($1, $2, 0, '', 0, 1)
             ON CONFLICT (key, part) DO UPDATE SET complete = 1",
        )
        .bind(key.to_string())
        .bind(part)
        .execute(&self.db.writer)
        .await?;
        self.state(key, part).await
    }

    /// Keeps `bytes` behind what is kept already, and how far the log was read with them. Nothing is added to a log that is
    /// complete: it was promised not to change.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn append(&self, key: &AttemptKey, part: &str, bytes: &[u8], after: &LogState) -> Result<(), sqlx::Error> {
        let mut transaction = self.db.writer.begin_with(Database::BEGIN).await?;
        let complete: Option<i64> = sqlx::query_scalar("SELECT complete FROM log WHERE key = $1 AND part = $2")
            .bind(key.to_string())
            .bind(part)
            .fetch_optional(&mut *transaction)
            .await?;
        if complete == Some(1) {
            return Ok(());
        }
        if !bytes.is_empty() {
            let start = signed(after.length.saturating_sub(bytes.len() as u64));
            // The same piece again, after an answer that was lost, changes nothing.
            sqlx::query("INSERT INTO segment (key, part, start, bytes) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
                .bind(key.to_string())
                .bind(part)
                .bind(start)
                .bind(bytes)
                .execute(&mut *transaction)
                .await?;
        }
        sqlx::query(
            "INSERT INTO log (key, part, length, cursor, skip, complete) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (key, part) DO UPDATE SET length = excluded.length, cursor = excluded.cursor, skip = excluded.skip,
                    complete = excluded.complete",
        )
        .bind(key.to_string())
        .bind(part)
        .bind(signed(after.length))
        .bind(after.cursor.as_str())
        .bind(signed(after.skip))
        .bind(i64::from(after.complete))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await
    }

    /// Reads kept bytes from offset `from`, at most `limit` and at most [`MAX_READ`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn read(&self, key: &AttemptKey, part: &str, from: u64, limit: u64) -> Result<Vec<u8>, sqlx::Error> {
        let limit = limit.min(MAX_READ);
        let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
            "SELECT start, bytes FROM segment WHERE key = $1 AND part = $2 AND start < $4
                 AND start >= coalesce((SELECT max(start) FROM segment WHERE key = $1 AND part = $2 AND start <= $3), 0)
             ORDER BY start",
        )
        .bind(key.to_string())
        .bind(part)
        .bind(signed(from))
        .bind(signed(from.saturating_add(limit)))
        .fetch_all(&self.db.readers)
        .await?;
        let mut out = Vec::new();
        for (start, bytes) in rows {
            let skip = usize::try_from(from.saturating_sub(unsigned(start))).unwrap_or(usize::MAX);
            out.extend_from_slice(bytes.get(skip..).unwrap_or_default());
        }
        out.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(out)
    }

    /// Throws away the logs of runs.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remove(&self, runs: &[RunId]) -> Result<(), sqlx::Error> {
        let mut transaction = self.db.writer.begin_with(Database::BEGIN).await?;
        for run in runs {
            // Keys begin with the run and a dash; the dot is the character after the dash.
            let (from, to) = (format!("{run}-"), format!("{run}."));
            for table in ["DELETE FROM segment WHERE key >= $1 AND key < $2", "DELETE FROM log WHERE key >= $1 AND key < $2"] {
                sqlx::query(table).bind(&from).bind(&to).execute(&mut *transaction).await?;
            }
        }
        transaction.commit().await
    }
}
