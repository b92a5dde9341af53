//! What the writer keeps in mind between batches: the active runs and the resources. It is the only writer of the file, so
//! what it remembers is what is written. After a batch that could not be written it forgets all, and reads it again.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use signalbox_contract::{AttemptKey, RepoName, RunId, SourceUrl};
use signalbox_controller_core::resource::{Claim, Record};
use signalbox_controller_core::{Resource, ResourceKey, Run};
use signalbox_service::sqlite::Database;
use sqlx::{SqliteConnection, SqlitePool};

use super::aside::{Table, resource_of, run_of, set_aside, try_again};
use super::restored::counted_from;
use super::rows::{from_bytes, millis, text, to_json};
use super::{StoreError, StoreSettings, binding};

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Every run that is not finished.
    pub(super) runs: HashMap<RunId, Run>,
    /// Runs whose rows cannot be read. Nothing is done with them until the next start.
    pub(super) aside: HashSet<RunId>,
    pub(super) resources: BTreeMap<ResourceKey, Resource>,
    /// The newest run.
    pub(super) last_run: Option<RunId>,
    /// The last number that was given in each scope that was asked for so far.
    pub(super) sequences: HashMap<String, u64>,
    /// Above which number all deployments are, because a backup was restored.
    pub(super) counted_from: u64,
    /// How many deliveries of each forge wait to be acted on.
    pub(super) waiting: HashMap<String, u64>,
    /// Which source each name belongs to.
    pub(super) bindings: HashMap<RepoName, SourceUrl>,
}

impl Memory {
    pub(super) async fn load(pool: &SqlitePool, settings: &StoreSettings, owner: &str, now: Timestamp) -> Result<Self, StoreError> {
        let mut writer = pool.begin_with(Database::BEGIN).await?;
        // Whoever held leases before is gone: the data folder is ours alone.
        sqlx::query("UPDATE effect SET owner = NULL, until = NULL WHERE owner IS NOT NULL AND owner <> $1")
            .bind(owner)
            .execute(&mut *writer)
            .await?;
        try_again(&mut writer).await?;
        let mut memory = Self::default();
        memory.load_runs(&mut writer, now).await?;
        memory.load_resources(&mut writer, now).await?;
        memory.resize(settings);
        memory.counted_from = counted_from(&mut writer).await?;
        let from = memory.counted_from;
        memory.resources.values_mut().for_each(|resource| raise(resource, from));
        let waiting: Vec<(String, i64)> = sqlx::query_as("SELECT source, count(*) FROM delivery WHERE state = 'received' GROUP BY source")
            .fetch_all(&mut *writer)
            .await?;
        memory.waiting = waiting.into_iter().map(|(source, count)| (source, u64::try_from(count).unwrap_or_default())).collect();
        let rows: Vec<binding::Row> = sqlx::query_as("SELECT name, source FROM repository").fetch_all(&mut *writer).await?;
        memory.bindings = rows.into_iter().filter_map(binding::binding).collect();
        writer.commit().await?;
        Ok(memory)
    }

    async fn load_runs(&mut self, writer: &mut SqliteConnection, now: Timestamp) -> Result<(), StoreError> {
        let rows: Vec<(Vec<u8>, Vec<u8>)> =
            sqlx::query_as("SELECT id, body FROM run WHERE state <> 'finished' ORDER BY id").fetch_all(&mut *writer).await?;
        for (id, body) in rows {
            let id = text(id);
            match run_of(&id, &body) {
                Ok(run) if run.outcome.is_none() => {
                    self.runs.insert(run.id, run);
                }
                // Its column says that it goes on, and it does not.
                Ok(_) => {}
                Err(error) => {
                    let run = id.parse().ok();
                    self.aside.extend(run);
                    set_aside(writer, Table::Run, &id, run, now, &error).await?;
                }
            }
        }
        let newest: Vec<(Vec<u8>,)> = sqlx::query_as("SELECT id FROM run ORDER BY id DESC LIMIT 100").fetch_all(writer).await?;
        self.last_run = newest.into_iter().find_map(|(id,)| text(id).parse().ok());
        Ok(())
    }

    async fn load_resources(&mut self, writer: &mut SqliteConnection, now: Timestamp) -> Result<(), StoreError> {
        let mut claims: BTreeMap<String, Vec<Claim>> = BTreeMap::new();
        let rows: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> =
            sqlx::query_as("SELECT resource, holder, body FROM claim").fetch_all(&mut *writer).await?;
        for (resource, holder, body) in rows {
            let holder = text(holder);
            match from_bytes::<Claim>("claim", &body) {
                Ok(claim) => claims.entry(text(resource)).or_default().push(claim),
                Err(error) => {
                    // Its run would wait for ever for what it claims, or hold it without knowing.
                    let run = holder.parse().ok().map(|key: AttemptKey| key.run);
                    set_aside(writer, Table::Claim, &holder, run, now, &error).await?;
                    if let Some(run) = run.filter(|run| self.runs.remove(run).is_some()) {
                        self.aside.insert(run);
                        set_aside(writer, Table::Run, &run.to_string(), Some(run), now, &error).await?;
                    }
                }
            }
        }
        // What a run holds that was set aside, others can have: it does not go on. The row stays, for when it does.
        for claims in claims.values_mut() {
            claims.retain(|claim| !self.aside.contains(&claim.holder.run));
        }
        let rows: Vec<(Vec<u8>, Vec<u8>)> = sqlx::query_as("SELECT key, body FROM resource").fetch_all(&mut *writer).await?;
        for (key, body) in rows {
            let key = text(key);
            let record = match from_bytes::<Record>("resource", &body) {
                Ok(record) if record.key.to_string() == key => record,
                Ok(_) => continue,
                Err(error) => {
                    set_aside(writer, Table::Resource, &key, None, now, &error).await?;
                    let Some(named) = resource_of(&key) else { continue };
                    let capacity = unsaid(&named);
                    // Hosts refuse numbers below those that they have seen. Counted from one, no environment comes as far as
                    // the milliseconds since the epoch; counted from those, it stays above what it was given before.
                    let fence = u64::try_from(millis(now)).unwrap_or_default();
                    Record { key: named, capacity, fence, served: Vec::new(), newest: BTreeMap::new() }
                }
            };
            self.resources.insert(record.key.clone(), Resource::restore(record, claims.remove(&key).unwrap_or_default()));
        }
        Ok(())
    }

    /// Gives each resource the capacity that is configured now. What was granted stays granted.
    fn resize(&mut self, settings: &StoreSettings) {
        for (key, capacity) in &settings.resources {
            self.resources.entry(key.clone()).or_insert_with(|| Resource::new(key.clone(), *capacity)).capacity = *capacity;
        }
    }

    /// A resource, which is made when it is first asked for.
    pub(super) fn resource(&mut self, key: &ResourceKey) -> &mut Resource {
        let from = self.counted_from;
        self.resources.entry(key.clone()).or_insert_with(|| {
            let mut resource = Resource::new(key.clone(), unsaid(key));
            raise(&mut resource, from);
            resource
        })
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

/// Where the numbers of grants are those of deployments, they go on above `from`.
fn raise(resource: &mut Resource, from: u64) {
    if matches!(resource.key, ResourceKey::Environment(_)) {
        resource.raise(from);
    }
}

/// How many may hold a resource of which the configuration says nothing: an environment is changed by one at a time; an
/// executor that is not configured any more has no room, so that what waits there waits visibly.
pub(super) const fn unsaid(key: &ResourceKey) -> u32 {
    match key {
        ResourceKey::Environment(_) | ResourceKey::Ref { .. } => 1,
        ResourceKey::Executor(_) => 0,
    }
}

/// A resource's own row.
pub(super) fn record_row(resource: &Resource) -> Result<(String, String), StoreError> {
    Ok((resource.key.to_string(), to_json("resource", &resource.record())?))
}
