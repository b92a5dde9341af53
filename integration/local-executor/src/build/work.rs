//! One build, from its place in the queue to its end.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use signalbox_contract::Verdict;
use signalbox_service::git::{Access, Checkout, Fault, GitError, Remote};
use signalbox_service::telemetry::causes;
use tokio_util::sync::CancellationToken;

use super::desk::{Desk, Order};
use super::slot::Slot;
use super::{Ended, script};
use crate::limits::{Cgroup, end_marked, human};
use crate::log::LogFile;
use crate::sandbox::{Launch, Sandbox, write_control};
use crate::workspace::Workspace;

/// How often an end is written, and a mirror asked that answers no git.
const TRIES: u32 = 4;

/// For how long a mirror that cannot be reached is asked again: whoever serves it may be restarted, or its machine.
const MIRROR_PATIENCE: Duration = Duration::from_mins(2);

/// How long it is waited at most between two of these.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long the processes of a build may take to be gone once they are killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the executor made for a build, outside of what the build itself makes.
struct Site {
    workspace: Workspace,
    cgroup: Option<Cgroup>,
    slot: Slot,
    sandbox: Sandbox,
}

impl Desk {
    /// Does a build, and writes down how it ended.
    pub(super) async fn work(&self, order: Order, cancel: CancellationToken) {
        let key = order.key;
        let begun = Instant::now();
        let ended = AssertUnwindSafe(self.wait_and_run(&order, &cancel)).catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!(%key, "build.panicked");
            Ended::lost("The executor failed in the middle of it.")
        });
        self.clear_away(&order).await;
        tracing::info!(%key, verdict = ?ended.verdict, elapsed_ms = begun.elapsed().as_millis(), "build.ended");
        self.parts.metrics.ended(word(ended.verdict));
        for n in 1..=TRIES {
            match self.parts.store.end(&key, &ended).await {
                Ok(()) => return,
                // The next start of the service calls it lost.
                Err(error) => tracing::error!(%key, error = %causes(&error), "build.end_not_written"),
            }
            tokio::time::sleep(Duration::from_millis(250) * n).await;
        }
    }

    async fn wait_and_run(&self, order: &Order, cancel: &CancellationToken) -> Ended {
        let left = Duration::try_from(order.deadline.duration_since(self.parts.clock.now())).unwrap_or_default();
        let queued = Instant::now();
        let slot = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ended::aborted(),
            () = self.parts.shutdown.requested() => return Ended::interrupted(),
            () = tokio::time::sleep(left) => return Ended::timed_out("Its time was over before there was a place for it."),
            slot = self.slots.take() => slot,
        };
        let Some(slot) = slot else { return Ended::interrupted() };
        if let Err(error) = self.parts.store.begin(&order.key).await {
            tracing::error!(key = %order.key, error = %causes(&error), "build.begin_not_written");
            return Ended::lost("The executor could not write down that it began.");
        }
        let left = left.saturating_sub(queued.elapsed()).min(self.parts.config.max_duration);
        let secrets = [order.read.clone(), order.put.clone()];
        let mut log = match self.parts.logs.begin(&order.key, self.parts.config.output, secrets).await {
            Ok(log) => log,
            Err(error) => return broken(order, "Its log could not be begun", &error),
        };
        let ended = match self.make_site(order, slot).await {
            Ok(site) => {
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => Ended::aborted(),
                    () = self.parts.shutdown.requested() => Ended::interrupted(),
                    () = tokio::time::sleep(left) => Ended::timed_out(format!("It took longer than the {} that it had.", seconds(left))),
                    ended = self.run(order, &site, &mut log) => ended.unwrap_or_else(|ended| ended),
                }
            }
            Err(ended) => ended,
        };
        let last = match ended.verdict {
            Verdict::Success => "success".to_owned(),
            verdict => format!("{}: {}", word(verdict), ended.reason),
        };
        if let Err(error) = log.say(&last).await {
            tracing::warn!(key = %order.key, error = %causes(&error), "log.not_written");
        }
        ended
    }

    /// Makes the workspace and the control group. Not cancelled in between, so that nothing is made after it was removed.
    async fn make_site(&self, order: &Order, slot: Slot) -> Result<Site, Ended> {
        let (work, key, cgroups, limits) = (self.parts.work.clone(), order.key, self.parts.cgroups.clone(), self.parts.config.limits());
        let made = blocking(move || {
            let workspace = Workspace::create(&work, &key)?;
            let cgroup = cgroups.map(|cgroups| cgroups.make(&key, &limits)).transpose()?;
            Ok((workspace, cgroup))
        });
        let (workspace, cgroup) = made.await.map_err(|error| broken(order, "Its workspace could not be made", &error))?;
        let sandbox = self.parts.sandbox.clone().map_err(|reason| Ended::broken(format!("Builds cannot be isolated here: {reason}.")))?;
        Ok(Site { workspace, cgroup, slot, sandbox })
    }

    async fn run(&self, order: &Order, site: &Site, log: &mut LogFile) -> Result<Ended, Ended> {
        let not_logged = |error| broken(order, "Its log could not be written", &error);
        log.say(&self.describe(order, site)).await.map_err(not_logged)?;
        self.check_out(order, site, log).await?;
        log.say(&format!("checked out {} of {}", order.source.sha, order.source.branch)).await.map_err(not_logged)?;
        let socket = super::socket::open(self, order, site.sandbox.user_outside(site.slot.number), &site.workspace)?;
        self.furnish(order, site, socket.path()).await?;
        let doors = site.cgroup.as_ref().map(Cgroup::doors).unwrap_or_default();
        let launch = Launch {
            workspace: &site.workspace,
            slot: site.slot.number,
            network: self.parts.config.policy(&order.repo).network,
            limits: self.parts.config.limits(),
            doors,
            mark: self.mark(order),
            socket: Some(socket.path()),
        };
        let program = site.sandbox.program(&launch);
        let watch = script::Watch { workspace: &site.workspace, limits: launch.limits, timeout: order.timeout };
        let status = script::run(program, log, watch, self.end_processes(order, site)).await?;
        let out_of_memory = site.cgroup.as_ref().is_some_and(Cgroup::ran_out_of_memory);
        let ended = Ended::of_script(status, out_of_memory, &launch.limits);
        if ended.verdict != Verdict::Success {
            return Ok(ended);
        }
        let arrived = socket.close();
        self.deliver(order, &site.workspace, &arrived, log).await
    }

    /// Says what the build is run with.
    fn describe(&self, order: &Order, site: &Site) -> String {
        let limits = self.parts.config.limits();
        let how = self.parts.cgroups.as_ref().map_or("limits of each process", |cgroups| cgroups.name());
        let network = if self.parts.config.policy(&order.repo).network { "the machine's network" } else { "no network" };
        format!(
            "build {} in {}; {} of memory and {} processes by {how}, {} of disk, {} of output, {network}",
            order.number,
            site.sandbox.describe(site.slot.number),
            human(limits.memory),
            limits.processes,
            human(limits.disk),
            human(self.parts.config.output),
        )
    }

    /// Fetches the commit, outside of the sandbox and before anything of it can run.
    async fn check_out(&self, order: &Order, site: &Site, log: &mut LogFile) -> Result<(), Ended> {
        let refused = |error: &GitError| {
            tracing::warn!(key = %order.key, fault = ?error.fault, said = error.said, "build.not_checked_out");
            Ended::broken(format!("The source could not be checked out: {} ({}).", error, error.said))
        };
        let not_logged = |error| broken(order, "Its log could not be written", &error);
        let remote = Remote::new(&order.source.url).map_err(|error| refused(&error))?;
        let remote = remote.access(Access::Bearer(order.read.clone())).ca(self.parts.config.common.ca.clone());
        let policy = self.parts.config.policy(&order.repo);
        let into = site.workspace.build();
        let begun = Instant::now();
        let mut n = 1;
        loop {
            let checkout = Checkout {
                remote: &remote,
                ref_name: order.source.ref_name.as_str(),
                sha: &order.source.sha,
                into: &into,
                depth: policy.depth,
                // The build's own deadline ends it earlier.
                deadline: self.parts.config.max_duration,
                max_bytes: self.parts.config.disk,
                cancel: CancellationToken::new(),
            };
            match self.parts.git.checkout(checkout).await {
                Ok(()) => break,
                Err(error) if matches!(error.fault, Fault::Unreachable | Fault::ServerFailed) && begun.elapsed() < MIRROR_PATIENCE => {
                    if n == TRIES {
                        // Whoever follows the build shall know what it waits for.
                        log.say("the mirror of the source cannot be reached; it is asked again").await.map_err(not_logged)?;
                    }
                }
                // A mirror that dies in the middle of an answer leaves one that is no git.
                Err(error) if error.fault == Fault::NotGit && n < TRIES => {}
                Err(error) => return Err(refused(&error)),
            }
            tokio::time::sleep((Duration::from_millis(250) * n).min(LONGEST_PAUSE)).await;
            n += 1;
            let workspace = site.workspace.clone();
            blocking(move || workspace.start_over()).await.map_err(|error| broken(order, "Its workspace could not be made", &error))?;
        }
        Ok(())
    }

    /// Puts everything into the workspace that the build begins with, and gives it to the build's user.
    async fn furnish(&self, order: &Order, site: &Site, socket: &std::path::Path) -> Result<(), Ended> {
        let mut variables = order.variables.clone();
        if let Ok(name) = "SIGNALBOX_SOCKET".parse() {
            variables.insert(name, site.sandbox.socket_inside(socket));
        }
        let (workspace, source, script) = (site.workspace.clone(), order.source.clone(), order.script.clone());
        let (inside, outside) = (site.sandbox.user_inside(site.slot.number), site.sandbox.user_outside(site.slot.number));
        let furnished = blocking(move || {
            workspace.name_branch(&source.ref_name, &source.branch, source.sha.as_str())?;
            write_control(&workspace.control(), &script, &variables, inside)?;
            outside.map_or(Ok(()), |user| workspace.give(user))
        });
        furnished.await.map_err(|error| broken(order, "Its workspace could not be furnished", &error))
    }

    /// The mark by which the build's processes are found where no control group holds them.
    fn mark(&self, order: &Order) -> String {
        format!("{}.{}", self.parts.instance, order.key)
    }

    /// Ends all that the build started, and waits until it is gone.
    async fn end_processes(&self, order: &Order, site: &Site) {
        let mark = self.mark(order);
        let key = order.key;
        let ended = match &site.cgroup {
            Some(cgroup) => {
                let cgroup = cgroup.clone();
                blocking(move || cgroup.kill()).await
            }
            None => blocking(move || gone(end_marked(&mark, PATIENCE))).await,
        };
        if let Err(error) = ended {
            tracing::error!(%key, error = %causes(&error), "build.processes_left");
        }
    }

    /// Removes everything of a build but its log, whatever state it is in.
    async fn clear_away(&self, order: &Order) {
        let (work, key, cgroups, mark) = (self.parts.work.clone(), order.key, self.parts.cgroups.clone(), self.mark(order));
        let cleared = blocking(move || {
            match cgroups {
                Some(cgroups) => cgroups.of(&key).end()?,
                None => gone(end_marked(&mark, PATIENCE))?,
            }
            Workspace::at(&work, &key).remove()
        });
        if let Err(error) = cleared.await {
            tracing::error!(%key, error = %causes(&error), "build.not_cleared_away");
        }
    }
}

fn gone(gone: bool) -> std::io::Result<()> {
    if gone { Ok(()) } else { Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "processes of a build do not end")) }
}

/// Work on files, off the threads that must stay quick.
pub(super) async fn blocking<T, F>(work: F) -> std::io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> std::io::Result<T> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

/// An end for which the executor's own machine is to blame. What exactly it was stands in the service's log.
pub(super) fn broken(order: &Order, what: &str, error: &std::io::Error) -> Ended {
    tracing::error!(key = %order.key, error = %causes(error), what, "build.broken");
    let why = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ": the executor's disk is full",
        _ => "",
    };
    Ended::broken(format!("{what}{why}."))
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Success => "success",
        Verdict::Failed => "failed",
        Verdict::Unstable => "unstable",
        Verdict::Aborted => "aborted",
        Verdict::Skipped => "skipped",
        Verdict::TimedOut => "timed out",
        Verdict::Lost => "lost",
    }
}

pub(super) fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs().max(1))
}
