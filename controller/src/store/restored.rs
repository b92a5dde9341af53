//! A data folder that was restored from a backup: hosts have seen higher numbers than it knows of. So whoever restores it
//! leaves a mark, and from then on the numbers of all deployments, also those in environments that the backup does not
//! know, are above every one that was given before.

use std::io::ErrorKind;
use std::path::Path;

use jiff::Timestamp;
use sqlx::{SqliteConnection, SqlitePool};

use super::StoreError;
use super::rows::millis;

/// The file beside the database that says that it was restored.
const MARK: &str = "restored";

/// Where the number stands from which deployments are counted. No repository has a name with a blank.
const SCOPE: &str = "restored at";

/// Takes note of the mark, if there is one. It goes once that is written.
pub(super) async fn take_note(writer: &SqlitePool, database: &Path, now: Timestamp) -> Result<(), StoreError> {
    let mark = database.with_file_name(MARK);
    // A mark that cannot be looked for may be there, and to pass it over would put old numbers over new ones.
    if !tokio::fs::try_exists(&mark).await.map_err(|error| StoreError::Database(sqlx::Error::Io(error)))? {
        return Ok(());
    }
    // Hosts refuse numbers below those that they have seen. Counted from one, no environment comes as far as the milliseconds
    // since the epoch; counted from those, each restore is above the one before.
    sqlx::query("INSERT INTO sequence (scope, last) VALUES ($1, $2) ON CONFLICT (scope) DO UPDATE SET last = max(last, excluded.last)")
        .bind(SCOPE)
        .bind(millis(now))
        .execute(writer)
        .await?;
    match tokio::fs::remove_file(&mark).await {
        Ok(()) => tracing::warn!("the data was restored from a backup; deployments are counted from a higher number on"),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        // Counting from still higher at the next start does no harm.
        Err(error) => tracing::warn!(%error, file = %mark.display(), "the mark of a restore cannot be removed"),
    }
    Ok(())
}

/// The number above which all deployments are; 0 where nothing was ever restored.
pub(super) async fn counted_from(writer: &mut SqliteConnection) -> Result<u64, StoreError> {
    let last: Option<i64> = sqlx::query_scalar("SELECT last FROM sequence WHERE scope = $1").bind(SCOPE).fetch_optional(writer).await?;
    Ok(last.and_then(|last| u64::try_from(last).ok()).unwrap_or_default())
}
