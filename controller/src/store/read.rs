//! What is read. Nothing here waits for the writer.

use std::collections::BTreeMap;

use signalbox_contract::api::Page;
use signalbox_contract::api::run::{EventView, RunState, RunSummary, Status};
use signalbox_contract::{AttemptKey, EnvironmentName, ExecutorName, PublishedName, RefName, RepoName, RunId};
use signalbox_controller_core::Run;
use sqlx::{QueryBuilder, Sqlite};

use super::rows::{from_json, moment, state_word, to_json};
use super::{Store, StoreError};

/// Which runs a reader may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visible {
    /// All of them.
    All,
    /// Those of these repositories, and of those without one those that change these names in these environments.
    Only {
        /// The repositories.
        repos: Vec<RepoName>,
        /// The environments, and what is published there.
        places: Vec<(EnvironmentName, PublishedName)>,
    },
}

/// Which runs are asked for.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Of this repository.
    pub repo: Option<RepoName>,
    /// Of this ref.
    pub ref_name: Option<RefName>,
    /// In this state.
    pub state: Option<RunState>,
    /// Older than this one.
    pub before: Option<RunId>,
}

/// An attempt that is at an executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// The attempt.
    pub key: AttemptKey,
    /// The executor.
    pub executor: ExecutorName,
    /// What was newest there before its start.
    pub anchor: Option<String>,
    /// The executor's own name for the build.
    pub build: Option<String>,
}

impl Store {
    /// A run, whole.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn run(&self, id: RunId) -> Result<Option<Run>, StoreError> {
        let row: Option<(String,)> =
            sqlx::query_as("SELECT body FROM run WHERE id = $1").bind(id.to_string()).fetch_optional(&self.db.readers).await?;
        row.map(|(body,)| from_json("run", &body)).transpose()
    }

    /// All that there may be runs of: each repository, and for runs without one each name in each environment.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn known(&self) -> Result<(Vec<RepoName>, Vec<(EnvironmentName, PublishedName)>), StoreError> {
        let repos: Vec<(String,)> = sqlx::query_as("SELECT name FROM repository").fetch_all(&self.db.readers).await?;
        let places: Vec<(String, String)> =
            sqlx::query_as("SELECT DISTINCT environment, name FROM run WHERE repo IS NULL").fetch_all(&self.db.readers).await?;
        let places = places.into_iter().filter_map(|(environment, name)| Some((environment.parse().ok()?, name.parse().ok()?)));
        Ok((repos.into_iter().filter_map(|(name,)| name.parse().ok()).collect(), places.collect()))
    }

    /// A page of runs, newest first.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn runs(&self, filter: &RunFilter, visible: &Visible, limit: u32) -> Result<Page<RunSummary>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT summary FROM run WHERE true");
        if let Some(repo) = &filter.repo {
            query.push(" AND repo = ").push_bind(repo.as_str().to_owned());
        }
        if let Some(ref_name) = &filter.ref_name {
            query.push(" AND ref = ").push_bind(ref_name.short().to_owned());
        }
        if let Some(state) = filter.state {
            query.push(" AND state = ").push_bind(state_word(state));
        }
        if let Some(before) = filter.before {
            query.push(" AND id < ").push_bind(before.to_string());
        }
        push_visible(&mut query, visible)?;
        query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit) + 1);
        let rows: Vec<(String,)> = query.build_query_as().fetch_all(&self.db.readers).await?;
        let mut items: Vec<RunSummary> = rows.iter().map(|(summary,)| from_json("run", summary)).collect::<Result<_, _>>()?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = items.last().filter(|_| more).map(|last| last.id.to_string());
        Ok(Page { items, next })
    }

    /// Every active run, and a page of the finished ones.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn status(&self, visible: &Visible, before: Option<RunId>, limit: u32) -> Result<Status, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT summary FROM run WHERE state <> 'finished'");
        push_visible(&mut query, visible)?;
        query.push(" ORDER BY id DESC");
        let rows: Vec<(String,)> = query.build_query_as().fetch_all(&self.db.readers).await?;
        let active: Vec<RunSummary> = rows.iter().map(|(summary,)| from_json("run", summary)).collect::<Result<_, _>>()?;
        let filter = RunFilter { state: Some(RunState::Finished), before, ..RunFilter::default() };
        let finished = self.runs(&filter, visible, limit).await?;
        let ids = |queued: bool| active.iter().filter(move |run| (run.state == RunState::Queued) == queued).map(|run| run.id).collect();
        Ok(Status {
            queued: ids(true),
            building: ids(false),
            finished: finished.items.iter().map(|run| run.id).collect(),
            next: finished.next,
            builds: active.into_iter().chain(finished.items).map(|run| (run.id, run)).collect::<BTreeMap<_, _>>(),
        })
    }

    /// A page of a run's event log, oldest first, after entry `after`.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn events(&self, run: RunId, after: u64, limit: u32) -> Result<Page<EventView>, StoreError> {
        let rows: Vec<(i64, i64, String, Option<String>, String)> =
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
                Ok(EventView { n, at: moment(at), kind, principal, body: from_json("event", &body)? })
            })
            .collect::<Result<_, StoreError>>()?;
        let next = items.last().filter(|_| more).map(|last| last.n.to_string());
        Ok(Page { items, next })
    }

    /// The attempts that are at executors.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn live(&self) -> Result<Vec<Live>, StoreError> {
        let rows: Vec<(String, String, Option<String>, Option<String>)> =
            sqlx::query_as("SELECT key, executor, anchor, build FROM live ORDER BY key").fetch_all(&self.db.readers).await?;
        Ok(rows
            .into_iter()
            .filter_map(|(key, executor, anchor, build)| {
                Some(Live { key: key.parse().ok()?, executor: executor.parse().ok()?, anchor, build })
            })
            .collect())
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

fn push_visible(query: &mut QueryBuilder<Sqlite>, visible: &Visible) -> Result<(), StoreError> {
    if let Visible::Only { repos, places } = visible {
        query.push(" AND (repo IN (SELECT value FROM json_each(").push_bind(to_json("run", repos)?);
        query.push(")) OR (repo IS NULL AND (environment, name) IN (SELECT value->>0, value->>1 FROM json_each(");
        query.push_bind(to_json("run", places)?);
        query.push("))))");
    }
    Ok(())
}
