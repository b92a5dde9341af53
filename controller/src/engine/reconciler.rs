//! Which executors are looked at when: a step function. It takes no input but what is live and what time it is, performs
//! nothing, and only passes on what was seen; recovery after a crash is the same as an ordinary day.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::ExecutorName;
use signalbox_contract::build::Observation;

use super::after;
use crate::store::Live;

/// How often the reconciler takes a step.
pub const PACE: Duration = Duration::from_millis(250);

/// How many builds are asked for at once.
const MANY: usize = 500;

/// The longest wait after an executor could not be asked.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A look at some builds of one executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The executor.
    pub executor: ExecutorName,
    /// The builds.
    pub live: Vec<Live>,
}

/// The reconciler's state: when each executor is looked at next.
#[derive(Debug, Default)]
pub struct Reconciler {
    next: BTreeMap<ExecutorName, Turn>,
    /// How many looks at each executor have not come back.
    looking: BTreeMap<ExecutorName, usize>,
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    at: Timestamp,
    failures: u32,
}

impl Turn {
    /// Whether its time has come. A time further ahead than any wait was set before the clock was set back.
    fn is_due(&self, now: Timestamp) -> bool {
        self.at <= now || self.at > after(now, LONGEST_WAIT * 2)
    }
}

impl Reconciler {
    /// The looks that are due. An executor is not looked at again while a look at it is out.
    pub fn due(&mut self, now: Timestamp, live: &[Live]) -> Vec<Look> {
        let mut by_executor: BTreeMap<&ExecutorName, Vec<Live>> = BTreeMap::new();
        for live in live {
            by_executor.entry(&live.executor).or_default().push(live.clone());
        }
        self.next.retain(|executor, _| by_executor.contains_key(executor));
        let looks: Vec<Look> = by_executor
            .into_iter()
            .filter(|(executor, _)| !self.looking.contains_key(*executor) && self.next.get(*executor).is_none_or(|turn| turn.is_due(now)))
            .flat_map(|(executor, live)| {
                let executor = executor.clone();
                live.chunks(MANY).map(move |live| Look { executor: executor.clone(), live: live.to_vec() }).collect::<Vec<_>>()
            })
            .collect();
        for look in &looks {
            *self.looking.entry(look.executor.clone()).or_default() += 1;
        }
        looks
    }

    /// What a look saw; `None` if the executor could not be asked. Answers what the runs are told.
    pub fn seen(&mut self, look: &Look, seen: Option<Vec<Observation>>, now: Timestamp) -> Vec<Observation> {
        if let Some(out) = self.looking.get_mut(&look.executor) {
            *out -= 1;
            if *out == 0 {
                self.looking.remove(&look.executor);
            }
        }
        let failures = self.next.get(&look.executor).map_or(0, |turn| turn.failures);
        let (failures, wait) = match &seen {
            Some(_) => (0, PACE),
            None => (failures.saturating_add(1), PACE.saturating_mul(1 << failures.min(8)).min(LONGEST_WAIT)),
        };
        self.next.insert(look.executor.clone(), Turn { at: after(now, wait), failures });
        // Only what was asked for is heard: an executor that speaks of other keys is wrong, or worse.
        seen.into_iter().flatten().filter(|seen| look.live.iter().any(|live| live.key == seen.key)).collect()
    }
}
