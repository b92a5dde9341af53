//! What a test of an executor brings, and the steps that the cases are made of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use signalbox_contract::build::{BuildState, Observation, Stamp};
use signalbox_contract::git::RepoPath;
use signalbox_contract::{ArtifactName, AttemptKey, Verdict};

use crate::executor::{Anchor, BuildRef, Executor, LogCursor, Order, OutputRef, Outputs, PartRef, Pick, Scope, Started, Tracked};

/// A build that a case wants.
#[derive(Debug, Clone)]
pub struct Script {
    /// What is run.
    pub text: String,
    /// Which files are kept.
    pub artifacts: BTreeMap<ArtifactName, RepoPath>,
    /// After how long it must have ended.
    pub deadline: Duration,
}

impl Script {
    /// A script that has a minute and makes nothing.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), artifacts: BTreeMap::new(), deadline: Duration::from_mins(1) }
    }

    /// The same, keeping the file `path` as `name`.
    ///
    /// # Panics
    /// When the name or the path is not valid.
    #[must_use]
    pub fn keeps(mut self, name: &str, path: &str) -> Self {
        let (Ok(name), Ok(path)) = (name.parse(), path.parse()) else { panic!("{name} or {path} is not valid") };
        self.artifacts.insert(name, path);
        self
    }

    /// The same, with less time.
    #[must_use]
    pub const fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

/// The executor under test, and the world around it.
pub trait Harness: Send + Sync {
    /// The executor.
    fn executor(&self) -> Arc<dyn Executor>;

    /// Where its builds run.
    fn scope(&self) -> Scope;

    /// An order of a key that was never used, for a repository that holds what the script needs.
    fn order(&self, script: Script) -> BoxFuture<'_, Order>;

    /// What an executor that puts artifacts into their grant itself has put there for an attempt, by name. From one whose
    /// artifacts are fetched the cases fetch them, and nobody asks this.
    fn arrived<'a>(&'a self, key: &'a AttemptKey) -> BoxFuture<'a, BTreeMap<ArtifactName, Vec<u8>>>;

    /// How many builds began for an attempt, counted by somebody else than the executor.
    fn begun<'a>(&'a self, key: &'a AttemptKey) -> BoxFuture<'a, usize>;

    /// Whether the executor itself ends a build that passes its deadline. Where it does not, the controller cancels it.
    fn keeps_deadlines(&self) -> bool {
        true
    }

    /// How long a case waits for a state before it fails.
    fn patience(&self) -> Duration {
        Duration::from_mins(1)
    }
}

/// A build in a case.
pub(super) struct Subject {
    pub(super) executor: Arc<dyn Executor>,
    pub(super) order: Order,
    pub(super) anchor: Anchor,
    pub(super) tracked: Tracked,
    artifacts: BTreeMap<ArtifactName, RepoPath>,
    patience: Duration,
}

/// Orders a script and prepares its start.
pub(super) async fn prepared(harness: &dyn Harness, script: Script) -> Subject {
    let executor = harness.executor();
    let artifacts = script.artifacts.clone();
    let order = harness.order(script).await;
    let anchor = must("prepare", executor.prepare(&order.intent()).await);
    let tracked = Tracked { key: order.key, build: BuildRef::default(), scope: harness.scope() };
    Subject { executor, order, anchor, tracked, artifacts, patience: harness.patience() }
}

/// Orders a script and starts it.
pub(super) async fn started(harness: &dyn Harness, script: Script) -> Subject {
    let mut subject = prepared(harness, script).await;
    let started = subject.start().await;
    subject.tracked.build = subject.settle(started).await;
    subject
}

/// What a call answered, which must have gone well.
pub(super) fn must<T, E: std::error::Error>(what: &str, answer: Result<T, E>) -> T {
    match answer {
        Ok(answer) => answer,
        Err(error) => {
            let mut chain = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                chain.push_str(": ");
                chain.push_str(&cause.to_string());
                source = cause.source();
            }
            panic!("{what}: {chain} ({error:?})")
        }
    }
}

impl Subject {
    pub(super) async fn start(&self) -> Started {
        must("start", self.executor.start(&self.order, &self.anchor).await)
    }

    /// The build's name, searched for where the start gave none.
    async fn settle(&self, started: Started) -> BuildRef {
        match started {
            Started::Build(build) | Started::Queued(build) => build,
            Started::Offered => {
                self.until("the build is found", || async {
                    match must("find", self.executor.find(&self.order.key, &self.anchor).await) {
                        crate::executor::Found::One(build) => Some(build),
                        _ => None,
                    }
                })
                .await
            }
        }
    }

    pub(super) async fn observe(&self) -> Observation {
        let seen = must("observe", self.executor.observe(&self.tracked.scope, std::slice::from_ref(&self.tracked)).await);
        assert_eq!(seen.len(), 1, "one observation for each build that was asked for");
        let observation = seen.into_iter().next().unwrap_or_else(|| panic!("an observation"));
        assert_eq!(observation.key, self.order.key, "the observation is of the attempt that was asked for");
        observation
    }

    /// What the build made, however that comes.
    pub(super) async fn made(&self, harness: &dyn Harness) -> BTreeMap<ArtifactName, Vec<u8>> {
        if self.executor.abilities().outputs == Outputs::Put {
            return harness.arrived(&self.order.key).await;
        }
        let mut made = BTreeMap::new();
        for output in self.outputs().await {
            let mut bytes = Vec::new();
            let mut stream = must("read", self.executor.read(&output).await);
            while let Some(chunk) = stream.next().await {
                bytes.extend_from_slice(&must("read on", chunk));
            }
            assert!(output.size.is_none_or(|size| size == bytes.len() as u64), "it is as large as was said");
            assert!(made.insert(output.name, bytes).is_none(), "each is found once");
        }
        made
    }

    /// What is found of what was wanted, of an executor whose artifacts are fetched.
    pub(super) async fn outputs(&self) -> Vec<OutputRef> {
        let pick = |(name, path): (&ArtifactName, &RepoPath)| Pick { name: name.clone(), part: None, path: Some(path.clone()) };
        let picks: Vec<Pick> = self.artifacts.iter().map(pick).collect();
        must("outputs", self.executor.outputs(&self.tracked, &picks).await)
    }

    /// Waits for the build's end. Meanwhile its stamps never fall.
    pub(super) async fn ended(&self) -> (Verdict, Observation) {
        let newest = std::sync::Mutex::new(Stamp::default());
        let newest = &newest;
        let observation = self
            .until("the build has ended", || async {
                let observation = self.observe().await;
                let mut newest = newest.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                assert!(observation.stamp >= *newest, "stamps never fall");
                *newest = observation.stamp;
                assert!(observation.state != BuildState::Gone, "a build that was started is known");
                matches!(observation.state, BuildState::Ended { .. }).then_some(observation)
            })
            .await;
        let BuildState::Ended { verdict, .. } = observation.state else { panic!("it has ended") };
        (verdict, observation)
    }

    /// The log from `cursor` on, to what is there now, and whether that was all of it.
    pub(super) async fn read_log(&self, cursor: &mut LogCursor) -> (Vec<u8>, bool) {
        let part = PartRef { tracked: self.tracked.clone(), part: self.part().await };
        let mut all = Vec::new();
        loop {
            let chunk = must("log", self.executor.log(&part, cursor).await);
            let nothing = chunk.bytes.is_empty();
            all.extend_from_slice(&chunk.bytes);
            *cursor = chunk.next;
            if nothing || chunk.complete {
                return (all, chunk.complete);
            }
        }
    }

    /// The whole log of a build that has ended.
    pub(super) async fn whole_log(&self) -> Vec<u8> {
        let cursor = tokio::sync::Mutex::new((LogCursor::default(), Vec::new()));
        let cursor = &cursor;
        self.until("the log is complete", || async {
            let mut state = cursor.lock().await;
            let (more, complete) = self.read_log(&mut state.0).await;
            state.1.extend(more);
            complete.then(|| std::mem::take(&mut state.1))
        })
        .await
    }

    /// The name of the first part with a log, waited for: some executors show their parts only after a while.
    async fn part(&self) -> String {
        self.until("a part with a log is shown", || async {
            self.observe().await.parts.into_iter().find(|part| part.has_log).map(|part| part.part)
        })
        .await
    }

    /// Asks until there is an answer.
    pub(super) async fn until<T, F, A>(&self, what: &str, mut ask: F) -> T
    where
        F: FnMut() -> A,
        A: Future<Output = Option<T>>,
    {
        let begun = Instant::now();
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            assert!(begun.elapsed() < self.patience, "still waiting after {:?}: {what}", self.patience);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
