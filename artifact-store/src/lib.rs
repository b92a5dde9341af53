//! The artifact store: keeps bytes under their digests, names that point to them, and what runs still need.
//!
//! Architecture invariants:
//! - a PUT that was acknowledged is durable: the bytes are synced before the catalog names them, and the catalog's
//!   commit is synced before the answer;
//! - a PUT that was cut or refused changes nothing, and leaves nothing behind;
//! - bytes are proven before they are sent: nobody is ever answered wrong bytes as right ones;
//! - what a build puts lies beside until its attempt is over, and an older attempt never hides a newer one;
//! - nothing that a name, a run or an open grant needs is collected.

mod api;
mod blob;
mod catalog;
mod config;
mod meters;
mod retention;
mod revocation;
mod scrub;
mod store;
mod upload;

use std::sync::Arc;

use signalbox_contract::token::Service;
use signalbox_service::auth::{KeyError, Verifier};
use signalbox_service::client::{Client, ClientError};
use signalbox_service::clock::SharedClock;
use signalbox_service::folder::{DataFolder, FolderError};
use signalbox_service::http::{ServeOptions, serve};
use signalbox_service::ledger::{Ledger, LedgerError};
use signalbox_service::shutdown::Shutdown;
use signalbox_service::sqlite::DatabaseError;
use signalbox_service::telemetry::Telemetry;
use tokio::net::TcpListener;

pub use api::openapi;
pub use config::Config;

use api::App;
use blob::BlobFiles;
use catalog::{Bounds, Catalog};
use meters::Meters;
use store::Store;

/// The service's name.
pub const NAME: &str = "artifact-store";

/// Why the store could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be had.
    #[error("the artifact store has no data folder")]
    Folder(#[source] FolderError),
    /// The folders of blobs cannot be used.
    #[error("the artifact store's folders of blobs cannot be used")]
    Files(#[source] std::io::Error),
    /// The catalog cannot be opened.
    #[error("the artifact store's catalog cannot be opened")]
    Catalog(#[source] DatabaseError),
    /// The ledger cannot be opened.
    #[error("the artifact store's ledger cannot be opened")]
    Ledger(#[source] LedgerError),
    /// The public keys cannot be read.
    #[error("the public keys cannot be read")]
    Keys(#[source] KeyError),
    /// The controller cannot be called as it is configured.
    #[error("the controller cannot be asked for revocations")]
    Controller(#[source] ClientError),
}

/// Starts the store on `listener`. It is ready to serve when this answers, and ends with `shutdown`.
///
/// # Errors
/// When the data folder is in use or cannot be used, or something that the configuration names is not there.
pub async fn start(
    config: Config,
    listener: TcpListener,
    clock: SharedClock,
    telemetry: Telemetry,
    shutdown: Shutdown,
) -> Result<(), StartError> {
    let common = &config.common;
    let verifier = Verifier::open(&common.public_keys, Service::ArtifactStore, Arc::clone(&clock)).map_err(StartError::Keys)?;
    let verifier = Arc::new(verifier);
    let controller = config.controller.clone().map(|url| Client::new(url, common.ca.as_deref())).transpose();
    let controller = controller.map_err(StartError::Controller)?;
    let folder = DataFolder::claim(&common.data, NAME).map_err(StartError::Folder)?;
    let files = Arc::new(BlobFiles::open(folder.path()).map_err(StartError::Files)?);
    let swept = files.sweep_incoming().map_err(StartError::Files)?;
    if swept > 0 {
        tracing::info!(files = swept, "uploads that were cut by the end of the process were removed");
    }
    let bounds = Bounds { max_total: (config.max_total > 0).then_some(config.max_total), keep_versions: config.keep_versions };
    let ledger = Ledger::open(folder.path(), Arc::clone(&clock), shutdown.clone()).await.map_err(StartError::Ledger)?;
    let catalog = Catalog::open(folder, bounds, clock, &shutdown).await.map_err(StartError::Catalog)?;
    let meters = Meters::register(&telemetry);
    let store = Arc::new(Store::new(files, catalog, meters, (config.max_blob, config.keep_free), shutdown.clone()));

    if let Some(controller) = controller {
        let data = common.data.clone();
        shutdown.spawn("revocations", revocation::run(controller, Arc::clone(&verifier), data, shutdown.clone()));
    }
    let collector = retention::run(Arc::clone(&store), config.collect_every, config.keep_unreferenced, shutdown.clone());
    shutdown.spawn("collector", collector);
    telemetry.readiness().met("catalog");
    shutdown.spawn("look", retention::look(Arc::clone(&store), telemetry.readiness(), shutdown.clone()));
    let options = ServeOptions::new(NAME).tls(common.tls.clone());
    let router = api::router(App { store, verifier, ledger }, config.upload_timeout, &options, &telemetry);
    shutdown.clone().spawn("http", serve(listener, router, options, shutdown));
    Ok(())
}
