//! A world around the core: executors, hosts and a store that do what they are asked, or do not, or do it late or twice;
//! people who stop and rerun; a clock that goes on. What happens next is drawn from a number.

mod dice;
mod outside;
mod perform;

use std::collections::BTreeSet;

use signalbox_contract::api::run::{Outcome, RerunFrom};
use signalbox_contract::{FailureCode, RunId};
use signalbox_controller_core::effect::Kind;
use signalbox_controller_core::plan::{CdOrder, Request};
use signalbox_controller_core::{Act, Event, Phase};

use crate::desk::{Desk, Done, Pending};
use crate::sample::{all, cd, elsewhere, failure, named, reviewed, run_id, target};
use dice::Dice;
use outside::Outside;

/// What is on its way to the controller: an event, and the effect that it is the outcome of.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    run: RunId,
    event: Event,
    done: Option<Done>,
}

#[derive(Debug, Default)]
pub(crate) struct World {
    desk: Desk,
    outside: Outside,
    /// On their way.
    letters: Vec<Letter>,
    /// Delivered before; they may be delivered again.
    old: Vec<Letter>,
    /// Effects that somebody began to perform, and perhaps performs later, wanted or not.
    taken: Vec<Pending>,
    /// The phases and ends that its runs came to.
    pub(crate) seen: BTreeSet<String>,
}

impl World {
    /// One thing happens.
    pub(crate) fn step(&mut self, choice: u32) {
        let mut dice = Dice::of(choice);
        match dice.below(24) {
            0 | 1 => self.request(&mut dice),
            2..=6 => self.deliver(&mut dice),
            7 => self.deliver_again(&mut dice),
            8..=13 => self.perform(&mut dice),
            14 => self.take(&mut dice),
            15 => self.perform_what_was_taken(&mut dice),
            16 => self.fail(&mut dice),
            17 | 18 => self.outside.go_on(&mut dice),
            19 => self.observe(&mut dice),
            20 => self.deliver_what_is_foreign(&mut dice),
            21 => self.interfere(&mut dice),
            22 => self.pass_time(&mut dice),
            _ => self.desk.restart(),
        }
        self.outside.check(&self.desk);
        self.look_around();
    }

    fn look_around(&mut self) {
        for run in self.desk.runs.values() {
            self.seen.extend(run.outcome.map(|outcome| format!("{outcome:?}")));
            for attempt in run.steps.iter().flat_map(|step| &step.attempts) {
                self.seen.insert(attempt.phase.word().to_owned());
                self.seen.extend(attempt.verdict.map(|verdict| format!("{verdict:?}")));
            }
        }
    }

    fn request(&mut self, dice: &mut Dice) {
        if self.desk.runs.len() >= 7 {
            return;
        }
        self.desk.seconds += 1;
        let target = target(dice.pick(&["test", "stage"]), dice.pick(&["hello", "site"]));
        let request = match dice.below(6) {
            0 => Request::Deploy { artifact: named("hello"), target },
            1 => Request::Rollback { target, digest: None },
            n => {
                let deploy = (n > 2).then_some(("hello", target));
                let executor = named(dice.pick(&["local", "other"]));
                let order = CdOrder { executor, ..cd(dice.pick(&["a", "b", "c"]), deploy) };
                // Half of them are built elsewhere, where a push begins the build.
                let built = if dice.chance(2) { elsewhere(order) } else { order };
                Request::Cd(Box::new(if dice.chance(2) { reviewed(built) } else { built }))
            }
        };
        self.desk.accept(request);
    }

    fn commit(&mut self, letter: &Letter) {
        if let Event::DeadlinePassed { key } = &letter.event
            && self.desk.run(letter.run).current(key).is_some_and(|attempt| matches!(attempt.phase, Phase::Fencing { .. }))
        {
            self.outside.unfenced.insert(*key);
        }
        // Only what a person asks can be refused.
        let _ = self.desk.commit(letter.run, &letter.event, letter.done.as_ref());
    }

    fn deliver(&mut self, dice: &mut Dice) {
        if !self.letters.is_empty() {
            let letter = self.letters.swap_remove(dice.index(self.letters.len()));
            self.commit(&letter);
            self.old.push(letter);
        }
    }

    fn deliver_again(&mut self, dice: &mut Dice) {
        if dice.chance(3) && !self.desk.granted.is_empty() {
            let granted = self.desk.granted[dice.index(self.desk.granted.len())].clone();
            self.commit(&Letter { run: granted.key.run, event: Event::Granted(granted), done: None });
        }
        if !self.old.is_empty() {
            let letter = self.old[dice.index(self.old.len())].clone();
            self.commit(&letter);
        }
    }

    /// An event of one attempt, told of another: of an older or later one, another step, another run.
    fn deliver_what_is_foreign(&mut self, dice: &mut Dice) {
        let (Some(number), false) = (u64::try_from(self.desk.runs.len()).ok(), self.old.is_empty()) else { return };
        let letter = &self.old[dice.index(self.old.len())];
        let Some(mut key) = outside::key_of(&letter.event) else { return };
        // Addressed to another run as it is, or from an attempt that there never was.
        if dice.chance(2) {
            let run = run_id(1 + dice.below(number));
            if run != letter.run {
                let before = self.desk.run(run).clone();
                assert!(matches!(self.desk.commit(run, &letter.event.clone(), None), Ok(false)));
                assert_eq!(before, *self.desk.run(run), "what is said of another run changes nothing");
            }
        } else {
            match dice.below(3) {
                0 => key.step += 3,
                1 => key.attempt += 200,
                _ => key.attempt = key.attempt.saturating_sub(1),
            }
            let (run, event) = (letter.run, outside::about(letter.event.clone(), key));
            assert!(matches!(self.desk.commit(run, &event, None), Ok(false)), "{key} is not an attempt that counts");
        }
    }

    /// Effects that are due.
    fn due(&self) -> Vec<Pending> {
        let now = self.desk.now();
        self.desk.effects.values().filter(|pending| pending.effect.due <= now).cloned().collect()
    }

    fn perform(&mut self, dice: &mut Dice) {
        let due = self.due();
        if !due.is_empty() {
            let pending = due[dice.index(due.len())].clone();
            self.do_it(&pending, dice);
        }
    }

    fn take(&mut self, dice: &mut Dice) {
        let due = self.due();
        if !due.is_empty() && self.taken.len() < 8 {
            self.taken.push(due[dice.index(due.len())].clone());
        }
    }

    fn perform_what_was_taken(&mut self, dice: &mut Dice) {
        if !self.taken.is_empty() {
            let pending = self.taken[dice.index(self.taken.len())].clone();
            self.do_it(&pending, dice);
            if dice.chance(2) {
                self.taken.retain(|taken| taken.serial != pending.serial);
            }
        }
    }

    /// Performs an effect; its outcome is written down now, later, or never.
    fn do_it(&mut self, pending: &Pending, dice: &mut Dice) {
        let done = Some((pending.effect.id(), pending.serial));
        match self.outside.perform(&self.desk, &pending.effect, dice) {
            Some(event) => {
                let letter = Letter { run: pending.effect.key.run, event, done };
                match dice.below(8) {
                    0 => {}
                    1..=3 => self.letters.push(letter),
                    _ => {
                        self.commit(&letter);
                        self.old.push(letter);
                    }
                }
            }
            None => self.finish(pending),
        }
    }

    /// An effect of which nobody waits for the outcome is done.
    fn finish(&mut self, pending: &Pending) {
        let id = pending.effect.id();
        if self.desk.effects.get(&id).is_some_and(|known| known.serial == pending.serial) && outside::is_silent(&pending.effect.act) {
            self.desk.effects.remove(&id);
        }
    }

    fn fail(&mut self, dice: &mut Dice) {
        let due: Vec<Pending> = self.due().into_iter().filter(|pending| pending.effect.act != Act::Deadline).collect();
        if due.is_empty() {
            return;
        }
        let pending = &due[dice.index(due.len())];
        let effect = &pending.effect;
        let done = Some((effect.id(), pending.serial));
        let kind = effect.act.kind();
        if matches!(kind, Kind::Unpublish | Kind::Forget | Kind::Sweep) {
            self.desk.effects.remove(&effect.id());
            return;
        }
        let unclear = [FailureCode::WorkerUnavailable, FailureCode::Internal];
        // As often as not it is tried again.
        if dice.chance(2) {
            let failure = (!dice.chance(4)).then(|| failure(dice.pick(&unclear)));
            self.letters.push(Letter { run: effect.key.run, event: Event::Troubled { key: effect.key, kind, failure }, done: None });
            return;
        }
        let refusals = [FailureCode::ExecutorRefused, FailureCode::EnvironmentNotFound, FailureCode::SourceDenied];
        // Who has done it, or may still do it, does not refuse it.
        let refused = !self.outside.has_done(effect) && dice.chance(2);
        let code = if refused { dice.pick(&refusals) } else { dice.pick(&unclear) };
        if refused {
            self.outside.refuse(effect);
        }
        if kind == Kind::Fence {
            self.outside.unfenced.insert(effect.key);
        }
        self.letters.push(Letter {
            run: effect.key.run,
            event: Event::EffectFailed { key: effect.key, kind, failure: failure(code) },
            done,
        });
    }

    fn observe(&mut self, dice: &mut Dice) {
        let live: Vec<_> = self.desk.runs.values().flat_map(|run| run.at_executors().map(|(key, ..)| key)).collect();
        if !live.is_empty() {
            let key = live[dice.index(live.len())];
            self.letters.push(Letter { run: key.run, event: Event::Observed(self.outside.look(key)), done: None });
        }
    }

    fn interfere(&mut self, dice: &mut Dice) {
        let number = self.desk.runs.len() as u64;
        if number == 0 {
            return;
        }
        let run = run_id(1 + dice.below(number));
        let event = match dice.below(5) {
            0 | 1 => Event::StopRequested { by: "bob".to_owned(), reason: None },
            2 => Event::RerunRequested { by: "bob".to_owned(), from: RerunFrom::Start, artifacts: all() },
            _ => Event::RerunRequested { by: "bob".to_owned(), from: RerunFrom::Failed, artifacts: all() },
        };
        self.commit(&Letter { run, event, done: None });
    }

    fn pass_time(&mut self, dice: &mut Dice) {
        let now = self.desk.now();
        let next = self.desk.effects.values().filter(|pending| pending.effect.act == Act::Deadline).map(|p| p.effect.due).min();
        match next {
            Some(next) if dice.chance(3) => self.desk.seconds += (next.as_second() - now.as_second()).max(0),
            _ => self.desk.seconds += i64::try_from(dice.below(300)).unwrap_or_default(),
        }
    }

    /// Nothing goes wrong any more. Then everything comes to its end, and nothing is left over.
    pub(crate) fn come_to_rest(&mut self) {
        let mut dice = Dice::calm();
        for _ in 0..5000 {
            for letter in std::mem::take(&mut self.letters) {
                self.commit(&letter);
            }
            self.outside.go_on(&mut dice);
            let live: Vec<_> = self.desk.runs.values().flat_map(|run| run.at_executors().map(|(key, ..)| key)).collect();
            for key in live {
                let event = Event::Observed(self.outside.look(key));
                self.commit(&Letter { run: key.run, event, done: None });
            }
            let due = self.due();
            for pending in &due {
                self.do_it(pending, &mut dice);
            }
            self.outside.check(&self.desk);
            if self.desk.effects.is_empty() {
                return self.is_at_rest();
            }
            // A build that its executor lost sight of, or an answer that never comes: time moves them on.
            if due.is_empty() {
                self.desk.seconds += 60;
            }
        }
        panic!("it does not come to rest: {:?}", self.desk.effects.keys());
    }

    fn is_at_rest(&mut self) {
        self.look_around();
        for run in self.desk.runs.values() {
            assert!(run.outcome.is_some(), "{run:?} has not ended");
            self.outside.is_told(run);
            assert!(run.outcome != Some(Outcome::Stopped) || run.stopped_by.is_some() || self.outside.aborts(run));
        }
        for resource in self.desk.resources.values() {
            assert_eq!(resource.claims().count(), 0, "{} is claimed", resource.key);
        }
        self.outside.is_at_rest();
    }
}
