//! The VCS worker's configuration.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use signalbox_service::config::{Bytes, Common, ConfigErrors, Inspected, Reader, inspect};

use crate::mirror::{Entry, Retention};
use crate::remote::Source;

/// Where the worker listens unless it is told otherwise.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7481);

/// The configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// What all services have.
    pub common: Common,
    /// Which repositories may be fetched, and how.
    pub sources: Vec<Source>,
    /// Where mirrors live, beside our own.
    pub mirrors: Vec<Entry>,
    /// How much, and for how long.
    pub limits: Limits,
    /// How long things are kept that nobody needs.
    pub retention: Retention,
}

/// How much is fetched and served, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long one fetch may take.
    pub fetch_timeout: Duration,
    /// How large the copy of one repository may become, in bytes.
    pub max_repository: u64,
    /// How many fetches run at a time.
    pub max_concurrent: usize,
    /// How many readers of mirrors are served at a time.
    pub max_readers: usize,
    /// How long one reader may take.
    pub read_timeout: Duration,
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
        let sources = reader.tables("sources", Source::read);
        let seconds = Duration::from_secs;
        let Bytes(max_repository) = reader.within("max_repository", Bytes(4 << 30), Bytes(1 << 20)..=Bytes(1 << 40));
        let limits = Limits {
            fetch_timeout: reader.within("fetch_timeout", seconds(600), seconds(1)..=seconds(86_400)),
            max_repository,
            max_concurrent: reader.within("max_concurrent", 4, 1..=256),
            max_readers: reader.within("max_readers", 16, 1..=1024),
            read_timeout: reader.within("read_timeout", seconds(1800), seconds(1)..=seconds(86_400)),
        };
        let mirrors = reader.named_tables("mirrors", |name, reader| Entry::read(name, limits.fetch_timeout, reader));
        let (hour, day) = (seconds(3600), seconds(24 * 3600));
        let mut retention = Retention { run_refs: 7 * day, copies: 90 * day };
        reader.table("retention", |reader| {
            retention.run_refs = reader.within("run_refs", retention.run_refs, hour..=3650 * day);
            retention.copies = reader.within("copies", retention.copies, day..=3650 * day);
            Some(())
        });
        Some(Self { common: common?, sources, mirrors, limits, retention })
    }
}
