//! How a fake GitLab is to be.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use signalbox_service::clock::{SharedClock, SystemClock};
use url::Url;

/// A version of GitLab, as far as behaviour depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl Version {
    /// Whether deleting a project only marks and renames it.
    pub fn marks_deleted(self) -> bool {
        self >= Self(18, 0)
    }

    /// Whether hooks can sign.
    pub fn signs_hooks(self) -> bool {
        self >= Self(19, 0)
    }

    /// Whether deliveries carry a key.
    pub fn sends_keys(self) -> bool {
        self >= Self(17, 4)
    }

    /// Whether a hook that is answered with 4xx is off for good at once.
    pub fn disables_at_once(self) -> bool {
        self < Self(17, 11)
    }

    /// Whether deliveries can be listed.
    pub fn lists_deliveries(self) -> bool {
        self >= Self(17, 3)
    }

    /// Whether deliveries can be sent again.
    pub fn resends_deliveries(self) -> bool {
        self >= Self(17, 4)
    }

    /// Whether a status that is reported twice is taken twice.
    pub fn takes_repeated_statuses(self) -> bool {
        self >= Self(18, 2)
    }

    /// Whether a job that is cancelled is `canceling` until its runner has stopped.
    pub fn waits_for_stopped(self) -> bool {
        self >= Self(17, 0)
    }

    /// Whether pipelines take inputs.
    pub fn takes_inputs(self) -> bool {
        self >= Self(18, 1)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.0", self.0, self.1)
    }
}

/// A limit on requests.
#[derive(Debug, Clone, Copy)]
pub struct RateLimit {
    /// How many a user, or an address without one, may send in a period.
    pub requests: u32,
    /// The period.
    pub period: Duration,
}

/// How a fake GitLab is to be.
#[derive(Clone)]
pub struct Options {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where its repositories are. They are all that it keeps on disk.
    pub data: PathBuf,
    /// How it is reached, if not as it listens.
    pub public_url: Option<Url>,
    /// The administrator's token; a new one if it is not given.
    pub root_token: Option<SecretString>,
    /// Which version it says that it is, and behaves as.
    pub version: Version,
    /// Where time comes from.
    pub clock: SharedClock,
    /// Where chance begins, for faults.
    pub seed: u64,
    /// How long after a push its pipelines appear.
    pub pipeline_delay: Duration,
    /// How long a project's destruction takes.
    pub deletion_delay: Duration,
    /// Whether a marked project may be removed for good.
    pub permanent_removal: bool,
    /// How many pipelines one push makes at most.
    pub pipelines_per_push: usize,
    /// With more changed branches, or tags, than this, hooks are not told of a push.
    pub hooks_per_push: usize,
    /// The limit on requests, if there is one.
    pub rate_limit: Option<RateLimit>,
    /// Whether hooks that fail are turned off.
    pub disables_hooks: bool,
    /// Whether hooks may go to addresses of the local network.
    pub hooks_to_local_network: bool,
    /// How long a hook may take to answer.
    pub hook_timeout: Duration,
    /// Whether artifacts are given out by another origin, as with object storage.
    pub redirects_artifacts: bool,
    /// How many pipelines of a project are kept.
    pub kept_pipelines: usize,
    /// How long a runner may say nothing of a job that it has, before the job has failed.
    pub runner_patience: Duration,
    /// The largest push, in bytes.
    pub max_push: u64,
}

impl Options {
    /// A GitLab on a free port of this machine, with its repositories below `data`.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data: data.into(),
            public_url: None,
            root_token: None,
            version: Version(18, 5),
            clock: SystemClock::shared(),
            seed: 1,
            pipeline_delay: Duration::from_millis(30),
            deletion_delay: Duration::from_millis(200),
            permanent_removal: true,
            pipelines_per_push: 4,
            hooks_per_push: 3,
            rate_limit: None,
            disables_hooks: false,
            hooks_to_local_network: true,
            hook_timeout: Duration::from_secs(10),
            redirects_artifacts: false,
            kept_pipelines: 20_000,
            runner_patience: Duration::from_hours(1),
            max_push: 2 * 1024 * 1024 * 1024,
        }
    }

    /// The same, of another version.
    #[must_use]
    pub const fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }
}
