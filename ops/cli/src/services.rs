//! Starting the services, alone or together.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use signalbox_contract::token::Service;
use signalbox_service::clock::SystemClock;
use signalbox_service::config::{Common, ConfigErrors, Inspected};
use signalbox_service::http::{bind, raise_file_limit};
use signalbox_service::process::keep_inherited;
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::{Telemetry, init_logging, log_panics};

use crate::mistake::Mistake;
use crate::output::Output;

/// How long a service may take to end. Its connections are drained sooner.
const END: Duration = Duration::from_secs(30);

/// Every service, in the order in which they are started: the controller last, since it calls the others.
pub(crate) const ALL: [Service; 5] =
    [Service::ArtifactStore, Service::VcsWorker, Service::DeployWorker, Service::LocalExecutor, Service::Controller];

/// The configuration of a service.
pub(crate) enum Configured {
    Controller(Box<signalbox_controller::Config>),
    VcsWorker(Box<signalbox_vcs_worker::Config>),
    ArtifactStore(Box<signalbox_artifact_store::Config>),
    DeployWorker(Box<signalbox_deploy_worker::Config>),
    LocalExecutor(Box<signalbox_local_executor::Config>),
}

impl Configured {
    /// Reads the configuration of `service`.
    pub(crate) fn load(service: Service, path: &Path) -> Result<Self, ConfigErrors> {
        Self::inspect(service, path).whole()
    }

    /// The same, as far as it can be read.
    pub(crate) fn inspect(service: Service, path: &Path) -> Inspected<Self> {
        fn of<C>(read: Inspected<C>, kind: impl FnOnce(Box<C>) -> Configured) -> Inspected<Configured> {
            Inspected { config: read.config.map(|config| kind(Box::new(config))), errors: read.errors }
        }
        match service {
            Service::Controller => of(signalbox_controller::Config::inspect(path), Self::Controller),
            Service::VcsWorker => of(signalbox_vcs_worker::Config::inspect(path), Self::VcsWorker),
            Service::ArtifactStore => of(signalbox_artifact_store::Config::inspect(path), Self::ArtifactStore),
            Service::DeployWorker => of(signalbox_deploy_worker::Config::inspect(path), Self::DeployWorker),
            Service::LocalExecutor => of(signalbox_local_executor::Config::inspect(path), Self::LocalExecutor),
        }
    }

    /// Which service it is for.
    pub(crate) const fn service(&self) -> Service {
        match self {
            Self::Controller(_) => Service::Controller,
            Self::VcsWorker(_) => Service::VcsWorker,
            Self::ArtifactStore(_) => Service::ArtifactStore,
            Self::DeployWorker(_) => Service::DeployWorker,
            Self::LocalExecutor(_) => Service::LocalExecutor,
        }
    }

    /// The part that all services have.
    pub(crate) const fn common(&self) -> &Common {
        match self {
            Self::Controller(config) => &config.common,
            Self::VcsWorker(config) => &config.common,
            Self::ArtifactStore(config) => &config.common,
            Self::DeployWorker(config) => &config.common,
            Self::LocalExecutor(config) => &config.common,
        }
    }

    /// Starts the service. It is ready to serve when this returns, and ends with `shutdown`.
    pub(crate) async fn start(self, shutdown: &Shutdown) -> Result<()> {
        let service = self.service();
        let name = service.as_str();
        let Common { listen, metrics, .. } = *self.common();
        let telemetry = Telemetry::new(name);
        telemetry.readiness().configured_by(self.common().file.clone());
        let listener = bind(listen)
            .with_context(|| format!("the {service} cannot listen on {listen} (`listen` in its configuration); is it running already?"))?;
        if let Some(address) = metrics {
            let listener = bind(address).with_context(|| format!("the {service}'s metrics cannot be served on {address}"))?;
            let (telemetry, end) = (telemetry.clone(), shutdown.clone());
            shutdown.spawn("metrics", async move { telemetry.serve(listener, end).await });
        }
        let clock = SystemClock::shared();
        let shutdown = shutdown.clone();
        let started = match self {
            Self::Controller(config) => {
                signalbox_controller::start(*config, listener, clock, telemetry, shutdown).await.map_err(anyhow::Error::new)
            }
            Self::VcsWorker(config) => {
                signalbox_vcs_worker::start(*config, listener, clock, telemetry, shutdown).await.map_err(anyhow::Error::new)
            }
            Self::ArtifactStore(config) => {
                signalbox_artifact_store::start(*config, listener, clock, telemetry, shutdown).await.map_err(anyhow::Error::new)
            }
            Self::DeployWorker(config) => {
                signalbox_deploy_worker::start(*config, listener, clock, telemetry, shutdown).await.map_err(anyhow::Error::new)
            }
            Self::LocalExecutor(config) => {
                signalbox_local_executor::start(*config, listener, clock, telemetry, shutdown).await.map_err(anyhow::Error::new)
            }
        };
        started.with_context(|| format!("the {service} could not be started"))
    }
}

/// The interface of a service.
pub(crate) fn openapi(service: Service) -> utoipa::openapi::OpenApi {
    match service {
        Service::Controller => signalbox_controller::openapi(),
        Service::VcsWorker => signalbox_vcs_worker::openapi(),
        Service::ArtifactStore => signalbox_artifact_store::openapi(),
        Service::DeployWorker => signalbox_deploy_worker::api::openapi(),
        Service::LocalExecutor => signalbox_local_executor::openapi(),
    }
}

/// What every process does that runs services.
pub(crate) fn set_up_process(name: &'static str) {
    keep_inherited();
    init_logging(name);
    log_panics();
    raise_file_limit();
}

/// Runs one service until it is asked to end.
pub(crate) async fn run_alone(service: Service, path: &Path, end_with_input: bool, output: Output) -> Result<u8> {
    set_up_process(service.as_str());
    let configured = Configured::load(service, path).map_err(|errors| Mistake::setup(errors.to_string()))?;
    let address = configured.common().url().map(String::from).unwrap_or_default();
    let shutdown = Shutdown::new();
    let started = configured.start(&shutdown).await;
    if let Err(error) = started {
        shutdown.drained(END).await;
        return Err(error);
    }
    tracing::info!(service = service.as_str(), address, "service.ready");
    if output.json {
        let services = serde_json::Map::from_iter([(service.to_string(), address.into())]);
        output.show_ready(&serde_json::json!({ "ready": true, "services": services }), |_| String::new())?;
    }
    let ended_by_itself = tokio::select! {
        () = asked_to_end(end_with_input) => false,
        () = shutdown.requested() => true,
    };
    drain(service.as_str(), &shutdown, END).await;
    if ended_by_itself {
        return Err(Mistake::setup(format!("the {service} ended by itself; its log says why")).into());
    }
    Ok(0)
}

/// Ends what `shutdown` stands for, in time or not. Asked a second time, the process does not wait.
pub(crate) async fn drain(name: &str, shutdown: &Shutdown, limit: Duration) {
    tracing::info!(service = name, "service.ending");
    tokio::select! {
        drained = shutdown.drained(limit) => {
            if !drained {
                tracing::warn!(service = name, limit_s = limit.as_secs(), "service.did_not_end_in_time");
            }
        }
        () = Shutdown::asked_by_the_system() => tracing::warn!(service = name, "service.end_not_waited_for"),
    }
}

/// Waits until the process is asked to end: by a signal or, where that is wanted, by the end of its input.
pub(crate) async fn asked_to_end(with_input: bool) {
    tokio::select! {
        () = Shutdown::asked_by_the_system() => {}
        () = input_ended(), if with_input => {}
    }
}

/// Waits for the end of standard input, whatever comes before it. A thread of its own reads: one of the runtime's would
/// hold up the end of the process.
async fn input_ended() {
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        // Nobody waits any more when the process ends for another reason.
        let _ = ended.send(());
    });
    let _ = end.await;
}
