//! An executor elsewhere: it reads definitions of its own, begins builds by itself when something is pushed to its mirror,
//! shows them in parts, and keeps what they make until it is fetched. It stands in behind the trait that all executors have.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use signalbox_adapters::executor::{
    Abilities, Anchor, BuildIdentity, BuildRef, Bytes as Stream, Executor, ExecutorError, Fenced, Found, Fut, Intent, LogChunk, LogCursor,
    Order, OutputRef, Outputs, Pace, PartRef, Pick, Scope, Started, Tracked, Unidentified,
};
use signalbox_contract::build::{BuildState, Observation, PartState, Stamp};
use signalbox_contract::{AttemptKey, CommitSha, Failure, FailureClass, FailureCode, RunId, Verdict};
use signalbox_service::secret::{ExposeSecret as _, SecretString};

use super::World;

const ABILITIES: Abilities = Abilities {
    jobs: false,
    native: true,
    keyed: false,
    outputs: Outputs::Fetched,
    pace: Pace { quickest: Duration::from_millis(100), slowest: Duration::from_millis(400) },
};

/// The same, looked at by itself so seldom that a test does not live to see it.
const LAZY: Abilities = Abilities { pace: Pace { quickest: Duration::from_mins(10), slowest: Duration::from_mins(10) }, ..ABILITIES };

/// How many bytes of a log or of an artifact come at once.
const PIECE: usize = 1000;

struct Build {
    sha: CommitSha,
    state: BuildState,
    stamp: u64,
    parts: Vec<PartState>,
}

/// What it knows.
#[derive(Default)]
pub(crate) struct Far {
    builds: BTreeMap<AttemptKey, Build>,
    logs: BTreeMap<(AttemptKey, String), Vec<u8>>,
    /// What its builds have made, by part and file.
    pub(crate) files: BTreeMap<(String, String), Vec<u8>>,
    /// The commit that somebody else pushes over ours, once.
    pub(crate) overtaken: Option<CommitSha>,
    /// Nothing that is pushed begins a build.
    pub(crate) idle: bool,
    /// It wants to be looked at seldom. Counts from the controller's next start on.
    pub(crate) lazy: bool,
    pub(crate) fenced: Vec<AttemptKey>,
    pub(crate) cancelled: Vec<AttemptKey>,
    /// How often it still refuses to stop a build.
    pub(crate) refusals: u32,
    /// Builds that go on beside those that count, as it shows them by now.
    pub(crate) beside: Vec<BuildRef>,
    pub(crate) forgotten: Vec<AttemptKey>,
    /// What it was asked before each start, and what was pushed by then.
    pub(crate) prepared: Vec<(AttemptKey, bool)>,
    /// How many more reads of artifacts break off in the middle.
    pub(crate) breaks: u32,
}

impl Far {
    fn of(&mut self, run: RunId) -> (AttemptKey, &mut Build) {
        let (key, build) = self.builds.iter_mut().rfind(|(key, _)| key.run == run).expect("a build of the run");
        (*key, build)
    }

    pub(crate) fn begun(&self, run: RunId) -> usize {
        self.builds.keys().filter(|key| key.run == run).count()
    }

    /// A part of a run's build is like this, and has written that.
    pub(crate) fn part(&mut self, run: RunId, part: &str, stage: &str, state: BuildState, log: &str) {
        let (key, build) = self.of(run);
        let shown = PartState { stage: Some(stage.to_owned()), ..PartState::new(part, format!("the {part}"), state) };
        build.parts.retain(|known| known.part != part);
        build.parts.push(shown);
        build.stamp += 1;
        self.logs.insert((key, part.to_owned()), log.as_bytes().to_vec());
    }

    pub(crate) fn waits(&mut self, run: RunId, why: &str) {
        let (_, build) = self.of(run);
        build.state = BuildState::Waiting { why: why.to_owned() };
        build.stamp += 1;
    }

    /// A run's build ends, with all its parts.
    pub(crate) fn ends(&mut self, run: RunId, verdict: Verdict) {
        let (_, build) = self.of(run);
        let class = (!verdict.passed()).then_some(FailureClass::Work);
        let ended = BuildState::Ended { verdict, class, reason: String::new() };
        for part in &mut build.parts {
            part.state = ended.clone();
        }
        build.state = ended;
        build.stamp += 1;
    }

    /// Whether all builds of a run are over.
    pub(crate) fn ended(&self, run: RunId) -> bool {
        self.builds.keys().filter(|key| key.run == run).all(|key| self.finished(key))
    }

    fn finished(&self, key: &AttemptKey) -> bool {
        self.builds.get(key).is_none_or(|build| matches!(build.state, BuildState::Ended { .. }))
    }
}

/// The executor.
pub(crate) struct Elsewhere(pub(crate) Arc<World>);

impl Elsewhere {
    fn now<T: Send + 'static>(answer: Result<T, ExecutorError>) -> Fut<'static, T> {
        async move { answer }.boxed()
    }
}

fn refused(detail: &str) -> ExecutorError {
    ExecutorError::Refused(Failure::new(FailureCode::ExecutorRefused, detail))
}

impl Executor for Elsewhere {
    fn abilities(&self) -> &Abilities {
        if self.0.far().lazy { &LAZY } else { &ABILITIES }
    }

    fn prepare<'a>(&'a self, intent: &'a Intent) -> Fut<'a, Anchor> {
        let pushed = self.0.sources().pushed.contains_key(&intent.key);
        self.0.far().prepared.push((intent.key, pushed));
        Self::now(Ok("41".parse().expect("an anchor")))
    }

    fn start<'a>(&'a self, order: &'a Order, _: &'a Anchor) -> Fut<'a, Started> {
        let offered = order.source.moved && order.source.project.as_deref() == Some("7");
        Self::now(if offered { Ok(Started::Offered) } else { Err(refused("Nothing was pushed.")) })
    }

    fn find<'a>(&'a self, key: &'a AttemptKey, _: &'a Anchor) -> Fut<'a, Found> {
        let pushed = self.0.sources().pushed.get(key).map(|request| request.sha.clone());
        let mut far = self.0.far();
        let stands = far.fenced.contains(key);
        if let Some(sha) = pushed.filter(|_| !far.idle && !stands && !far.builds.contains_key(key)) {
            let sha = far.overtaken.take().unwrap_or(sha);
            far.builds.insert(*key, Build { sha, state: BuildState::Running, stamp: 1, parts: Vec::new() });
        }
        Self::now(Ok(match far.builds.get(key) {
            Some(_) if !far.beside.is_empty() => {
                Found::Many { counts: format!("7/{}", key.attempt).parse().expect("a name"), surplus: far.beside.clone() }
            }
            Some(_) => Found::One(format!("7/{}", key.attempt).parse().expect("a name")),
            None => Found::NotYet,
        }))
    }

    fn observe<'a>(&'a self, _: &'a Scope, live: &'a [Tracked]) -> Fut<'a, Vec<Observation>> {
        let far = self.0.far();
        let look = |tracked: &Tracked| match far.builds.get(&tracked.key) {
            Some(build) => Observation {
                parts: build.parts.clone(),
                sha: Some(build.sha.clone()),
                url: "https://ci.example.org/7".parse().ok(),
                ..Observation::new(tracked.key, tracked.build.as_str(), Stamp(build.stamp), build.state.clone())
            },
            None => Observation::new(tracked.key, tracked.build.as_str(), Stamp(0), BuildState::Gone),
        };
        Self::now(Ok(live.iter().map(look).collect()))
    }

    fn cancel<'a>(&'a self, tracked: &'a Tracked) -> Fut<'a, ()> {
        let mut far = self.0.far();
        far.cancelled.push(tracked.key);
        if far.refusals > 0 {
            far.refusals -= 1;
            return Self::now(Err(refused("Not now.")));
        }
        let beside = far.beside.iter().position(|build| *build == tracked.build);
        if let Some(place) = beside {
            far.beside.remove(place);
        } else if !far.finished(&tracked.key) {
            far.ends(tracked.key.run, Verdict::Aborted);
        }
        Self::now(Ok(()))
    }

    fn fence<'a>(&'a self, key: &'a AttemptKey, _: &'a Anchor) -> Fut<'a, Fenced> {
        self.0.far().fenced.push(*key);
        Self::now(Ok(Fenced::Never))
    }

    fn log<'a>(&'a self, part: &'a PartRef, from: &'a LogCursor) -> Fut<'a, LogChunk> {
        let far = self.0.far();
        let key = part.tracked.key;
        let Some(log) = far.logs.get(&(key, part.part.clone())) else { return Self::now(Err(refused("There is no such part."))) };
        let from: usize = from.as_str().parse().unwrap_or_default();
        let end = (from + PIECE).min(log.len());
        let bytes = Bytes::copy_from_slice(&log[from..end]);
        let next = end.to_string().parse().expect("a cursor");
        Self::now(Ok(LogChunk { bytes, next, complete: far.finished(&key) && end == log.len() }))
    }

    fn outputs<'a>(&'a self, tracked: &'a Tracked, picks: &'a [Pick]) -> Fut<'a, Vec<OutputRef>> {
        let far = self.0.far();
        let found = picks.iter().filter_map(|pick| {
            let wanted = pick.path.as_ref().map_or_else(|| pick.name.to_string(), ToString::to_string);
            let is = |part: &str, path: &str| path == wanted && pick.part.as_deref().is_none_or(|wanted| wanted == part);
            let ((part, path), bytes) = far.files.iter().find(|((part, path), _)| is(part, path))?;
            let size = Some(bytes.len() as u64);
            Some(OutputRef { tracked: tracked.clone(), name: pick.name.clone(), place: format!("{part}:{path}"), size })
        });
        Self::now(Ok(found.collect()))
    }

    fn read<'a>(&'a self, output: &'a OutputRef) -> Fut<'a, Stream> {
        let mut far = self.0.far();
        let (part, path) = output.place.split_once(':').expect("a place of ours");
        let bytes = far.files[&(part.to_owned(), path.to_owned())].clone();
        let breaks = far.breaks > 0;
        far.breaks = far.breaks.saturating_sub(1);
        let mut pieces: Vec<Result<Bytes, ExecutorError>> = bytes.chunks(PIECE).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        if breaks {
            pieces.truncate(1);
            pieces.push(Err(ExecutorError::Unknown("the connection broke".into())));
        }
        Self::now(Ok(stream::iter(pieces).boxed()))
    }

    /// Its tokens are `far BUILD REPOSITORY REF COMMIT`, and it believes all of them.
    fn identify<'a>(&'a self, token: &'a SecretString) -> BoxFuture<'a, Result<BuildIdentity, Unidentified>> {
        let words: Vec<&str> = token.expose_secret().split(' ').collect();
        let identity = match words.as_slice() {
            ["far", build, repo, ref_name, sha] => Ok(BuildIdentity {
                build: build.parse().expect("a build"),
                repo: repo.parse().expect("a name"),
                ref_name: ref_name.parse().expect("a ref"),
                sha: sha.parse().expect("a commit"),
                part: "700".to_owned(),
            }),
            ["busy"] => Err(Unidentified::NotNow { after: Duration::from_secs(7) }),
            ["late"] => Err(Unidentified::Untimely("the token has expired")),
            _ => Err(Unidentified::Elsewhere),
        };
        async move { identity }.boxed()
    }

    fn surplus<'a>(&'a self, _: &'a AttemptKey, _: &'a Anchor, _: Option<&'a BuildRef>) -> Fut<'a, Vec<BuildRef>> {
        Self::now(Ok(self.0.far().beside.clone()))
    }

    fn forget<'a>(&'a self, key: &'a AttemptKey, _: &'a Anchor) -> Fut<'a, ()> {
        self.0.far().forgotten.push(*key);
        Self::now(Ok(()))
    }
}
