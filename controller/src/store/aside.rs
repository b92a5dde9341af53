//! Rows that cannot be read, because they are damaged or were written by another version. One of them must not hold up all
//! the others, so it is set aside: its run is shown as unreadable and left as it is, and its effects wait. Each start tries
//! all of them again.

use jiff::Timestamp;
use signalbox_contract::api::run::{RunKind, RunState, RunSummary};
use signalbox_contract::{EnvironmentName, PublishedName, RepoName, RunId};
use signalbox_controller_core::{ResourceKey, Run};
use signalbox_service::telemetry::causes;
use sqlx::SqliteConnection;

use super::rows::{from_bytes, millis, moment, text};
use super::{Store, StoreError};

/// What the lists say of a run whose record cannot be read.
const REASON: &str = "The record of this run cannot be read; it is left as it is. The operator's guide says what can be done.";

/// Where a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Run,
    Effect,
    Claim,
    Resource,
}

impl Table {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Effect => "effect",
            Self::Claim => "claim",
            Self::Resource => "resource",
        }
    }
}

/// Sets a row aside, and says so.
pub(super) async fn set_aside(
    writer: &mut SqliteConnection,
    table: Table,
    id: &str,
    run: Option<RunId>,
    now: Timestamp,
    error: &StoreError,
) -> Result<(), StoreError> {
    let run = run.map(|run| run.to_string());
    tracing::error!(table = table.word(), row = id, run, error = %causes(error), "a row cannot be read, and is set aside");
    sqlx::query("INSERT INTO aside (kind, id, run, at, error) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING")
        .bind(table.word())
        .bind(id)
        .bind(run)
        .bind(millis(now))
        .bind(causes(error))
        .execute(writer)
        .await?;
    Ok(())
}

/// Forgets what was set aside, so that all of it is tried again: a newer version may understand it.
pub(super) async fn try_again(writer: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM aside").execute(writer).await?;
    Ok(())
}

/// A run as its row has it. One that speaks of another run is as damaged as one that says nothing.
pub(super) fn run_of(id: &str, body: &[u8]) -> Result<Run, StoreError> {
    let run: Run = from_bytes("run", body)?;
    if run.id.to_string() == id {
        return Ok(run);
    }
    Err(StoreError::Row { table: "run", source: serde::de::Error::custom("it is the record of another run") })
}

/// The resource that a row's key names.
pub(super) fn resource_of(key: &str) -> Option<ResourceKey> {
    match key.split_once('/')? {
        ("executor", name) => name.parse().ok().map(ResourceKey::Executor),
        ("environment", name) => name.parse().ok().map(ResourceKey::Environment),
        ("ref", name) => {
            let mut parts = name.splitn(3, ':');
            let (mirror, repo, ref_name) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            Some(ResourceKey::Ref { mirror, repo, ref_name })
        }
        _ => None,
    }
}

/// What decides who may see a run: its repository, or else the environment and the name that it changes.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// The repository.
    pub repo: Option<RepoName>,
    /// The environment.
    pub environment: Option<EnvironmentName>,
    /// The published name.
    pub name: Option<PublishedName>,
}

type Columns = (Option<Vec<u8>>, Option<Vec<u8>>, Option<Vec<u8>>, i64, Vec<u8>, i64, Option<i64>);

impl Store {
    /// What the columns beside a run's record say of it.
    async fn columns(&self, id: &str) -> Result<Option<Columns>, StoreError> {
        let query = "SELECT repo, environment, name, number, state, accepted_at, finished_at FROM run WHERE id = $1";
        Ok(sqlx::query_as(query).bind(id).fetch_optional(&self.db.readers).await?)
    }

    /// Who may know of a run whose record cannot be read.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn place(&self, id: RunId) -> Result<Place, StoreError> {
        Ok(self.columns(&id.to_string()).await?.map(|columns| place_of(&columns)).unwrap_or_default())
    }

    /// What lists show of a run: what was written for them, as long as that and the run's record can be read.
    pub(super) async fn listed(&self, (id, summary, aside): (Vec<u8>, Vec<u8>, bool)) -> Result<Option<RunSummary>, StoreError> {
        let id = text(id);
        match from_bytes::<RunSummary>("run", &summary) {
            Ok(summary) if !aside => Ok(Some(summary)),
            Ok(summary) => Ok(Some(RunSummary { unreadable: true, reason: REASON.to_owned(), ..summary })),
            Err(_) => {
                let columns = self.columns(&id).await?;
                // Without an id there is nothing that could be named or asked for.
                Ok(columns.and_then(|columns| Some(unreadable(id.parse().ok()?, &columns))))
            }
        }
    }

    /// How many rows are set aside, by table: for the metrics.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn aside(&self) -> Result<Vec<(String, i64)>, StoreError> {
        Ok(sqlx::query_as("SELECT kind, count(*) FROM aside GROUP BY kind").fetch_all(&self.db.readers).await?)
    }
}

fn parsed<T: std::str::FromStr>(column: Option<&Vec<u8>>) -> Option<T> {
    std::str::from_utf8(column?).ok()?.parse().ok()
}

fn place_of((repo, environment, name, ..): &Columns) -> Place {
    Place { repo: parsed(repo.as_ref()), environment: parsed(environment.as_ref()), name: parsed(name.as_ref()) }
}

/// What can be said of a run of which only the columns can be read.
fn unreadable(id: RunId, columns: &Columns) -> RunSummary {
    let Place { repo, environment, name } = place_of(columns);
    let (_, _, _, number, state, accepted, finished) = columns;
    RunSummary {
        id,
        number: u64::try_from(*number).unwrap_or_default(),
        kind: if repo.is_some() { RunKind::Cd } else { RunKind::Deploy },
        repo,
        ref_name: None,
        sha: None,
        artifact: None,
        environment,
        published_name: name,
        state: if state == b"finished" { RunState::Finished } else { RunState::Building },
        outcome: None,
        unreadable: true,
        reason: REASON.to_owned(),
        principal: String::new(),
        origin: signalbox_contract::Origin::Api,
        accepted_at: moment(*accepted),
        rerun_at: None,
        finished_at: finished.map(moment),
    }
}
