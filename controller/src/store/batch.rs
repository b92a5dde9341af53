//! One batch: what its commands make of the aggregates, settled among them, and then written at once.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use jiff::Timestamp;
use signalbox_contract::change::ChangeId;
use signalbox_contract::{AttemptKey, CommitSha, Digest, RunId};
use signalbox_controller_core::decide::{Acceptance, Decision, Limits, LogEntry};
use signalbox_controller_core::{Effect, Event, Granted, Message, ResourceKey, Run, accept, decide};
use sqlx::SqliteConnection;

use super::aside::{Table, run_of, set_aside};
use super::memory::{Memory, record_row};
use super::rows::{RunRow, millis, to_json};
use super::{Lease, StoreError};

/// A batch in the making.
pub(super) struct Batch<'a> {
    pub(super) memory: &'a mut Memory,
    pub(super) now: Timestamp,
    limits: Limits,
    /// Runs that are not active but were asked for.
    loaded: HashMap<RunId, Run>,
    /// The version that each changed run has in the file; none for a new one.
    changed: BTreeMap<RunId, Option<u64>>,
    touched: BTreeSet<(ResourceKey, AttemptKey)>,
    resources: BTreeSet<ResourceKey>,
    effects: BTreeMap<String, Option<Effect>>,
    events: Vec<(RunId, u64, LogEntry)>,
    scopes: BTreeSet<String>,
    pub(super) keys: Vec<(String, String, Digest, RunId)>,
    done: Vec<Lease>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(memory: &'a mut Memory, now: Timestamp, limits: Limits) -> Self {
        Self {
            memory,
            now,
            limits,
            loaded: HashMap::new(),
            changed: BTreeMap::new(),
            touched: BTreeSet::new(),
            resources: BTreeSet::new(),
            effects: BTreeMap::new(),
            events: Vec::new(),
            scopes: BTreeSet::new(),
            keys: Vec::new(),
            done: Vec::new(),
        }
    }

    /// Whether anything is to be done at once because of this batch.
    pub(super) fn nudges(&self) -> bool {
        self.effects.values().flatten().any(|effect| effect.due <= self.now)
    }

    /// The runs that this batch changes.
    pub(super) fn changed_runs(&self) -> Vec<RunId> {
        self.changed.keys().copied().collect()
    }

    /// Reads runs that are not active, all at once.
    pub(super) async fn load(&mut self, writer: &mut SqliteConnection, ids: impl Iterator<Item = RunId>) -> Result<(), StoreError> {
        let missing: BTreeSet<String> = ids
            .filter(|id| !self.loaded.contains_key(id) && !self.memory.runs.contains_key(id) && !self.memory.aside.contains(id))
            .map(|id| id.to_string())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let rows: Vec<(String, Vec<u8>)> = sqlx::query_as("SELECT id, body FROM run WHERE id IN (SELECT value FROM json_each($1))")
            .bind(to_json("run", &missing)?)
            .fetch_all(&mut *writer)
            .await?;
        for (id, body) in rows {
            match run_of(&id, &body) {
                Ok(run) => {
                    self.loaded.insert(run.id, run);
                }
                // One that cannot be read must not fail the whole batch.
                Err(error) => {
                    let run = id.parse().ok();
                    self.memory.aside.extend(run);
                    set_aside(writer, Table::Run, &id, run, self.now, &error).await?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn finish_effect(&mut self, lease: Lease) {
        self.done.push(lease);
    }

    pub(super) fn accept(&mut self, acceptance: Acceptance, scope: String) {
        self.scopes.insert(scope);
        let decision = accept(acceptance, self.now, &self.limits);
        self.changed.insert(decision.run.id, None);
        let messages = self.take(decision);
        self.settle(messages);
    }

    /// Tells a run what happened; `true` if it changed.
    pub(super) fn happened(&mut self, id: RunId, event: &Event) -> Result<bool, StoreError> {
        if self.is_aside(&id) {
            return Err(StoreError::Unreadable(id));
        }
        let run = self.run(&id).ok_or(StoreError::NoSuchRun)?;
        let Some(decision) = decide(run, event, self.now, &self.limits)? else { return Ok(false) };
        let before = run.version;
        self.changed.entry(id).or_insert(Some(before));
        let messages = self.take(decision);
        self.settle(messages);
        Ok(true)
    }

    /// Whether the run cannot be read, so that nothing can be said to it.
    pub(super) fn is_aside(&self, id: &RunId) -> bool {
        self.memory.aside.contains(id)
    }

    /// A run that is active or was loaded.
    pub(super) fn known(&self, id: &RunId) -> Option<&Run> {
        self.run(id)
    }

    /// The active runs that review a change, but for those of one commit.
    pub(super) fn reviewing(&self, change: &ChangeId, but: Option<&CommitSha>) -> Vec<RunId> {
        let of = |run: &&Run| run.request.origin().review().is_some_and(|head| head.change == *change && Some(&head.sha) != but);
        let mut runs: Vec<RunId> = self.memory.runs.values().filter(of).map(|run| run.id).collect();
        runs.sort_unstable();
        runs
    }

    fn run(&self, id: &RunId) -> Option<&Run> {
        self.memory.runs.get(id).or_else(|| self.loaded.get(id))
    }

    /// Takes over a decision, and hands on its messages.
    fn take(&mut self, decision: Decision) -> Vec<Message> {
        let Decision { run, effects, withdrawn, messages, log } = decision;
        let first = run.events - log.len() as u64;
        self.events.extend(log.into_iter().zip(first + 1..).map(|(entry, n)| (run.id, n, entry)));
        for id in withdrawn {
            self.effects.insert(id, None);
        }
        for effect in effects {
            self.effects.insert(effect.id(), Some(effect));
        }
        if run.outcome.is_some() {
            self.memory.runs.remove(&run.id);
            self.loaded.insert(run.id, run);
        } else {
            self.loaded.remove(&run.id);
            self.memory.runs.insert(run.id, run);
        }
        messages
    }

    /// Carries messages between the aggregates until there are none: all within this batch. It ends, because a run that is
    /// granted a place moves on, and a place that is given back goes to a claim that waits.
    fn settle(&mut self, messages: Vec<Message>) {
        let mut queue: VecDeque<Message> = messages.into();
        while let Some(message) = queue.pop_front() {
            let key = message.resource().clone();
            self.resources.insert(key.clone());
            if let Message::Ask { claim, .. } = &message {
                self.touched.insert((key.clone(), claim.holder));
            }
            if let Message::Release { holder, .. } = &message {
                self.touched.insert((key.clone(), *holder));
            }
            let resource = self.memory.resource(&key);
            let granted = resource.take(&message);
            if key.passing() && resource.claims().next().is_none() {
                self.memory.resources.remove(&key);
            }
            queue.extend(self.deliver(&key, granted));
        }
    }

    /// Gives the places that are free because there are more of them than when the claims were made.
    pub(super) fn grant_free(&mut self) {
        let keys: Vec<ResourceKey> = self.memory.resources.keys().cloned().collect();
        for key in keys {
            let granted = self.memory.resources.get_mut(&key).map(|resource| resource.resize(resource.capacity)).unwrap_or_default();
            if !granted.is_empty() {
                self.resources.insert(key.clone());
                let messages = self.deliver(&key, granted);
                self.settle(messages);
            }
        }
    }

    /// Tells runs of the places that they were given, and hands on what they say to that.
    fn deliver(&mut self, key: &ResourceKey, granted: Vec<Granted>) -> Vec<Message> {
        let mut messages = Vec::new();
        for granted in granted {
            let holder = granted.key;
            self.touched.insert((key.clone(), holder));
            let decided = self.run(&holder.run).map(|run| (run.version, decide(run, &Event::Granted(granted), self.now, &self.limits)));
            match decided {
                Some((before, Ok(Some(decision)))) => {
                    self.changed.entry(holder.run).or_insert(Some(before));
                    messages.extend(self.take(decision));
                }
                // A claim without a run that wants it would hold its place for ever.
                _ => messages.push(Message::Release { resource: key.clone(), holder }),
            }
        }
        messages
    }

    /// Writes everything, a statement a table.
    pub(super) async fn write(&self, writer: &mut SqliteConnection) -> Result<(), StoreError> {
        self.write_runs(writer).await?;
        self.write_effects(writer).await?;
        self.write_resources(writer).await
    }

    async fn write_runs(&self, writer: &mut SqliteConnection) -> Result<(), StoreError> {
        if self.changed.is_empty() {
            return Ok(());
        }
        self.compare_versions(writer).await?;
        let mut rows = Vec::with_capacity(self.changed.len());
        let mut live = Vec::new();
        for id in self.changed.keys() {
            let Some(run) = self.run(id) else { continue };
            rows.push(RunRow::of(run)?);
            live.extend(run.at_executors().map(|(key, executor, attempt)| {
                (key, *id, executor.clone(), attempt.anchor.clone(), attempt.build.clone(), attempt.logs())
            }));
        }
        sqlx::query(
            "INSERT INTO run (id, repo, environment, name, ref, number, state, outcome, accepted_at, finished_at, version, summary, body)
             SELECT value->>'id', value->>'repo', value->>'environment', value->>'name', value->>'ref', value->>'number', value->>'state', value->>'outcome',
                    value->>'accepted_at', value->>'finished_at', value->>'version', value->>'summary', value->>'body'
             FROM json_each($1) WHERE true
             ON CONFLICT (id) DO UPDATE SET ref = excluded.ref, state = excluded.state, outcome = excluded.outcome,
                    finished_at = excluded.finished_at, version = excluded.version, summary = excluded.summary, body = excluded.body",
        )
        .bind(to_json("run", &rows)?)
        .execute(&mut *writer)
        .await?;
        let events: Vec<_> = self
            .events
            .iter()
            .map(|(run, n, entry)| (run, n, millis(self.now), entry.kind, &entry.principal, entry.body.to_string()))
            .collect();
        sqlx::query(
            "INSERT INTO event (run, n, at, kind, v, principal, body)
             SELECT value->>0, value->>1, value->>2, value->>3, 1, value->>4, value->>5 FROM json_each($1)",
        )
        .bind(to_json("event", &events)?)
        .execute(&mut *writer)
        .await?;
        let changed: Vec<&RunId> = self.changed.keys().collect();
        sqlx::query("DELETE FROM live WHERE run IN (SELECT value FROM json_each($1))")
            .bind(to_json("live", &changed)?)
            .execute(&mut *writer)
            .await?;
        if !live.is_empty() {
            sqlx::query(
                "INSERT INTO live (key, run, executor, anchor, build, parts)
                 SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5 FROM json_each($1)",
            )
            .bind(to_json("live", &live)?)
            .execute(&mut *writer)
            .await?;
        }
        self.write_acceptance(writer).await
    }

    /// A run whose row has another version than was read was changed by somebody else: then nothing of this batch may stand.
    async fn compare_versions(&self, writer: &mut SqliteConnection) -> Result<(), StoreError> {
        let read: Vec<(&RunId, u64)> = self.changed.iter().filter_map(|(id, before)| Some((id, (*before)?))).collect();
        let same: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM json_each($1) AS read JOIN run ON run.id = read.value->>0 WHERE run.version = read.value->>1",
        )
        .bind(to_json("run", &read)?)
        .fetch_one(writer)
        .await?;
        if usize::try_from(same) == Ok(read.len()) { Ok(()) } else { Err(StoreError::NotWritten) }
    }

    /// What only new runs bring: numbers, and the keys under which they were asked for.
    async fn write_acceptance(&self, writer: &mut SqliteConnection) -> Result<(), StoreError> {
        if !self.scopes.is_empty() {
            let sequences: Vec<(&String, u64)> =
                self.scopes.iter().map(|scope| (scope, self.memory.sequences.get(scope).copied().unwrap_or_default())).collect();
            sqlx::query(
                "INSERT INTO sequence (scope, last) SELECT value->>0, value->>1 FROM json_each($1) WHERE true
                 ON CONFLICT (scope) DO UPDATE SET last = excluded.last",
            )
            .bind(to_json("sequence", &sequences)?)
            .execute(&mut *writer)
            .await?;
        }
        if !self.keys.is_empty() {
            let expires = millis(self.now).saturating_add(24 * 3600 * 1000);
            let rows: Vec<_> = self.keys.iter().map(|(principal, key, digest, run)| (principal, key, digest, run, expires)).collect();
            sqlx::query(
                "INSERT INTO idempotency (principal, key, body_digest, run, expires_at)
                 SELECT value->>0, value->>1, value->>2, value->>3, value->>4 FROM json_each($1) WHERE true
                 ON CONFLICT (principal, key) DO UPDATE SET body_digest = excluded.body_digest, run = excluded.run,
                        expires_at = excluded.expires_at",
            )
            .bind(to_json("idempotency", &rows)?)
            .execute(&mut *writer)
            .await?;
        }
        Ok(())
    }

    async fn write_effects(&self, writer: &mut SqliteConnection) -> Result<(), StoreError> {
        if !self.done.is_empty() {
            let done: Vec<(i64, i64)> = self.done.iter().map(|lease| (lease.id, lease.epoch)).collect();
            sqlx::query("DELETE FROM effect WHERE (id, epoch) IN (SELECT value->>0, value->>1 FROM json_each($1))")
                .bind(to_json("effect", &done)?)
                .execute(&mut *writer)
                .await?;
        }
        let withdrawn: Vec<&String> = self.effects.iter().filter(|(_, effect)| effect.is_none()).map(|(id, _)| id).collect();
        if !withdrawn.is_empty() {
            sqlx::query("DELETE FROM effect WHERE key IN (SELECT value FROM json_each($1))")
                .bind(to_json("effect", &withdrawn)?)
                .execute(&mut *writer)
                .await?;
        }
        let mut rows = Vec::new();
        for (id, effect) in &self.effects {
            let Some(effect) = effect else { continue };
            let (kind, lane) = (effect.act.kind().word(), effect.act.lane().word());
            let payload = to_json("effect", effect)?;
            rows.push((id, effect.key.run, kind, lane, payload, millis(effect.due), millis(effect.give_up)));
        }
        if rows.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO effect (key, run, kind, lane, v, payload, due, give_up)
             SELECT value->>0, value->>1, value->>2, value->>3, 1, value->>4, value->>5, value->>6 FROM json_each($1) WHERE true
             ON CONFLICT (key) DO UPDATE SET payload = excluded.payload, due = excluded.due, give_up = excluded.give_up,
                    lane = excluded.lane, tries = 0, owner = NULL, until = NULL, epoch = epoch + 1, error = NULL",
        )
        .bind(to_json("effect", &rows)?)
        .execute(&mut *writer)
        .await?;
        Ok(())
    }

    async fn write_resources(&self, writer: &mut SqliteConnection) -> Result<(), StoreError> {
        if self.resources.is_empty() {
            return Ok(());
        }
        let mut records = Vec::new();
        let mut claims = Vec::new();
        let mut gone = Vec::new();
        let mut left = Vec::new();
        for key in &self.resources {
            match self.memory.resources.get(key) {
                Some(resource) => records.push(record_row(resource)?),
                None => left.push(key.to_string()),
            }
        }
        for (key, holder) in &self.touched {
            match self.memory.resources.get(key).and_then(|resource| resource.claim(holder)) {
                Some(claim) => claims.push((key.to_string(), holder, to_json("claim", claim)?)),
                None => gone.push((key.to_string(), holder)),
            }
        }
        sqlx::query(
            "INSERT INTO resource (key, version, body) SELECT value->>0, 1, value->>1 FROM json_each($1) WHERE true
             ON CONFLICT (key) DO UPDATE SET version = version + 1, body = excluded.body",
        )
        .bind(to_json("resource", &records)?)
        .execute(&mut *writer)
        .await?;
        if !left.is_empty() {
            sqlx::query("DELETE FROM resource WHERE key IN (SELECT value FROM json_each($1))")
                .bind(to_json("resource", &left)?)
                .execute(&mut *writer)
                .await?;
        }
        if !gone.is_empty() {
            sqlx::query("DELETE FROM claim WHERE (resource, holder) IN (SELECT value->>0, value->>1 FROM json_each($1))")
                .bind(to_json("claim", &gone)?)
                .execute(&mut *writer)
                .await?;
        }
        if !claims.is_empty() {
            sqlx::query(
                "INSERT INTO claim (resource, holder, body) SELECT value->>0, value->>1, value->>2 FROM json_each($1) WHERE true
                 ON CONFLICT (resource, holder) DO UPDATE SET body = excluded.body",
            )
            .bind(to_json("claim", &claims)?)
            .execute(&mut *writer)
            .await?;
        }
        Ok(())
    }
}
