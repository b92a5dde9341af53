//! PostgreSQL as it is shipped: durable, on the same disk.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use signalbox_service::process::{Program, Running};
use tempfile::TempDir;

use super::{PATIENCE, program, said};

/// Where Debian has its programs, newest first.
const PLACES: [&str; 4] =
    ["/usr/lib/postgresql/18/bin", "/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/15/bin"];

/// One row of what a run is about.
const INSERT: &str = "INSERT INTO run (body) VALUES ('{\"repo\": \"hello\", \"ref\": \"refs/heads/main\", \"state\": \"queued\", \"principal\": \"somebody\"}');\n";

/// A server with one table.
pub(crate) struct Postgres {
    programs: PathBuf,
    folder: TempDir,
    _running: Running,
}

impl Postgres {
    /// Makes a cluster below `place`, which whoever runs PostgreSQL must be able to enter, and starts it.
    ///
    /// # Errors
    /// When that cannot be done.
    pub(crate) async fn start(place: &Path) -> Result<Self> {
        let programs =
            PLACES.iter().map(PathBuf::from).find(|place| place.join("initdb").is_file()).context("PostgreSQL is not installed")?;
        let folder = tempfile::Builder::new().prefix("postgres-").tempdir_in(place)?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777))?;
        let data = folder.path().join("data");
        let initdb = as_user(&programs.join("initdb"), folder.path()).args(["-A", "trust", "-U", "postgres", "-D"]).arg(&data);
        said(initdb, "initdb").await?;
        let server = as_user(&programs.join("postgres"), folder.path())
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=", "-k"])
            .arg(folder.path());
        let running = server.start().context("starting PostgreSQL")?;
        let this = Self { programs, folder, _running: running };
        let begun = Instant::now();
        while let Err(error) = this.sql("CREATE TABLE IF NOT EXISTS run (id bigserial PRIMARY KEY, body jsonb NOT NULL)").await {
            if begun.elapsed() > PATIENCE {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(this)
    }

    async fn sql(&self, statement: &str) -> Result<String> {
        let psql = program(self.programs.join("psql"), self.folder.path()).arg("-h").arg(self.folder.path());
        said(psql.args(["-U", "postgres", "-X", "-v", "ON_ERROR_STOP=1", "-c", statement]), "psql").await
    }

    /// How many rows a second 64 connections insert, each row a transaction of its own, which is durable when it is answered.
    ///
    /// # Errors
    /// When it cannot be measured.
    pub(crate) async fn inserts(&self, time: Duration) -> Result<f64> {
        let script = self.folder.path().join("insert.sql");
        std::fs::write(&script, INSERT)?;
        let seconds = time.as_secs().max(1).to_string();
        let bench = program(self.programs.join("pgbench"), self.folder.path()).arg("-h").arg(self.folder.path());
        let bench = bench
            .args(["-U", "postgres", "-n", "-M", "prepared", "-c", "64", "-j", "2", "-T", &seconds, "-f"])
            .arg(&script)
            .arg("postgres");
        let text = said(bench, "pgbench").await?;
        let line = text.lines().find_map(|line| line.strip_prefix("tps = ")).context("pgbench says no rate")?;
        let Some(rate) = line.split(' ').next() else { bail!("pgbench says {line}") };
        rate.parse().context("pgbench's rate")
    }
}

/// PostgreSQL refuses to run as root, and Debian's package makes a user for it.
fn as_user(path: &Path, folder: &Path) -> Program {
    if rustix::process::geteuid().is_root() {
        program("setpriv", folder).args(["--reuid", "postgres", "--regid", "postgres", "--init-groups", "--"]).arg(path)
    } else {
        program(path, folder)
    }
}
