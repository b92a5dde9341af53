//! Questions to the catalog.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use signalbox_contract::api::store::BlobInfo;
use signalbox_contract::{ArtifactName, Digest};
use sqlx::Row as _;
use sqlx::sqlite::{SqliteExecutor, SqliteRow};

use super::cache::{Kept, Shown};
use super::{Catalog, CatalogError, digest, integer, number};
use crate::blob::{Blob, Keeping, Tags, hash};

/// How many names one question may look at.
const LOOKED_AT: usize = 1000;

/// How many blobs are loaded at a time to be proven: the small ones whole.
const SCRUBBED: i64 = 64;

/// A page of a name's history, newest first.
#[derive(Debug)]
pub(crate) struct VersionPage {
    pub(crate) items: Vec<BlobInfo>,
    pub(crate) more: bool,
}

impl Catalog {
    /// What a name shows.
    pub(crate) async fn shown(&self, name: &ArtifactName) -> Result<Option<Arc<Shown>>, CatalogError> {
        let asked = match self.shared.cache.get(name.as_str()) {
            Ok(Kept::Name(shown)) => return Ok(Some(shown)),
            // No name looks like a digest.
            Ok(Kept::Blob(_)) => return Err(CatalogError::Nonsense("a digest as a name")),
            Err(asked) => asked,
        };
        let Some(shown) = shown(&self.shared.db.readers, name).await?.map(Arc::new) else {
            return Ok(None);
        };
        self.note_rot(&shown.blob);
        if !matches!(shown.blob.keeping, Keeping::Corrupt { .. }) {
            self.shared.cache.keep(name.as_str(), Kept::Name(Arc::clone(&shown)), asked);
        }
        Ok(Some(shown))
    }

    /// The blob with a digest.
    pub(crate) async fn blob(&self, wanted: &Digest) -> Result<Option<Arc<Blob>>, CatalogError> {
        let key = wanted.to_string();
        let asked = match self.shared.cache.get(&key) {
            Ok(Kept::Blob(blob)) => return Ok(Some(blob)),
            Ok(Kept::Name(_)) => return Err(CatalogError::Nonsense("a name as a digest")),
            Err(asked) => asked,
        };
        let row = sqlx::query(
            "SELECT b.digest, b.size, b.corrupt, s.bytes, c.key, c.tags
             FROM blob b LEFT JOIN small s ON s.blob = b.id LEFT JOIN chunked c ON c.blob = b.id WHERE b.digest = ?1",
        )
        .bind(wanted.as_bytes().to_vec())
        .fetch_optional(&self.shared.db.readers)
        .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let blob = Arc::new(blob(&row)?);
        self.note_rot(&blob);
        if !matches!(blob.keeping, Keeping::Corrupt { .. }) {
            self.shared.cache.keep(&key, Kept::Blob(Arc::clone(&blob)), asked);
        }
        Ok(Some(blob))
    }

    /// Some blobs with what keeps them, past the cache, in the order of their numbers, from this number on.
    pub(crate) async fn stored_from(&self, from: i64) -> Result<Vec<(i64, Blob)>, CatalogError> {
        let rows = sqlx::query(
            "SELECT b.digest, b.size, b.corrupt, s.bytes, c.key, c.tags, b.id
             FROM blob b LEFT JOIN small s ON s.blob = b.id LEFT JOIN chunked c ON c.blob = b.id
             WHERE b.id >= ?1 ORDER BY b.id LIMIT ?2",
        )
        .bind(from)
        .bind(SCRUBBED)
        .fetch_all(&self.shared.db.readers)
        .await?;
        rows.iter().map(|row| Ok((row.try_get(6)?, blob(row)?))).collect()
    }

    /// Whether there is a blob with this digest, past the cache.
    pub(crate) async fn holds(&self, wanted: &Digest) -> Result<bool, CatalogError> {
        let found: Option<i64> = sqlx::query_scalar("SELECT id FROM blob WHERE digest = ?1")
            .bind(wanted.as_bytes().to_vec())
            .fetch_optional(&self.shared.db.readers)
            .await?;
        Ok(found.is_some())
    }

    /// Some of the names that show these bytes, or have shown them.
    pub(crate) async fn names_of(&self, wanted: &Digest) -> Result<Vec<ArtifactName>, CatalogError> {
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT n.name FROM blob b JOIN version v ON v.blob = b.id JOIN name n ON n.id = v.name
             WHERE b.digest = ?1 ORDER BY n.name LIMIT 10",
        )
        .bind(wanted.as_bytes().to_vec())
        .fetch_all(&self.shared.db.readers)
        .await?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Whether any name for which `sees` is true shows these bytes, or has shown them.
    pub(crate) async fn named(&self, wanted: &Digest, sees: impl Fn(&ArtifactName) -> bool) -> Result<bool, CatalogError> {
        let mut after = 0_i64;
        loop {
            let rows: Vec<(i64, String)> = sqlx::query_as(
                "SELECT DISTINCT n.id, n.name FROM blob b JOIN version v ON v.blob = b.id JOIN name n ON n.id = v.name
                 WHERE b.digest = ?1 AND n.id > ?2 ORDER BY n.id LIMIT ?3",
            )
            .bind(wanted.as_bytes().to_vec())
            .bind(after)
            .bind(integer(LOOKED_AT as u64))
            .fetch_all(&self.shared.db.readers)
            .await?;
            if rows.iter().any(|(_, name)| name.parse().is_ok_and(|name| sees(&name))) {
                return Ok(true);
            }
            match rows.last() {
                Some((id, _)) if rows.len() == LOOKED_AT => after = *id,
                _ => return Ok(false),
            }
        }
    }

    /// The names that begin with `prefix` and for which `sees` is true, in order, after the name with the number
    /// `cursor`. The second is the cursor of the next page. None when there is no name with that number.
    ///
    /// A cursor is a number so that it tells nothing of a name which the reader may not see.
    pub(crate) async fn page(
        &self,
        prefix: &str,
        cursor: Option<u64>,
        limit: usize,
        sees: impl Fn(&ArtifactName) -> bool,
    ) -> Result<Option<(Vec<BlobInfo>, Option<u64>)>, CatalogError> {
        let readers = &self.shared.db.readers;
        let mut after = String::new();
        if let Some(cursor) = cursor {
            let name = sqlx::query_scalar("SELECT name FROM name WHERE id = ?1").bind(integer(cursor)).fetch_optional(readers).await?;
            let Some(name) = name else { return Ok(None) };
            after = name;
        }
        // All characters of a name sort before this one.
        let end = format!("{prefix}\u{7f}");
        let mut items = Vec::new();
        // A reader who may see few of many names gets a short page and a cursor, instead of a long wait.
        for _ in 0..20 {
            let rows = sqlx::query(
                "SELECT n.name, b.digest, b.size, v.version, v.content_type, v.stored_at, v.run, n.id
                 FROM name n JOIN version v ON v.name = n.id AND v.version = n.current JOIN blob b ON b.id = v.blob
                 WHERE n.name > ?1 AND n.name >= ?2 AND n.name < ?3 ORDER BY n.name LIMIT ?4",
            )
            .bind(&after)
            .bind(prefix)
            .bind(&end)
            .bind(integer(LOOKED_AT as u64))
            .fetch_all(readers)
            .await?;
            let mut last = None;
            for row in &rows {
                let info = info(row)?;
                if items.len() == limit {
                    return Ok(Some((items, last)));
                }
                last = Some(number(row.try_get(7)?)?);
                info.name.as_str().clone_into(&mut after);
                if sees(&info.name) {
                    items.push(info);
                }
            }
            if rows.len() < LOOKED_AT {
                return Ok(Some((items, None)));
            }
            if items.len() == limit {
                return Ok(Some((items, last)));
            }
        }
        let id: i64 = sqlx::query_scalar("SELECT id FROM name WHERE name = ?1").bind(&after).fetch_one(readers).await?;
        Ok(Some((items, Some(number(id)?))))
    }

    /// The history of a name, newest first, below the version `before`.
    pub(crate) async fn versions(&self, name: &ArtifactName, before: Option<u64>, limit: usize) -> Result<VersionPage, CatalogError> {
        let rows = sqlx::query(
            "SELECT n.name, b.digest, b.size, v.version, v.content_type, v.stored_at, v.run
             FROM name n JOIN version v ON v.name = n.id JOIN blob b ON b.id = v.blob
             WHERE n.name = ?1 AND v.version < ?2 ORDER BY v.version DESC LIMIT ?3",
        )
        .bind(name.as_str())
        .bind(integer(before.unwrap_or(u64::MAX)))
        .bind(integer(limit as u64 + 1))
        .fetch_all(&self.shared.db.readers)
        .await?;
        let more = rows.len() > limit;
        let items = rows.iter().take(limit).map(info).collect::<Result<_, _>>()?;
        Ok(VersionPage { items, more })
    }

    /// Notes that a small blob was found rotten while it was loaded.
    fn note_rot(&self, blob: &Blob) {
        if matches!(blob.keeping, Keeping::Corrupt { noted: false }) {
            self.mark_corrupt(blob.digest);
        }
    }
}

/// What a name shows, without the cache.
pub(super) async fn shown(executor: impl SqliteExecutor<'_>, name: &ArtifactName) -> Result<Option<Shown>, CatalogError> {
    let row = sqlx::query(
        "SELECT b.digest, b.size, b.corrupt, s.bytes, c.key, c.tags, v.version, v.content_type, v.stored_at, v.run
         FROM name n JOIN version v ON v.name = n.id AND v.version = n.current JOIN blob b ON b.id = v.blob
         LEFT JOIN small s ON s.blob = b.id LEFT JOIN chunked c ON c.blob = b.id WHERE n.name = ?1",
    )
    .bind(name.as_str())
    .fetch_optional(executor)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let blob = blob(&row)?;
    let info = BlobInfo {
        name: name.clone(),
        digest: blob.digest,
        size: blob.size,
        version: number(row.try_get(6)?)?,
        content_type: row.try_get(7)?,
        stored_at: moment(row.try_get(8)?)?,
        run: run(row.try_get(9)?)?,
    };
    Ok(Some(Shown { info, blob: Arc::new(blob) }))
}

/// A blob from digest, size, corrupt, bytes, key, tags. Small bytes are proven here.
fn blob(row: &SqliteRow) -> Result<Blob, CatalogError> {
    let digest = digest(row.try_get(0)?)?;
    let size = number(row.try_get(1)?)?;
    let corrupt: Option<i64> = row.try_get(2)?;
    let bytes: Option<Vec<u8>> = row.try_get(3)?;
    let key: Option<&[u8]> = row.try_get(4)?;
    let tags: Option<Vec<u8>> = row.try_get(5)?;
    let keeping = match (corrupt, bytes, key, tags) {
        (None, Some(bytes), ..) if hash(&bytes) == digest => Keeping::Small(Bytes::from(bytes)),
        (None, None, Some(key), Some(tags)) => {
            Tags::new(key, Bytes::from(tags)).map_or(Keeping::Corrupt { noted: false }, Keeping::Chunked)
        }
        _ => Keeping::Corrupt { noted: corrupt.is_some() },
    };
    Ok(Blob { digest, size, keeping })
}

/// A description from name, digest, size, version, content type, time, run.
fn info(row: &SqliteRow) -> Result<BlobInfo, CatalogError> {
    Ok(BlobInfo {
        name: row.try_get::<&str, _>(0)?.parse().map_err(|_| CatalogError::Nonsense("a name"))?,
        digest: digest(row.try_get(1)?)?,
        size: number(row.try_get(2)?)?,
        version: number(row.try_get(3)?)?,
        content_type: row.try_get(4)?,
        stored_at: moment(row.try_get(5)?)?,
        run: run(row.try_get(6)?)?,
    })
}

pub(super) fn moment(micros: i64) -> Result<Timestamp, CatalogError> {
    Timestamp::from_microsecond(micros).map_err(|_| CatalogError::Nonsense("a time"))
}

fn run(text: Option<&str>) -> Result<Option<signalbox_contract::RunId>, CatalogError> {
    text.map(|text| text.parse().map_err(|_| CatalogError::Nonsense("a run"))).transpose()
}
