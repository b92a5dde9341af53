//! Stand-ins for the services that the controller calls: a VCS worker, an artifact store, a deployment worker and two
//! executors, each on a port of its own. They check every token as the real ones do, and model state: an act is done once
//! by its key, however often it is asked for. Each can be unwell in several ways, go away, and come back on its port.

mod blobs;
mod builds;
mod far;
pub(crate) mod forge;
mod hosts;
mod sources;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRef, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use signalbox_contract::api::Answer;
use signalbox_contract::token::Service;
use signalbox_contract::{AttemptKey, Code, Digest, Failure, Problem};
use signalbox_service::auth::{Act, Verifier};
use signalbox_service::clock::{Clock as _, SystemClock};
use signalbox_service::http::{Json, Refusal, ServeOptions, bind, finish, serve};
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::Telemetry;
use signalbox_service::testing::free_port;
use tokio::sync::watch;

pub(crate) use blobs::Blobs;
pub(crate) use builds::Builds;
pub(crate) use far::{Elsewhere, Far};
pub(crate) use forge::StandInForge;
pub(crate) use hosts::Hosts;
pub(crate) use sources::Sources;

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum At {
    Vcs,
    Store,
    Deploy,
    /// The executor `local`.
    Executor,
    /// The executor `spare`.
    Spare,
}

impl At {
    pub(crate) const ALL: [Self; 5] = [Self::Vcs, Self::Store, Self::Deploy, Self::Executor, Self::Spare];

    const fn service(self) -> Service {
        match self {
            Self::Vcs => Service::VcsWorker,
            Self::Store => Service::ArtifactStore,
            Self::Deploy => Service::DeployWorker,
            Self::Executor | Self::Spare => Service::LocalExecutor,
        }
    }
}

/// How a stand-in is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Mood {
    /// It does what it is asked.
    Well,
    /// It answers 503 and wants to be asked again soon.
    Overloaded,
    /// It has tried in vain, says why, and wants to be asked again.
    Trying(Failure),
    /// It answers 500.
    Broken,
    /// It answers something that is not what was asked for.
    Babbling,
    /// It answers nothing, until it is in another mood.
    Hanging,
    /// It says that it is at it, and does not get on.
    Dawdling,
    /// It fails for good.
    Failing(Failure),
}

/// What a stand-in was asked to do under one key.
#[derive(Debug, Clone)]
struct Entry {
    digest: Digest,
    asked: u32,
    done: Option<serde_json::Value>,
}

struct Worker {
    address: SocketAddr,
    verifier: Arc<Verifier>,
    mood: watch::Sender<Mood>,
    book: Mutex<BTreeMap<(String, AttemptKey), Entry>>,
    serving: Mutex<Option<Shutdown>>,
    /// How often it was called on behalf of a run.
    calls: AtomicU32,
}

/// All of them, and what they know.
pub(crate) struct World {
    workers: BTreeMap<At, Worker>,
    sources: Mutex<Sources>,
    builds: Mutex<Builds>,
    far: Mutex<Far>,
    blobs: Mutex<Blobs>,
    hosts: Mutex<Hosts>,
    /// What none of them should ever have been asked.
    complaints: Mutex<Vec<String>>,
    overheard: Mutex<Vec<Overheard>>,
}

/// A token that one of them was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Overheard {
    pub(crate) at: At,
    /// `METHOD /path` of the request that carried it.
    pub(crate) operation: String,
    pub(crate) token: String,
    /// Whether it was handed on, to be used elsewhere.
    pub(crate) capability: bool,
}

/// What a handler works with.
#[derive(Clone)]
struct Desk {
    world: Arc<World>,
    at: At,
}

impl FromRef<Desk> for Arc<Verifier> {
    fn from_ref(desk: &Desk) -> Self {
        Self::clone(&desk.world.worker(desk.at).verifier)
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// All stand-ins, well and serving, believing the public keys in `keys`.
    pub(crate) fn open(keys: &Path) -> Arc<Self> {
        let worker = |at: At| {
            let verifier = Verifier::open(keys, at.service(), SystemClock::shared()).expect("public keys");
            let worker = Worker {
                address: free_port(),
                verifier: Arc::new(verifier),
                mood: watch::channel(Mood::Well).0,
                book: Mutex::default(),
                serving: Mutex::default(),
                calls: AtomicU32::new(0),
            };
            (at, worker)
        };
        let world = Arc::new(Self {
            workers: At::ALL.into_iter().map(worker).collect(),
            sources: Mutex::default(),
            builds: Mutex::default(),
            far: Mutex::default(),
            blobs: Mutex::default(),
            hosts: Mutex::default(),
            complaints: Mutex::default(),
            overheard: Mutex::default(),
        });
        for at in At::ALL {
            world.comes_back(at);
        }
        world
    }

    fn worker(&self, at: At) -> &Worker {
        &self.workers[&at]
    }

    pub(crate) fn url(&self, at: At) -> String {
        format!("http://{}", self.worker(at).address)
    }

    pub(crate) fn is(&self, at: At, mood: Mood) {
        self.worker(at).mood.send_replace(mood);
    }

    /// Its process is gone: connections are refused.
    pub(crate) async fn goes_away(&self, at: At) {
        let serving = held(&self.worker(at).serving).take();
        if let Some(shutdown) = serving {
            assert!(shutdown.drained(Duration::from_secs(5)).await, "a stand-in did not end");
        }
    }

    /// It is there again, on the same port, and knows what it knew.
    pub(crate) fn comes_back(self: &Arc<Self>, at: At) {
        let desk = Desk { world: Arc::clone(self), at };
        let router = match at {
            At::Vcs => sources::router(),
            At::Store => blobs::router(),
            At::Deploy => hosts::router(),
            At::Executor | At::Spare => builds::router(),
        };
        let options = ServeOptions { drain: Duration::from_millis(1), ..ServeOptions::new("stand-in") };
        let listening = Arc::clone(self);
        let router = router.with_state(desk).layer(from_fn(move |request: Request, next: Next| {
            listening.overhear(at, &request);
            next.run(request)
        }));
        let router: Router = finish(router, &options, &Telemetry::new("stand-in"));
        let shutdown = Shutdown::new();
        let listener = bind(self.worker(at).address).expect("its port");
        shutdown.spawn("stand-in", serve(listener, router, options, shutdown.clone()));
        *held(&self.worker(at).serving) = Some(shutdown);
    }

    pub(crate) fn sources(&self) -> MutexGuard<'_, Sources> {
        held(&self.sources)
    }

    pub(crate) fn builds(&self) -> MutexGuard<'_, Builds> {
        held(&self.builds)
    }

    pub(crate) fn far(&self) -> MutexGuard<'_, Far> {
        held(&self.far)
    }

    pub(crate) fn blobs(&self) -> MutexGuard<'_, Blobs> {
        held(&self.blobs)
    }

    pub(crate) fn hosts(&self) -> MutexGuard<'_, Hosts> {
        held(&self.hosts)
    }

    /// How often it was called so far on behalf of a run.
    pub(crate) fn calls(&self, at: At) -> u32 {
        self.worker(at).calls.load(Ordering::Relaxed)
    }

    /// How often an act was asked for, over all keys.
    pub(crate) fn asked(&self, at: At, what: &str) -> u32 {
        held(&self.worker(at).book).iter().filter(|((one, _), _)| one == what).map(|(_, entry)| entry.asked).sum()
    }

    /// For how many keys an act was done: each counts once.
    pub(crate) fn done(&self, at: At, what: &str) -> usize {
        held(&self.worker(at).book).iter().filter(|((one, _), entry)| one == what && entry.done.is_some()).count()
    }

    /// For how many keys something was asked of it.
    pub(crate) fn kept(&self, at: At) -> usize {
        held(&self.worker(at).book).len()
    }

    fn overhear(&self, at: At, request: &Request) {
        let operation = format!("{} {}", request.method(), request.uri().path());
        for (name, capability) in [("authorization", false), ("signalbox-capability", true)] {
            let Some(value) = request.headers().get(name).and_then(|value| value.to_str().ok()) else { continue };
            let token = value.strip_prefix("Bearer ").unwrap_or(value).to_owned();
            held(&self.overheard).push(Overheard { at, operation: operation.clone(), token, capability });
        }
    }

    /// Every token that one of them was given so far.
    pub(crate) fn overheard(&self) -> Vec<Overheard> {
        held(&self.overheard).clone()
    }

    /// Ends all of them. Nobody may have been asked for something twice under one key with different words.
    pub(crate) async fn close(&self) {
        for at in At::ALL {
            self.is(at, Mood::Well);
            self.goes_away(at).await;
        }
        let complaints = held(&self.complaints).clone();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

impl Desk {
    fn complain(&self, what: impl Into<String>) {
        held(&self.world.complaints).push(what.into());
    }

    /// What it answers instead of doing anything, if it is not well.
    async fn mood(&self) -> Result<(), Response> {
        self.world.worker(self.at).calls.fetch_add(1, Ordering::Relaxed);
        self.passing_mood().await
    }

    /// The same to a question that says nothing about any run.
    async fn passing_mood(&self) -> Result<(), Response> {
        let mut moods = self.world.worker(self.at).mood.subscribe();
        loop {
            let mood = moods.borrow_and_update().clone();
            return Err(match mood {
                Mood::Well | Mood::Dawdling | Mood::Failing(_) => return Ok(()),
                Mood::Overloaded => refusal(Problem::new(Code::Unavailable).retry_after(1)),
                Mood::Trying(failure) => refusal(Problem::new(Code::Unavailable).failure(&failure).retry_after(1)),
                Mood::Broken => refusal(Problem::new(Code::Internal)),
                Mood::Babbling => Html("<p>It works!</p>").into_response(),
                Mood::Hanging => match moods.changed().await {
                    Ok(()) => continue,
                    Err(_) => std::future::pending().await,
                },
            });
        }
    }

    /// Does `work` once for the key of the act, and answers what came of it each time.
    async fn once<B, R, F>(&self, what: &str, act: Act<B>, work: F) -> Response
    where
        R: Serialize,
        F: FnOnce(&World, AttemptKey, B) -> Result<R, Failure>,
    {
        let Some(key) = act.key else {
            self.complain(format!("{what} without a key"));
            return refusal(Problem::new(Code::Forbidden));
        };
        let place = (what.to_owned(), key);
        {
            let mut book = held(&self.world.worker(self.at).book);
            let entry = book.entry(place.clone()).or_insert(Entry { digest: act.digest, asked: 0, done: None });
            entry.asked += 1;
            if entry.digest != act.digest {
                self.complain(format!("{what} {key} was asked for twice with different words"));
                return refusal(Problem::new(Code::KeyReused));
            }
        }
        if let Err(answer) = self.mood().await {
            return answer;
        }
        let mood = self.world.worker(self.at).mood.borrow().clone();
        let mut book = held(&self.world.worker(self.at).book);
        let Some(entry) = book.get_mut(&place) else { return refusal(Problem::new(Code::Internal)) };
        if let Some(done) = &entry.done {
            return Json(done).into_response();
        }
        let answer = match mood {
            Mood::Dawdling => {
                let working = Answer::<()>::Working { since: SystemClock.now() };
                return (StatusCode::ACCEPTED, Json(working)).into_response();
            }
            Mood::Failing(failure) => Answer::Failed { failure },
            _ => match work(&self.world, key, act.body) {
                Ok(result) => Answer::Done { result },
                Err(failure) => Answer::Failed { failure },
            },
        };
        let answer = serde_json::to_value(&answer).expect("JSON");
        entry.done = Some(answer.clone());
        Json(answer).into_response()
    }

    /// Looks something up, which may be done any number of times.
    async fn look<R: Serialize>(&self, look: impl FnOnce(&World) -> Result<R, Problem>) -> Response {
        if let Err(answer) = self.mood().await {
            return answer;
        }
        self.found(look)
    }

    /// Looks something up that the controller asks for by itself now and then, so that it says nothing about any run.
    async fn look_in_passing<R: Serialize>(&self, look: impl FnOnce(&World) -> Result<R, Problem>) -> Response {
        if let Err(answer) = self.passing_mood().await {
            return answer;
        }
        self.found(look)
    }

    fn found<R: Serialize>(&self, look: impl FnOnce(&World) -> Result<R, Problem>) -> Response {
        match look(&self.world) {
            Ok(found) => Json(found).into_response(),
            Err(problem) => refusal(problem),
        }
    }
}

fn refusal(problem: Problem) -> Response {
    Refusal(problem).into_response()
}
