//! Control groups, version 2 or 1.
//!
//! Each build has one of its own, named after the executor's data folder and the attempt. It bounds memory and processes,
//! and it is how everything that a build started is found and ended, whatever that did to hide. Groups lie under the
//! executor's own, so that what bounds the executor bounds its builds too.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use signalbox_contract::AttemptKey;

use super::Limits;

/// Where version 2 stands by itself, and where it stands beside version 1.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// How long the end of a group's processes is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Where this machine lets us make control groups.
#[derive(Debug, Clone)]
pub(crate) struct Cgroups {
    version: Version,
    /// With version 1 a folder for memory and one for processes; with version 2 one for both.
    parents: Vec<PathBuf>,
    prefix: String,
}

impl Cgroups {
    /// Looks for control groups that can be written, and tries them out. `instance` tells this executor's groups from those
    /// of others. `None` where there are none.
    pub(crate) fn find(instance: &str) -> Option<Self> {
        let prefix = format!("signalbox-{instance}.");
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        [Self::second(&own, &prefix), Self::first(&own, &prefix)].into_iter().flatten().find(Self::works)
    }

    fn second(own: &str, prefix: &str) -> Option<Self> {
        let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
        let root = ROOTS.iter().map(Path::new).find(|root| root.join("cgroup.controllers").exists())?;
        let parent = below(root, path)?;
        let controllers = std::fs::read_to_string(parent.join("cgroup.controllers")).ok()?;
        let has = |wanted| controllers.split_whitespace().any(|controller| controller == wanted);
        if !has("memory") || !has("pids") {
            return None;
        }
        let enabled = std::fs::read_to_string(parent.join("cgroup.subtree_control")).unwrap_or_default();
        if !["memory", "pids"].iter().all(|wanted| enabled.split_whitespace().any(|controller| controller == *wanted)) {
            // A group with processes of its own can hand no controllers down: the executor itself moves one down first.
            let leaf = parent.join("supervisor");
            make(&leaf).ok()?;
            std::fs::write(leaf.join("cgroup.procs"), "0").ok()?;
            std::fs::write(parent.join("cgroup.subtree_control"), "+memory +pids").ok()?;
        }
        Some(Self { version: Version::Two, parents: vec![parent], prefix: prefix.to_owned() })
    }

    fn first(own: &str, prefix: &str) -> Option<Self> {
        let parents = ["memory", "pids"].map(|controller| {
            let root = Path::new("/sys/fs/cgroup").join(controller);
            let path = own.lines().find_map(|line| {
                let (_, line) = line.split_once(':')?;
                let (controllers, path) = line.split_once(':')?;
                controllers.split(',').any(|name| name == controller).then_some(path)
            })?;
            // In a container the path may be one of the host's.
            below(&root, path).filter(|path| path.join("cgroup.procs").exists())
        });
        let parents: Option<Vec<PathBuf>> = parents.into_iter().collect();
        Some(Self { version: Version::One, parents: parents?, prefix: prefix.to_owned() })
    }

    fn works(&self) -> bool {
        let group = Cgroup {
            version: self.version,
            folders: self.parents.iter().map(|parent| parent.join(format!("{}try", self.prefix))).collect(),
        };
        let limits = Limits { memory: 1 << 30, processes: 64, disk: 0 };
        let made = group.make(&limits).is_ok();
        group.remove_now().is_ok() && made
    }

    /// Makes a build's group.
    pub(crate) fn make(&self, key: &AttemptKey, limits: &Limits) -> io::Result<Cgroup> {
        let group = self.of(key);
        if let Err(error) = group.make(limits) {
            // What was made of it is not left behind; why it failed is what counts.
            let _ = group.remove_now();
            return Err(error);
        }
        Ok(group)
    }

    /// A build's group, whether it is there or not.
    pub(crate) fn of(&self, key: &AttemptKey) -> Cgroup {
        let folders = self.parents.iter().map(|parent| parent.join(format!("{}{key}", self.prefix))).collect();
        Cgroup { version: self.version, folders }
    }

    /// Ends and removes the groups that a former process of this executor left behind.
    pub(crate) fn clear(&self) -> io::Result<()> {
        for parent in &self.parents {
            for entry in std::fs::read_dir(parent)? {
                let entry = entry?;
                if entry.file_name().to_str().is_some_and(|name| name.starts_with(&self.prefix)) {
                    Cgroup { version: self.version, folders: vec![entry.path()] }.end()?;
                }
            }
        }
        Ok(())
    }

    /// What it is, for people.
    pub(crate) const fn name(&self) -> &'static str {
        match self.version {
            Version::One => "cgroup v1",
            Version::Two => "cgroup v2",
        }
    }
}

/// A folder below a root, unless its path would lead out of it.
fn below(root: &Path, path: &str) -> Option<PathBuf> {
    let path = path.trim_start_matches('/');
    let inside = !path.split('/').any(|part| part == "..");
    let folder = if path.is_empty() { root.to_owned() } else { root.join(path) };
    (inside && folder.is_dir()).then_some(folder)
}

fn make(folder: &Path) -> io::Result<()> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// The group of one build.
#[derive(Debug, Clone)]
pub(crate) struct Cgroup {
    version: Version,
    folders: Vec<PathBuf>,
}

impl Cgroup {
    fn make(&self, limits: &Limits) -> io::Result<()> {
        for folder in &self.folders {
            make(folder)?;
        }
        let set = |file: &str, value: String| {
            self.folders
                .iter()
                .map(|folder| folder.join(file))
                .find(|path| path.exists())
                .map_or_else(|| Err(io::Error::from(io::ErrorKind::NotFound)), |path| std::fs::write(path, value))
        };
        set("pids.max", limits.processes.to_string())?;
        match self.version {
            Version::One => {
                set("memory.limit_in_bytes", limits.memory.to_string())?;
                // Not every kernel counts swap; where it does, swap gives no more.
                let _ = set("memory.memsw.limit_in_bytes", limits.memory.to_string());
            }
            Version::Two => {
                set("memory.max", limits.memory.to_string())?;
                let _ = set("memory.swap.max", "0".to_owned());
                // Half a build is no build.
                let _ = set("memory.oom.group", "1".to_owned());
            }
        }
        Ok(())
    }

    /// The files into which a process writes `0` to join.
    pub(crate) fn doors(&self) -> Vec<PathBuf> {
        self.folders.iter().map(|folder| folder.join("cgroup.procs")).collect()
    }

    /// Whether something of the build was killed because its memory was used up.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        let file = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        self.folders
            .iter()
            .filter_map(|folder| std::fs::read_to_string(folder.join(file)).ok())
            .any(|text| text.lines().filter_map(|line| line.strip_prefix("oom_kill ")).any(|count| count.trim() != "0"))
    }

    /// Kills all of the group, waits until nothing of it is left, and keeps the group itself.
    pub(crate) fn kill(&self) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            let mut left = false;
            for folder in &self.folders {
                // One write ends a whole group of version 2; what version 1 needs is done there as well, and harms nothing.
                if self.version == Version::Two {
                    let _ = std::fs::write(folder.join("cgroup.kill"), "1");
                }
                let members = match std::fs::read_to_string(folder.join("cgroup.procs")) {
                    Ok(members) => members,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                };
                for pid in members.lines().filter_map(|line| line.trim().parse().ok()).filter_map(Pid::from_raw) {
                    left = true;
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            if !left {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "processes of a build do not end"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Kills all of the group, and removes it.
    pub(crate) fn end(&self) -> io::Result<()> {
        self.kill()?;
        let begun = Instant::now();
        loop {
            match self.remove_now() {
                // A process that has just ended may still be counted.
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy && begun.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                done => return done,
            }
        }
    }

    fn remove_now(&self) -> io::Result<()> {
        for folder in &self.folders {
            match std::fs::remove_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}
