//! Which executors are looked at when: a step function. It takes no input but what is live and what time it is, performs
//! nothing, and only passes on what was seen; recovery after a crash is the same as an ordinary day.

use std::collections::{BTreeMap, btree_map};
use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::build::{BuildState, Observation, Pace, Stamp};
use signalbox_contract::{AttemptKey, ExecutorName};

use crate::after;
use crate::lease::Live;

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

/// How soon after a look a nudge may cause the next. A thousand hooks in a second are no reason for a thousand looks.
const NUDGED: Duration = Duration::from_millis(500);

/// The reconciler's state: when each executor is looked at next.
#[derive(Debug, Default)]
pub struct Reconciler {
    /// How often each executor wants to be looked at. Those that are not named: at each step.
    paces: BTreeMap<ExecutorName, Pace>,
    next: BTreeMap<ExecutorName, Turn>,
    /// How many looks at each executor have not come back.
    looking: BTreeMap<ExecutorName, usize>,
    /// What was seen of each build last.
    shown: BTreeMap<AttemptKey, Option<(Stamp, BuildState)>>,
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    at: Timestamp,
    /// When the last look came back.
    last: Timestamp,
    failures: u32,
    /// How many looks in a row have shown nothing new.
    idle: u32,
    /// Somebody said that there is something new, and no look has begun since.
    nudged: bool,
}

impl Turn {
    /// Whether its time has come. A time further ahead than any wait was set before the clock was set back.
    fn is_due(&self, now: Timestamp, longest: Duration) -> bool {
        let at = if self.nudged { self.at.min(after(self.last, NUDGED)) } else { self.at };
        at <= now || at > after(now, longest * 2)
    }
}

impl Reconciler {
    /// A reconciler of executors that want to be looked at this often.
    pub fn new(paces: BTreeMap<ExecutorName, Pace>) -> Self {
        Self { paces, ..Self::default() }
    }

    /// Somebody says that there is something new at an executor. It is looked at soon; that is all that is believed.
    pub fn nudge(&mut self, executor: &ExecutorName) {
        if let Some(turn) = self.next.get_mut(executor) {
            turn.nudged = true;
            turn.idle = 0;
        }
    }

    /// The looks that are due. An executor is not looked at again while a look at it is out.
    pub fn due(&mut self, now: Timestamp, live: &[Live]) -> Vec<Look> {
        let mut by_executor: BTreeMap<&ExecutorName, Vec<Live>> = BTreeMap::new();
        for live in live {
            by_executor.entry(&live.executor).or_default().push(live.clone());
        }
        self.next.retain(|executor, _| by_executor.contains_key(executor));
        self.shown.retain(|key, _| live.iter().any(|live| live.key == *key));
        for live in live {
            if let btree_map::Entry::Vacant(entry) = self.shown.entry(live.key) {
                entry.insert(None);
                // A build that is new begins soon, and may end soon.
                self.nudge(&live.executor);
            }
        }
        let looks: Vec<Look> = by_executor
            .into_iter()
            .filter(|(executor, _)| {
                let longest = self.pace(executor).slowest.max(LONGEST_WAIT);
                !self.looking.contains_key(*executor) && self.next.get(*executor).is_none_or(|turn| turn.is_due(now, longest))
            })
            .flat_map(|(executor, live)| {
                let executor = executor.clone();
                live.chunks(MANY).map(move |live| Look { executor: executor.clone(), live: live.to_vec() }).collect::<Vec<_>>()
            })
            .collect();
        for look in &looks {
            *self.looking.entry(look.executor.clone()).or_default() += 1;
            if let Some(turn) = self.next.get_mut(&look.executor) {
                turn.nudged = false;
            }
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
        let asked = seen.is_some();
        // Only what was asked for is heard: an executor that speaks of other keys is wrong, or worse.
        let heard: Vec<Observation> = seen.into_iter().flatten().filter(|seen| look.live.iter().any(|live| live.key == seen.key)).collect();
        let news = heard.iter().filter(|seen| self.is_news(seen)).count();
        let before = self.next.get(&look.executor).copied();
        let (failures, idle, nudged) = before.map_or((0, 0, false), |turn| (turn.failures, turn.idle, turn.nudged));
        let pace = self.pace(&look.executor);
        let idle = if news > 0 || nudged { 0 } else { idle.saturating_add(1) };
        let (failures, wait) = if asked {
            (0, pace.quickest.saturating_mul(1 << idle.min(8)).min(pace.slowest))
        } else {
            (failures.saturating_add(1), pace.quickest.saturating_mul(1 << failures.min(8)).min(LONGEST_WAIT))
        };
        self.next.insert(look.executor.clone(), Turn { at: after(now, wait), last: now, failures, idle, nudged });
        heard
    }

    fn pace(&self, executor: &ExecutorName) -> Pace {
        self.paces.get(executor).copied().unwrap_or(Pace { quickest: PACE, slowest: PACE })
    }

    /// Whether a look shows something else than the one before; from now on it is that one.
    fn is_news(&mut self, seen: &Observation) -> bool {
        let shows = Some((seen.stamp, seen.state.clone()));
        let Some(shown) = self.shown.get_mut(&seen.key) else { return true };
        std::mem::replace(shown, shows.clone()) != shows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).expect("in range")
    }

    fn live(attempt: u16) -> Live {
        let key = AttemptKey { run: signalbox_contract::RunId::FIRST, step: 1, attempt };
        Live { key, executor: "far".parse().expect("a name"), anchor: None, build: Some("1".to_owned()), parts: Vec::new() }
    }

    fn reconciler() -> Reconciler {
        let pace = Pace { quickest: Duration::from_secs(2), slowest: Duration::from_secs(30) };
        Reconciler::new(BTreeMap::from([("far".parse().expect("a name"), pace)]))
    }

    /// Looks whenever it is due until `until`, and gives when.
    fn looks(reconciler: &mut Reconciler, from: i64, until: i64, stamp: impl Fn(i64) -> u64) -> Vec<i64> {
        let mut when = Vec::new();
        for second in from..until {
            for look in reconciler.due(at(second), &[live(1)]) {
                when.push(second);
                let seen = Observation::new(live(1).key, "1", Stamp(stamp(second)), BuildState::Running);
                reconciler.seen(&look, Some(vec![seen]), at(second));
            }
        }
        when
    }

    #[test]
    fn an_executor_at_which_nothing_moves_is_looked_at_less_and_less() {
        let when = looks(&mut reconciler(), 0, 120, |_| 1);
        assert_eq!(when, [0, 2, 6, 14, 30, 60, 90]);
    }

    #[test]
    fn one_at_which_something_moves_is_looked_at_often() {
        let when = looks(&mut reconciler(), 0, 20, |second| u64::try_from(second).expect("positive"));
        assert_eq!(when, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]);
    }

    #[test]
    fn a_nudge_or_a_new_build_makes_the_next_look_come_at_once_and_a_thousand_nudges_one() {
        let mut reconciler = reconciler();
        assert_eq!(looks(&mut reconciler, 0, 61, |_| 1).last(), Some(&60));
        let far = live(1).executor;
        for _ in 0..1000 {
            reconciler.nudge(&far);
        }
        assert_eq!(looks(&mut reconciler, 61, 70, |_| 1), [61, 65], "and then it slows down again");
        assert_eq!(reconciler.due(at(70), &[live(1), live(2)]).len(), 1, "a build that was not there before");
        reconciler.nudge(&far);
        assert!(reconciler.due(at(71), &[live(1), live(2)]).is_empty(), "a look is out");
    }

    #[test]
    fn what_is_said_of_builds_that_were_not_asked_for_is_not_heard() {
        let mut reconciler = reconciler();
        let look = reconciler.due(at(0), &[live(1)]).remove(0);
        let foreign = Observation::new(live(2).key, "1", Stamp(1), BuildState::Running);
        assert_eq!(reconciler.seen(&look, Some(vec![foreign]), at(0)), []);
    }
}
