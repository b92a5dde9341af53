//! How the service starts: first everything that a former process left behind is cleared away.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use signalbox_contract::token::Service;
use signalbox_service::auth::{KeyError, MAX_ACT_BODY, Verifier};
use signalbox_service::clock::SharedClock;
use signalbox_service::folder::{DataFolder, FolderError};
use signalbox_service::git::{Git, GitError};
use signalbox_service::http::{self, ServeOptions};
use signalbox_service::shutdown::Shutdown;
use signalbox_service::sqlite::{Database, DatabaseError};
use signalbox_service::telemetry::Telemetry;
use signalbox_service::telemetry::causes;
use tokio::net::TcpListener;

use crate::api::{Api, router};
use crate::build::{Desk, Ended, Metrics, Parts};
use crate::config::Config;
use crate::limits::{Cgroups, end_marked, end_with};
use crate::log::Logs;
use crate::sandbox::{Sandbox, Wanted, filter};
use crate::store::{MIGRATIONS, Store};
use crate::workspace;

/// How many connections read the database.
const READERS: u32 = 2;

/// How long the processes of a former process of this service may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be used.
    #[error("the data folder cannot be used")]
    Folder(#[from] FolderError),
    /// The database cannot be used.
    #[error("the database cannot be used")]
    Database(#[from] DatabaseError),
    /// What is known of former builds cannot be read or changed.
    #[error("what is known of former builds cannot be read or changed")]
    Store(#[from] sqlx::Error),
    /// The public keys cannot be used.
    #[error("the public keys cannot be used")]
    Keys(#[from] KeyError),
    /// Git is missing, or too old.
    #[error("git cannot be used")]
    Git(#[from] GitError),
    /// What a former process of this service left behind cannot be cleared away.
    #[error("what former builds left behind cannot be cleared away")]
    Leftovers(#[source] std::io::Error),
    /// A file of the service's own cannot be written.
    #[error("the data folder cannot be written")]
    Write(#[source] std::io::Error),
}

/// Starts the service on `listener`. When it returns, the service is ready; it ends with `shutdown`.
///
/// # Errors
/// When something that it needs cannot be used. That builds cannot be isolated here is no such thing: each is refused, with
/// the reason.
pub async fn start(
    config: Config,
    listener: TcpListener,
    clock: SharedClock,
    telemetry: Telemetry,
    shutdown: Shutdown,
) -> Result<(), StartError> {
    let folder = DataFolder::claim(&config.common.data, Service::LocalExecutor.as_str())?;
    let (work, logs) = (folder.sub("work")?, Logs::new(folder.sub("logs")?));
    let verifier = Arc::new(Verifier::open(&config.common.public_keys, Service::LocalExecutor, Arc::clone(&clock))?);
    let git_home = folder.sub("git-home")?.canonicalize().map_err(StartError::Write)?;
    let git = Git::new(&git_home)?;
    git.version().await?;
    let database = Database::open(&folder.path().join("executor.db"), &MIGRATIONS, READERS).await?;
    let store = Store::new(database, Arc::clone(&clock));
    let instance = instance(folder.path(), &clock).map_err(StartError::Write)?;
    let cgroups = find_cgroups(&instance).await;
    clear_away(&instance, cgroups.clone(), &git_home, &work).await.map_err(StartError::Leftovers)?;
    let lost = store.end_all(&Ended::lost("The executor ended in the middle of it.")).await?;
    if lost > 0 {
        tracing::warn!(builds = lost, "build.lost");
    }
    let sandbox = find_sandbox(&config, folder.path(), &work).await?;
    say(cgroups.as_ref(), &sandbox);

    let (listen, data) = (ServeOptions::new(Service::LocalExecutor.as_str()).tls(config.common.tls.clone()), folder);
    let options = ServeOptions { max_body: MAX_ACT_BODY, ..listen };
    let readiness = telemetry.readiness();
    match &sandbox {
        Ok(_) => readiness.met("sandbox"),
        Err(_) => readiness.missing("sandbox", "builds cannot be isolated here"),
    }
    let desk = Desk::new(Parts {
        config,
        store,
        sandbox,
        cgroups,
        instance,
        work,
        logs,
        git,
        clock,
        metrics: Metrics::register(&telemetry),
        shutdown: shutdown.clone(),
    });
    let router = http::finish(router(Api { desk: Arc::clone(&desk), verifier }), &options, &telemetry);
    let serving = shutdown.clone();
    shutdown.spawn("sweep", async move { desk.sweep().await });
    shutdown.spawn("serve", async move {
        http::serve(listener, router, options, serving).await;
        // The folder is ours for as long as anybody is served.
        drop(data);
    });
    Ok(())
}

/// The name by which this executor's control groups and processes are told from another's. It stays the same from one start
/// to the next: by it the leftovers of the last one are found.
fn instance(folder: &Path, clock: &SharedClock) -> std::io::Result<String> {
    let file = folder.join("instance");
    match std::fs::read_to_string(&file) {
        Ok(name) if name.len() == 17 && name.trim().bytes().all(|byte| byte.is_ascii_hexdigit()) => return Ok(name.trim().to_owned()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        // It was cut short by a crash at the very first start, before any build.
        _ => {}
    }
    // The random half: the first half of such an id is the time, which two executors may share.
    let name = clock.uuid().simple().to_string()[16..].to_owned();
    let (fresh, mut text) = (folder.join("instance.new"), name.clone());
    text.push('\n');
    std::fs::write(&fresh, text)?;
    std::fs::File::open(&fresh)?.sync_all()?;
    std::fs::rename(&fresh, &file)?;
    Ok(name)
}

/// Ends and removes all that builds of a former process left: processes, control groups, files.
async fn clear_away(instance: &str, cgroups: Option<Cgroups>, git_home: &Path, work: &Path) -> std::io::Result<()> {
    let (mark, work) = (format!("{instance}."), work.to_owned());
    // A checkout that was under way is no part of a sandbox; its home, which is ours alone, tells it from other people's.
    let git = format!("HOME={}", git_home.display());
    let cleared = tokio::task::spawn_blocking(move || {
        if let Some(cgroups) = cgroups {
            cgroups.clear()?;
        }
        if !end_marked(&mark, PATIENCE) || !end_with(&git, PATIENCE) {
            return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "processes of former builds do not end"));
        }
        workspace::clear(&work)
    });
    cleared.await.map_err(std::io::Error::other)?
}

async fn find_cgroups(instance: &str) -> Option<Cgroups> {
    let instance = instance.to_owned();
    tokio::task::spawn_blocking(move || Cgroups::find(&instance)).await.ok().flatten()
}

/// How builds are isolated; the reason, where they cannot be and must be.
async fn find_sandbox(config: &Config, data: &Path, work: &Path) -> Result<Result<Sandbox, String>, StartError> {
    let file = data.join("system-calls.bpf");
    let filter = match filter() {
        Some(program) => {
            std::fs::write(&file, program).map_err(StartError::Write)?;
            Some(file)
        }
        None => None,
    };
    let wanted =
        Wanted { bubblewrap: config.bubblewrap.clone(), first_user: config.build_user, read_only: config.read_only.clone(), filter };
    match Sandbox::find(wanted, &work.join("trial")).await {
        Ok(sandbox) => Ok(Ok(sandbox)),
        Err(error) if config.unsandboxed => {
            tracing::warn!(error = %causes(&error), "sandbox.none");
            Ok(Ok(Sandbox::nothing()))
        }
        Err(error) => {
            tracing::error!(error = %causes(&error), "sandbox.none");
            Ok(Err(error.to_string()))
        }
    }
}

fn say(cgroups: Option<&Cgroups>, sandbox: &Result<Sandbox, String>) {
    let limits = cgroups.map_or("limits of each process", |cgroups| cgroups.name());
    let isolation = sandbox.as_ref().map_or_else(|reason| format!("none ({reason}): builds are refused"), |sandbox| sandbox.describe(0));
    tracing::info!(isolation, limits, "sandbox.found");
}
