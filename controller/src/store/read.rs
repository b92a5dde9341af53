//! What is read. Nothing here waits for the writer.

use std::collections::BTreeMap;

use serde::Deserialize;
use signalbox_contract::api::Page;
use signalbox_contract::api::run::{EventView, RunState, RunSummary, Status};
use signalbox_contract::{AttemptKey, EnvironmentName, ExecutorName, PublishedName, RefName, RepoName, RunId, SourceUrl};
use signalbox_controller_core::Run;
use signalbox_controller_core::event::details;
use signalbox_service::telemetry::causes;
use sqlx::{QueryBuilder, Sqlite};

use super::aside::run_of;
use super::rows::{Raw, moment, state_word, text, to_json};
use super::{Live, Store, StoreError};

/// What lists are made of: for each run whether it was set aside, beside what was written for them.
const LISTED: &str = "SELECT id, summary, EXISTS (SELECT 1 FROM aside WHERE kind = 'run' AND aside.id = run.id) FROM run";

/// Number, time, kind, principal and body.
type EventRow = (i64, i64, Raw, Option<Raw>, Raw);

/// Key, executor, anchor, build and parts.
type LiveRow = (Raw, Raw, Option<Raw>, Option<Raw>, Raw);

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

/// A repository, as whoever asks names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum RepoFilter {
    /// By its name.
    Name(RepoName),
    /// By its source: that which the name was bound to when it was first fetched.
    Source(SourceUrl),
}

impl TryFrom<String> for RepoFilter {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let named = text.parse().map(Self::Name);
        named.or_else(|_| text.parse().map(Self::Source)).map_err(|_| "must be the name of a repository, or its source URL")
    }
}

/// Which runs are asked for.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Of this repository.
    pub repo: Option<RepoFilter>,
    /// Of this ref: a branch or a tag by its full name, or both by the short one.
    pub ref_name: Option<RefName>,
    /// In this state.
    pub state: Option<RunState>,
    /// Older than this one.
    pub before: Option<RunId>,
}

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

    /// A page of runs, newest first.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn runs(&self, filter: &RunFilter, visible: &Visible, limit: u32) -> Result<Page<RunSummary>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(format!("{LISTED} WHERE true"));
        match &filter.repo {
            Some(RepoFilter::Name(name)) => {
                query.push(" AND repo = ").push_bind(name.to_string());
            }
            Some(RepoFilter::Source(source)) => {
                query.push(" AND repo IN (SELECT name FROM repository WHERE source = ").push_bind(source.to_string()).push(")");
            }
            None => {}
        }
        if let Some(ref_name) = &filter.ref_name {
            push_ref(&mut query, ref_name);
        }
        match filter.state {
            None => {}
            Some(RunState::Finished) => {
                query.push(" AND state = 'finished'");
            }
            // The literal lets the index of active runs be used: those that are not are not looked at, however many there are.
            Some(state) => {
                query.push(" AND state <> 'finished' AND state = ").push_bind(state_word(state));
            }
        }
        if let Some(before) = filter.before {
            query.push(" AND id < ").push_bind(before.to_string());
        }
        push_visible(&mut query, visible)?;
        query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit) + 1);
        let mut rows: Vec<(Vec<u8>, Vec<u8>, bool)> = query.build_query_as().fetch_all(&self.db.readers).await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|(id, ..)| text(id.clone()));
        let items = self.all_listed(rows).await?;
        Ok(Page { items, next })
    }

    async fn all_listed(&self, rows: Vec<(Vec<u8>, Vec<u8>, bool)>) -> Result<Vec<RunSummary>, StoreError> {
        let mut items = Vec::with_capacity(rows.len());
        for row in rows {
            items.extend(self.listed(row).await?);
        }
        Ok(items)
    }

    /// Every active run, and a page of the finished ones.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn status(&self, visible: &Visible, before: Option<RunId>, limit: u32) -> Result<Status, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(format!("{LISTED} WHERE state <> 'finished'"));
        push_visible(&mut query, visible)?;
        query.push(" ORDER BY id DESC");
        let active = self.all_listed(query.build_query_as().fetch_all(&self.db.readers).await?).await?;
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

/// Runs of a ref. Their column has its short name, which a branch and a tag may share; which of them it is says the run's record:
/// the ref as the source has it, or until that is known the one that was asked for. A short name that is not resolved yet may
/// mean either, and what a damaged record means nobody can tell.
fn push_ref(query: &mut QueryBuilder<Sqlite>, wanted: &RefName) {
    let short = wanted.short();
    query.push(" AND ref = ").push_bind(short.to_owned());
    if short == wanted.as_str() {
        return;
    }
    // Parsing what is no JSON would fail the whole list; only a CASE promises that it is not tried.
    query.push(" AND CASE WHEN json_valid(body) THEN coalesce(body->>'$.ref_name', body->>'$.request.ref_name', ref) ELSE ref END IN (");
    query.push_bind(short.to_owned()).push(", ").push_bind(wanted.to_string()).push(")");
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
