//! What a transaction writes, as one set-based statement a table.

use std::collections::{HashMap, HashSet};

use signalbox_contract::{ArtifactName, Digest, RunId};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Row as _, Sqlite, query::Query, sqlite::SqliteArguments};

use super::change::{Head, Heads};
use super::{CatalogError, digest, integer, number};
use crate::blob::{Arrived, ArrivedBytes};

/// The statements. `?1` the rows of all tables as JSON; `?2` the bytes to which the blobs point. Each statement must use
/// the parameters from the first on without a gap: sqlx counts a gap as a parameter without a name.
macro_rules! statements {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            "INSERT INTO blob (digest, size, stored_at)
               SELECT unhex(value->>0), value->>1, value->>2 FROM json_each(?1, '$.blobs') WHERE true
               ON CONFLICT (digest) DO UPDATE SET stored_at = excluded.stored_at, corrupt = NULL;
             INSERT INTO name (name, current, line, next)
               SELECT value->>0, value->>1, value->>2, value->>3 FROM json_each(?1, '$.heads') WHERE true
               ON CONFLICT (name) DO UPDATE SET current = excluded.current, line = excluded.line, next = excluded.next;
             INSERT INTO version (name, version, blob, content_type, stored_at, run)
               SELECT n.id, j.value->>1, b.id, j.value->>3, j.value->>4, j.value->>5
               FROM json_each(?1, '$.versions') j JOIN name n ON n.name = j.value->>0 JOIN blob b ON b.digest = unhex(j.value->>2);
             DELETE FROM version WHERE (name, version) IN (
               SELECT v.name, v.version FROM json_each(?1, '$.heads') j
               JOIN name n ON n.name = j.value->>0
               JOIN version v ON v.name = n.id AND v.version <= j.value->>4
               WHERE j.value->>4 > 0 AND v.version IS NOT n.current);
             INSERT INTO small (blob, bytes)
               SELECT b.id, CAST(substr(?2, j.value->>4, j.value->>5) AS BLOB)
               FROM json_each(?1, '$.blobs') j JOIN blob b ON b.digest = unhex(j.value->>0) WHERE j.value->>3 IS NULL
               ON CONFLICT (blob) DO UPDATE SET bytes = excluded.bytes;
             INSERT INTO chunked (blob, key, tags)
               SELECT b.id, unhex(j.value->>3), CAST(substr(?2, j.value->>4, j.value->>5) AS BLOB)
               FROM json_each(?1, '$.blobs') j JOIN blob b ON b.digest = unhex(j.value->>0) WHERE j.value->>3 IS NOT NULL
               ON CONFLICT (blob) DO UPDATE SET key = excluded.key, tags = excluded.tags;",
            $after
        )
    };
}

/// A whole transaction in one string: one hop to the database's thread for all of it.
const TRANSACTION: &str = statements!("BEGIN IMMEDIATE;", "COMMIT;");

/// The same within a transaction that has begun.
const STATEMENTS: &str = statements!("", "");

/// What a transaction writes.
#[derive(Debug, Default, serde::Serialize)]
pub(super) struct Writes {
    blobs: Vec<(String, u64, i64, Option<String>, usize, usize)>,
    heads: Vec<(String, Option<u64>, i64, u64, u64)>,
    versions: Vec<(String, u64, String, String, i64, Option<RunId>)>,
    #[serde(skip)]
    bytes: Vec<u8>,
    #[serde(skip)]
    seen: HashSet<Digest>,
}

/// A new version of a name.
pub(super) struct NewVersion<'a> {
    pub(super) name: &'a ArtifactName,
    pub(super) version: u64,
    pub(super) digest: &'a Digest,
    pub(super) content_type: &'a str,
    pub(super) run: Option<RunId>,
}

impl Writes {
    /// Bytes that arrived. Whether they were there already is the database's business.
    pub(super) fn blob(&mut self, arrived: &Arrived, now: i64) {
        if !self.seen.insert(arrived.digest) {
            return;
        }
        let (key, bytes) = match &arrived.bytes {
            ArrivedBytes::Small(bytes) => (None, bytes),
            ArrivedBytes::Chunked { key, tags } => (Some(Digest::from_bytes(*key).hex()), tags),
        };
        if self.bytes.is_empty() {
            // No bytes at all would be bound as NULL, of which no part is a blob, not even an empty one.
            self.bytes.push(0);
        }
        // SQLite counts from one.
        self.blobs.push((arrived.digest.hex(), arrived.size, now, key, self.bytes.len() + 1, bytes.len()));
        self.bytes.extend_from_slice(bytes);
    }

    /// A new version.
    pub(super) fn version(&mut self, new: &NewVersion<'_>, now: i64) {
        self.versions.push((new.name.to_string(), new.version, new.digest.hex(), new.content_type.to_owned(), now, new.run));
    }

    /// What a name shows from now on.
    pub(super) fn head(&mut self, name: &ArtifactName, head: &Head) {
        self.heads.push((name.to_string(), head.current.map(|(version, _)| version), head.line, head.next, head.drop_through));
    }

    /// Writes all in a transaction of its own. After an error nothing is written. Must not be dropped before it ends: the
    /// transaction would stay open.
    pub(super) async fn commit(self, connection: &mut SqliteConnection) -> Result<(), CatalogError> {
        let result = self.bind(sqlx::query(TRANSACTION))?.execute(&mut *connection).await;
        if let Err(error) = result {
            // SQLite ends the transaction by itself after some errors; then there is nothing to roll back.
            if let Err(error) = sqlx::query("ROLLBACK").execute(connection).await {
                tracing::debug!(%error, "the transaction had ended by itself");
            }
            return Err(error.into());
        }
        Ok(())
    }

    /// Writes all within the transaction that the connection is in.
    pub(super) async fn apply(self, connection: &mut SqliteConnection) -> Result<(), CatalogError> {
        self.bind(sqlx::query(STATEMENTS))?.execute(connection).await?;
        Ok(())
    }

    fn bind(self, query: Query<'static, Sqlite, SqliteArguments>) -> Result<Query<'static, Sqlite, SqliteArguments>, CatalogError> {
        let rows = serde_json::to_string(&self).map_err(|_| CatalogError::Nonsense("a row"))?;
        Ok(query.bind(rows).bind(self.bytes))
    }
}

/// The heads of these names, and which of these digests (with their sizes) are there already.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    names: &HashSet<&ArtifactName>,
    digests: &HashSet<Digest>,
) -> Result<(Heads, HashSet<Digest>), CatalogError> {
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    let digests: Vec<String> = digests.iter().map(Digest::hex).collect();
    let json = |list: Result<String, serde_json::Error>| list.map_err(|_| CatalogError::Nonsense("a name"));
    let rows = sqlx::query(
        "SELECT n.name, n.current, n.line, n.next, b.digest FROM json_each(?1) j JOIN name n ON n.name = j.value
           LEFT JOIN version v ON v.name = n.id AND v.version = n.current LEFT JOIN blob b ON b.id = v.blob
         UNION ALL
         SELECT NULL, NULL, NULL, NULL, b.digest FROM json_each(?2) j JOIN blob b ON b.digest = unhex(j.value)",
    )
    .bind(json(serde_json::to_string(&names))?)
    .bind(json(serde_json::to_string(&digests))?)
    .fetch_all(connection)
    .await?;
    let mut heads = HashMap::with_capacity(names.len());
    let mut known = HashSet::new();
    for row in rows {
        let bytes: Option<&[u8]> = row.try_get(4)?;
        let Some(name) = row.try_get::<Option<&str>, _>(0)? else {
            known.insert(digest(bytes.unwrap_or_default())?);
            continue;
        };
        let name = name.parse().map_err(|_| CatalogError::Nonsense("a name"))?;
        let current = match (row.try_get::<Option<i64>, _>(1)?, bytes) {
            (Some(version), Some(bytes)) => Some((number(version)?, digest(bytes)?)),
            _ => None,
        };
        let head = Head { current, line: row.try_get(2)?, next: number(row.try_get(3)?)?, drop_through: 0 };
        heads.insert(name, head);
    }
    Ok((heads, known))
}

/// The id of a blob that a transaction needs to be there, made if it is not, with the size of what was added.
pub(super) async fn ensure_blob(connection: &mut SqliteConnection, arrived: &Arrived, now: i64) -> Result<(i64, u64), CatalogError> {
    let find = "SELECT id FROM blob WHERE digest = ?1";
    let bytes = arrived.digest.as_bytes().to_vec();
    let before: Option<i64> = sqlx::query_scalar(find).bind(bytes.clone()).fetch_optional(&mut *connection).await?;
    let mut writes = Writes::default();
    writes.blob(arrived, now);
    writes.apply(&mut *connection).await?;
    let id: i64 = sqlx::query_scalar(find).bind(bytes).fetch_one(connection).await?;
    Ok((id, if before.is_some() { 0 } else { arrived.size }))
}

/// A number of bytes for SQL.
pub(super) fn sql(value: u64) -> i64 {
    integer(value)
}
