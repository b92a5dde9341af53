//! Starting the controller: what is opened in which order, and what runs until the end.

use std::sync::Arc;
use std::time::Duration;

use axum::middleware::from_fn;
use signalbox_adapters::executor::Executor;
use signalbox_adapters::executor::local::LocalExecutor;
use signalbox_adapters::forge::Forge;
use signalbox_adapters::forge::gerrit::{Gerrit, GerritSettings};
use signalbox_adapters::forge::gitlab::{GitlabForge, GitlabForgeSettings};
use signalbox_adapters::gitlab::GitLabSetUpError;
use signalbox_contract::api::Nothing;
use signalbox_contract::api::store::UnpinRequest;
use signalbox_contract::token::Service;
use signalbox_contract::{AttemptKey, ForgeName, RunId};
use signalbox_controller_core::ResourceKey;
use signalbox_service::auth::{KeyError, Signer, Verifier};
use signalbox_service::client::{Call, Client, ClientError};
use signalbox_service::clock::SharedClock;
use signalbox_service::folder::{DataFolder, FolderError};
use signalbox_service::http::{self, Readiness, ServeOptions, StreamLimits};
use signalbox_service::shutdown::Shutdown;
use signalbox_service::sqlite::DatabaseError;
use signalbox_service::telemetry::{Telemetry, causes};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::api::{self, Api, Desk};
use crate::config::{Config, ExecutorKind, ForgeConfig, ForgeKind, IntakeConfig};
use crate::doctor::Doctor;
use crate::engine::{Engine, Executors, Forges, Nudges, Outside, Reporter, Workers};
use crate::gitlabs::GitLabs;
use crate::intake::{Calls, Intake, Sources};
use crate::log::{Collector, LogBook, Mask};
use crate::metrics::{Deliveries, Gauges};
use crate::page;
use crate::roster::Roster;
use crate::store::{Retention, Store, StoreError, StoreSettings};

/// How many connections read each database.
const READERS: u32 = 4;

/// How many comparisons may wait to be acted on.
const COMPARISONS: usize = 16;

/// How often finished runs are looked at for what need not be kept.
const TIDY: Duration = Duration::from_mins(5);

/// Why the controller could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its data folder cannot be used.
    #[error("the data folder cannot be used")]
    Folder(#[from] FolderError),
    /// Its keys cannot be used.
    #[error("the keys cannot be used")]
    Keys(#[from] KeyError),
    /// Its memory cannot be opened.
    #[error("the store cannot be opened")]
    Store(#[from] StoreError),
    /// Its logs cannot be opened.
    #[error("the logs cannot be opened")]
    Logs(#[from] DatabaseError),
    /// A forge cannot be used as it is configured.
    #[error("the forge {0} cannot be used as it is configured")]
    Forge(ForgeName, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nobody could be told where it is.
    #[error("no URL can be made of the address that it listens on; set `public_url`")]
    Address,
    /// A GitLab cannot be called as it is configured.
    #[error("a GitLab cannot be called as it is configured")]
    GitLab(#[from] GitLabSetUpError),
    /// Another service cannot be called as it is configured.
    #[error("{0} cannot be called as it is configured")]
    Client(&'static str, #[source] ClientError),
}

/// Starts the controller on `listener`. When this answers it serves; it ends with `shutdown`.
///
/// # Errors
/// When something that it needs cannot be opened.
pub async fn start(
    config: Config,
    listener: TcpListener,
    clock: SharedClock,
    telemetry: Telemetry,
    shutdown: Shutdown,
) -> Result<(), StartError> {
    let gitlabs = GitLabs::open(&config, &clock, &shutdown)?;
    let at_hand = AtHand { forges: forges(&config, &gitlabs, &clock)?, executors: Executors::new() };
    run(config, gitlabs, at_hand, listener, clock, telemetry, shutdown).await
}

/// Foreign systems that are at hand: all forges there are, and executors instead of those of their names that the
/// configuration describes.
#[derive(Default)]
pub struct AtHand {
    /// Forges.
    pub forges: Forges,
    /// Executors.
    pub executors: Executors,
}

/// Like [`start`], with foreign systems that are at hand.
///
/// # Errors
/// When something that it needs cannot be opened.
pub async fn start_with(
    config: Config,
    at_hand: AtHand,
    listener: TcpListener,
    clock: SharedClock,
    telemetry: Telemetry,
    shutdown: Shutdown,
) -> Result<(), StartError> {
    let gitlabs = GitLabs::open(&config, &clock, &shutdown)?;
    run(config, gitlabs, at_hand, listener, clock, telemetry, shutdown).await
}

async fn run(
    config: Config,
    gitlabs: GitLabs,
    at_hand: AtHand,
    listener: TcpListener,
    clock: SharedClock,
    telemetry: Telemetry,
    shutdown: Shutdown,
) -> Result<(), StartError> {
    http::install_crypto();
    let folder = DataFolder::claim(&config.common.data, "controller")?;
    let signer = Arc::new(Signer::open(&config.keys, Arc::clone(&clock))?);
    let verifier = Arc::new(Verifier::open(&config.common.public_keys, Service::Controller, Arc::clone(&clock))?);
    let store =
        Store::open(&folder.path().join("controller.db"), settings(&config, telemetry.readiness()), Arc::clone(&clock), &shutdown).await?;
    verifier.set_revoked(store.revoked().await?);
    let book = LogBook::open(&folder.path().join("logs.db"), READERS).await?;
    let workers = workers(&config, &signer)?;
    let AtHand { forges, executors: ready } = at_hand;
    let executors = executors(&config, ready, &gitlabs, &signer)?;
    let examined = executors.clone();
    let collector = Arc::new(Collector::new(book.clone(), executors.clone(), Mask::of(&config.mask), config.max_log));
    let base = config.common.url().ok_or(StartError::Address)?;
    let outside = Arc::new(Outside {
        workers: workers.clone(),
        executors,
        collector: Arc::clone(&collector),
        reporter: Reporter::new(store.clone(), forges.clone(), base),
        max_artifacts: config.max_artifacts,
    });
    let nudges = Nudges::default();
    Engine { store: store.clone(), clock: Arc::clone(&clock), outside, collector, nudges: nudges.clone() }.start(&shutdown);
    let tidy =
        Tidy { store: store.clone(), book: book.clone(), workers: workers.clone(), retention: config.retention, intake: config.intake };
    shutdown.spawn("retention", tidy.run(shutdown.clone()));
    shutdown.spawn("gauges", Gauges::register(&telemetry).follow(store.clone(), shutdown.clone()));
    let roster = Roster::new(workers.clone());
    shutdown.spawn("roster", roster.clone().follow(shutdown.clone()));
    gitlabs.follow(&config, &telemetry, &shutdown);
    let options = ServeOptions::new("controller").tls(config.common.tls.clone());
    let config = Arc::new(config);
    let calls = Calls::new(forges.keys());
    let intake = Intake {
        store: store.clone(),
        clock: Arc::clone(&clock),
        config: Arc::clone(&config),
        forges: forges.clone(),
        calls: calls.clone(),
        nudges,
    };
    take_in(intake, &shutdown);
    let doctor = Doctor {
        config: Arc::clone(&config),
        workers: workers.clone(),
        executors: examined.clone(),
        forges: forges.clone(),
        store: store.clone(),
        clock: Arc::clone(&clock),
        readiness: telemetry.readiness(),
        turn: Arc::default(),
    };
    let api = Api {
        executors: examined,
        doctor,
        desk: Desk::new(forges, calls, Deliveries::register(&telemetry)),
        config,
        store,
        book,
        workers,
        roster,
        verifier,
        clock,
        shutdown: shutdown.clone(),
        streams: Arc::default(),
    };
    let (ordinary, streaming, delivered) = api::routers(api);
    // Nothing is sent to these routes; only their answers are long.
    let limits = StreamLimits::new(0, Duration::from_secs(30));
    let streaming = http::streaming(streaming, limits);
    let deliveries = StreamLimits::new(api::LARGEST, Duration::from_secs(30));
    let streaming = streaming.merge(http::streaming(delivered, deliveries));
    let router = http::finish_with(ordinary, streaming, &options, &telemetry).layer(from_fn(page::to_readers));
    let serving = shutdown.clone();
    shutdown.spawn("server", async move {
        http::serve(listener, router, options, serving).await;
        // The folder is ours until the last request is answered.
        drop(folder);
    });
    Ok(())
}

/// What acts on what forges say.
fn take_in(intake: Intake, shutdown: &Shutdown) {
    let (found, comparisons) = mpsc::channel(COMPARISONS);
    let Intake { store, clock, config, calls, forges, .. } = &intake;
    let sources = Sources { store: store.clone(), clock: Arc::clone(clock), config: Arc::clone(config), calls: calls.clone(), found };
    sources.start(forges, shutdown);
    shutdown.spawn("intake", intake.run(comparisons, shutdown.clone()));
}

fn settings(config: &Config, readiness: Readiness) -> StoreSettings {
    StoreSettings {
        limits: config.limits,
        queue: config.queue,
        resources: config.executors.iter().map(|(name, executor)| (ResourceKey::Executor(name.clone()), executor.capacity)).collect(),
        deliveries: config.intake.waiting,
        readers: READERS,
        readiness,
    }
}

fn forges(config: &Config, gitlabs: &GitLabs, clock: &SharedClock) -> Result<Forges, StartError> {
    let unusable = |name: &ForgeName, error: Box<dyn std::error::Error + Send + Sync>| StartError::Forge(name.clone(), error);
    let forge = |(name, forge): (&ForgeName, &ForgeConfig)| {
        let made: Arc<dyn Forge> = match &forge.kind {
            ForgeKind::Gerrit(settings) => {
                Arc::new(Gerrit::new(GerritSettings::clone(settings), Arc::clone(clock)).map_err(|error| unusable(name, error.into()))?)
            }
            ForgeKind::Gitlab(settings) => {
                let gitlab = settings.connection().and_then(|connection| gitlabs.client(&connection).cloned());
                Arc::new(GitlabForge::with(gitlab, GitlabForgeSettings::clone(settings), Arc::clone(clock)))
            }
        };
        Ok((name.clone(), made))
    };
    config.forges.iter().map(forge).collect()
}

fn workers(config: &Config, signer: &Arc<Signer>) -> Result<Workers, StartError> {
    let ca = config.common.ca.as_deref();
    let client = |url: &url::Url, name| Client::new(url.clone(), ca).map_err(|error| StartError::Client(name, error));
    Ok(Workers {
        signer: Arc::clone(signer),
        vcs: client(&config.vcs_worker, "the VCS worker")?,
        store: client(&config.artifact_store, "the artifact store")?,
        store_url: config.artifact_store.clone(),
        deploy: client(&config.deploy_worker, "the deployment worker")?,
    })
}

fn executors(config: &Config, ready: Executors, gitlabs: &GitLabs, signer: &Arc<Signer>) -> Result<Executors, StartError> {
    let ca = config.common.ca.as_deref();
    let mut executors = ready;
    for (name, executor) in &config.executors {
        if executors.contains_key(name) {
            continue;
        }
        let executor: Arc<dyn Executor> = match &executor.kind {
            ExecutorKind::Local { url } => {
                let local = LocalExecutor::new(url.clone(), ca, Arc::clone(signer));
                Arc::new(local.map_err(|error| StartError::Client("an executor", error))?)
            }
            ExecutorKind::GitLab(_) => {
                let Some(executor) = gitlabs.executors().get(name) else { continue };
                Arc::clone(executor) as Arc<dyn Executor>
            }
        };
        executors.insert(name.clone(), executor);
    }
    Ok(executors)
}

/// Lets go of finished runs that need not be kept: of what the store keeps for them, of their logs, of themselves.
struct Tidy {
    store: Store,
    book: LogBook,
    workers: Workers,
    retention: Retention,
    intake: IntakeConfig,
}

impl Tidy {
    async fn run(self, shutdown: Shutdown) {
        loop {
            if let Err(error) = self.round(&shutdown).await {
                // What was not removed is found again in the next round.
                tracing::warn!(error = %causes(error.as_ref()), "finished runs could not be tidied up");
            }
            tokio::select! {
                () = tokio::time::sleep(TIDY) => {}
                () = shutdown.requested() => return,
            }
        }
    }

    async fn round(&self, shutdown: &Shutdown) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.store.sweep().await?;
        self.store.forget_deliveries(self.intake.age, self.intake.count).await?;
        loop {
            let expired = self.store.expired(self.retention).await?;
            if expired.is_empty() || shutdown.begun() {
                return Ok(());
            }
            for run in &expired {
                self.unpin(*run).await?;
            }
            self.book.remove(&expired).await?;
            self.store.remove(&expired).await?;
            tracing::info!(count = expired.len(), "finished runs were removed");
        }
    }

    /// A run has one unpin, whatever its steps were; its first attempt's key stands for it.
    async fn unpin(&self, run: RunId) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let call = Call::post(Service::ArtifactStore, "/unpin", AttemptKey { run, step: 0, attempt: 1 }).wait(Duration::from_secs(5));
        let answer = self.workers.store.ask::<_, Nothing>(&self.workers.signer, &call, &UnpinRequest { owner: run }).await?;
        match answer {
            signalbox_contract::api::Answer::Done { .. } => Ok(()),
            signalbox_contract::api::Answer::Working { .. } => Err("the artifact store is still at it".into()),
            signalbox_contract::api::Answer::Failed { failure } => Err(failure.detail.into()),
        }
    }
}
