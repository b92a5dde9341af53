//! Which runs were started for which commits of changes and branches.

use signalbox_contract::{CommitSha, Origin, RunId};

use super::{Store, StoreError};

impl Store {
    /// The runs that speak for a commit: of each purpose the newest.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn speakers(&self, subject: &str, sha: &CommitSha) -> Result<Vec<RunId>, StoreError> {
        let rows: Vec<(String,)> = sqlx::query_as("SELECT max(run) FROM trigger WHERE subject = $1 AND sha = $2 GROUP BY purpose")
            .bind(subject)
            .bind(sha.as_str())
            .fetch_all(&self.db.readers)
            .await?;
        Ok(rows.into_iter().filter_map(|(run,)| run.parse().ok()).collect())
    }

    /// Whether a change has a newer commit than the one that something began for.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn is_stale(&self, origin: &Origin) -> Result<bool, StoreError> {
        let Some(head) = origin.review() else { return Ok(false) };
        let newest: Option<String> = sqlx::query_scalar("SELECT sha FROM head WHERE forge = $1 AND project = $2 AND subject = $3")
            .bind(head.change.forge.as_str())
            .bind(&head.change.project)
            .bind(head.change.number.to_string())
            .fetch_optional(&self.db.readers)
            .await?;
        Ok(newest.is_some_and(|newest| newest != head.sha.as_str()))
    }
}
