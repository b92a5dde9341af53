//! What is outside, as models: a VCS worker, executors, an artifact store, hosts and a forge. Each does what its contract says
//! and, where the weather has it, fails as such things fail. And it counts, so that what was done twice is seen.

mod truth;

use std::collections::{BTreeMap, BTreeSet};

use signalbox_contract::api::deploy::{HostOutcome, HostResult};
use signalbox_contract::api::run::ArtifactView;
use signalbox_contract::api::vcs::{Naming, RefsRequest, Timings, Transferred};
use signalbox_contract::build::{BuildState, Observation, Stamp};
use signalbox_contract::{
    AttemptKey, CommitSha, Digest, EnvironmentName, Failure, FailureClass, FailureCode, PublishedName, RepoName, RunId, Standing, Verdict,
};
use signalbox_controller_core::attempt::Published;
use signalbox_controller_core::dispatcher::Fault;
use signalbox_controller_core::effect::{AtExecutor, Kind};
use signalbox_controller_core::plan::{resolve, resolve_native};
use signalbox_controller_core::reporting::standing;
use signalbox_controller_core::{Act, Effect, Event};

use crate::build::Build;
use crate::database::Database;
use crate::dice::Dice;
use crate::law::{Broken, must};
use crate::sample::{Manner, digest, full_ref, job_file, named, sha};
use crate::weather::Weather;

/// What a receiver answers, as the controller's own clients tell it.
pub(crate) type Answer = Result<Option<Event>, Fault>;

/// What a host shows under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shown {
    sequence: u64,
    run: RunId,
}

/// Which of its attempts' acts a worker has been asked for, and what it answered: its ledger.
type Ledger = BTreeMap<(AttemptKey, Kind), (Act, Option<Answer>)>;

/// For how long a call may be on its way to an executor, in milliseconds: then whoever passes it on has given it up.
pub(crate) const UNDER_WAY: i64 = 300_000;

/// After how long at the latest an executor shows what it has begun, in milliseconds.
const SHOWN: i64 = 300_000;

#[derive(Debug, Default)]
pub(crate) struct Outside {
    /// How many milliseconds have passed, whatever the controllers' clocks say.
    pub(crate) passed: i64,
    /// When the executor was last asked to begin an attempt's build.
    pub(crate) asked: BTreeMap<AttemptKey, i64>,
    ledger: Ledger,
    /// Refs of attempts that are shown to executors.
    refs: BTreeSet<AttemptKey>,
    /// Refs that were removed. They stay removed: what was still publishing them is refused.
    removed: BTreeSet<AttemptKey>,
    /// What each branch shows where pushes begin builds.
    branches: BTreeMap<RepoName, CommitSha>,
    builds: Vec<Build>,
    fenced: BTreeSet<AttemptKey>,
    /// What could not be fenced or stopped, so that nobody can be sure of it.
    pub(crate) unfenced: BTreeSet<AttemptKey>,
    /// Refs that could not be removed in their time. The worker's own retention finds them.
    pub(crate) forgotten: BTreeSet<AttemptKey>,
    /// The closed grants, and whether what was in them was published.
    closed: BTreeMap<AttemptKey, bool>,
    hosts: BTreeMap<(EnvironmentName, PublishedName, &'static str), Shown>,
    /// How often each attempt has switched each host.
    switches: BTreeMap<(AttemptKey, &'static str), u32>,
    told: BTreeMap<RunId, Standing>,
    /// Whether an executor has said of itself that it stopped a build of a run.
    aborted: BTreeSet<RunId>,
    names: u64,
}

fn failure(code: FailureCode) -> Failure {
    Failure::new(code, "It did not work.")
}

fn not_yet() -> Fault {
    Fault::NotYet("The executor does not show the build yet.")
}

impl Outside {
    /// A request arrives at its receiver, which does it. The answer is what the controller is told if nothing is lost.
    pub(crate) fn receive(&mut self, database: &Database, effect: &Effect, dice: &mut Dice, weather: &Weather) -> Result<Answer, Broken> {
        let kind = effect.act.kind();
        // Workers take keys: what they have answered they answer again, and another request under the same key is refused.
        if matches!(kind, Kind::Fetch | Kind::Publish | Kind::Seal | Kind::Resolve | Kind::Deploy | Kind::Activate) {
            if let Some((known, answer)) = self.ledger.get(&(effect.key, kind)) {
                must(*known == effect.act, || format!("{} is asked for twice, and not for the same", effect.id()))?;
                if let Some(answer) = answer {
                    return Ok(answer.clone());
                }
            }
            let answer = self.act(database, effect, dice, weather)?;
            let kept = (!matches!(answer, Err(Fault::Again { .. } | Fault::NotYet(_) | Fault::Working))).then(|| answer.clone());
            self.ledger.insert((effect.key, kind), (effect.act.clone(), kept));
            return Ok(answer);
        }
        self.act(database, effect, dice, weather)
    }

    fn act(&mut self, database: &Database, effect: &Effect, dice: &mut Dice, weather: &Weather) -> Result<Answer, Broken> {
        let key = effect.key;
        if effect.act != Act::Deadline && dice.chance(weather.refused) && !self.has_begun(&key) {
            let code = dice.pick(&[FailureCode::SourceDenied, FailureCode::ExecutorRefused, FailureCode::Internal, FailureCode::Unknown]);
            return Ok(Err(Fault::Failed(failure(code))));
        }
        Ok(Ok(match &effect.act {
            Act::Fetch { request, order } => {
                let ref_name = full_ref(order);
                let plan = match &order.route.native {
                    None => resolve(order, &ref_name, job_file()),
                    Some(native) => resolve_native(order, &ref_name, native),
                };
                let sha = request.sha.clone().unwrap_or_else(|| sha(key.run));
                Some(Event::Fetched { key, sha, ref_name, plan, transferred: Transferred::default(), timings: Timings::default() })
            }
            Act::Publish(_) if self.removed.contains(&key) => return Ok(Err(Fault::Failed(failure(FailureCode::CommitNotFound)))),
            Act::Publish(request) => Some(self.publish(key, request, dice, weather)),
            Act::Unpublish(_) => {
                self.removed.insert(key);
                self.refs.remove(&key);
                None
            }
            Act::Prepare(_) => Some(Event::Prepared { key, anchor: "41".to_owned() }),
            Act::Start(order) => {
                let manner = Manner::of(&order.executor);
                // A key that was called off, and a ref that is gone, begin nothing; but a queue takes whatever it is given.
                let gone = manner == Manner::Called && self.removed.contains(&key);
                if manner != Manner::Queued && (self.fenced.contains(&key) || gone) {
                    return Ok(Err(Fault::Failed(failure(FailureCode::ExecutorRefused))));
                }
                if manner == Manner::Pushed && order.published.moved {
                    return Ok(Ok(Some(Event::Started { key, build: None })));
                }
                // It looks for what it has under this key before it starts anything. What is not shown yet it does not see.
                let queued = |build: &&Build| manner == Manner::Queued && matches!(build.state(), BuildState::Waiting { .. });
                // What asks for the same as something that still waits is answered with that, shown or not.
                let mut there = self.builds.iter().filter(|build| build.key == key).filter(|build| build.shown() || queued(build));
                let there = there.next().map(|build| build.name.clone());
                let name = there.unwrap_or_else(|| self.begin(manner, manner != Manner::Keyed, key, &order.sha, dice, weather));
                Some(Event::Started { key, build: Some(name) })
            }
            Act::Find(at) => return Ok(self.find(key, at, dice)),
            Act::Cancel(at) => {
                if let Some(build) = self.builds.iter_mut().find(|build| at.build.as_ref() == Some(&build.name) && !build.deaf) {
                    build.end(Verdict::Aborted);
                }
                None
            }
            Act::Fence(at) => {
                self.fenced.insert(key);
                self.unfenced.remove(&key);
                // What a call has begun and is not shown yet stays unknown, unless its name is known already.
                let known = |build: &Build| !build.called || build.shown() || at.build.as_ref() == Some(&build.name);
                for build in self.builds.iter_mut().filter(|build| build.key == key && known(build)) {
                    build.end(Verdict::Aborted);
                }
                Some(Event::Fenced { key })
            }
            Act::Forget(at) => self.sweep(key, at),
            Act::Sweep(at) => {
                // A controller whose clock was set forward comes too early. It cannot know that.
                if self.asked.get(&key).is_some_and(|asked| self.passed < asked + UNDER_WAY + SHOWN) {
                    self.unfenced.insert(key);
                }
                self.sweep(key, at)
            }
            Act::Seal { publish, .. } => Some(self.seal(database, key, *publish)?),
            Act::Resolve { .. } => Some(Event::Resolved { key, digest: digest(key.run) }),
            Act::Deploy(request) => {
                let target = (&request.environment, &request.published_name);
                Some(self.switch(database, key, target, request.sequence, Some(request.digest), dice, weather)?)
            }
            Act::Activate(request) => {
                let target = (&request.environment, &request.published_name);
                Some(self.switch(database, key, target, request.sequence, request.digest, dice, weather)?)
            }
            Act::Deadline => Some(Event::DeadlinePassed { key }),
            Act::Report { serial } => {
                // What is told is how the run stands now, whatever it was when the effect was caused.
                if let Some(standing) = database.run(key.run).and_then(standing) {
                    self.told.insert(key.run, standing);
                }
                Some(Event::Reported { key, serial: *serial, remarks: Vec::new() })
            }
        }))
    }

    /// Whether something of the attempt was begun, so that nobody would say that it was refused.
    fn has_begun(&self, key: &AttemptKey) -> bool {
        self.builds.iter().any(|build| build.key == *key)
            || self.switches.keys().any(|(switched, _)| switched == key)
            || self.closed.contains_key(key)
            || self.refs.contains(key)
    }

    fn publish(&mut self, key: AttemptKey, request: &RefsRequest, dice: &mut Dice, weather: &Weather) -> Event {
        self.refs.insert(key);
        let pushes = request.mirror.is_some() && request.naming == Naming::Same;
        let moved = !pushes || self.branches.get(&request.name) != Some(&request.sha);
        if pushes && moved {
            // A name of its source stays: it is not the attempt's own.
            self.branches.insert(request.name.clone(), request.sha.clone());
            // Perhaps rules in its definition leave it out, and nothing ever comes.
            if !dice.chance(weather.misfortune / 4) {
                self.begin(Manner::Pushed, false, key, &request.sha, dice, weather);
            }
        }
        if request.naming == Naming::Same {
            self.refs.remove(&key);
        }
        let url = named("http://127.0.0.1:7481/git/hello");
        Event::Published { key, at: Published { url, ref_name: named("refs/heads/cd/x"), project: None, moved } }
    }

    fn begin(&mut self, manner: Manner, called: bool, key: AttemptKey, sha: &CommitSha, dice: &mut Dice, weather: &Weather) -> String {
        self.names += 1;
        let name = format!("build-{}", self.names);
        // Somebody pushes over ours: what is built is something else.
        let foreign = manner == Manner::Pushed && dice.chance(weather.meddling);
        let sha = if foreign { named(&"e".repeat(40)) } else { sha.clone() };
        let states = vec![BuildState::Waiting { why: String::new() }];
        let hidden = manner != Manner::Keyed && dice.chance(weather.blind);
        let deaf = dice.chance(weather.misfortune / 8);
        let begun = self.passed;
        let mut build = Build { manner, key, name: name.clone(), sha, states, begun, called, hidden, deaf };
        if self.fenced.contains(&key) {
            build.end(Verdict::Aborted);
        } else if manner == Manner::Queued && self.removed.contains(&key) {
            // There is nothing to fetch.
            build.end(Verdict::Failed);
        }
        self.builds.push(build);
        name
    }

    fn shown(&self, key: &AttemptKey) -> impl Iterator<Item = &Build> {
        self.builds.iter().filter(move |build| build.key == *key && build.shown())
    }

    /// The executor is searched. The first build counts; others, which a race made, are stopped.
    fn find(&mut self, key: AttemptKey, at: &AtExecutor, dice: &mut Dice) -> Answer {
        // Sooner or later it says that there is none, though there may be one that is not shown yet.
        if self.builds.iter().any(|build| build.key == key && build.hidden && (!build.called || dice.chance(500))) {
            return Err(not_yet());
        }
        let names: Vec<String> = self.shown(&key).map(|build| build.name.clone()).collect();
        let Some((counts, surplus)) = names.split_first() else {
            // Where a push begins builds nobody can say that none will come.
            return if Manner::of(&at.executor) == Manner::Pushed {
                Err(not_yet())
            } else {
                Ok(Some(Event::Found { key, build: None, surplus: Vec::new() }))
            };
        };
        for build in self.builds.iter_mut().filter(|build| surplus.contains(&build.name)) {
            build.deaf = false;
            build.end(Verdict::Aborted);
        }
        Ok(Some(Event::Found { key, build: Some(counts.clone()), surplus: surplus.to_vec() }))
    }

    /// What still goes on of an attempt that is over, besides the build that counted, is stopped as far as it is shown and says
    /// whose it is.
    fn sweep(&mut self, key: AttemptKey, at: &AtExecutor) -> Option<Event> {
        let passed = self.passed;
        let beside = |build: &&mut Build| build.key == key && build.called && !build.over() && at.build.as_ref() != Some(&build.name);
        let mut surplus = Vec::new();
        for build in self.builds.iter_mut().filter(beside) {
            build.hidden = build.hidden && passed < build.begun + SHOWN;
            if !build.hidden {
                build.end(Verdict::Aborted);
                surplus.push(build.name.clone());
            }
        }
        (!surplus.is_empty()).then_some(Event::Swept { key, surplus })
    }

    fn seal(&mut self, database: &Database, key: AttemptKey, publish: bool) -> Result<Event, Broken> {
        // A request that comes late may be of an attempt that is over, and has one after it.
        let counts = database.attempt(&key).and_then(|attempt| attempt.build.clone());
        let build = self.builds.iter().find(|build| Some(&build.name) == counts.as_ref());
        let passed = build.is_some_and(Build::passed);
        must(!publish || passed, || format!("{key} is published, and its build has not passed"))?;
        let before = self.closed.insert(key, publish);
        must(before.is_none_or(|before| before == publish), || format!("the grant of {key} is closed twice"))?;
        let artifacts = vec![ArtifactView { name: named("hello"), digest: digest(key.run), size: 1 }];
        Ok(Event::Sealed { key, artifacts, remarks: Vec::new() })
    }

    #[expect(clippy::too_many_arguments, reason = "each is a part of the one request")]
    fn switch(
        &mut self,
        database: &Database,
        key: AttemptKey,
        (environment, name): (&EnvironmentName, &PublishedName),
        sequence: u64,
        bytes: Option<Digest>,
        dice: &mut Dice,
        weather: &Weather,
    ) -> Result<Event, Broken> {
        must(bytes.is_none_or(|bytes| bytes == digest(key.run)), || format!("{key} deploys what it has not made"))?;
        let mut hosts = Vec::new();
        for host in ["host-1", "host-2"] {
            let place = (environment.clone(), name.clone(), host);
            let shown = self.hosts.get(&place).copied();
            let outcome = match shown {
                // A lower number is refused by the host itself, however late it comes.
                Some(shown) if sequence < shown.sequence => HostOutcome::Superseded,
                _ if dice.chance(weather.refused) => HostOutcome::Failed { failure: failure(FailureCode::WorkerUnavailable) },
                _ => {
                    let older = shown.is_some_and(|shown| key.run < shown.run);
                    let asked = database.run(key.run).is_some_and(|run| run.reruns > 0);
                    must(!older || asked, || format!("{key} has put something older over what a newer run had deployed"))?;
                    let times = self.switches.entry((key, host)).or_default();
                    *times += 1;
                    must(*times == 1, || format!("{key} has switched {host} twice"))?;
                    self.hosts.insert(place, Shown { sequence, run: key.run });
                    HostOutcome::Switched
                }
            };
            hosts.push(HostResult { host: named(host), outcome, digest: None, previous: None, newer: None, bytes: 0, took_ms: 0 });
        }
        Ok(Event::Deployed { key, hosts })
    }

    /// Builds go on, end, are shown, or are forgotten.
    pub(crate) fn go_on(&mut self, dice: &mut Dice, weather: &Weather) {
        let passed = self.passed;
        for build in &mut self.builds {
            // What is shown late is late for more than a moment.
            let late = weather.blind > 0 && dice.chance(500 + weather.blind);
            build.hidden = build.hidden && late && passed < build.begun + SHOWN;
            if build.over() {
                // An executor keeps what it knew for a while.
                if dice.chance(weather.misfortune / 50) {
                    build.states.push(BuildState::Gone);
                }
                continue;
            }
            if dice.chance(weather.misfortune) {
                let ended = |verdict, class| BuildState::Ended { verdict, class, reason: String::new() };
                let fate = match dice.below(8) {
                    0 => BuildState::Gone,
                    1 | 2 => ended(Verdict::Failed, None),
                    3 => ended(Verdict::Unstable, None),
                    4 => ended(Verdict::Lost, Some(FailureClass::Interrupted)),
                    5 => ended(Verdict::Lost, None),
                    6 => ended(Verdict::TimedOut, None),
                    _ => BuildState::Waiting { why: "no room".to_owned() },
                };
                build.become_(fate);
            } else if dice.chance(weather.meddling) {
                self.aborted.insert(build.key.run);
                build.end(Verdict::Aborted);
            } else if dice.chance(700) {
                let waiting = matches!(build.state(), BuildState::Waiting { .. });
                build.become_(if waiting {
                    BuildState::Running
                } else {
                    BuildState::Ended { verdict: Verdict::Success, class: None, reason: String::new() }
                });
            }
        }
    }

    /// A look at one build.
    pub(crate) fn look(&self, key: AttemptKey, name: &str, dice: &mut Dice, weather: &Weather) -> Option<Observation> {
        let build = self.builds.iter().find(|build| build.name == name)?;
        if build.hidden {
            return None;
        }
        let newest = build.states.len() - 1;
        let shown = if dice.chance(weather.blind) { dice.index(build.states.len()) } else { newest };
        let mut seen = Observation::new(key, build.name.clone(), Stamp(shown as u64), build.states[shown].clone());
        if build.manner == Manner::Pushed {
            seen.sha = Some(build.sha.clone());
        }
        Some(seen)
    }
}
