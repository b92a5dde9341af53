//! What the catalog forgets.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::Digest;
use sqlx::Row as _;

use super::{Catalog, CatalogError, CollectingGuard, digest, number};

/// How many blobs are removed while uploads wait.
const BATCH: i64 = 64;

/// How long a grant that was never closed outlives its capability: its attempt's end may be learned late.
const OPEN_GRANT: Duration = Duration::from_hours(7 * 24);

/// How long it is remembered that a grant was closed, and that a name was deleted.
const MEMORY: Duration = Duration::from_hours(30 * 24);

impl Catalog {
    /// Forgets grants that nobody closed in time, grants that were closed long ago, and names that were deleted long ago.
    pub(crate) async fn forget_old(&self) -> Result<(), CatalogError> {
        self.apart(|catalog| async move {
            let now = catalog.shared.clock.now();
            let writer = &catalog.shared.db.writer;
            sqlx::query("DELETE FROM upload_grant WHERE closed_at < ?1").bind(before(now, MEMORY)).execute(writer).await?;
            sqlx::query("DELETE FROM upload_grant WHERE closed_at IS NULL AND expires_at < ?1")
                .bind(before(now, OPEN_GRANT))
                .execute(writer)
                .await?;
            sqlx::query(
                "DELETE FROM name WHERE id IN (SELECT n.id FROM name n WHERE n.current IS NULL AND n.line < ?1
                   AND NOT EXISTS (SELECT 1 FROM version v WHERE v.name = n.id) LIMIT 10000)",
            )
            .bind(before(now, MEMORY))
            .execute(writer)
            .await?;
            Ok(())
        })
        .await
    }

    /// Some blobs that nobody needs and that are older than `grace`, after the blob with the number `after`.
    pub(crate) async fn needless(&self, after: i64, grace: Duration) -> Result<Vec<i64>, CatalogError> {
        Ok(sqlx::query_scalar(
            "SELECT b.id FROM blob b WHERE b.id > ?1 AND b.stored_at <= ?2
               AND NOT EXISTS (SELECT 1 FROM version v WHERE v.blob = b.id)
               AND NOT EXISTS (SELECT 1 FROM grant_blob p WHERE p.blob = b.id)
               AND NOT EXISTS (SELECT 1 FROM pin p WHERE p.blob = b.id)
             ORDER BY b.id LIMIT ?3",
        )
        .bind(after)
        .bind(before(self.shared.clock.now(), grace))
        .bind(BATCH)
        .fetch_all(&self.shared.db.readers)
        .await?)
    }

    /// Forgets those of these blobs that still nobody needs. Their files may go, for as long as the guard is held.
    pub(crate) async fn forget(&self, blobs: Vec<i64>, _: &CollectingGuard) -> Result<Vec<Digest>, CatalogError> {
        self.apart(move |catalog| async move {
            let ids = serde_json::to_string(&blobs).map_err(|_| CatalogError::Nonsense("a number"))?;
            let rows = sqlx::query(
                "DELETE FROM blob WHERE id IN (SELECT b.id FROM json_each(?1) j JOIN blob b ON b.id = j.value
                   WHERE NOT EXISTS (SELECT 1 FROM version v WHERE v.blob = b.id)
                     AND NOT EXISTS (SELECT 1 FROM grant_blob p WHERE p.blob = b.id)
                     AND NOT EXISTS (SELECT 1 FROM pin p WHERE p.blob = b.id))
                 RETURNING digest, size",
            )
            .bind(ids)
            .fetch_all(&catalog.shared.db.writer)
            .await?;
            let mut gone = Vec::with_capacity(rows.len());
            for row in &rows {
                let digest = digest(row.try_get(0)?)?;
                catalog.shared.cache.forget(&digest.to_string());
                catalog.shared.stored.fetch_sub(number(row.try_get(1)?)?, Ordering::Relaxed);
                gone.push(digest);
            }
            Ok(gone)
        })
        .await
    }

    /// Those of these digests that the catalog does not know.
    pub(crate) async fn unknown(&self, digests: &[Digest]) -> Result<Vec<Digest>, CatalogError> {
        let hex: Vec<String> = digests.iter().map(Digest::hex).collect();
        let json = serde_json::to_string(&hex).map_err(|_| CatalogError::Nonsense("a digest"))?;
        let rows = sqlx::query("SELECT b.digest FROM json_each(?1) j JOIN blob b ON b.digest = unhex(j.value)")
            .bind(json)
            .fetch_all(&self.shared.db.readers)
            .await?;
        let known = rows.iter().map(|row| digest(row.try_get(0)?)).collect::<Result<HashSet<_>, CatalogError>>()?;
        Ok(digests.iter().filter(|digest| !known.contains(digest)).copied().collect())
    }

    /// Notes that a blob's bytes are not what they were. It is not served until the same bytes are uploaded again.
    pub(crate) fn mark_corrupt(&self, digest: Digest) {
        let catalog = self.clone();
        self.shared.shutdown.spawn("mark corrupt", async move {
            let marked = sqlx::query("UPDATE blob SET corrupt = ?1 WHERE digest = ?2 AND corrupt IS NULL")
                .bind(catalog.shared.now())
                .bind(digest.as_bytes().to_vec())
                .execute(&catalog.shared.db.writer)
                .await;
            match marked {
                // Somebody else noted it, or the blob is gone.
                Ok(done) if done.rows_affected() == 0 => {}
                Ok(_) => {
                    // Names and digests alike may have led to it.
                    catalog.shared.cache.clear();
                    tracing::error!(%digest, "a blob's bytes rotted; it is served no more until they are uploaded again");
                }
                Err(error) => tracing::error!(%digest, %error, "a blob's bytes rotted, and that could not be noted"),
            }
        });
    }

    /// How many blobs are known to have rotted.
    pub(crate) async fn rotten(&self) -> Result<u64, CatalogError> {
        let count: i64 =
            sqlx::query_scalar("SELECT count(*) FROM blob WHERE corrupt IS NOT NULL").fetch_one(&self.shared.db.readers).await?;
        number(count)
    }
}

fn before(now: Timestamp, age: Duration) -> i64 {
    now.saturating_sub(age).map_or(i64::MIN, Timestamp::as_microsecond)
}
