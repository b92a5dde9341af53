//! Grants: what one attempt puts lies beside until the attempt is over, then is published or thrown away.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use signalbox_contract::api::store::{CloseRequest, CloseResult, GrantInfo, PutResult};
use signalbox_contract::{ArtifactName, AttemptKey, Digest, RunId};
use signalbox_service::sqlite::Database;
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::commit::{NewVersion, Writes, ensure_blob, load, sql};
use super::{ArrivingGuard, Catalog, CatalogError, GrantError, digest, number};
use crate::blob::Arrived;

/// Something that is put into a grant.
pub(crate) struct GrantPut {
    pub(crate) key: AttemptKey,
    pub(crate) name: ArtifactName,
    pub(crate) content_type: String,
    /// How many bytes all that is in the grant may have together.
    pub(crate) max_bytes: u64,
    /// When the capability ends.
    pub(crate) expires_at: Timestamp,
}

struct Put {
    name: ArtifactName,
    blob: i64,
    digest: Digest,
    size: u64,
    content_type: String,
}

impl Put {
    fn result(&self) -> PutResult {
        PutResult { name: self.name.clone(), digest: self.digest, size: self.size }
    }
}

impl Catalog {
    /// How many more bytes may be put under `name`, whose present bytes would be replaced.
    pub(crate) async fn grant_room(&self, key: &AttemptKey, name: &ArtifactName, max_bytes: u64) -> Result<u64, GrantError> {
        let row = sqlx::query(
            "SELECT g.closed_at, (SELECT coalesce(sum(b.size), 0) FROM grant_blob p JOIN blob b ON b.id = p.blob
               WHERE p.key = g.key AND p.name <> ?2) FROM upload_grant g WHERE g.key = ?1",
        )
        .bind(key.to_string())
        .bind(name.as_str())
        .fetch_optional(&self.shared.db.readers)
        .await?;
        let Some(row) = row else {
            return Ok(max_bytes);
        };
        if row.try_get::<Option<i64>, _>(0)?.is_some() {
            return Err(GrantError::Closed);
        }
        Ok(max_bytes.saturating_sub(number(row.try_get(1)?)?))
    }

    /// Puts bytes into a grant, in the place of what was put under the same name before.
    pub(crate) async fn put_into_grant(&self, put: GrantPut, arrived: Arrived, arriving: ArrivingGuard) -> Result<PutResult, GrantError> {
        self.apart(move |catalog| async move {
            let result = catalog.put(&put, &arrived).await;
            drop(arriving);
            result
        })
        .await
    }

    async fn put(&self, put: &GrantPut, arrived: &Arrived) -> Result<PutResult, GrantError> {
        let now = self.shared.now();
        let key = put.key.to_string();
        let mut tx = self.shared.db.writer.begin_with(Database::BEGIN).await?;
        let row = sqlx::query(
            "INSERT INTO upload_grant (key, expires_at) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET expires_at = max(expires_at, excluded.expires_at) RETURNING closed_at",
        )
        .bind(&key)
        .bind(put.expires_at.as_microsecond())
        .fetch_one(&mut *tx)
        .await?;
        if row.try_get::<Option<i64>, _>(0)?.is_some() {
            return Err(GrantError::Closed);
        }
        let (blob, added) = ensure_blob(&mut tx, arrived, now).await?;
        if !self.shared.has_room(added) {
            return Err(GrantError::Quota);
        }
        sqlx::query(
            "INSERT INTO grant_blob (key, name, blob, content_type) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (key, name) DO UPDATE SET blob = excluded.blob, content_type = excluded.content_type",
        )
        .bind(&key)
        .bind(put.name.as_str())
        .bind(blob)
        .bind(&put.content_type)
        .execute(&mut *tx)
        .await?;
        let within: bool = sqlx::query_scalar("SELECT sum(b.size) <= ?2 FROM grant_blob p JOIN blob b ON b.id = p.blob WHERE p.key = ?1")
            .bind(&key)
            .bind(sql(put.max_bytes))
            .fetch_one(&mut *tx)
            .await?;
        // Two uploads at a time can each fit and both together not.
        if !within {
            return Err(GrantError::TooLarge);
        }
        tx.commit().await?;
        self.shared.stored.fetch_add(added, Ordering::Relaxed);
        Ok(PutResult { name: put.name.clone(), digest: arrived.digest, size: arrived.size })
    }

    /// What lies in a grant.
    pub(crate) async fn in_grant(&self, key: &AttemptKey) -> Result<GrantInfo, CatalogError> {
        let mut reader = self.shared.db.readers.begin().await?;
        let closed: Option<bool> = sqlx::query_scalar("SELECT closed_at IS NOT NULL FROM upload_grant WHERE key = ?1")
            .bind(key.to_string())
            .fetch_optional(&mut *reader)
            .await?;
        let artifacts = puts(&mut reader, key).await?.iter().map(Put::result).collect();
        Ok(GrantInfo { artifacts, closed: closed.unwrap_or_default() })
    }

    /// Closes a grant: publishes and pins what came, or throws it away. Closing it again answers what came of it first.
    pub(crate) async fn close_grant(&self, key: AttemptKey, request: CloseRequest) -> Result<CloseResult, CatalogError> {
        self.apart(move |catalog| async move { catalog.close(&key, &request).await }).await
    }

    async fn close(&self, key: &AttemptKey, request: &CloseRequest) -> Result<CloseResult, CatalogError> {
        let now = self.shared.now();
        let mut tx = self.shared.db.writer.begin_with(Database::BEGIN).await?;
        let before: Option<Option<String>> =
            sqlx::query_scalar("SELECT result FROM upload_grant WHERE key = ?1").bind(key.to_string()).fetch_optional(&mut *tx).await?;
        if let Some(result) = before.flatten() {
            return serde_json::from_str(&result).map_err(|_| CatalogError::Nonsense("a grant's result"));
        }
        let puts = if request.publish { puts(&mut tx, key).await? } else { Vec::new() };
        publish(&mut tx, key.run, request, &puts, now, self.shared.bounds.keep_versions).await?;
        let artifacts = puts.iter().map(Put::result).collect();
        let result = CloseResult { artifacts };
        let json = serde_json::to_string(&result).map_err(|_| CatalogError::Nonsense("a grant's result"))?;
        sqlx::query("DELETE FROM grant_blob WHERE key = ?1").bind(key.to_string()).execute(&mut *tx).await?;
        sqlx::query(
            "INSERT INTO upload_grant (key, expires_at, closed_at, result) VALUES (?1, ?2, ?2, ?3)
             ON CONFLICT (key) DO UPDATE SET closed_at = excluded.closed_at, result = excluded.result",
        )
        .bind(key.to_string())
        .bind(now)
        .bind(json)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        for put in &puts {
            self.shared.cache.forget(put.name.as_str());
        }
        Ok(result)
    }
}

async fn puts(connection: &mut SqliteConnection, key: &AttemptKey) -> Result<Vec<Put>, CatalogError> {
    let rows = sqlx::query(
        "SELECT p.name, b.id, b.digest, b.size, p.content_type FROM grant_blob p JOIN blob b ON b.id = p.blob
         WHERE p.key = ?1 ORDER BY p.name",
    )
    .bind(key.to_string())
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Put {
                name: row.try_get::<&str, _>(0)?.parse().map_err(|_| CatalogError::Nonsense("a name"))?,
                blob: row.try_get(1)?,
                digest: digest(row.try_get(2)?)?,
                size: number(row.try_get(3)?)?,
                content_type: row.try_get(4)?,
            })
        })
        .collect()
}

async fn publish(
    connection: &mut SqliteConnection,
    run: RunId,
    request: &CloseRequest,
    puts: &[Put],
    now: i64,
    keep: u64,
) -> Result<(), CatalogError> {
    let names: HashSet<&ArtifactName> = puts.iter().map(|put| &put.name).collect();
    let (mut heads, _) = load(&mut *connection, &names, &HashSet::new()).await?;
    let mut writes = Writes::default();
    for put in puts {
        let head = heads.entry(put.name.clone()).or_default();
        if let Some(version) = head.publish(put.digest, request.line.as_microsecond(), keep) {
            let new = NewVersion { name: &put.name, version, digest: &put.digest, content_type: &put.content_type, run: Some(run) };
            writes.version(&new, now);
            writes.head(&put.name, head);
        }
        sqlx::query("INSERT INTO pin (owner, blob) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
            .bind(request.pin.to_string())
            .bind(put.blob)
            .execute(&mut *connection)
            .await?;
    }
    writes.apply(connection).await
}
