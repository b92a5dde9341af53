//! What the writer keeps in mind between batches: the active runs and the resources. It is the only writer of the file, so
//! what it remembers is what is written. After a batch that could not be written it forgets all, and reads it again.

use std::collections::{BTreeMap, HashMap};

use signalbox_contract::{RepoName, RunId, SourceUrl};
use signalbox_controller_core::resource::{Claim, Record};
use signalbox_controller_core::{Resource, ResourceKey, Run};
use sqlx::SqlitePool;

use super::rows::{from_json, to_json};
use super::{StoreError, StoreSettings};

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Every run that is not finished.
    pub(super) runs: HashMap<RunId, Run>,
    pub(super) resources: BTreeMap<ResourceKey, Resource>,
    /// The newest run.
    pub(super) last_run: Option<RunId>,
    /// The last number that was given in each scope that was asked for so far.
    pub(super) sequences: HashMap<String, u64>,
    /// Which source each name is bound to.
    pub(super) bindings: HashMap<RepoName, SourceUrl>,
}

impl Memory {
    pub(super) async fn load(writer: &SqlitePool, settings: &StoreSettings, owner: &str) -> Result<Self, StoreError> {
        // Whoever held leases before is gone: the data folder is ours alone.
        sqlx::query("UPDATE effect SET owner = NULL, until = NULL WHERE owner IS NOT NULL AND owner <> $1")
            .bind(owner)
            .execute(writer)
            .await?;
        let mut memory = Self::default();
        let runs: Vec<(String,)> = sqlx::query_as("SELECT body FROM run WHERE state <> 'finished' ORDER BY id").fetch_all(writer).await?;
        for (body,) in runs {
            let run: Run = from_json("run", &body)?;
            memory.runs.insert(run.id, run);
        }
        let newest: Option<String> = sqlx::query_scalar("SELECT max(id) FROM run").fetch_one(writer).await?;
        memory.last_run = newest.and_then(|id| id.parse().ok());
        let mut claims: BTreeMap<String, Vec<Claim>> = BTreeMap::new();
        let rows: Vec<(String, String)> = sqlx::query_as("SELECT resource, body FROM claim").fetch_all(writer).await?;
        for (resource, body) in rows {
            claims.entry(resource).or_default().push(from_json("claim", &body)?);
        }
        let rows: Vec<(String, String)> = sqlx::query_as("SELECT key, body FROM resource").fetch_all(writer).await?;
        for (key, body) in rows {
            let record: Record = from_json("resource", &body)?;
            memory.resources.insert(record.key.clone(), Resource::restore(record, claims.remove(&key).unwrap_or_default()));
        }
        memory.resize(settings);
        for (name, source) in &settings.sources {
            // The first source that a name stands for is the one that it keeps.
            sqlx::query("INSERT INTO repository (name, source) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                .bind(name.as_str())
                .bind(source.to_string())
                .execute(writer)
                .await?;
        }
        let rows: Vec<(String, String)> = sqlx::query_as("SELECT name, source FROM repository").fetch_all(writer).await?;
        for (name, source) in rows {
            // A name that an older version allowed and this one does not can no longer be asked for either.
            if let (Ok(name), Ok(source)) = (name.parse(), source.parse()) {
                memory.bindings.insert(name, source);
            }
        }
        Ok(memory)
    }

    /// Gives each resource the capacity that is configured now. What was granted stays granted.
    fn resize(&mut self, settings: &StoreSettings) {
        for (key, capacity) in &settings.resources {
            self.resources.entry(key.clone()).or_insert_with(|| Resource::new(key.clone(), *capacity)).capacity = *capacity;
        }
    }

    /// The next number in a scope.
    pub(super) async fn next_number(&mut self, writer: &mut sqlx::SqliteConnection, scope: &str) -> Result<u64, StoreError> {
        if !self.sequences.contains_key(scope) {
            let last: Option<i64> =
                sqlx::query_scalar("SELECT last FROM sequence WHERE scope = $1").bind(scope).fetch_optional(writer).await?;
            self.sequences.insert(scope.to_owned(), last.and_then(|last| u64::try_from(last).ok()).unwrap_or_default());
        }
        let last = self.sequences.entry(scope.to_owned()).or_default();
        *last += 1;
        Ok(*last)
    }
}

/// How many may hold a resource of which the configuration says nothing: an environment is changed by one at a time; an
/// executor that is not configured any more has no room, so that what waits there waits visibly.
pub(super) const fn unsaid(key: &ResourceKey) -> u32 {
    match key {
        ResourceKey::Environment(_) => 1,
        ResourceKey::Executor(_) => 0,
    }
}

/// A resource's own row.
pub(super) fn record_row(resource: &Resource) -> Result<(String, String), StoreError> {
    Ok((resource.key.to_string(), to_json("resource", &resource.record())?))
}
