//! The store, as a model in memory: it decides, settles the messages in the same step, and keeps the effects. After each
//! step it looks whether every invariant of the core still holds.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use signalbox_contract::{AttemptKey, RunId};
use signalbox_controller_core::decide::{Acceptance, Limits};
use signalbox_controller_core::effect::Kind;
use signalbox_controller_core::plan::Request;
use signalbox_controller_core::resource::{Granted, Message, ResourceKey};
use signalbox_controller_core::{Decision, Effect, Event, Lane, Refusal, Resource, Run, accept, decide};

use crate::invariants::Book;
use crate::sample::{at, run_id};

/// An effect that waits to be performed. One that takes another's place has another serial number.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) effect: Effect,
    pub(crate) serial: u64,
}

/// Which effect an event is the outcome of.
pub(crate) type Done = (String, u64);

#[derive(Debug, Default)]
pub(crate) struct Desk {
    pub(crate) seconds: i64,
    pub(crate) limits: Limits,
    pub(crate) runs: BTreeMap<RunId, Run>,
    pub(crate) resources: BTreeMap<ResourceKey, Resource>,
    pub(crate) effects: BTreeMap<String, Pending>,
    /// Every grant that was told of.
    pub(crate) granted: Vec<Granted>,
    serials: u64,
    book: Book,
}

impl Desk {
    pub(crate) fn now(&self) -> Timestamp {
        at(self.seconds)
    }

    pub(crate) fn run(&self, id: RunId) -> &Run {
        &self.runs[&id]
    }

    pub(crate) fn resource(&mut self, key: &ResourceKey) -> &mut Resource {
        let capacity = match key {
            ResourceKey::Executor(_) => 2,
            ResourceKey::Environment(_) | ResourceKey::Ref { .. } => 1,
        };
        self.resources.entry(key.clone()).or_insert_with(|| Resource::new(key.clone(), capacity))
    }

    pub(crate) fn accept(&mut self, request: Request) -> RunId {
        let number = self.runs.len() as u64 + 1;
        let id = run_id(number);
        let acceptance = Acceptance { id, number, principal: "alice".to_owned(), request };
        let decision = accept(acceptance, self.now(), &self.limits);
        self.book.accepted(&decision);
        self.settle(id, decision);
        id
    }

    /// One transaction: the effect is done, the event decided, what follows from it settled and written.
    pub(crate) fn commit(&mut self, id: RunId, event: &Event, done: Option<&Done>) -> Result<bool, Refusal> {
        let decision = decide(&self.runs[&id], event, self.now(), &self.limits);
        self.book.decided(&self.runs[&id], event, decision.as_ref().ok().and_then(Option::as_ref));
        let decision = decision?;
        if let Some((effect, serial)) = done
            && self.effects.get(effect).is_some_and(|pending| pending.serial == *serial)
        {
            self.effects.remove(effect);
        }
        let changed = decision.is_some();
        if let Some(decision) = decision {
            self.settle(id, decision);
        }
        self.book.check(&self.runs, &self.resources, &self.effects);
        Ok(changed)
    }

    fn settle(&mut self, id: RunId, decision: Decision) {
        let mut messages: VecDeque<Message> = self.write(id, decision).into();
        for _ in 0..1000 {
            let Some(message) = messages.pop_front() else {
                self.book.check(&self.runs, &self.resources, &self.effects);
                return;
            };
            for granted in self.resource(message.resource()).take(&message) {
                self.book.granted(&granted);
                self.granted.push(granted.clone());
                let run = granted.key.run;
                let event = Event::Granted(granted);
                let decision = decide(&self.runs[&run], &event, self.now(), &self.limits).expect("no command");
                self.book.decided(&self.runs[&run], &event, decision.as_ref());
                if let Some(decision) = decision {
                    messages.extend(self.write(run, decision));
                }
            }
        }
        panic!("the messages between runs and resources do not come to an end");
    }

    fn write(&mut self, id: RunId, decision: Decision) -> Vec<Message> {
        for withdrawn in &decision.withdrawn {
            self.effects.remove(withdrawn);
        }
        for effect in decision.effects {
            self.serials += 1;
            self.effects.insert(effect.id(), Pending { effect, serial: self.serials });
        }
        self.runs.insert(id, decision.run);
        decision.messages
    }

    pub(crate) fn pending(&self, key: AttemptKey, kind: Kind) -> Option<&Pending> {
        self.effects.get(&format!("{key}/{}", kind.word()))
    }

    /// What is left to do, apart from tidying up.
    pub(crate) fn wanted(&self) -> Vec<&String> {
        self.effects
            .iter()
            .filter(|(_, pending)| !matches!(pending.effect.act.lane(), Lane::CleanUp | Lane::Sweep))
            .map(|(id, _)| id)
            .collect()
    }

    /// Everything as it is after it was written down and read again.
    pub(crate) fn restart(&mut self) {
        for run in self.runs.values_mut() {
            let text = serde_json::to_string(run).expect("a run has a JSON form");
            let again: Run = serde_json::from_str(&text).expect("a run can be read back");
            assert_eq!(again, *run);
        }
        for pending in self.effects.values_mut() {
            let text = serde_json::to_string(&pending.effect).expect("an effect has a JSON form");
            let again: Effect = serde_json::from_str(&text).expect("an effect can be read back");
            assert_eq!(again, pending.effect);
        }
        for resource in self.resources.values_mut() {
            let text = serde_json::to_string(&resource.record()).expect("a record has a JSON form");
            let record = serde_json::from_str(&text).expect("a record can be read back");
            let again = Resource::restore(record, resource.claims().cloned());
            assert_eq!(again, *resource);
        }
    }
}
