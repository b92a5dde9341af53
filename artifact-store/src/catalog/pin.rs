//! Pins: which runs still need which bytes.

use signalbox_contract::api::store::BlobInfo;
use signalbox_contract::{ArtifactName, RunId};
use signalbox_service::sqlite::Database;

use super::{Catalog, CatalogError};

impl Catalog {
    /// The run needs its bytes no longer.
    pub(crate) async fn unpin(&self, owner: RunId) -> Result<(), CatalogError> {
        self.apart(move |catalog| async move {
            sqlx::query("DELETE FROM pin WHERE owner = ?1").bind(owner.to_string()).execute(&catalog.shared.db.writer).await?;
            Ok(())
        })
        .await
    }

    /// What a name shows now, pinned for a run; none if it shows nothing, or only bytes that rotted.
    pub(crate) async fn resolve(&self, name: ArtifactName, owner: RunId) -> Result<Option<BlobInfo>, CatalogError> {
        self.apart(move |catalog| async move {
            // The transaction keeps what is read from being changed before it is pinned.
            let mut tx = catalog.shared.db.writer.begin_with(Database::BEGIN).await?;
            let Some(shown) = super::read::shown(&mut *tx, &name).await? else {
                return Ok(None);
            };
            if matches!(shown.blob.keeping, crate::blob::Keeping::Corrupt { .. }) {
                return Ok(None);
            }
            sqlx::query("INSERT INTO pin (owner, blob) SELECT ?1, id FROM blob WHERE digest = ?2 ON CONFLICT DO NOTHING")
                .bind(owner.to_string())
                .bind(shown.blob.digest.as_bytes().to_vec())
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok(Some(shown.info))
        })
        .await
    }
}
