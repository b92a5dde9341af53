//! One world, and what happens in it step by step.

mod rest;

use jiff::Timestamp;
use signalbox_contract::api::run::RerunFrom;
use signalbox_contract::{Failure, FailureCode, RunId};
use signalbox_controller_core::dispatcher::{Fault, Settlement};
use signalbox_controller_core::effect::Kind;
use signalbox_controller_core::lease::Lease;
use signalbox_controller_core::{Act, Attempt, Effect, Event, Phase};

use crate::controller::Controller;
use crate::database::Database;
use crate::dice::Dice;
use crate::law::Broken;
use crate::outside::{Answer, Outside, UNDER_WAY};
use crate::sample::{Manner, at, everything, named, request, run_id};
use crate::story::{answered, settled};
use crate::weather::Weather;
use crate::wiring::Wiring;

/// An event that was told before, or is on its way beside all effects.
#[derive(Debug, Clone)]
struct Letter {
    run: RunId,
    event: Event,
}

pub(crate) struct World<'a> {
    wiring: &'a dyn Wiring,
    pub(crate) weather: Weather,
    pub(crate) database: Database,
    outside: Outside,
    controllers: Vec<Controller>,
    /// Requests that are still on their way, though nobody waits for their answer, and when they were sent.
    adrift: Vec<(Effect, i64)>,
    old: Vec<Letter>,
    millis: i64,
    /// By how much the clock was set forward or back.
    leapt: i64,
    /// What happened, in words, if somebody wants to read it.
    story: Option<Vec<String>>,
}

impl<'a> World<'a> {
    pub(crate) fn new(wiring: &'a dyn Wiring, weather: Weather, told: bool) -> Self {
        let controllers = (0..if weather.two { 2 } else { 1 }).map(|_| Controller::start()).collect();
        Self {
            wiring,
            weather,
            database: Database::default(),
            outside: Outside::default(),
            controllers,
            adrift: Vec::new(),
            old: Vec::new(),
            millis: 0,
            leapt: 0,
            story: told.then(Vec::new),
        }
    }

    pub(crate) fn story(self) -> Vec<String> {
        self.story.unwrap_or_default()
    }

    fn say(&mut self, words: impl FnOnce(&Self) -> String) {
        if self.story.is_some() {
            let line = format!("{:>9.3} s  {}", std::time::Duration::from_millis(self.millis.unsigned_abs()).as_secs_f64(), words(self));
            self.story.iter_mut().for_each(|story| story.push(line.clone()));
        }
    }

    fn now(&self) -> Timestamp {
        at(self.millis)
    }

    /// How much time has really passed.
    const fn passed(&self) -> i64 {
        self.millis - self.leapt
    }

    /// One thing happens.
    pub(crate) fn step(&mut self, choice: u64) -> Result<(), Broken> {
        let mut dice = Dice::of(choice);
        // Time goes on whatever happens.
        self.millis += i64::try_from(dice.below(200)).unwrap_or_default();
        self.outside.passed = self.passed();
        match dice.below(32) {
            0 | 1 => self.ask(&mut dice)?,
            2..=6 => {
                let index = self.some_controller(&mut dice);
                self.lease(index);
            }
            7..=11 => self.arrive(&mut dice)?,
            12..=17 => self.answer(&mut dice)?,
            18..=20 => self.outside.go_on(&mut dice, &self.weather),
            21..=23 => self.look(&mut dice),
            24..=26 => self.see(&mut dice)?,
            27 => self.housekeep(&mut dice)?,
            28 => self.pass_time(&mut dice),
            29 => self.trouble(&mut dice),
            30 => self.interfere(&mut dice)?,
            _ => self.retell(&mut dice)?,
        }
        self.outside.check(&self.database)
    }

    fn ask(&mut self, dice: &mut Dice) -> Result<(), Broken> {
        if self.database.runs.len() as u64 >= self.weather.runs {
            return Ok(());
        }
        let request = request(dice);
        let id = self.database.accept(self.wiring, request, self.now())?;
        self.say(|world| format!("{} is asked for: {:?}", id, world.database.runs[&id].kind()));
        Ok(())
    }

    fn some_controller(&self, dice: &mut Dice) -> usize {
        dice.index(self.controllers.len())
    }

    /// A controller takes what is due.
    fn lease(&mut self, index: usize) {
        let now = self.now();
        let room = self.controllers[index].dispatcher.room();
        let until = self.controllers[index].dispatcher.lease_until(now);
        for leased in self.database.lease(&room, until, now) {
            let key = self.wiring.key(&leased.effect, leased.tries);
            let effect = Effect { key, ..leased.effect.clone() };
            self.say(|_| format!("controller {index} takes {}", effect.id()));
            let sent = self.passed();
            if matches!(effect.act, Act::Start(_)) {
                self.outside.asked.insert(effect.key, sent);
            }
            self.controllers[index].takes(&leased, effect, now, sent);
        }
    }

    /// A request reaches its receiver, or does not, or twice.
    fn arrive(&mut self, dice: &mut Dice) -> Result<(), Broken> {
        // What is adrift arrives some time, wanted or not.
        if !self.adrift.is_empty() && dice.chance(300) {
            let (effect, sent) = self.adrift.swap_remove(dice.index(self.adrift.len()));
            if self.is_given_up(&effect, sent) {
                return Ok(());
            }
            self.say(|_| format!("{} arrives late", effect.id()));
            return self.receive(&effect, dice).map(drop);
        }
        let index = self.some_controller(dice);
        let waiting: Vec<usize> =
            (0..).zip(&self.controllers[index].flights).filter(|(_, flight)| flight.answer.is_none()).map(|(n, _)| n).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let place = dice.pick(&waiting);
        let (effect, sent) = (self.controllers[index].flights[place].effect.clone(), self.controllers[index].flights[place].sent);
        let answer = self.deliver(&effect, sent, dice)?;
        self.say(|_| format!("{} is answered: {}", effect.id(), answered(&answer)));
        self.controllers[index].flights[place].answer = Some(answer);
        Ok(())
    }

    /// Whether a call has been on its way for so long that it arrives no more.
    fn is_given_up(&self, effect: &Effect, sent: i64) -> bool {
        matches!(&effect.act, Act::Start(order) if Manner::of(&order.executor) != Manner::Keyed) && self.passed() > sent + UNDER_WAY
    }

    fn deliver(&mut self, effect: &Effect, sent: i64, dice: &mut Dice) -> Result<Answer, Broken> {
        // A timer has no way to go.
        if effect.act == Act::Deadline {
            return self.receive(effect, dice);
        }
        let lost = || Err(Fault::Again { after: None, why: Failure::new(FailureCode::WorkerUnavailable, "Nobody answers.") });
        if self.is_given_up(effect, sent) {
            return Ok(Self::unclear(effect, lost()));
        }
        if dice.chance(self.weather.unsent) {
            if dice.chance(self.weather.doubled) {
                self.adrift.push((effect.clone(), sent));
            }
            return Ok(Self::unclear(effect, lost()));
        }
        if dice.chance(self.weather.slow) {
            return Ok(Err(Fault::Working));
        }
        let answer = self.receive(effect, dice)?;
        if dice.chance(self.weather.doubled) {
            self.adrift.push((effect.clone(), sent));
        }
        Ok(if dice.chance(self.weather.unanswered) { Self::unclear(effect, lost()) } else { answer })
    }

    /// What a lost answer means: of a start that takes no key nobody knows whether it began something.
    fn unclear(effect: &Effect, answer: Answer) -> Answer {
        match &effect.act {
            Act::Start(order) if Manner::of(&order.executor) != Manner::Keyed => Ok(Some(Event::StartUnclear { key: effect.key })),
            _ => answer,
        }
    }

    fn receive(&mut self, effect: &Effect, dice: &mut Dice) -> Result<Answer, Broken> {
        self.outside.passed = self.passed();
        self.outside.receive(&self.database, effect, dice, &self.weather)
    }

    /// An answer comes back, and what it means is written.
    fn answer(&mut self, dice: &mut Dice) -> Result<(), Broken> {
        let index = self.some_controller(dice);
        let back: Vec<usize> =
            (0..).zip(&self.controllers[index].flights).filter(|(_, flight)| flight.answer.is_some()).map(|(n, _)| n).collect();
        if back.is_empty() {
            return Ok(());
        }
        let flight = self.controllers[index].flights.swap_remove(dice.pick(&back));
        let Some(answer) = flight.answer else { return Ok(()) };
        let now = self.now();
        let Some(settlement) = self.controllers[index].dispatcher.outcome(flight.lease, answer, now) else { return Ok(()) };
        let settlement = self.wiring.settlement(settlement);
        if dice.chance(self.weather.unwritten) {
            self.not_written(index, flight.lease, settlement);
            return Ok(());
        }
        self.write(flight.lease, settlement)
    }

    /// The transaction fails. Nothing of it stands, and nothing that it would have caused is done.
    fn not_written(&mut self, index: usize, lease: Lease, settlement: Settlement) {
        self.say(|_| format!("controller {index} cannot write {}", settled(&settlement)));
        let now = self.now();
        if !self.wiring.writes_first()
            && let Settlement::Tell { run, event } = &settlement
        {
            let caused = self.database.foresee(self.wiring, *run, event, now);
            let sent = self.passed();
            self.adrift.extend(caused.into_iter().filter(|effect| effect.act != Act::Deadline).map(|effect| (effect, sent)));
        }
        self.controllers[index].dispatcher.keep(lease, settlement, now);
    }

    fn write(&mut self, lease: Lease, settlement: Settlement) -> Result<(), Broken> {
        self.say(|_| format!("written: {}", settled(&settlement)));
        match settlement {
            Settlement::Tell { run, event } => {
                self.tell(run, &event, Some(lease))?;
                self.old.push(Letter { run, event: *event });
            }
            Settlement::Done => self.database.done(self.wiring, lease),
            Settlement::Later { due, trouble, .. } => {
                // The trouble first, as the controller has it.
                if let Some((run, event)) = trouble {
                    self.tell(run, &event, None)?;
                    self.old.push(Letter { run, event: *event });
                }
                self.database.later(self.wiring, lease, due);
            }
        }
        Ok(())
    }

    fn tell(&mut self, run: RunId, event: &Event, done: Option<Lease>) -> Result<(), Broken> {
        self.give_up(run, event);
        let now = self.now();
        // Only what a person asks can be refused.
        let _ = self.database.happened(self.wiring, run, event, done, now)?;
        if let (Event::Observed(seen), Some(run)) = (event, self.database.run(run)) {
            self.database.law.believed(run, &seen.key)?;
        }
        Ok(())
    }

    /// What cannot be fenced, or removed, in its time may stay: nobody can be sure of it.
    fn give_up(&mut self, run: RunId, event: &Event) {
        let (key, kind) = match event {
            Event::DeadlinePassed { key } => (key, Kind::Fence),
            Event::EffectFailed { key, kind, .. } => (key, *kind),
            _ => return,
        };
        let fencing = |attempt: &Attempt| matches!(attempt.phase, Phase::Fencing { .. });
        match kind {
            Kind::Fence if self.database.run(run).and_then(|run| run.current(key)).is_some_and(fencing) => {
                self.outside.unfenced.insert(*key);
            }
            Kind::Unpublish => {
                self.outside.forgotten.insert(*key);
            }
            _ => {}
        }
    }

    /// The reconciler sees which looks are due.
    fn look(&mut self, dice: &mut Dice) {
        if !self.wiring.looks() {
            return;
        }
        let index = self.some_controller(dice);
        if !self.weather.hookless && dice.chance(200) {
            let executor = named(dice.pick(&Manner::ALL).name());
            self.controllers[index].reconciler.nudge(&executor);
            let now = self.now();
            self.database.hurry(&executor, now);
        }
        let (now, live) = (self.now(), self.database.live());
        let looks = self.controllers[index].reconciler.due(now, &live);
        self.controllers[index].looks.extend(looks);
    }

    /// A look comes back with what it saw.
    fn see(&mut self, dice: &mut Dice) -> Result<(), Broken> {
        let index = self.some_controller(dice);
        if self.controllers[index].looks.is_empty() {
            return Ok(());
        }
        let place = dice.index(self.controllers[index].looks.len());
        let look = self.controllers[index].looks.swap_remove(place);
        let blind = dice.chance(self.weather.blind);
        let seen = (!blind).then(|| {
            let named = look.live.iter().filter_map(|live| Some((live.key, live.build.as_deref()?)));
            named.filter_map(|(key, build)| self.outside.look(key, build, dice, &self.weather)).collect()
        });
        let now = self.now();
        for observation in self.controllers[index].reconciler.seen(&look, seen, now) {
            self.database.law.looked(&observation);
            let observation = self.wiring.seen(observation);
            self.say(|_| format!("{} is seen: {:?}", observation.key, observation.state));
            let run = observation.key.run;
            let event = Event::Observed(observation);
            self.tell(run, &event, None)?;
            self.old.push(Letter { run, event });
        }
        Ok(())
    }

    /// What the dispatcher does beside performing: it writes what could not be written, and keeps its leases.
    fn housekeep(&mut self, dice: &mut Dice) -> Result<(), Broken> {
        let index = self.some_controller(dice);
        let now = self.now();
        for (lease, settlement) in self.controllers[index].dispatcher.unwritten(now) {
            if dice.chance(self.weather.unwritten) {
                self.not_written(index, lease, settlement);
            } else {
                self.write(lease, settlement)?;
            }
        }
        let renewals = self.controllers[index].dispatcher.renewals(now);
        let until = self.controllers[index].dispatcher.lease_until(now);
        self.database.renew(self.wiring, &renewals, until);
        Ok(())
    }

    fn pass_time(&mut self, dice: &mut Dice) {
        if dice.chance(self.weather.clock) {
            let jump = dice.pick(&[-86_400_000, -3_600_000, -60_000, 3_600_000, 86_400_000]);
            self.say(|_| format!("the clock jumps by {} s", jump / 1000));
            self.millis += jump;
            self.leapt += jump;
            return;
        }
        // Mostly moments; now and then, but on fine days, as long as something is waited for.
        self.millis += match dice.below(10) {
            0..=6 => i64::try_from(dice.below(2_000)).unwrap_or_default(),
            7 | 8 => i64::try_from(dice.below(60_000)).unwrap_or_default(),
            _ if self.weather == Weather::CALM => 0,
            _ => {
                let next = self.database.next().map_or(0, |next| next.as_millisecond() - self.now().as_millisecond());
                next.clamp(0, 3_600_000)
            }
        };
    }

    /// A controller dies, and another one starts in its place.
    fn trouble(&mut self, dice: &mut Dice) {
        if !dice.chance(self.weather.crash * 4) {
            return;
        }
        let index = self.some_controller(dice);
        self.say(|_| format!("controller {index} dies"));
        let dead = std::mem::replace(&mut self.controllers[index], Controller::start());
        for flight in dead.flights {
            match flight.answer {
                // It was sent, and may still arrive.
                None if dice.chance(500) && flight.effect.act != Act::Deadline => self.adrift.push((flight.effect, flight.sent)),
                _ => {}
            }
        }
        // A controller that has the data folder to itself knows that nobody else holds anything.
        if self.controllers.len() == 1 {
            self.database.release_all();
        }
    }

    fn interfere(&mut self, dice: &mut Dice) -> Result<(), Broken> {
        let number = self.database.runs.len() as u64;
        if number == 0 || !dice.chance(self.weather.people) {
            return Ok(());
        }
        let run = run_id(1 + dice.below(number));
        let by = "bob".to_owned();
        let event = match dice.below(4) {
            0 | 1 => Event::StopRequested { by, reason: None },
            2 => Event::RerunRequested { by, from: RerunFrom::Start, artifacts: everything() },
            _ => Event::RerunRequested { by, from: RerunFrom::Failed, artifacts: everything() },
        };
        self.say(|_| format!("{run}: {}", event.word()));
        self.tell(run, &event, None)
    }

    /// Something is told a second time, late.
    fn retell(&mut self, dice: &mut Dice) -> Result<(), Broken> {
        if self.old.is_empty() || !dice.chance(self.weather.stale * 4) {
            return Ok(());
        }
        let letter = self.old[dice.index(self.old.len())].clone();
        self.say(|_| format!("told again: {} to {}", letter.event.word(), letter.run));
        self.tell(letter.run, &letter.event, None)
    }
}
