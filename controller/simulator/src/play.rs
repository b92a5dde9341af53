//! Playing histories from their numbers, and shortening the ones that break a law.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::dice::Dice;
use crate::law::Broken;
use crate::weather::Weather;
use crate::wiring::Wiring;
use crate::world::World;

/// How long histories are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How many steps a history has before everything is left to come to its end.
    pub steps: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { steps: 600 }
    }
}

/// What was played.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// How many histories.
    pub histories: u64,
    /// How many decisions were made in them.
    pub transitions: u64,
    /// How much time of a processor they took.
    pub cpu: Duration,
}

impl Figures {
    /// Together with others.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { histories: self.histories + other.histories, transitions: self.transitions + other.transitions, cpu: self.cpu + other.cpu }
    }
}

/// A history that broke a law.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its number.
    pub seed: u64,
    /// The law.
    pub broken: Broken,
}

/// Plays the histories of these numbers until one breaks a law.
///
/// # Errors
/// With the first that does.
pub fn play(wiring: &dyn Wiring, settings: Settings, seeds: impl Iterator<Item = u64>) -> Result<Figures, Failure> {
    let mut figures = Figures::default();
    let begun = cpu();
    for seed in seeds {
        let history = History::of(seed, settings);
        figures.transitions += history.play(wiring).map_err(|broken| Failure { seed, broken })?;
        figures.histories += 1;
    }
    figures.cpu = cpu().saturating_sub(begun);
    Ok(figures)
}

/// The processor's time that this thread has used.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// A history: what the weather is, and what happens in it.
#[derive(Debug, Clone)]
struct History {
    weather: Weather,
    choices: Vec<u64>,
}

impl History {
    fn of(seed: u64, settings: Settings) -> Self {
        let mut dice = Dice::of(seed);
        // One in sixteen is a fine day, on which everything has to pass.
        let weather = if dice.chance(60) { Weather::CALM } else { Weather::drawn(&mut dice) };
        Self { weather, choices: (0..settings.steps).map(|_| dice.roll()).collect() }
    }

    /// Plays it to its end; answers how many decisions were made.
    fn play(&self, wiring: &dyn Wiring) -> Result<u64, Broken> {
        self.run(wiring, false).0
    }

    fn run(&self, wiring: &dyn Wiring, told: bool) -> (Result<u64, Broken>, Vec<String>) {
        let mut world = World::new(wiring, self.weather, told);
        let played = catch_unwind(AssertUnwindSafe(|| {
            for choice in &self.choices {
                world.step(*choice)?;
            }
            world.come_to_rest()?;
            if self.weather == Weather::CALM {
                world.all_passed()?;
            }
            Ok(world.database.transitions)
        }));
        let result = played.unwrap_or_else(|panic| {
            let words = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
            Err(Broken::new(format!("it panics: {}", words.unwrap_or_default())))
        });
        (result, world.story())
    }

    /// Without some of its steps.
    fn without(&self, from: usize, many: usize) -> Self {
        let kept = self.choices.iter().enumerate().filter(|(n, _)| *n < from || *n >= from + many).map(|(_, choice)| *choice);
        Self { weather: self.weather, choices: kept.collect() }
    }
}

/// Leaves out of a history that breaks a law all that is not needed to break it, and tells what is left in words.
pub fn shorten(wiring: &dyn Wiring, settings: Settings, failure: &Failure) -> Vec<String> {
    let mut history = History::of(failure.seed, settings);
    let law = failure.broken.law();
    let breaks = |history: &History| history.play(wiring).is_err_and(|broken| broken.law() == law);
    let mut many = history.choices.len() / 2;
    while many > 0 {
        let mut from = 0;
        let before = history.choices.len();
        while from < history.choices.len() {
            let shorter = history.without(from, many);
            if breaks(&shorter) {
                history = shorter;
            } else {
                from += many;
            }
        }
        // Once more with the same size as long as that helps; then with a smaller one.
        if history.choices.len() == before {
            many /= 2;
        }
    }
    history.run(wiring, true).1
}

/// Tells a whole history in words.
pub fn tell(wiring: &dyn Wiring, settings: Settings, seed: u64) -> (Result<u64, Broken>, Vec<String>) {
    History::of(seed, settings).run(wiring, true)
}
