//! This program again, as a child: a service that must not share a process with the others.

use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use signalbox_contract::token::Service;
use signalbox_service::process::{Program, Running};
use signalbox_service::shutdown::Shutdown;
use tokio_util::sync::CancellationToken;

/// What a child needs of our environment; nothing else is handed on.
const VARIABLES: [&str; 11] = [
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "SIGNALBOX_LOG",
    "SIGNALBOX_LOG_FORMAT",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "NO_COLOR",
    "XDG_RUNTIME_DIR",
];

/// How long a child may take to end once it is asked to.
const END: Duration = Duration::from_secs(25);

/// A child that dies is started again after this time, doubled each time that it dies young.
const FIRST_REST: Duration = Duration::from_millis(200);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// A child that lived for so long did not die young.
const GROWN: Duration = Duration::from_mins(1);

/// This program with other arguments, and what it needs of our environment.
pub(crate) fn program<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(arguments: I) -> Result<Program> {
    let path = std::env::current_exe().context("finding this program's own file")?;
    let folder = std::env::current_dir().context("finding the present folder")?;
    let program = Program::new(path).args(arguments).dir(folder);
    let given = VARIABLES.iter().filter_map(|name| std::env::var_os(name).map(|value| (name, value)));
    Ok(given.fold(program, |program, (name, value)| program.env(name, value)))
}

/// Asks a child to end, by ending its input, and waits for that.
pub(crate) async fn end(running: &mut Running) {
    drop(running.stdin.take());
    if let Err(error) = running.wait_within(END, &CancellationToken::new()).await {
        tracing::warn!(%error, "child.killed");
    }
}

/// Runs a service as a child until `shutdown` begins, and again whenever it dies.
pub(crate) async fn supervise(service: Service, config: &Path, shutdown: &Shutdown) {
    let mut rest = FIRST_REST;
    while !shutdown.begun() {
        let begun = Instant::now();
        match start(service, config) {
            Ok(mut running) => {
                tracing::info!(service = service.as_str(), process = running.id(), "child.started");
                let status = tokio::select! {
                    status = running.wait() => status,
                    () = shutdown.requested() => return end(&mut running).await,
                };
                let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                tracing::error!(service = service.as_str(), status, "child.died");
            }
            Err(error) => tracing::error!(service = service.as_str(), error = format!("{error:#}"), "child.not_started"),
        }
        rest = if begun.elapsed() > GROWN { FIRST_REST } else { LONGEST_REST.min(rest * 2) };
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = shutdown.requested() => {}
        }
    }
}

fn start(service: Service, config: &Path) -> Result<Running> {
    let arguments = [OsStr::new(service.as_str()), OsStr::new("--config"), config.as_os_str(), OsStr::new("--end-with-input")];
    let mut running = program(arguments)?.own_stderr().start().context("starting this program again")?;
    // It prints nothing there; a pipe that nobody reads could block it all the same.
    drop(running.stdout.take());
    Ok(running)
}
