//! How long finished runs are kept.

use std::time::Duration;

use signalbox_contract::RunId;

use super::rows::{millis, to_json};
use super::{Store, StoreError};

/// How many runs one round removes, so that the writer is never held up for long.
const ROUND: i64 = 200;

/// How long finished runs are kept, with their events and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// By age since they ended.
    pub age: Duration,
    /// By number; the oldest go first.
    pub count: u64,
}

impl Store {
    /// The oldest finished runs that need not be kept, so many as one round removes.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn expired(&self, retention: Retention) -> Result<Vec<RunId>, StoreError> {
        let oldest = self.now().saturating_sub(retention.age).unwrap_or(jiff::Timestamp::MIN);
        let rows: Vec<(String,)> = sqlx::query_as(
            "SELECT id FROM run WHERE state = 'finished' AND finished_at <= max($1, coalesce(
                 (SELECT finished_at FROM run WHERE state = 'finished' ORDER BY finished_at DESC LIMIT 1 OFFSET $2), $1))
             ORDER BY finished_at LIMIT $3",
        )
        .bind(millis(oldest))
        .bind(i64::try_from(retention.count).unwrap_or(i64::MAX))
        .bind(ROUND)
        .fetch_all(&self.db.readers)
        .await?;
        Ok(rows.into_iter().filter_map(|(id,)| id.parse().ok()).collect())
    }

    /// Removes runs that are finished, with their events. One that was rerun in the meantime stays.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn remove(&self, runs: &[RunId]) -> Result<(), StoreError> {
        let ids = to_json("run", &runs)?;
        let mut transaction = self.db.writer.begin_with(signalbox_service::sqlite::Database::BEGIN).await?;
        sqlx::query(
            "DELETE FROM event WHERE run IN (SELECT id FROM run WHERE state = 'finished' AND id IN (SELECT value FROM json_each($1)))",
        )
        .bind(&ids)
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "DELETE FROM trigger WHERE run IN (SELECT id FROM run WHERE state = 'finished' AND id IN (SELECT value FROM json_each($1)))",
        )
        .bind(&ids)
        .execute(&mut *transaction)
        .await?;
        sqlx::query("DELETE FROM run WHERE state = 'finished' AND id IN (SELECT value FROM json_each($1))")
            .bind(&ids)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Forgets idempotency keys and tokens whose time is over.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        for table in ["DELETE FROM idempotency WHERE expires_at <= $1", "DELETE FROM token WHERE expires_at <= $1"] {
            sqlx::query(table).bind(millis(self.now())).execute(&self.db.writer).await?;
        }
        Ok(())
    }
}
