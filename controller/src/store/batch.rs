//! One batch: what its commands make of the aggregates, settled among them, and then written at once.

mod write;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use jiff::Timestamp;
use signalbox_contract::change::ChangeId;
use signalbox_contract::{AttemptKey, CommitSha, Digest, RepoName, RunId, SourceUrl};
use signalbox_controller_core::decide::{Acceptance, Decision, Limits, LogEntry};
use signalbox_controller_core::{Effect, Event, Granted, Message, ResourceKey, Run, accept, decide};
use sqlx::SqliteConnection;

use super::aside::{Table, run_of, set_aside};
use super::memory::Memory;
use super::rows::to_json;
use super::{Lease, StoreError, binding};

/// A batch in the making.
pub(super) struct Batch<'a> {
    pub(super) memory: &'a mut Memory,
    pub(super) now: Timestamp,
    limits: Limits,
    /// How many runs may be active at a time.
    queue: usize,
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
    /// Names that belong to a source from now on.
    bound: Vec<(RepoName, SourceUrl)>,
    done: Vec<Lease>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(memory: &'a mut Memory, now: Timestamp, limits: Limits, queue: usize) -> Self {
        Self {
            memory,
            now,
            limits,
            queue,
            loaded: HashMap::new(),
            changed: BTreeMap::new(),
            touched: BTreeSet::new(),
            resources: BTreeSet::new(),
            effects: BTreeMap::new(),
            events: Vec::new(),
            scopes: BTreeSet::new(),
            keys: Vec::new(),
            bound: Vec::new(),
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
        let fetched = binding::fetched(run, event);
        let conflict = fetched.and_then(|order| self.memory.conflict(order));
        let refused = conflict.as_ref().map(|conflict| binding::refused(event, conflict));
        let Some(decision) = decide(run, refused.as_ref().unwrap_or(event), self.now, &self.limits)? else { return Ok(false) };
        let bound = fetched.filter(|order| !self.memory.bindings.contains_key(&order.repo));
        let bound = bound.map(|order| (order.repo.clone(), order.source.clone()));
        // A run that is over and goes on takes a place in the queue, as a new one does.
        if run.outcome.is_some() && decision.run.outcome.is_none() && !self.has_room(1) {
            return Err(StoreError::QueueFull);
        }
        let before = run.version;
        if let Some((name, source)) = bound {
            self.memory.bindings.insert(name.clone(), source.clone());
            self.bound.push((name, source));
        }
        self.changed.entry(id).or_insert(Some(before));
        let messages = self.take(decision);
        self.settle(messages);
        Ok(true)
    }

    /// Whether so many more runs may be active.
    pub(super) fn has_room(&self, more: usize) -> bool {
        self.memory.runs.len().saturating_add(more) <= self.queue
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
}
