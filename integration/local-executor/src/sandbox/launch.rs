//! How a build is started.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::geteuid;
use signalbox_contract::job::Variables;
use signalbox_service::process::{Bounds, ProcessError, Program};

use super::bubblewrap::{self, MAPPED_USER, Wish};
use super::write_control;
use crate::limits::{Limits, MARK};
use crate::workspace::Workspace;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Joins the control groups, opens the system call filter and becomes what follows `--`. A program joins by itself, before
/// it is anything else: nothing of a build ever runs outside of its group, and no lock is held between fork and exec.
const JOIN: &str = "\
ulimit -c 0 && ulimit -f \"$SIGNALBOX_BLOCKS\" || exit 125
while [ \"$1\" != -- ]; do echo 0 > \"$1\" || exit 125; shift; done
shift
if [ -n \"$SIGNALBOX_FILTER\" ]; then exec 9< \"$SIGNALBOX_FILTER\"; fi
exec \"$@\"";

/// The descriptor on which [`JOIN`] opens the filter.
const FILTER_DESCRIPTOR: &str = "9";

/// How builds are kept apart from the machine.
#[derive(Debug, Clone)]
pub(crate) struct Sandbox {
    isolation: Isolation,
    bubblewrap: PathBuf,
    read_only: Vec<PathBuf>,
    filter: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Isolation {
    /// By bubblewrap as root: each build becomes a user of its own, counted from this one.
    Users(u32),
    /// By bubblewrap in a user namespace.
    Mapped,
    /// Not at all; the operator wants it so.
    Nothing,
}

/// Why builds cannot be isolated here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    /// A program is missing.
    #[error("{0} is not there")]
    Missing(PathBuf),
    /// The trial could not be made.
    #[error("the trial could not be made")]
    Trial(#[source] io::Error),
    /// The trial's program did not run.
    #[error("the trial could not be run")]
    Run(#[source] ProcessError),
    /// bubblewrap failed.
    #[error("bubblewrap failed: {0}")]
    Failed(String),
}

/// What the operator wants of sandboxes.
pub(crate) struct Wanted {
    /// Where bubblewrap is.
    pub(crate) bubblewrap: PathBuf,
    /// The first of the users that builds become where the executor may choose.
    pub(crate) first_user: u32,
    /// What builds may read of the machine, besides the system itself.
    pub(crate) read_only: Vec<PathBuf>,
    /// The file with the system call filter.
    pub(crate) filter: Option<PathBuf>,
}

/// One build that is to be started.
pub(crate) struct Launch<'a> {
    /// Where it works.
    pub(crate) workspace: &'a Workspace,
    /// Which of the concurrent builds it is, from 0.
    pub(crate) slot: u32,
    /// Whether it may use the network.
    pub(crate) network: bool,
    /// What it may use.
    pub(crate) limits: Limits,
    /// The doors of its control groups; without any, limits of each process stand in.
    pub(crate) doors: Vec<PathBuf>,
    /// The mark by which its processes are found again.
    pub(crate) mark: String,
    /// The socket for its own uploads.
    pub(crate) socket: Option<&'a Path>,
}

impl Sandbox {
    /// Tries out how builds can be isolated here, in the folder `trial`.
    pub(crate) async fn find(wanted: Wanted, trial: &Path) -> Result<Self, SandboxError> {
        let isolation = if geteuid().is_root() { Isolation::Users(wanted.first_user) } else { Isolation::Mapped };
        let also = matches!(isolation, Isolation::Users(_)).then(|| Path::new("/usr/bin/setpriv"));
        for program in [wanted.bubblewrap.as_path(), Path::new("/bin/sh")].into_iter().chain(also) {
            if !program.exists() {
                return Err(SandboxError::Missing(program.to_owned()));
            }
        }
        let sandbox = Self { isolation, bubblewrap: wanted.bubblewrap, read_only: wanted.read_only, filter: wanted.filter };
        let workspace = Workspace::make(trial.to_owned()).map_err(SandboxError::Trial)?;
        let outcome = sandbox.run_trial(&workspace).await;
        workspace.remove().map_err(SandboxError::Trial)?;
        outcome.map(|()| sandbox)
    }

    /// No isolation at all.
    pub(crate) const fn nothing() -> Self {
        Self { isolation: Isolation::Nothing, bubblewrap: PathBuf::new(), read_only: Vec::new(), filter: None }
    }

    async fn run_trial(&self, workspace: &Workspace) -> Result<(), SandboxError> {
        write_control(&workspace.control(), "exit 0", &Variables::new(), self.user_inside(0)).map_err(SandboxError::Trial)?;
        if let Some(user) = self.user_outside(0) {
            workspace.give(user).map_err(SandboxError::Trial)?;
        }
        let limits = Limits { memory: 1 << 30, processes: 64, disk: 1 << 30 };
        let launch = Launch { workspace, slot: 0, network: false, limits, doors: Vec::new(), mark: "trial".to_owned(), socket: None };
        let output = self.program(&launch).run(Bounds::new(Duration::from_secs(10))).await.map_err(SandboxError::Run)?;
        if output.status.success() {
            return Ok(());
        }
        Err(SandboxError::Failed(crate::build::plain(&output.stderr)))
    }

    /// The user that the build is to itself.
    pub(crate) fn user_inside(&self, slot: u32) -> u32 {
        match self.isolation {
            Isolation::Users(first) => first.saturating_add(slot),
            Isolation::Mapped => MAPPED_USER,
            Isolation::Nothing => geteuid().as_raw(),
        }
    }

    /// The machine's user that a build's files are given to; none where they stay the executor's.
    pub(crate) const fn user_outside(&self, slot: u32) -> Option<u32> {
        match self.isolation {
            Isolation::Users(first) => Some(first.saturating_add(slot)),
            Isolation::Mapped | Isolation::Nothing => None,
        }
    }

    /// Where a build finds the socket for its own uploads.
    pub(crate) fn socket_inside(&self, outside: &Path) -> String {
        match self.isolation {
            Isolation::Nothing => outside.display().to_string(),
            Isolation::Users(_) | Isolation::Mapped => bubblewrap::SOCKET.to_owned(),
        }
    }

    /// What it is, for people.
    pub(crate) fn describe(&self, slot: u32) -> String {
        let filter = if self.filter.is_some() { " with a system call filter" } else { "" };
        match self.isolation {
            Isolation::Users(first) => format!("bubblewrap{filter}, as user {}", first.saturating_add(slot)),
            Isolation::Mapped => format!("bubblewrap{filter}, in a user namespace"),
            Isolation::Nothing => "no sandbox at all".to_owned(),
        }
    }

    /// The program that runs the build.
    pub(crate) fn program(&self, launch: &Launch<'_>) -> Program {
        let filter = self.filter.as_deref().unwrap_or_else(|| Path::new(""));
        let mut program = Program::new("/bin/sh")
            .env("PATH", PATH)
            .env(MARK, &launch.mark)
            .env("SIGNALBOX_FILTER", filter)
            .env("SIGNALBOX_BLOCKS", (launch.limits.disk / 512).max(1).to_string())
            .args(["-c", JOIN, "signalbox-build"])
            .args(&launch.doors)
            .arg("--");
        if launch.doors.is_empty() {
            let (memory, processes) = (launch.limits.memory, launch.limits.processes);
            program = program.arg("/usr/bin/prlimit").args([format!("--as={memory}"), format!("--nproc={processes}")]).arg("--");
        }
        match self.isolation {
            Isolation::Users(_) | Isolation::Mapped => {
                let wish = Wish {
                    workspace: launch.workspace,
                    user: self.user_outside(launch.slot),
                    network: launch.network,
                    read_only: &self.read_only,
                    tmp: launch.limits.memory / 2,
                    socket: launch.socket,
                    filter: self.filter.as_ref().map(|_| FILTER_DESCRIPTOR),
                };
                let entry = format!("{}/entry", bubblewrap::CONTROL);
                program.arg(&self.bubblewrap).args(bubblewrap::arguments(&wish)).args([
                    "/bin/sh",
                    &entry,
                    bubblewrap::CONTROL,
                    bubblewrap::BUILD,
                ])
            }
            Isolation::Nothing => {
                let control = launch.workspace.control();
                let home = launch.workspace.home().display().to_string();
                let variables = environment(&home).into_iter().map(|(name, value)| format!("{name}={value}"));
                program
                    .args(["/usr/bin/env", "-i"])
                    .arg(format!("{MARK}={}", launch.mark))
                    .args(variables)
                    .arg("/bin/sh")
                    .arg(control.join("entry"))
                    .arg(control)
                    .arg(launch.workspace.build())
            }
        }
    }
}

/// What every build's environment holds before its own variables are added.
pub(super) fn environment(home: &str) -> [(&'static str, String); 8] {
    [
        ("PATH", PATH.to_owned()),
        ("HOME", home.to_owned()),
        ("TMPDIR", "/tmp".to_owned()),
        ("SHELL", "/bin/sh".to_owned()),
        ("USER", "build".to_owned()),
        ("LOGNAME", "build".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("CI", "true".to_owned()),
    ]
}
