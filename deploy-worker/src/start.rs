//! Starting the worker.

use std::sync::Arc;

use signalbox_contract::token::Service;
use signalbox_service::auth::{KeyError, Verifier};
use signalbox_service::client::{Client, ClientError};
use signalbox_service::clock::SharedClock;
use signalbox_service::folder::{DataFolder, FolderError};
use signalbox_service::http::{ServeOptions, described_parameters, finish, serve};
use signalbox_service::ledger::{Ledger, LedgerError};
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::Telemetry;
use tokio::net::TcpListener;

use crate::activation::Deployer;
use crate::api::{Api, openapi, routes};
use crate::blob::Cache;
use crate::config::Config;
use crate::ssh::{ControlFolderError, Sessions, Times};

/// Why the worker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The public keys.
    #[error("the public keys cannot be used")]
    Keys(#[source] KeyError),
    /// The way to the artifact store.
    #[error("`store` cannot be used")]
    Store(#[source] ClientError),
    /// The cache of artifacts.
    #[error("the cache of artifacts cannot be opened")]
    Cache(#[source] std::io::Error),
    /// The folder for ssh's control sockets.
    #[error(transparent)]
    Control(#[from] ControlFolderError),
}

/// Starts the worker on `listener`. It is ready to serve when this returns, and ends with `shutdown`.
///
/// # Errors
/// When something that it needs cannot be had.
pub async fn start(
    config: Config,
    listener: TcpListener,
    clock: SharedClock,
    telemetry: Telemetry,
    shutdown: Shutdown,
) -> Result<(), StartError> {
    let data = DataFolder::claim(&config.common.data, "deploy-worker")?;
    let verifier = Arc::new(Verifier::open(&config.common.public_keys, Service::DeployWorker, clock.clone()).map_err(StartError::Keys)?);
    let store = Client::new(config.store.clone(), config.common.ca.as_deref()).map_err(StartError::Store)?;
    let cache = Cache::open(&data.sub("cache")?, config.cache_size, store, clock.clone()).map_err(StartError::Cache)?;
    let times = Times { connect: config.limits.connect, idle: config.limits.idle };
    let sessions = Sessions::open(data.path(), times, &clock, &shutdown)?;
    let ledger = Ledger::open(data.path(), clock.clone(), shutdown.clone()).await?;
    let deployer = Deployer::new(config.environments, sessions, cache, config.limits, clock, &telemetry);
    let api = Api { verifier, ledger: ledger.clone(), deployer: Arc::new(deployer) };
    let options = ServeOptions::new("deploy-worker").tls(config.common.tls.clone());
    let (router, _) = routes().with_state(api).split_for_parts();
    let router = finish(described_parameters(router, &openapi()), &options, &telemetry);
    let ending = shutdown.clone();
    shutdown.spawn("deploy-worker", async move {
        serve(listener, router, options, ending).await;
        ledger.close().await;
        // The folder is given up last: until here another process must not have it.
        drop(data);
    });
    Ok(())
}
