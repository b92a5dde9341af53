//! The local executor's configuration.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use signalbox_contract::RepoName;
use signalbox_service::config::{Bytes, Common, ConfigErrors, Inspected, Reader, inspect};

use crate::limits::Limits;

/// Where the service listens unless it is told otherwise.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7484);

/// The first of the users that builds become where the executor runs as root: outside of what systems give to people and
/// to services.
const FIRST_USER: u32 = 64_800;

const DAY: Duration = Duration::from_hours(24);

/// The local executor's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What all services have.
    pub common: Common,
    /// How many builds run at the same time.
    pub capacity: u32,
    /// How many more may wait.
    pub queue: u32,
    /// Bytes of memory of one build.
    pub memory: u64,
    /// Processes and threads of one build.
    pub processes: u64,
    /// Bytes on the disk of one build.
    pub disk: u64,
    /// Bytes that are kept of what one build prints.
    pub output: u64,
    /// How long a build may take, whatever it asks for.
    pub max_duration: Duration,
    /// How long an ended build is remembered, with its log.
    pub keep: Duration,
    /// Whether builds may run without any isolation where none can be had.
    pub unsandboxed: bool,
    /// Where bubblewrap is.
    pub bubblewrap: PathBuf,
    /// The first of the users that builds become; matters where the executor runs as root.
    pub build_user: u32,
    /// Further files and folders of the machine that builds may read.
    pub read_only: Vec<PathBuf>,
    /// What builds of single repositories may do.
    pub repositories: BTreeMap<RepoName, Policy>,
}

/// What builds of a repository may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether they may use the network.
    pub network: bool,
    /// How many commits of history they get; all of it when absent.
    pub depth: Option<u32>,
}

impl Config {
    /// Reads the configuration of a file.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::inspect(path).whole()
    }

    /// The same, as far as the file can be read, with all that is wrong with it.
    pub fn inspect(path: &Path) -> Inspected<Self> {
        inspect(path, Self::read, Common::try_public_keys)
    }

    /// Reads the configuration of a table.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let cores = std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
        let common = Common::read(reader, LISTEN);
        let capacity = reader.within("capacity", cores, 1..=1000);
        let queue = reader.within("queue", 1000, 0..=100_000);
        let memory = reader.within("memory", Bytes(2 << 30), Bytes(16 << 20)..=Bytes(1 << 50)).0;
        let processes = reader.within("processes", 512_u64, 8..=1_000_000);
        let disk = reader.within("disk", Bytes(4 << 30), Bytes(1 << 20)..=Bytes(1 << 50)).0;
        let output = reader.within("output", Bytes(64 << 20), Bytes(4 << 10)..=Bytes(16 << 30)).0;
        let max_duration = reader.within("max_duration", Duration::from_hours(2), Duration::from_secs(1)..=7 * DAY);
        let keep = reader.within("keep", 30 * DAY, DAY..=3650 * DAY);
        let unsandboxed = reader.or("unsandboxed", false);
        let bubblewrap = reader.or("bubblewrap", PathBuf::from("/usr/bin/bwrap"));
        let build_user = reader.within("build_user", FIRST_USER, 1000..=4_000_000_000);
        let read_only: Vec<PathBuf> = reader.or("read_only", Vec::new());
        if read_only.iter().any(|path| !harmless(path, common.as_ref())) {
            reader.refuse(
                "read_only",
                "must name absolute paths below the root, outside of /proc, /sys, /dev, /etc, /root and the data folder",
            );
        }
        let repositories = reader.named_tables("repositories", |name, table| {
            let network = table.or("network", false);
            let depth = table.optional::<u32>("depth").filter(|depth| *depth > 0);
            let Ok(name) = name.parse::<RepoName>() else {
                table.refuse("", "is not a valid name of a repository");
                return None;
            };
            Some((name, Policy { network, depth }))
        });
        Some(Self {
            common: common?,
            capacity,
            queue,
            memory,
            processes,
            disk,
            output,
            max_duration,
            keep,
            unsandboxed,
            bubblewrap,
            build_user,
            read_only,
            repositories: repositories.into_iter().collect(),
        })
    }

    pub(crate) const fn limits(&self) -> Limits {
        Limits { memory: self.memory, processes: self.processes, disk: self.disk }
    }

    pub(crate) fn policy(&self, repo: &RepoName) -> Policy {
        self.repositories.get(repo).copied().unwrap_or_default()
    }
}

/// Whether a path may be shown to builds: nothing that holds secrets, and nothing above our own data.
fn harmless(path: &Path, common: Option<&Common>) -> bool {
    let plain = path.is_absolute() && !path.components().any(|part| matches!(part, std::path::Component::ParentDir));
    let closed = ["/proc", "/sys", "/dev", "/etc", "/root", "/run"].iter().any(|closed| path.starts_with(closed));
    let ours = common.is_some_and(|common| common.data.starts_with(path) || path.starts_with(&common.data));
    plain && !closed && !ours && path != Path::new("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let mut reader = Reader::parse("local-executor.toml", text).expect("TOML");
        let config = Config::read(&mut reader);
        reader.finish().map_err(|errors| errors.to_string())?;
        Ok(config.expect("all there"))
    }

    #[test]
    fn an_empty_file_is_a_whole_configuration() {
        let config = read("").expect("valid");
        assert_eq!((config.memory, config.processes, config.disk, config.output), (2 << 30, 512, 4 << 30, 64 << 20));
        assert!(!config.unsandboxed && !config.policy(&"any/thing".parse().expect("valid")).network);
    }

    #[test]
    fn a_repository_gets_what_its_table_says() {
        let config = read("[repositories.\"team/app\"]\nnetwork = true\ndepth = 50\n").expect("valid");
        let policy = config.policy(&"team/app".parse().expect("valid"));
        assert_eq!(policy, Policy { network: true, depth: Some(50) });
        assert_eq!(config.policy(&"team/other".parse().expect("valid")), Policy::default());
    }

    #[test]
    fn what_would_open_the_sandbox_is_refused() {
        for path in ["/", "/etc", "/proc/1", "/root/.ssh", "/usr/../etc"] {
            assert!(read(&format!("read_only = [\"{path}\"]\n")).expect_err(path).contains("read_only"), "{path}");
        }
        assert!(read("read_only = [\"/opt/tools\"]\n").is_ok());
        assert!(read("memory = \"1KiB\"\nrepositories = { \"../x\" = {} }\nunknown = 1\n").is_err());
    }
}
