//! What is read. Nothing here waits for the writer.

use signalbox_contract::api::Page;
use signalbox_contract::api::run::EventView;
use signalbox_contract::{AttemptKey, EnvironmentName, ExecutorName, PublishedName, RepoName, RunId};
use signalbox_controller_core::Run;
use signalbox_controller_core::event::details;
use signalbox_service::telemetry::causes;

use super::aside::run_of;
use super::rows::{Raw, moment, text};
use super::{Live, Store, StoreError};

/// Number, time, kind, principal and body.
type EventRow = (i64, i64, Raw, Option<Raw>, Raw);

/// Key, executor, anchor, build and parts.
type LiveRow = (Raw, Raw, Option<Raw>, Option<Raw>, Raw);

impl Store {
    /// A run, whole.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn run(&self, id: RunId) -> Result<Option<Run>, StoreError> {
        let name = id.to_string();
        let row: Option<(Raw, bool)> =
            sqlx::query_as("SELECT body, EXISTS (SELECT 1 FROM aside WHERE kind = 'run' AND aside.id = run.id) FROM run WHERE id = $1")
                .bind(&name)
                .fetch_optional(&self.db.readers)
                .await?;
        match row.map(|(body, aside)| (run_of(&name, &body), aside)) {
            None => Ok(None),
            Some((Ok(run), false)) => Ok(Some(run)),
            // It was said when it was set aside.
            Some((_, true)) => Err(StoreError::Unreadable(id)),
            Some((Err(error), false)) => {
                tracing::error!(run = name, error = %causes(&error), "the record of a run cannot be read");
                Err(StoreError::Unreadable(id))
            }
        }
    }

    /// All that there may be runs of: each repository, and for runs without one each name in each environment.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn known(&self) -> Result<(Vec<RepoName>, Vec<(EnvironmentName, PublishedName)>), StoreError> {
        // What runs are numbered by is there with the first of them, whatever became of it; what is no repository is no name.
        let repos: Vec<(String,)> = sqlx::query_as("SELECT scope FROM sequence").fetch_all(&self.db.readers).await?;
        let places: Vec<(String, String)> =
            sqlx::query_as("SELECT DISTINCT environment, name FROM run WHERE repo IS NULL").fetch_all(&self.db.readers).await?;
        let places = places.into_iter().filter_map(|(environment, name)| Some((environment.parse().ok()?, name.parse().ok()?)));
        Ok((repos.into_iter().filter_map(|(name,)| name.parse().ok()).collect(), places.collect()))
    }

    /// A page of a run's event log, oldest first, after entry `after`.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn events(&self, run: RunId, after: u64, limit: u32) -> Result<Page<EventView>, StoreError> {
        let rows: Vec<EventRow> =
            sqlx::query_as("SELECT n, at, kind, principal, body FROM event WHERE run = $1 AND n > $2 ORDER BY n LIMIT $3")
                .bind(run.to_string())
                .bind(i64::try_from(after).unwrap_or(i64::MAX))
                .bind(i64::from(limit) + 1)
                .fetch_all(&self.db.readers)
                .await?;
        let more = rows.len() > limit as usize;
        let items: Vec<EventView> = rows
            .into_iter()
            .take(limit as usize)
            .map(|(n, at, kind, principal, body)| {
                let n = u64::try_from(n).unwrap_or_default();
                // An entry that is damaged loses its details, and takes no other with it.
                let body = details(serde_json::from_slice(&body).unwrap_or_default());
                EventView { n, at: moment(at), kind: text(kind), principal: principal.map(text), body }
            })
            .collect();
        let next = items.last().filter(|_| more).map(|last| last.n.to_string());
        Ok(Page { items, next })
    }

    /// The attempts that are at executors.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn live(&self) -> Result<Vec<Live>, StoreError> {
        let rows: Vec<LiveRow> = sqlx::query_as(
            "SELECT key, executor, anchor, build, parts FROM live WHERE run NOT IN (SELECT id FROM aside WHERE kind = 'run') ORDER BY key",
        )
        .fetch_all(&self.db.readers)
        .await?;
        let live = rows.into_iter().filter_map(|(key, executor, anchor, build, parts)| {
            let (key, executor) = (text(key).parse().ok()?, text(executor).parse().ok()?);
            // A list that cannot be read costs a log at most.
            let parts = serde_json::from_slice(&parts).unwrap_or_default();
            Some(Live { key, executor, anchor: anchor.map(text), build: build.map(text), parts })
        });
        Ok(live.collect())
    }

    /// The attempt that follows this build of an executor's.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn attempt_of(&self, executor: &ExecutorName, build: &str) -> Result<Option<AttemptKey>, StoreError> {
        let key: Option<Raw> = sqlx::query_scalar("SELECT key FROM live WHERE executor = $1 AND build = $2 ORDER BY key LIMIT 1")
            .bind(executor.as_str())
            .bind(build)
            .fetch_optional(&self.db.readers)
            .await?;
        Ok(key.and_then(|key| text(key).parse().ok()))
    }

    /// The newest runs of a repository that are not finished; a bounded number of them.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn active_of(&self, repo: &RepoName) -> Result<Vec<RunId>, StoreError> {
        let ids: Vec<Raw> = sqlx::query_scalar(
            "SELECT id FROM run WHERE repo = $1 AND state <> 'finished'
               AND id NOT IN (SELECT id FROM aside WHERE kind = 'run') ORDER BY id DESC LIMIT 50",
        )
        .bind(repo.as_str())
        .fetch_all(&self.db.readers)
        .await?;
        Ok(ids.into_iter().filter_map(|id| text(id).parse().ok()).collect())
    }

    /// How many effects wait, by lane, and how many runs are active: for the metrics.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn load(&self) -> Result<(Vec<(String, i64)>, i64), StoreError> {
        let lanes = sqlx::query_as("SELECT lane, count(*) FROM effect WHERE due <= $1 GROUP BY lane")
            .bind(super::rows::millis(self.now()))
            .fetch_all(&self.db.readers)
            .await?;
        let active = sqlx::query_scalar("SELECT count(*) FROM run WHERE state <> 'finished'").fetch_one(&self.db.readers).await?;
        Ok((lanes, active))
    }
}
