//! The VCS worker: the only holder of credentials that read sources. It fetches exactly what is asked for, proves it, and
//! shows it to executors.
//!
//! Architecture invariants:
//! - a source is fetched only if the configuration allows it, and only from an address that was checked ([`remote`]);
//! - nothing is answered that was not read back from our own copy, and nothing is shown that was not proven (`proof`);
//! - a copy belongs to one source and one credential, and shares nothing with another (`cache`);
//! - executors read, and never write (`served`); where a mirror lives is a trait, with places of our own and elsewhere (`mirror`);
//! - credentials leave this process towards their own source alone.

pub mod remote;

mod api;
mod cache;
mod config;
mod failure;
mod meters;
mod mirror;
mod mirrors_api;
mod names;
mod proof;
mod served;
mod sources_api;
mod work;

use std::sync::Arc;

use signalbox_contract::token::Service;
use signalbox_service::auth::{KeyError, Verifier};
use signalbox_service::clock::SharedClock;
use signalbox_service::folder::{DataFolder, FolderError};
use signalbox_service::git::{Git, GitError};
use signalbox_service::http::{ServeOptions, serve};
use signalbox_service::ledger::{Ledger, LedgerError};
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::Telemetry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use url::Url;

pub use api::openapi;
pub use config::{Config, DEFAULT_LISTEN, Limits};
pub use mirror::{Entry as MirrorEntry, Retention};

use api::Api;
use cache::Cache;
use meters::Meters;
use mirror::{Folders, Places, Shared};
use names::Names;
use remote::Sources;
use served::Mirrors;
use work::Work;

/// The service's name.
pub const NAME: &str = "vcs-worker";

/// Why the worker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be had.
    #[error("the VCS worker has no data folder")]
    Folder(#[source] FolderError),
    /// Git cannot be used.
    #[error("git cannot be used ({})", .0.said)]
    Git(#[source] GitError),
    /// The copies or the names cannot be read.
    #[error("the VCS worker's copies cannot be used")]
    Files(#[source] std::io::Error),
    /// The ledger cannot be opened.
    #[error("the VCS worker's ledger cannot be opened")]
    Ledger(#[source] LedgerError),
    /// The public keys cannot be read.
    #[error("the public keys cannot be read")]
    Keys(#[source] KeyError),
    /// Our own address cannot be used.
    #[error("the address cannot be used")]
    Address(#[source] std::io::Error),
}

/// Starts the worker on `listener`. It is ready to serve when this answers, and ends with `shutdown`.
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
    let common = config.common;
    let verifier = Verifier::open(&common.public_keys, Service::VcsWorker, Arc::clone(&clock)).map_err(StartError::Keys)?;
    let base = base_url(common.public_url, common.tls.is_some(), &listener).map_err(StartError::Address)?;
    let folder = DataFolder::claim(&common.data, NAME).map_err(StartError::Folder)?;
    let sub = |name| folder.sub(name).map_err(StartError::Folder);
    let git = Git::new(&sub("git-home")?).map_err(StartError::Git)?;
    git.version().await.map_err(StartError::Git)?;
    let cache = Cache::open(&sub("copies")?, git.clone(), config.limits, shutdown.clone()).map_err(StartError::Files)?;
    let (cache, names) = (Arc::new(cache), Arc::new(Names::open(sub("names")?).map_err(StartError::Files)?));
    let ledger = Ledger::open(folder.path(), Arc::clone(&clock), shutdown.clone()).await.map_err(StartError::Ledger)?;
    let folders = Folders { notes: sub("pushes")?, scratch: sub("scratch")?, spots: sub("places")? };
    let shared = Shared { names: Arc::clone(&names), cache: Arc::clone(&cache), git: git.clone(), ledger: ledger.clone(), clock };
    let places = Places::open(&config.mirrors, config.retention, shared, folders, base).map_err(StartError::Files)?;
    let work = Work {
        sources: Sources::new(config.sources),
        names: Arc::clone(&names),
        cache: Arc::clone(&cache),
        places,
        meters: Meters::register(&telemetry),
    };
    let room = Arc::new(Semaphore::new(config.limits.max_readers));
    let mirrors = Mirrors { names, cache, git, room, deadline: config.limits.read_timeout };
    let work = Arc::new(work);
    let (collector, ending) = (Arc::clone(&work), shutdown.clone());
    shutdown.spawn("mirrors", async move { collector.places.collect_for_ever(ending).await });
    let api = Api { verifier: Arc::new(verifier), ledger: ledger.clone(), work, mirrors: Arc::new(mirrors) };
    let options = ServeOptions::new(NAME).tls(common.tls);
    let router = api::router(api, &options, &telemetry);
    let ending = shutdown.clone();
    shutdown.spawn(NAME, async move {
        serve(listener, router, options, ending).await;
        ledger.close().await;
        // The folder is given up last: until here another process must not have it.
        drop(folder);
    });
    Ok(())
}

/// Where executors reach the mirrors.
fn base_url(public: Option<Url>, tls: bool, listener: &TcpListener) -> std::io::Result<Url> {
    if let Some(url) = public {
        return Ok(url);
    }
    let scheme = if tls { "https" } else { "http" };
    Url::parse(&format!("{scheme}://{}/", listener.local_addr()?)).map_err(std::io::Error::other)
}
