//! The end of a history: nothing goes wrong any more, and everything has to come to its end.

use signalbox_contract::api::run::Outcome;

use super::World;
use crate::controller::Controller;
use crate::dice::Dice;
use crate::law::{Broken, must};
use crate::story::answered;
use crate::weather::Weather;

impl World<'_> {
    /// Nothing goes wrong any more. Then everything comes to its end, and nothing is left over.
    pub(crate) fn come_to_rest(&mut self) -> Result<(), Broken> {
        self.weather = Weather { two: self.weather.two, ..Weather::CALM };
        self.say(|_| "from here on nothing goes wrong".to_owned());
        let mut dice = Dice::of(1);
        let (mut before, mut pause) = (0, 500);
        for _ in 0..3_000 {
            for (effect, sent) in std::mem::take(&mut self.adrift) {
                if !self.is_given_up(&effect, sent) {
                    self.receive(&effect, &mut dice).map(drop)?;
                }
            }
            for _ in 0..self.controllers.len() {
                self.settle_down(&mut dice)?;
            }
            self.outside.check(&self.database)?;
            if self.database.rows.is_empty() && self.controllers.iter().all(Controller::idle) {
                return self.at_rest();
            }
            // What is at an executor is looked at again soon; the longer nothing changes, the longer is waited.
            let changes = self.database.changes;
            let next = self.database.next().map_or(0, |next| next.as_millisecond() - self.now().as_millisecond());
            let live = self.database.unfinished().any(|run| run.at_executors().next().is_some());
            pause = if std::mem::replace(&mut before, changes) == changes { (pause * 2).min(3_600_000) } else { 500 };
            self.millis += if live { pause } else { next.clamp(100, 3_600_000).max(pause) };
        }
        let left: Vec<&String> = self.database.rows.keys().collect();
        Err(Broken::new(format!("it does not come to rest: {left:?}")))
    }

    /// Each controller does all that it can.
    fn settle_down(&mut self, dice: &mut Dice) -> Result<(), Broken> {
        self.outside.passed = self.passed();
        self.outside.go_on(dice, &self.weather);
        for index in 0..self.controllers.len() {
            let now = self.now();
            self.lease(index);
            for flight in std::mem::take(&mut self.controllers[index].flights) {
                let answer = match flight.answer {
                    Some(answer) => answer,
                    None => self.deliver(&flight.effect, flight.sent, dice)?,
                };
                self.say(|_| format!("{} is answered: {}", flight.effect.id(), answered(&answer)));
                if let Some(settlement) = self.controllers[index].dispatcher.outcome(flight.lease, answer, now) {
                    let settlement = self.wiring.settlement(settlement);
                    self.write(flight.lease, settlement)?;
                }
            }
            self.old.clear();
            self.housekeep(dice)?;
            self.look(dice);
            while !self.controllers.iter().all(|controller| controller.looks.is_empty()) {
                self.see(dice)?;
            }
        }
        Ok(())
    }

    fn at_rest(&mut self) -> Result<(), Broken> {
        for run in self.database.runs.values() {
            must(run.outcome.is_some(), || format!("{} has not ended when nothing is left to do", run.id))?;
        }
        for resource in self.database.resources.values() {
            must(resource.claims().count() == 0, || format!("{} is still held when all is over", resource.key))?;
        }
        self.outside.at_rest(&self.database)
    }

    /// In a world in which nothing went wrong every run passes.
    pub(crate) fn all_passed(&self) -> Result<(), Broken> {
        for (run, outcome) in self.database.outcomes() {
            let fine = matches!(outcome, Outcome::Passed | Outcome::Superseded);
            must(fine, || format!("nothing went wrong, and {} ended {:?} : {}", run.id, outcome, run.reason))?;
        }
        Ok(())
    }
}
