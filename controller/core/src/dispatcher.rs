//! Which effects are performed when: a step function. Leases, outcomes and time come in; what is to be written comes out.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::{AttemptKey, Failure, FailureCode, RunId};

use crate::after;
use crate::effect::{Kind, Lane};
use crate::event::Event;
use crate::lease::{Lease, Leased};

/// How long a lease lasts. Its holder renews it when half of that is over.
const LEASE: Duration = Duration::from_mins(1);

/// A receiver that is at it is not asked again sooner than this. Most wait themselves before they say so.
const PAUSE: Duration = Duration::from_millis(250);

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The same where a forge is to be told: a forge that is away for a day is not asked every few seconds.
const LONGEST_REPORT: Duration = Duration::from_secs(30);

/// Why an effect was not performed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The receiver is at it; ask again.
    Working,
    /// Something failed that may pass.
    Again {
        /// When the receiver wants to be asked again.
        after: Option<Duration>,
        /// What failed, for people.
        why: Failure,
    },
    /// It was answered, and what it waits for is not there yet.
    NotYet(&'static str),
    /// It failed for good.
    Failed(Failure),
}

/// What is to be written of an effect that was performed, or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// Its run is told, and it is done.
    Tell {
        /// The run.
        run: RunId,
        /// What happened.
        event: Box<Event>,
    },
    /// It is done, and nobody needs to be told.
    Done,
    /// It is performed again.
    Later {
        /// When.
        due: Timestamp,
        /// Why, for people.
        error: String,
        /// What its run is told of that.
        trouble: Option<(RunId, Box<Event>)>,
    },
}

/// The dispatcher's state: what is being performed.
#[derive(Debug, Default)]
pub struct Dispatcher {
    flying: BTreeMap<Lease, Flying>,
    /// What could not be written, and when its lease ends.
    unwritten: Vec<(Lease, Settlement, Timestamp)>,
}

#[derive(Debug, Clone)]
struct Flying {
    key: AttemptKey,
    kind: Kind,
    lane: Lane,
    tries: u32,
    give_up: Timestamp,
    begun: Timestamp,
    /// When the lease is to be renewed.
    renew: Timestamp,
}

/// How many effects of a lane are performed at a time.
const fn width(lane: Lane) -> u32 {
    match lane {
        Lane::Fetch | Lane::Deploy | Lane::Refs | Lane::Store | Lane::Report | Lane::CleanUp | Lane::Sweep => 16,
        Lane::Executor => 32,
        Lane::Timer => 64,
    }
}

impl Dispatcher {
    /// How many effects are performed at a time, over all lanes.
    pub fn hands(&self) -> usize {
        Lane::ALL.iter().map(|lane| width(*lane) as usize).sum()
    }

    /// How many more of each lane can be performed now; lanes without room are left out.
    pub fn room(&self) -> Vec<(Lane, u32)> {
        Lane::ALL
            .into_iter()
            .filter_map(|lane| {
                let busy = self.flying.values().filter(|flying| flying.lane == lane).count();
                let room = width(lane).saturating_sub(u32::try_from(busy).unwrap_or(u32::MAX));
                (room > 0).then_some((lane, room))
            })
            .collect()
    }

    /// Until when what is leased now is leased.
    pub fn lease_until(&self, now: Timestamp) -> Timestamp {
        after(now, LEASE)
    }

    /// An effect is being performed.
    pub fn begin(&mut self, leased: &Leased, now: Timestamp) {
        let flying = Flying {
            key: leased.effect.key,
            kind: leased.effect.act.kind(),
            lane: leased.effect.act.lane(),
            tries: leased.tries,
            give_up: leased.effect.give_up,
            begun: now,
            renew: after(now, LEASE / 2),
        };
        self.flying.insert(leased.lease, flying);
    }

    /// The leases that must be renewed now.
    pub fn renewals(&mut self, now: Timestamp) -> Vec<Lease> {
        let due = self.flying.iter_mut().filter(|(_, flying)| flying.renew <= now);
        due.map(|(lease, flying)| {
            flying.renew = after(now, LEASE / 2);
            *lease
        })
        .collect()
    }

    /// What is to be written of an effect that was performed; `None` if it is not ours.
    pub fn outcome(&mut self, lease: Lease, result: Result<Option<Event>, Fault>, now: Timestamp) -> Option<Settlement> {
        let flying = self.flying.remove(&lease)?;
        let Flying { key, kind, lane, tries, give_up, begun, .. } = flying;
        let failed = |failure| Settlement::Tell { run: key.run, event: Box::new(Event::EffectFailed { key, kind, failure }) };
        // Nobody waits for these with the run: what is the matter with them stands in their rows alone.
        let told = !matches!(lane, Lane::Report | Lane::CleanUp | Lane::Sweep | Lane::Timer);
        let trouble = |failure| told.then(|| (key.run, Box::new(Event::Troubled { key, kind, failure })));
        let longest = if lane == Lane::Report { LONGEST_REPORT } else { LONGEST_WAIT };
        // Its last try comes when its time is over, not after.
        let again = |wait: Duration| after(now, wait.max(backoff(tries, &key, longest)).min(longest)).min(give_up);
        Some(match result {
            Ok(Some(event)) => Settlement::Tell { run: key.run, event: Box::new(event) },
            Ok(None) => Settlement::Done,
            Err(Fault::Working) if now < give_up => {
                Settlement::Later { due: after(begun, PAUSE).max(now).min(give_up), error: String::new(), trouble: None }
            }
            Err(Fault::Again { after: wait, why }) if now < give_up => {
                // Whoever asks for a pause each time is left alone for longer each time.
                Settlement::Later { due: again(wait.unwrap_or_default()), error: why.to_string(), trouble: trouble(Some(why)) }
            }
            Err(Fault::NotYet(what)) if now < give_up => {
                Settlement::Later { due: again(Duration::ZERO), error: what.to_owned(), trouble: trouble(None) }
            }
            Err(Fault::Working) => failed(Failure::new(FailureCode::DeadlinePassed, "It was still at work when its time was over.")),
            Err(Fault::Again { why, .. }) => failed(why),
            Err(Fault::NotYet(what)) => failed(Failure::new(FailureCode::WorkerUnavailable, what)),
            Err(Fault::Failed(failure)) => failed(failure),
        })
    }

    /// What came of an effect could not be written; it is tried again until the lease ends. Then somebody performs it again.
    pub fn keep(&mut self, lease: Lease, settlement: Settlement, now: Timestamp) {
        self.unwritten.push((lease, settlement, after(now, LEASE / 2)));
    }

    /// What is to be written again.
    pub fn unwritten(&mut self, now: Timestamp) -> Vec<(Lease, Settlement)> {
        let kept = std::mem::take(&mut self.unwritten);
        kept.into_iter().filter(|(_, _, until)| *until > now).map(|(lease, settlement, _)| (lease, settlement)).collect()
    }
}

/// Twice as long each time, and not the same for all: what failed together is not tried together again.
fn backoff(tries: u32, key: &AttemptKey, longest: Duration) -> Duration {
    let base = Duration::from_millis(100).saturating_mul(1 << tries.min(9));
    let spread = key.to_string().bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % 50;
    (base + base * spread / 100).min(longest)
}
