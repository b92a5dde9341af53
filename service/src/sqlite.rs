//! SQLite, opened so that what was committed stays committed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

/// The first SQLite whose write-ahead log cannot lose commits when it is reset; older ones are refused.
const OLDEST: (u32, u32, u32) = (3, 51, 3);

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// SQLite refused.
    #[error("the database {path} cannot be opened")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// Its tables cannot be brought to this version's shape.
    #[error("the database {path} cannot be migrated; was it written by a newer version?")]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// The SQLite that is linked is one that can lose commits, or does not sync them.
    #[error("the linked SQLite {version} (synchronous={synchronous}) may lose commits")]
    Unsafe {
        /// Its version.
        version: String,
        /// The writer's setting; 2 is FULL.
        synchronous: i64,
    },
}

/// A database: one connection that writes and syncs each commit, and some that only read.
#[derive(Debug, Clone)]
pub struct Database {
    /// The one writer. Begin with [`Database::BEGIN`], so that waiting for the lock honours the busy timeout.
    pub writer: SqlitePool,
    /// The readers.
    pub readers: SqlitePool,
}

impl Database {
    /// How each writing transaction begins: a deferred one that reads first fails at once when it comes to write.
    pub const BEGIN: &str = "BEGIN IMMEDIATE";

    /// Opens the database in the file `path`, makes it if it is not there, and brings its tables to `migrator`'s shape.
    ///
    /// # Errors
    /// When the file is no database, is corrupt, or is newer than this version; and when the linked SQLite may lose commits.
    pub async fn open(path: &Path, migrator: &Migrator, readers: u32) -> Result<Self, DatabaseError> {
        let failed = |source| DatabaseError::Open { path: path.to_owned(), source };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            .pragma("journal_size_limit", "67108864")
            .statement_cache_capacity(256);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .before_acquire(|connection, _| Box::pin(async move { is_clean(connection).await }))
            .connect_with(options.clone())
            .await
            .map_err(failed)?;
        assert_safe(&writer).await.map_err(|error| error.at(path))?;
        migrator.run(&writer).await.map_err(|source| DatabaseError::Migrate { path: path.to_owned(), source })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(readers.max(1))
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_with(options.read_only(true).create_if_missing(false))
            .await
            .map_err(failed)?;
        Ok(Self { writer, readers })
    }

    /// Closes all connections, the writer last, so that its log is folded into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Whether a connection can begin a transaction. When a disk is full, SQLite ends the transaction by itself; the driver, whose
/// own end of it then fails, goes on to believe that there is one, and refuses every other. Such a connection is closed, and
/// the pool opens another.
async fn is_clean(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if !connection.is_in_transaction() {
        return Ok(true);
    }
    // Most likely the end of the last one is still on its way; this comes behind it.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

enum Doubt {
    Sqlx(sqlx::Error),
    Unsafe { version: String, synchronous: i64 },
}

impl Doubt {
    fn at(self, path: &Path) -> DatabaseError {
        match self {
            Self::Sqlx(source) => DatabaseError::Open { path: path.to_owned(), source },
            Self::Unsafe { version, synchronous } => DatabaseError::Unsafe { version, synchronous },
        }
    }
}

async fn assert_safe(writer: &SqlitePool) -> Result<(), Doubt> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(writer).await.map_err(Doubt::Sqlx)?;
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(writer).await.map_err(Doubt::Sqlx)?;
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
    let known = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if known < OLDEST || synchronous < 2 {
        return Err(Doubt::Unsafe { version, synchronous });
    }
    Ok(())
}
