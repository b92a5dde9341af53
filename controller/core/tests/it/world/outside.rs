//! What is outside: builds at executors, releases on hosts. And what must be true of them.

use std::collections::{BTreeMap, BTreeSet};

use signalbox_contract::api::run::Outcome;
use signalbox_contract::build::{BuildState, Observation, Stamp};
use signalbox_contract::{AttemptKey, CommitSha, EnvironmentName, FailureClass, PublishedName, RunId, Standing, Verdict};
use signalbox_controller_core::reporting::standing;
use signalbox_controller_core::{Act, Event, Run};

use super::dice::Dice;
use crate::desk::Desk;

/// A build, as its executor knows it.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    pub(crate) name: String,
    pub(crate) state: BuildState,
    pub(crate) stamp: u64,
    /// The commit that it says it builds.
    pub(crate) sha: Option<CommitSha>,
}

impl Build {
    pub(crate) const fn over(&self) -> bool {
        matches!(self.state, BuildState::Ended { .. } | BuildState::Gone)
    }

    pub(crate) fn become_(&mut self, state: BuildState) {
        self.state = state;
        self.stamp += 1;
    }
}

#[derive(Debug, Default)]
pub(crate) struct Outside {
    pub(crate) builds: BTreeMap<AttemptKey, Build>,
    /// Starts that are still on their way, though nobody waits for their answer any more.
    pub(crate) late: BTreeSet<AttemptKey>,
    /// The attempts whose ref was pushed where that begins builds.
    pub(crate) moved: BTreeSet<AttemptKey>,
    /// Those whose ref showed their commit already, so that nothing was pushed.
    pub(crate) unmoved: BTreeSet<AttemptKey>,
    /// What an executor will never run.
    pub(crate) fenced: BTreeSet<AttemptKey>,
    /// What could not be fenced, so that nobody can be sure of it.
    pub(crate) unfenced: BTreeSet<AttemptKey>,
    /// What was refused, and is refused again.
    pub(crate) refused: BTreeSet<(AttemptKey, &'static str)>,
    /// What the hosts of an environment show under a name: the activation, and by which run.
    pub(crate) shown: BTreeMap<(EnvironmentName, PublishedName), (u64, RunId)>,
    /// What the forge was told of a run last.
    pub(crate) told: BTreeMap<RunId, Standing>,
    /// The attempts that have been to the hosts.
    pub(crate) deployed: BTreeSet<AttemptKey>,
}

impl Outside {
    /// Builds go on, end, or are forgotten.
    pub(crate) fn go_on(&mut self, dice: &mut Dice) {
        let calm = dice.is_calm();
        if calm || dice.chance(2) {
            for key in std::mem::take(&mut self.late) {
                self.arrive(key);
            }
        }
        for build in self.builds.values_mut().filter(|build| !build.over()) {
            if !calm && dice.chance(3) {
                continue;
            }
            let ended = |verdict| BuildState::Ended { verdict, class: None, reason: String::new() };
            let next = match (&build.state, dice.below(12)) {
                (_, 0) => BuildState::Gone,
                (_, 1) => ended(Verdict::Failed),
                (_, 2) => ended(Verdict::Unstable),
                (_, 3) if dice.chance(2) => {
                    BuildState::Ended { verdict: Verdict::Lost, class: Some(FailureClass::Interrupted), reason: String::new() }
                }
                (_, 3) => ended(Verdict::Lost),
                (_, 4) => ended(Verdict::Aborted),
                (_, 5) => BuildState::Waiting { why: "no room".to_owned() },
                (BuildState::Waiting { .. }, _) => BuildState::Running,
                _ => ended(Verdict::Success),
            };
            build.become_(next);
        }
    }

    /// A start arrives. The executor takes keys: what it has it does not start again, what it fenced not at all.
    pub(crate) fn arrive(&mut self, key: AttemptKey) {
        if !self.fenced.contains(&key) {
            let state = BuildState::Waiting { why: String::new() };
            self.builds.entry(key).or_insert(Build { name: format!("build-{key}"), state, stamp: 1, sha: None });
        }
    }

    /// What a look at the attempt shows now.
    pub(crate) fn look(&self, key: AttemptKey) -> Observation {
        let (build, stamp, state) = match self.builds.get(&key) {
            Some(build) => (build.name.clone(), build.stamp, build.state.clone()),
            None => (String::new(), 0, BuildState::Gone),
        };
        let sha = self.builds.get(&key).and_then(|build| build.sha.clone());
        Observation { sha, ..Observation::new(key, build, Stamp(stamp), state) }
    }

    /// What must be true outside, because of what the controller decided.
    pub(crate) fn check(&self, desk: &Desk) {
        for (key, build) in self.builds.iter().filter(|(_, build)| !build.over()) {
            let run = desk.run(key.run);
            let attempt = &run.steps[usize::from(key.step)].attempts[usize::from(key.attempt) - 1];
            let sure = !self.unfenced.contains(key);
            assert!(!attempt.ended() || !sure, "{key} is over as {:?}, and its build {} goes on", attempt.verdict, build.name);
        }
    }

    pub(crate) fn is_at_rest(&self) {
        for (key, build) in &self.builds {
            assert!(build.over() || self.unfenced.contains(key), "{key} goes on after everything has ended");
        }
    }

    /// The forge is told how the run stands now. A vote is never one about what was stopped, lost or overtaken.
    pub(crate) fn tell(&mut self, run: &Run) {
        let Some(standing) = standing(run) else { return };
        let verdicts = || run.steps.iter().map(signalbox_controller_core::Step::verdict);
        match standing {
            Standing::Started => assert!(run.outcome.is_none()),
            Standing::Passed => assert!(verdicts().all(|verdict| verdict == Some(Verdict::Success))),
            Standing::Failed => {
                assert!(matches!(run.outcome, Some(Outcome::Failed | Outcome::Unstable | Outcome::TimedOut)), "{:?}", run.outcome);
                let against = |verdict| matches!(verdict, Some(Verdict::Failed | Verdict::Unstable | Verdict::TimedOut));
                assert!(verdicts().any(against));
            }
            Standing::Undecided => assert!(run.outcome.is_some_and(|outcome| outcome != Outcome::Passed)),
        }
        self.told.insert(run.id, standing);
    }

    /// At the end each forge shows how each run stands, unless telling it was given up.
    pub(crate) fn is_told(&self, run: &Run) {
        let wanted = standing(run);
        assert_eq!(wanted.is_some(), run.reporting.is_some());
        let Some(reporting) = &run.reporting else { return };
        assert_eq!(Some(reporting.wanted), wanted);
        assert!(reporting.settled(), "{reporting:?}");
        assert!(reporting.failure.is_some() || self.told.get(&run.id) == wanted.as_ref(), "{:?} of {reporting:?}", self.told.get(&run.id));
    }

    /// Whether an executor has said of itself that it stopped a build of the run.
    pub(crate) fn aborts(&self, run: &Run) -> bool {
        let aborted = BuildState::Ended { verdict: Verdict::Aborted, class: None, reason: String::new() };
        self.builds.iter().any(|(key, build)| key.run == run.id && build.state == aborted)
    }

    /// An activation reaches the hosts. Gives whether they take it.
    pub(crate) fn activate(
        &mut self,
        desk: &Desk,
        key: AttemptKey,
        environment: &EnvironmentName,
        name: &PublishedName,
        sequence: u64,
    ) -> bool {
        self.deployed.insert(key);
        let shown = self.shown.entry((environment.clone(), name.clone())).or_insert((0, key.run));
        if sequence < shown.0 {
            return false;
        }
        let older = key.run < shown.1;
        assert!(!older || desk.run(key.run).reruns > 0, "{key} has put something older over what {:?} had deployed", shown.1);
        *shown = (sequence, key.run);
        true
    }
}

/// Whether nobody waits to hear what came of it.
pub(crate) const fn is_silent(act: &Act) -> bool {
    matches!(act, Act::Unpublish(_) | Act::Forget(_) | Act::Sweep(_) | Act::Cancel(_))
}

pub(crate) fn key_of(event: &Event) -> Option<AttemptKey> {
    match event {
        Event::Observed(observation) => Some(observation.key),
        Event::Troubled { key, .. } => Some(*key),
        other => crate::story::outcome_of(other).map(|(key, _)| key),
    }
}

/// The same event, of another attempt.
pub(crate) fn about(mut event: Event, other: AttemptKey) -> Event {
    match &mut event {
        Event::Fetched { key, .. }
        | Event::Published { key, .. }
        | Event::Prepared { key, .. }
        | Event::Started { key, .. }
        | Event::StartUnclear { key }
        | Event::Found { key, .. }
        | Event::Fenced { key }
        | Event::Swept { key, .. }
        | Event::Sealed { key, .. }
        | Event::Resolved { key, .. }
        | Event::Deployed { key, .. }
        | Event::EffectFailed { key, .. }
        | Event::Reported { key, .. }
        | Event::Troubled { key, .. }
        | Event::DeadlinePassed { key } => *key = other,
        Event::Observed(observation) => observation.key = other,
        Event::Granted(granted) => granted.key = other,
        Event::StopRequested { .. } | Event::RerunRequested { .. } => {}
    }
    event
}
