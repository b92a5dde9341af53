//! Lists of runs. Each reads as many rows as a page has, or as there are active runs, however long the history is.

use std::collections::BTreeMap;

use serde::Deserialize;
use signalbox_contract::api::Page;
use signalbox_contract::api::run::{RunState, RunSummary, Status};
use signalbox_contract::{EnvironmentName, PublishedName, RefName, RepoName, RunId, SourceUrl};
use sqlx::{QueryBuilder, Sqlite};

use super::rows::{state_word, text, to_json};
use super::{Store, StoreError};

/// What lists are made of: for each run whether it was set aside, beside what was written for them.
const LISTED: &str = "SELECT id, summary, EXISTS (SELECT 1 FROM aside WHERE kind = 'run' AND aside.id = run.id) FROM run";

/// The same, of active runs alone: those that are over are not looked at.
const ACTIVE: &str = " INDEXED BY run_active WHERE state <> 'finished'";

/// The same, of all runs in the order of their ids: the index of the primary key, by the name that SQLite gives it.
const IN_ORDER: &str = " INDEXED BY sqlite_autoindex_run_1 WHERE true";

/// From so many repositories the newest runs of each are put in order; of more, all runs are gone through, newest first, until a
/// page is full, which then are mostly theirs.
const MERGED: usize = 2000;

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
    /// A page of runs, newest first.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn runs(&self, filter: &RunFilter, visible: &Visible, limit: u32) -> Result<Page<RunSummary>, StoreError> {
        let among = self.among(filter, visible).await?;
        let mut query = page(filter, &among, limit)?;
        let mut rows: Vec<(Vec<u8>, Vec<u8>, bool)> = query.build_query_as().fetch_all(&self.db.readers).await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|(id, ..)| text(id.clone()));
        let items = self.all_listed(rows).await?;
        Ok(Page { items, next })
    }

    /// Every active run, and a page of the finished ones.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn status(&self, visible: &Visible, before: Option<RunId>, limit: u32) -> Result<Status, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(LISTED);
        query.push(ACTIVE);
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

    async fn all_listed(&self, rows: Vec<(Vec<u8>, Vec<u8>, bool)>) -> Result<Vec<RunSummary>, StoreError> {
        let mut items = Vec::with_capacity(rows.len());
        for row in rows {
            items.extend(self.listed(row).await?);
        }
        Ok(items)
    }

    /// Among which runs a page is to be found.
    async fn among(&self, filter: &RunFilter, visible: &Visible) -> Result<Visible, StoreError> {
        let wanted = match &filter.repo {
            Some(RepoFilter::Name(name)) => vec![name.clone()],
            Some(RepoFilter::Source(source)) => {
                let names: Vec<(String,)> = sqlx::query_as("SELECT name FROM repository WHERE source = $1")
                    .bind(source.to_string())
                    .fetch_all(&self.db.readers)
                    .await?;
                names.into_iter().filter_map(|(name,)| name.parse().ok()).collect()
            }
            // A ref that few repositories have is found in each of them, and not among all runs.
            None if filter.ref_name.is_some() && *visible == Visible::All => self.known().await?.0,
            None => return Ok(visible.clone()),
        };
        let seen = |repo: &RepoName| match visible {
            Visible::All => true,
            Visible::Only { repos, .. } => repos.contains(repo),
        };
        // Runs without a repository have no ref either.
        Ok(Visible::Only { repos: wanted.into_iter().filter(seen).collect(), places: Vec::new() })
    }
}

/// The query for a page of these runs, with one more, which says that there are more.
fn page(filter: &RunFilter, among: &Visible, limit: u32) -> Result<QueryBuilder<Sqlite>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(LISTED);
    let active = filter.state.is_some_and(|state| state != RunState::Finished);
    match among {
        Visible::Only { repos, .. } if active || repos.len() > MERGED => {
            query.push(if active { ACTIVE } else { IN_ORDER });
            push_visible(&mut query, among)?;
            push_conditions(&mut query, filter);
        }
        Visible::All => {
            query.push(if active { ACTIVE } else { IN_ORDER });
            push_conditions(&mut query, filter);
        }
        Visible::Only { repos, places } => {
            query.push(" WHERE id IN (SELECT newest.id FROM json_each(").push_bind(to_json("run", repos)?);
            query.push(") AS one, run AS newest WHERE newest.id IN (SELECT id FROM run WHERE repo = one.value");
            push_conditions(&mut query, filter);
            push_limit(&mut query, limit);
            query.push(") UNION ALL SELECT newest.id FROM json_each(").push_bind(to_json("run", places)?);
            query.push(") AS one, run AS newest WHERE newest.id IN (SELECT id FROM run WHERE repo IS NULL");
            query.push(" AND environment = one.value->>0 AND name = one.value->>1");
            push_conditions(&mut query, filter);
            push_limit(&mut query, limit);
            query.push("))");
        }
    }
    push_limit(&mut query, limit);
    Ok(query)
}

fn push_limit(query: &mut QueryBuilder<Sqlite>, limit: u32) {
    query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit) + 1);
}

/// What is asked of each run, whoever's it is.
fn push_conditions(query: &mut QueryBuilder<Sqlite>, filter: &RunFilter) {
    if let Some(ref_name) = &filter.ref_name {
        push_ref(query, ref_name);
    }
    match filter.state {
        None => {}
        Some(RunState::Finished) => {
            query.push(" AND state = 'finished'");
        }
        Some(state) => {
            query.push(" AND state = ").push_bind(state_word(state));
        }
    }
    if let Some(before) = filter.before {
        query.push(" AND id < ").push_bind(before.to_string());
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

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

    use super::*;

    /// What SQLite does for a query, step by step.
    async fn steps(connection: &mut SqliteConnection, query: &QueryBuilder<Sqlite>) -> Vec<String> {
        let explained = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", query.sql().as_str()));
        let rows: Vec<(i64, i64, i64, String)> = sqlx::query_as(explained).fetch_all(connection).await.expect("a plan");
        rows.into_iter().map(|(.., step)| step).collect()
    }

    #[tokio::test]
    async fn no_list_goes_through_all_that_ever_ran() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.expect("a database");
        sqlx::migrate!().run_direct(None, &mut connection, false).await.expect("tables");
        let repos = |number: usize| (0..number).map(|index| format!("r{index}").parse().expect("a name")).collect();
        let few = Visible::Only { repos: repos(2), places: vec![("test".parse().expect("a name"), "hello".parse().expect("a name"))] };
        let many = Visible::Only { repos: repos(MERGED + 1), places: Vec::new() };
        let refs = [None, Some("main".parse().expect("a ref")), Some("refs/heads/main".parse().expect("a ref"))];
        let states = [None, Some(RunState::Queued), Some(RunState::Building), Some(RunState::Finished)];
        for among in [&Visible::All, &few, &many] {
            for (state, ref_name) in states.iter().flat_map(|state| refs.iter().map(move |ref_name| (*state, ref_name.clone()))) {
                let filter = RunFilter { repo: None, ref_name, state, before: Some(RunId::FIRST) };
                let query = page(&filter, among, 50).expect("a query");
                let steps = steps(&mut connection, &query).await;
                // In the order of their ids they are gone through until the page is full.
                let ordered = |step: &String| ["run_active", "sqlite_autoindex_run_1"].iter().any(|index| step.contains(index));
                for step in steps.iter().filter(|step| step.contains("MULTI-INDEX OR") || step.starts_with("SCAN run")) {
                    assert!(ordered(step), "{filter:?}: {steps:#?}");
                }
                let active = state.is_some_and(|state| state != RunState::Finished);
                assert_eq!(active, steps.iter().any(|step| step.contains("run_active")), "{filter:?}: {steps:#?}");
                let sorted = steps.iter().any(|step| step.contains("TEMP B-TREE"));
                assert!(!sorted || (*among == few && !active), "{filter:?}: {steps:#?}");
            }
        }
    }
}
