//! The artifact store's configuration: one TOML file.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use signalbox_service::client::Client;
use signalbox_service::config::{Bytes, Common, ConfigErrors, Inspected, Reader, inspect};
use url::Url;

/// Where the store listens unless told otherwise.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7482);

/// The configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// What all services have.
    pub common: Common,
    /// The largest blob that is taken, in bytes.
    pub max_blob: u64,
    /// How many bytes all blobs together may have; 0 is no bound.
    pub max_total: u64,
    /// How many bytes of the disk are left free: uploads that would leave less are refused.
    pub keep_free: u64,
    /// How many versions of a name are kept.
    pub keep_versions: u64,
    /// How long blobs are kept that nobody needs.
    pub keep_unreferenced: Duration,
    /// How long an upload may take in all.
    pub upload_timeout: Duration,
    /// How often the store looks for what nobody needs.
    pub collect_every: Duration,
    /// The controller, which says which operators' tokens are revoked.
    pub controller: Option<Url>,
}

impl Config {
    /// Reads the configuration from a table.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let common = Common::read(reader, DEFAULT_LISTEN);
        let Bytes(max_blob) = reader.within("max_blob", Bytes(8 << 30), Bytes(1)..=Bytes(1 << 40));
        let Bytes(max_total) = reader.or("max_total", Bytes(0));
        let Bytes(keep_free) = reader.or("keep_free", Bytes(64 << 20));
        let keep_versions = reader.within("keep_versions", 20, 1..=10_000);
        let keep_unreferenced = reader.or("keep_unreferenced", Duration::from_hours(1));
        let day = Duration::from_hours(24);
        let upload_timeout = reader.within("upload_timeout", Duration::from_hours(1), Duration::from_secs(1)..=day);
        let collect_every = reader.within("collect_every", Duration::from_mins(10), Duration::from_secs(1)..=day);
        let controller = reader.optional_service("controller");
        let ca = common.as_ref().and_then(|common| common.ca.clone());
        if let Some(Err(error)) = controller.clone().map(|url| Client::new(url, ca.as_deref())) {
            reader.refuse("controller", error.to_string());
        }
        Some(Self {
            common: common?,
            max_blob,
            max_total,
            keep_free,
            keep_versions,
            keep_unreferenced,
            upload_timeout,
            collect_every,
            controller,
        })
    }

    /// Reads the configuration from a file.
    ///
    /// # Errors
    /// When the file cannot be read or anything in it is wrong: all that is wrong at once.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::inspect(path).whole()
    }

    /// The same, as far as the file can be read, with all that is wrong with it.
    pub fn inspect(path: &Path) -> Inspected<Self> {
        inspect(path, Self::read, Common::try_public_keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigErrors> {
        let mut reader = Reader::parse("artifact-store.toml", text)?;
        let config = Config::read(&mut reader);
        reader.finish()?;
        Ok(config.expect("no error, so a configuration"))
    }

    #[test]
    fn everything_has_a_default() {
        let config = read("").expect("valid");
        assert_eq!(config.common.listen.port(), 7482);
        assert_eq!((config.max_blob, config.max_total, config.keep_versions), (8 << 30, 0, 20));
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let text = "max_blob = \"0B\"\nkeep_versions = 0\ncontroller = \"http://example.org\"\ncollect = 1\nupload_timeout = \"1w\"\n";
        let errors = read(text).expect_err("wrong").to_string();
        for key in ["max_blob", "keep_versions", "controller", "collect", "upload_timeout"] {
            assert!(errors.contains(key), "{key}: {errors}");
        }
    }
}
