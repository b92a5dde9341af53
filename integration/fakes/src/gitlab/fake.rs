//! What everything here shares: the state with its lock, the repositories, and who does what follows from a change.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use signalbox_service::git::Git;
use signalbox_service::shutdown::Shutdown;
use tokio::sync::watch;

use super::agenda::{Agenda, Task};
use super::git::{Repository, install_hooks};
use super::hook::{Courier, parcels};
use super::limit::{Meter, Often};
use super::oidc::Identity;
use super::options::Options;
use super::runner::Queue;
use super::script::{Outcome, Script};
use super::state::project::Project;
use super::state::{Chore, State};
use super::{Faults, StartError};

/// The whole of it.
pub(crate) struct Fake {
    pub(crate) options: Options,
    pub(crate) faults: Faults,
    pub(crate) git: Git,
    pub(crate) git_hooks: PathBuf,
    /// What hooks are sent by.
    pub(crate) http: Mutex<reqwest::Client>,
    /// What hooks are sent by that are not to look at certificates.
    pub(crate) trusting: reqwest::Client,
    pub(crate) shutdown: Shutdown,
    pub(crate) courier: Courier,
    pub(crate) agenda: Agenda,
    /// Wakes runners that wait for jobs.
    pub(crate) queue: Queue,
    pub(crate) meter: Meter,
    pub(crate) often: Often,
    pub(crate) identity: OnceLock<Option<Identity>>,
    /// The other origin that gives out artifacts.
    pub(crate) storage: OnceLock<String>,
    /// What the other origin was sent: the headers of each request.
    pub(crate) seen_by_storage: Mutex<Vec<http::HeaderMap>>,
    /// How many pushes were taken whose consequences are not all seen to.
    pub(crate) unfollowed: watch::Sender<usize>,
    repositories: PathBuf,
    state: Mutex<State>,
    script: Mutex<Option<Script>>,
    outcomes: Mutex<HashMap<u64, Outcome>>,
}

impl Fake {
    pub(crate) async fn start(options: Options, address: SocketAddr, shutdown: Shutdown) -> Result<(Arc<Self>, SecretString), StartError> {
        let repositories = options.data.join("repositories");
        std::fs::create_dir_all(&repositories).map_err(StartError::Folder)?;
        let data = options.data.canonicalize().map_err(StartError::Folder)?;
        let repositories = data.join("repositories");
        let git_hooks = install_hooks(&data).map_err(StartError::Folder)?;
        let git = Git::new(&data.join("home")).map_err(StartError::Git)?;
        git.version().await.map_err(StartError::Git)?;
        let http = sender().build().map_err(StartError::Client)?;
        let trusting = sender().tls_danger_accept_invalid_certs(true).build().map_err(StartError::Client)?;
        let url = options.public_url.as_ref().map_or_else(|| format!("http://{address}"), ToString::to_string);
        let url = url.trim_end_matches('/').to_owned();
        let (mut state, root_token) = State::new(url, options.version, options.clock.clone(), options.root_token.clone());
        state.kept_pipelines = options.kept_pipelines.max(1);
        let (courier, handed) = Courier::new();
        let fake = Arc::new(Self {
            faults: Faults::new(options.seed),
            meter: Meter::new(options.rate_limit),
            options,
            git,
            git_hooks,
            http: Mutex::new(http),
            trusting,
            shutdown: shutdown.clone(),
            courier,
            agenda: Agenda::default(),
            queue: Queue::default(),
            often: Often::default(),
            identity: OnceLock::new(),
            storage: OnceLock::new(),
            seen_by_storage: Mutex::default(),
            unfollowed: watch::Sender::new(0),
            repositories,
            state: Mutex::new(state),
            script: Mutex::default(),
            outcomes: Mutex::default(),
        });
        shutdown.spawn("courier", Courier::carry(handed, Arc::clone(&fake)));
        shutdown.spawn("agenda", Agenda::keep(Arc::clone(&fake)));
        Ok((fake, root_token))
    }

    /// Where it is reached, without a slash at the end.
    pub(crate) fn url(&self) -> String {
        self.lock().url.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the state or changes it, and sees to what follows.
    pub(crate) fn change<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let answer = act(&mut state);
        if state.news.is_empty() && state.chores.is_empty() && state.pending.is_empty() {
            return answer;
        }
        let news = std::mem::take(&mut state.news);
        for parcel in news.iter().flat_map(|news| parcels(&state, news)) {
            self.courier.hand(parcel);
        }
        let pending = std::mem::take(&mut state.pending);
        if !pending.is_empty() {
            self.queue.advance();
        }
        let script = self.script.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(script) = script {
            for id in pending {
                self.play(&mut state, &script, id);
            }
        }
        for (after, chore) in std::mem::take(&mut state.chores) {
            self.agenda.add(after, Task::Chore(chore));
        }
        answer
    }

    /// Lets a scripted job go its way.
    fn play(&self, state: &mut State, script: &Script, id: u64) {
        let Some((job, pipeline)) = state.jobs.get(&id).and_then(|job| Some((job, state.pipelines.get(&job.pipeline)?))) else {
            return;
        };
        let Some(outcome) = script(job, pipeline) else {
            return;
        };
        let waits = outcome.waits;
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).insert(id, outcome);
        if let Some(wait) = waits {
            state.later(wait, Chore::Begin(id));
        }
    }

    /// Lets jobs go as this says, those that wait already included.
    pub(crate) fn set_script(&self, script: Script) {
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = Some(script);
        self.change(|state| {
            let waiting = |job: &&super::state::job::Job| job.status == super::state::status::Status::Pending && job.is_build();
            state.pending = state.jobs.values().filter(waiting).map(|job| job.id).collect();
        });
    }

    /// A scripted job begins.
    pub(crate) fn begin_scripted(&self, id: u64) {
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(outcome) = outcomes.get(&id).cloned() else {
            return;
        };
        drop(outcomes);
        self.change(|state| {
            if !state.begin_job(id, None) {
                return;
            }
            if let Some(job) = state.jobs.get_mut(&id) {
                job.trace.extend_from_slice(&outcome.trace[..outcome.trace.len() / 2]);
            }
            if let Some(runs) = outcome.runs {
                state.later(runs, Chore::End(id));
            }
        });
    }

    /// A scripted job ends.
    pub(crate) fn end_scripted(&self, id: u64) {
        let Some(outcome) = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).remove(&id) else {
            return;
        };
        self.change(|state| {
            let Some(job) = state.jobs.get_mut(&id).filter(|job| !job.status.complete()) else {
                return;
            };
            job.trace.extend_from_slice(&outcome.trace[outcome.trace.len() / 2..]);
            job.artifacts = outcome.artifacts();
            job.coverage = outcome.coverage;
            state.end_job(id, outcome.status, outcome.reason.as_deref());
        });
    }

    /// Whether a script has taken a job for itself.
    pub(crate) fn is_scripted(&self, job: u64) -> bool {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&job)
    }

    /// A project's repository.
    pub(crate) fn repository(&self, project: u64) -> Repository {
        Repository::new(&self.git, &self.repositories.join(format!("{project}.git")))
    }

    /// Something of a project.
    pub(crate) fn state_of<R>(&self, project: u64, read: impl FnOnce(&Project) -> R) -> Option<R> {
        self.lock().projects.get(&project).map(read)
    }

    /// Destroys a project: what it knows, and its repository.
    pub(crate) async fn destroy(&self, project: u64) {
        self.change(|state| state.forget_project(project));
        let folder = self.repository(project).folder().to_owned();
        if let Err(error) = tokio::fs::remove_dir_all(&folder).await {
            tracing::warn!(%error, folder = %folder.display(), "fake_gitlab.repository_stays");
        }
    }

    /// The longest that a chore may be put off.
    pub(crate) const FAR: Duration = Duration::from_hours(24);
}

/// What hooks are sent by: nothing is followed, and nobody between is asked.
pub(crate) fn sender() -> reqwest::ClientBuilder {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy()
}
