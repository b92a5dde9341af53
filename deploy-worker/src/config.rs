//! The deployment worker's configuration.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use signalbox_contract::EnvironmentName;
use signalbox_service::config::{Bytes, Common, ConfigErrors, Inspected, Reader, inspect};
use url::Url;

use crate::environment::Environment;

/// Where the worker listens unless it is told otherwise.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7483);

/// The configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// What all services have.
    pub common: Common,
    /// Where the artifact store is.
    pub store: Url,
    /// How many bytes of artifacts are kept here between deployments.
    pub cache_size: u64,
    /// How much of the hosts is done how long.
    pub limits: Limits,
    /// The environments, by name.
    pub environments: BTreeMap<EnvironmentName, Environment>,
}

/// How many hosts at a time, and how long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many hosts of one deployment are worked on at a time.
    pub parallel: usize,
    /// How long connecting to a host and logging in may take.
    pub connect: Duration,
    /// How long a step on a host may take that moves no bytes.
    pub step: Duration,
    /// How long a deployment may take on all hosts.
    pub deploy: Duration,
    /// For how long a connection that nobody uses is kept.
    pub idle: Duration,
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// All that is wrong with it at once.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::inspect(path).whole()
    }

    /// The same, as far as the file can be read, with all that is wrong with it.
    pub fn inspect(path: &Path) -> Inspected<Self> {
        inspect(path, Self::read, Common::try_public_keys)
    }

    /// Reads the configuration from an open file.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let common = Common::read(reader, DEFAULT_LISTEN);
        let store = reader.required_service("store");
        let Bytes(cache_size) = reader.or("cache_size", Bytes(4 << 30));
        let seconds = Duration::from_secs;
        let limits = Limits {
            parallel: reader.within("parallel", 16, 1..=256),
            connect: reader.within("connect_timeout", seconds(10), seconds(1)..=seconds(300)),
            step: reader.within("step_timeout", seconds(60), seconds(1)..=seconds(3600)),
            deploy: reader.within("deploy_timeout", seconds(900), seconds(1)..=seconds(86_400)),
            idle: reader.within("idle_timeout", seconds(60), seconds(1)..=seconds(3600)),
        };
        let read = reader.named_tables("environments", Environment::read);
        let environments = read.into_iter().map(|environment| (environment.name.clone(), environment)).collect();
        Some(Self { common: common?, store: store?, cache_size, limits, environments })
    }
}
