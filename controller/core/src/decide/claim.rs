//! What an attempt needs a place of before it begins: it asks for one after the other, and has all of them until it ends.

use signalbox_contract::AttemptKey;
use signalbox_contract::api::run::StepState;

use super::change::Change;
use crate::attempt::{Attempt, Phase};
use crate::plan::Work;
use crate::resource::{Claim, Granted, Message, ResourceKey};

impl Change {
    /// Begins a new attempt of a step.
    pub(super) fn begin(&mut self, index: u16) {
        let now = self.now;
        let first = self.run.steps[usize::from(index)].plan.work.resources().into_iter().next();
        let (phase, state, time) = match &first {
            Some(of) => (Phase::Claiming { of: of.clone() }, StepState::Waiting, self.limits.wait),
            None => (Phase::Fetching, StepState::Active, self.limits.fetch),
        };
        let step = &mut self.run.steps[usize::from(index)];
        step.state = state;
        step.attempts.push(Attempt::begin(phase, now, now));
        let Some(key) = self.run.latest_key(index) else { return };
        self.allow(key, time);
        match first {
            Some(of) => self.ask(key, of),
            None => self.fetch(key),
        }
    }

    /// A place was given. If the attempt is over, or never asked for it, it gives it back: nothing else would.
    pub(super) fn granted(&mut self, granted: &Granted) -> bool {
        let key = granted.key;
        if key.run != self.run.id {
            return false;
        }
        match self.phase(&key) {
            Some(Phase::Claiming { of }) if of == granted.resource => self.has_place(granted),
            // It has this place: to hear of it twice changes nothing.
            Some(_) if self.claimed(&key).contains(&granted.resource) => return false,
            _ => self.tell(Message::Release { resource: granted.resource.clone(), holder: key }),
        }
        true
    }

    /// What the attempt has asked for so far, whether it has it or waits for it.
    pub(super) fn claimed(&self, key: &AttemptKey) -> Vec<ResourceKey> {
        let mut all = self.work(key).map(Work::resources).unwrap_or_default();
        match self.phase(key) {
            None => all.clear(),
            Some(Phase::Claiming { of }) => all.truncate(all.iter().position(|one| *one == of).map_or(0, |index| index + 1)),
            Some(_) => {}
        }
        all
    }

    fn has_place(&mut self, granted: &Granted) {
        let key = granted.key;
        let all = self.work(&key).map(Work::resources).unwrap_or_default();
        let next = all.into_iter().skip_while(|one| *one != granted.resource).nth(1);
        match (next, self.work(&key)) {
            (Some(next), _) => {
                self.enter(&key, Phase::Claiming { of: next.clone() });
                self.ask(key, next);
            }
            (None, Some(Work::Build { .. })) => self.place_at_executor(key),
            (None, _) => self.enter_environment(granted),
        }
    }

    fn ask(&mut self, key: AttemptKey, resource: ResourceKey) {
        let repo = self.run.request.repo().cloned();
        let name = self.work(&key).and_then(Work::target).map(|target| target.name.clone());
        let claim = Claim { holder: key, repo, name, priority: 0, asked_at: self.now, fence: None };
        self.tell(Message::Ask { resource, claim });
    }
}
