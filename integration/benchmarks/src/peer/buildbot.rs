//! Buildbot, whose change hook stores a change before it answers.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use signalbox_service::process::Running;
use signalbox_service::testing::free_port;
use tempfile::TempDir;

use super::{listening, program, said};
use crate::wrk::{Load, Measured};

/// A master without workers, on SQLite.
pub(crate) struct Buildbot {
    folder: TempDir,
    address: SocketAddr,
    _running: Running,
    /// How long it took to listen.
    pub(crate) started_in: Duration,
}

impl Buildbot {
    /// Makes one below `place` with the programs of a virtual environment, and starts it.
    ///
    /// # Errors
    /// When that cannot be done.
    pub(crate) async fn start(programs: &Path, place: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("buildbot-").tempdir_in(place)?;
        let address = free_port();
        let buildbot = programs.join("buildbot");
        let make = program(&buildbot, folder.path()).args(["create-master", "-q", "master"]);
        said(make, "buildbot create-master").await?;
        let configuration = format!(
            "c = BuildmasterConfig = {{}}\nfrom buildbot.plugins import schedulers, steps, util, worker\n\
             c['workers'] = [worker.Worker('none', 'none')]\nc['protocols'] = {{'pb': {{'port': 'tcp:{}:interface=127.0.0.1'}}}}\nc['db'] = {{'db_url': 'sqlite:///state.sqlite'}}\n\
             c['builders'] = [util.BuilderConfig(name='b', workernames=['none'], factory=util.BuildFactory([steps.ShellCommand(command='true')]))]\n\
             c['schedulers'] = [schedulers.AnyBranchScheduler(name='all', treeStableTimer=None, builderNames=['b'])]\n\
             c['buildbotNetUsageData'] = None\n\
             c['www'] = dict(port='tcp:{}:interface=127.0.0.1', change_hook_dialects={{'base': True}})\n",
            free_port().port(),
            address.port()
        );
        std::fs::write(folder.path().join("master/master.cfg"), configuration)?;
        let begun = Instant::now();
        let mut running = program(&buildbot, folder.path()).args(["start", "--nodaemon", "master"]).start().context("starting Buildbot")?;
        listening(address, &mut running, "Buildbot").await?;
        Ok(Self { folder, address, _running: running, started_in: begun.elapsed() })
    }

    /// How many changes a second it takes from this many connections.
    ///
    /// # Errors
    /// When it cannot be measured.
    pub(crate) async fn hook(&self, connections: u32, time: Duration) -> Result<Measured> {
        let body = "author=somebody&comments=a+change&revision=0123456789abcdef0123456789abcdef01234567&branch=main&project=hello\
                    &repository=http%3A%2F%2F127.0.0.1%2Fhello";
        let load = Load::get(format!("http://{}/change_hook/base", self.address), time);
        let load = Load { connections, ..load.sending("POST", "application/x-www-form-urlencoded", body) };
        load.run(self.folder.path()).await
    }
}
