//! The store, as a model: what is durable, and what each transaction makes of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::Timestamp;
use signalbox_contract::api::run::Outcome;
use signalbox_contract::{AttemptKey, ExecutorName, RunId};
use signalbox_controller_core::decide::{Acceptance, Decision, Limits, Refusal};
use signalbox_controller_core::lease::{Lease, Leased, Live};
use signalbox_controller_core::plan::Request;
use signalbox_controller_core::{Act, Attempt, Effect, Event, Lane, Message, Resource, ResourceKey, Run, accept};

use crate::law::{Broken, Law};
use crate::sample::run_id;
use crate::wiring::Wiring;

/// An effect that waits to be performed, or is being performed.
#[derive(Debug, Clone)]
pub struct Row {
    /// The row's own number.
    pub id: i64,
    /// What is to be done.
    pub effect: Effect,
    /// Not before this.
    pub due: Timestamp,
    /// How often it was leased, or replaced.
    pub epoch: i64,
    /// How long whoever has leased it has it.
    pub until: Option<Timestamp>,
    /// How often it was tried.
    pub tries: u32,
}

/// What is durable.
#[derive(Debug, Default)]
pub(crate) struct Database {
    pub(crate) runs: BTreeMap<RunId, Run>,
    pub(crate) resources: BTreeMap<ResourceKey, Resource>,
    /// By the effect's own key.
    pub(crate) rows: BTreeMap<String, Row>,
    pub(crate) limits: Limits,
    pub(crate) law: Law,
    /// How many decisions were made.
    pub(crate) transitions: u64,
    /// How many of them changed something.
    pub(crate) changes: u64,
    last_row: i64,
}

/// What a transaction is going to change, and which effects it causes.
type Caused = Vec<Effect>;

impl Database {
    pub(crate) fn run(&self, id: RunId) -> Option<&Run> {
        self.runs.get(&id)
    }

    /// An attempt, whether it is its step's latest or not.
    pub(crate) fn attempt(&self, key: &AttemptKey) -> Option<&Attempt> {
        let step = self.runs.get(&key.run)?.steps.get(usize::from(key.step))?;
        step.attempts.get(usize::from(key.attempt).checked_sub(1)?)
    }

    /// Accepts a run.
    pub(crate) fn accept(&mut self, wiring: &dyn Wiring, request: Request, now: Timestamp) -> Result<RunId, Broken> {
        let number = self.runs.len() as u64 + 1;
        let id = run_id(number);
        let acceptance = Acceptance { id, number, principal: "alice".to_owned(), request };
        let decision = accept(acceptance, now, &self.limits);
        self.transitions += 1;
        self.settle(wiring, decision, now)?;
        Ok(id)
    }

    /// One transaction: the effect is done, the event decided, what follows from it settled and written. Answers whether the
    /// run changed, and which effects that caused.
    pub(crate) fn happened(
        &mut self,
        wiring: &dyn Wiring,
        id: RunId,
        event: &Event,
        done: Option<Lease>,
        now: Timestamp,
    ) -> Result<Result<bool, Refusal>, Broken> {
        let Some(run) = self.runs.get(&id) else { return Ok(Ok(false)) };
        let decision = match wiring.decide(run, event, now, &self.limits) {
            Ok(decision) => decision,
            Err(refusal) => return Ok(Err(refusal)),
        };
        self.transitions += 1;
        self.law.decided(run, event, decision.as_ref())?;
        if let Some(lease) = done {
            self.done(wiring, lease);
        }
        let changed = decision.is_some();
        if let Some(decision) = decision {
            self.settle(wiring, decision, now)?;
        }
        Ok(Ok(changed))
    }

    /// What an event would cause, were it written.
    pub(crate) fn foresee(&self, wiring: &dyn Wiring, id: RunId, event: &Event, now: Timestamp) -> Caused {
        let decision = self.runs.get(&id).map(|run| wiring.decide(run, event, now, &self.limits));
        match decision {
            Some(Ok(Some(decision))) => decision.effects,
            _ => Vec::new(),
        }
    }

    fn settle(&mut self, wiring: &dyn Wiring, decision: Decision, now: Timestamp) -> Result<(), Broken> {
        let mut touched = BTreeSet::from([decision.run.id]);
        let mut messages: VecDeque<Message> = self.write(decision).into();
        for _ in 0..10_000 {
            let Some(message) = messages.pop_front() else {
                return self.law.written(&touched, &self.runs, &self.resources, &self.rows);
            };
            let key = message.resource().clone();
            let resource = self.resources.entry(key.clone()).or_insert_with(|| Resource::new(key.clone(), capacity(&key)));
            let granted = resource.take(&message);
            if key.passing() && resource.claims().next().is_none() {
                self.resources.remove(&key);
            }
            for granted in granted {
                self.law.granted(&granted)?;
                let holder = granted.key;
                let event = Event::Granted(granted);
                let Some(run) = self.runs.get(&holder.run) else { return Err(Broken::new("a place was given to a run that is not there")) };
                self.transitions += 1;
                match wiring.decide(run, &event, now, &self.limits) {
                    Ok(Some(decision)) => {
                        self.law.decided(run, &event, Some(&decision))?;
                        touched.insert(holder.run);
                        messages.extend(self.write(decision));
                    }
                    // A claim without a run that wants it would hold its place for ever.
                    Ok(None) | Err(_) => messages.push_back(Message::Release { resource: key.clone(), holder }),
                }
            }
        }
        Err(Broken::new("the messages between runs and resources do not come to an end"))
    }

    fn write(&mut self, decision: Decision) -> Vec<Message> {
        for withdrawn in &decision.withdrawn {
            self.rows.remove(withdrawn);
        }
        for effect in decision.effects {
            let due = effect.due;
            if let Some(row) = self.rows.get_mut(&effect.id()) {
                // It takes the other's place; whoever performs that one can no longer say what came of it.
                *row = Row { id: row.id, epoch: row.epoch + 1, effect, due, until: None, tries: 0 };
            } else {
                self.last_row += 1;
                self.rows.insert(effect.id(), Row { id: self.last_row, effect, due, epoch: 0, until: None, tries: 0 });
            }
        }
        self.changes += 1;
        self.runs.insert(decision.run.id, decision.run);
        decision.messages
    }

    /// The row of a lease, if whoever has the lease may still speak for it.
    fn leased(&mut self, wiring: &dyn Wiring, lease: Lease) -> Option<&mut Row> {
        self.rows.values_mut().find(|row| row.id == lease.id).filter(|row| wiring.holds(row, lease))
    }

    /// An effect is done.
    pub(crate) fn done(&mut self, wiring: &dyn Wiring, lease: Lease) {
        if let Some(id) = self.leased(wiring, lease).map(|row| row.effect.id()) {
            self.rows.remove(&id);
        }
    }

    /// An effect is performed again.
    pub(crate) fn later(&mut self, wiring: &dyn Wiring, lease: Lease, due: Timestamp) {
        if let Some(row) = self.leased(wiring, lease) {
            row.due = due;
            row.until = None;
        }
    }

    /// Somebody who has leased effects goes on with them.
    pub(crate) fn renew(&mut self, wiring: &dyn Wiring, leases: &[Lease], until: Timestamp) {
        for lease in leases {
            if let Some(row) = self.leased(wiring, *lease) {
                row.until = Some(until);
            }
        }
    }

    /// Leases what is due, so many of each lane.
    pub(crate) fn lease(&mut self, room: &[(Lane, u32)], until: Timestamp, now: Timestamp) -> Vec<Leased> {
        let mut leased = Vec::new();
        let mut room = room.to_vec();
        for row in self.rows.values_mut().filter(|row| row.until.is_none_or(|until| until <= now)) {
            let lane = row.effect.act.lane();
            // As the store has it: what was never tried does not wait for a clock that was set back, nor what is put off for
            // longer than anything is.
            let late = !lane.keeps_time() && (row.tries == 0 || row.due.as_millisecond() > now.as_millisecond() + 60_000);
            let Some((_, left)) = room.iter_mut().find(|(free, left)| *free == lane && *left > 0) else { continue };
            if row.due > now && !late {
                continue;
            }
            *left -= 1;
            row.epoch += 1;
            row.until = Some(until);
            row.tries += 1;
            let lease = Lease { id: row.id, epoch: row.epoch };
            leased.push(Leased { lease, run: row.effect.key.run, tries: row.tries - 1, effect: row.effect.clone() });
        }
        leased
    }

    /// Whoever held leases is gone for certain.
    pub(crate) fn release_all(&mut self) {
        for row in self.rows.values_mut() {
            row.until = None;
        }
    }

    /// A hook says that there is something new at an executor: the searches there need not wait.
    pub(crate) fn hurry(&mut self, executor: &ExecutorName, now: Timestamp) {
        for row in self.rows.values_mut() {
            if matches!(&row.effect.act, Act::Find(at) if at.executor == *executor) && row.until.is_none() && row.due > now {
                row.due = now;
            }
        }
    }

    /// The attempts that are at executors.
    pub(crate) fn live(&self) -> Vec<Live> {
        let active = self.runs.values().filter(|run| run.outcome.is_none());
        active
            .flat_map(Run::at_executors)
            .map(|(key, executor, attempt)| Live {
                key,
                executor: executor.clone(),
                anchor: attempt.anchor.clone(),
                build: attempt.build.clone(),
                parts: Vec::new(),
            })
            .collect()
    }

    /// When the next thing is due, or the next lease over.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.rows.values().map(|row| row.until.unwrap_or(row.due)).min()
    }

    /// The runs that have not ended.
    pub(crate) fn unfinished(&self) -> impl Iterator<Item = &Run> {
        self.runs.values().filter(|run| run.outcome.is_none())
    }

    /// The runs that have ended, and how.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (&Run, Outcome)> {
        self.runs.values().filter_map(|run| Some((run, run.outcome?)))
    }
}

const fn capacity(key: &ResourceKey) -> u32 {
    match key {
        ResourceKey::Executor(_) => 2,
        ResourceKey::Environment(_) | ResourceKey::Ref { .. } => 1,
    }
}
