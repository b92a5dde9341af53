//! SQLite, opened so that what was committed stays committed.

use std::io::Read as _;
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
    /// It was there, and is gone or empty. One that is made anew in its place would know nothing of what was accepted.
    #[error("the database {path} was here and is gone or empty; put a backup in its place, or remove {mark} to begin anew")]
    Gone {
        /// The file.
        path: PathBuf,
        /// The file beside it that says that it was there.
        mark: PathBuf,
    },
    /// Its pages do not fit together.
    #[error("the database {path} is damaged ({what}); put a backup in its place")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite found first.
        what: String,
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

/// The largest file whose pages are all looked at when it is opened, in bytes: that takes about a second.
const EXAMINED: u64 = 256 * 1024 * 1024;

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
    /// When the file is no database, is corrupt, was there and is gone, or is newer than this version; and when the linked SQLite
    /// may lose commits.
    pub async fn open(path: &Path, migrator: &Migrator, readers: u32) -> Result<Self, DatabaseError> {
        let failed = |source| DatabaseError::Open { path: path.to_owned(), source };
        let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let mark = mark_of(path);
        if size == 0 && mark.exists() {
            return Err(DatabaseError::Gone { path: path.to_owned(), mark });
        }
        if is_cut(path, size).map_err(|error| failed(sqlx::Error::Io(error)))? {
            return Err(DatabaseError::Damaged { path: path.to_owned(), what: "it ends in the middle of a page".to_owned() });
        }
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
        if size <= EXAMINED {
            let found: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&writer).await.map_err(failed)?;
            if found != "ok" {
                return Err(DatabaseError::Damaged {
                    path: path.to_owned(),
                    what: found.chars().filter(|c| !c.is_control()).take(200).collect(),
                });
            }
        }
        migrator.run(&writer).await.map_err(|source| DatabaseError::Migrate { path: path.to_owned(), source })?;
        std::fs::write(&mark, "").map_err(|error| failed(sqlx::Error::Io(error)))?;
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

/// The empty file beside a database that says that there is one.
fn mark_of(path: &Path) -> PathBuf {
    path.with_added_extension("made")
}

/// Whether a file ends in the middle of a page, which SQLite fills up with zeros and takes for good. While there is a log, that
/// may be the page that was being written when the power went; the log has it whole.
fn is_cut(path: &Path, size: u64) -> std::io::Result<bool> {
    const HEADER: u64 = 100;
    // The very first page is written under the older kind of log, before there is the newer one.
    let logged = |kind: &str| std::fs::metadata(format!("{}-{kind}", path.display())).is_ok_and(|log| log.len() > 0);
    if size < HEADER || logged("wal") || logged("journal") {
        return Ok(false);
    }
    let mut header = [0; 18];
    std::fs::File::open(path)?.read_exact(&mut header)?;
    let page = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        page => u64::from(page),
    };
    // Where there is no size, SQLite itself finds that this is no database.
    Ok(page > 0 && !size.is_multiple_of(page))
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

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use sqlx::migrate::{Migration, MigrationType};

    use super::*;

    fn migrator() -> Migrator {
        let sql = "CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT";
        let migration = Migration::new(1, Cow::Borrowed("notes"), MigrationType::Simple, sqlx::SqlStr::from_static(sql), false);
        Migrator { migrations: Cow::Owned(vec![migration]), ..Migrator::DEFAULT }
    }

    async fn open(path: &Path) -> Result<Database, DatabaseError> {
        Database::open(path, &migrator(), 1).await
    }

    async fn write(database: &Database, notes: std::ops::Range<i64>) {
        for note in notes {
            let text = format!("{note}:{}", "x".repeat(500));
            sqlx::query("INSERT INTO note VALUES ($1, $2)").bind(note).bind(text).execute(&database.writer).await.expect("written");
        }
    }

    /// How many notes there are, which must be the first ones, whole.
    async fn count(database: &Database) -> Result<i64, sqlx::Error> {
        let notes: Vec<(i64, String)> = sqlx::query_as("SELECT id, text FROM note ORDER BY id").fetch_all(&database.readers).await?;
        for (expected, (id, text)) in (0..).zip(&notes) {
            assert_eq!((*id, text), (expected, &format!("{id}:{}", "x".repeat(500))));
        }
        Ok(i64::try_from(notes.len()).expect("few"))
    }

    // Threat 64.
    #[tokio::test]
    async fn a_database_that_was_there_is_not_made_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.db");
        let database = open(&path).await.expect("made");
        write(&database, 0..3).await;
        database.close().await;
        let kept = std::fs::read(&path).expect("a file");
        for emptied in [true, false] {
            if emptied { std::fs::write(&path, "") } else { std::fs::remove_file(&path) }.expect("gone");
            assert!(matches!(open(&path).await, Err(DatabaseError::Gone { .. })));
        }
        std::fs::write(&path, kept).expect("a backup");
        let database = open(&path).await.expect("opened");
        assert_eq!(count(&database).await.expect("read"), 3);
        database.close().await;
    }

    // Threat 64.
    #[tokio::test]
    async fn a_damaged_file_is_refused_or_told_and_never_read_as_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.db");
        let database = open(&path).await.expect("made");
        write(&database, 0..100).await;
        database.close().await;
        let sound = std::fs::read(&path).expect("a file");
        let pages = sound.len() / 4096;
        assert!(pages > 10, "{pages}");
        let mut refused = 0;
        let mut damages: Vec<Vec<u8>> = [100, 4096, sound.len() / 2, sound.len() - 1].map(|length| sound[..length].to_vec()).into();
        damages.push(vec![0; sound.len()]);
        for page in 0..pages {
            let mut zeroed = sound.clone();
            zeroed[page * 4096..(page + 1) * 4096].fill(0);
            damages.push(zeroed);
            for byte in [0, 3, 5, 8, 12] {
                let mut flipped = sound.clone();
                flipped[page * 4096 + byte + if page == 0 { 100 } else { 0 }] ^= 0x41;
                damages.push(flipped);
            }
        }
        let total = damages.len();
        for damaged in damages {
            std::fs::write(&path, damaged).expect("damaged");
            match open(&path).await {
                Err(_) => refused += 1,
                Ok(database) => {
                    // Whatever is read is right, and whole: a damage in what nobody uses is none.
                    assert!(count(&database).await.is_ok_and(|count| count == 100));
                    database.close().await;
                }
            }
        }
        assert!(refused * 10 > total * 8, "{refused} of {total}");
    }

    // Threat 64.
    #[tokio::test]
    async fn a_log_that_is_torn_or_spoiled_anywhere_leaves_what_was_committed_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, copy) = (folder.path().join("a.db"), folder.path().join("b.db"));
        let database = open(&path).await.expect("made");
        write(&database, 0..20).await;
        // As a power cut leaves it: nothing is folded into the file.
        let (file, log) = (std::fs::read(&path).expect("a file"), std::fs::read(folder.path().join("a.db-wal")).expect("a log"));
        database.close().await;
        let mut seen = std::collections::BTreeSet::new();
        for step in 0..60 {
            let at = log.len() * step / 60;
            let mut spoiled = log.clone();
            spoiled[at] ^= 1;
            for torn in [log[..at].to_vec(), spoiled, [&log[..at], &vec![0; log.len() - at]].concat()] {
                for rest in ["-wal", "-shm", ".made", ""] {
                    let _ = std::fs::remove_file(folder.path().join(format!("b.db{rest}")));
                }
                std::fs::write(&copy, &file).expect("copied");
                std::fs::write(folder.path().join("b.db-wal"), torn).expect("copied");
                let database = open(&copy).await.expect("what was committed is there");
                seen.insert(count(&database).await.expect("read"));
                database.close().await;
            }
        }
        assert!(seen.len() > 10 && seen.iter().all(|count| (0..=20).contains(count)), "{seen:?}");
    }
}
