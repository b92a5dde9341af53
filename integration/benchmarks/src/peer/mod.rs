//! The programs that we are compared with. Each is started for one measurement, in a folder of its own, at an address that
//! is free, and ends with the value that stands for it.

mod buildbot;
mod nginx;
mod postgres;

pub(crate) use buildbot::Buildbot;
pub(crate) use nginx::Nginx;
pub(crate) use postgres::Postgres;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use signalbox_service::process::{Bounds, Program, Running};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a peer may take to be made or to start.
const PATIENCE: Duration = Duration::from_mins(2);

/// A program with what peers need of an environment.
fn program(path: impl Into<std::path::PathBuf>, folder: &Path) -> Program {
    Program::new(path).dir(folder).env("PATH", PATH).env("HOME", folder).env("LC_ALL", "C")
}

/// Runs a program to its end, and gives what it printed.
async fn said(program: Program, what: &str) -> Result<String> {
    let output = program.run(Bounds::new(PATIENCE).stdout(16 << 20)).await?;
    if !output.status.success() {
        bail!("{what}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits until a peer that was started listens there.
async fn listening(address: SocketAddr, running: &mut Running, what: &str) -> Result<()> {
    let asked = async {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = asked => Ok(()),
        status = running.wait() => bail!("{what} ended at once: {}", status?),
        () = tokio::time::sleep(PATIENCE) => bail!("{what} does not listen at {address}"),
    }
}
