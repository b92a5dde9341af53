//! Who may be fetched.
//!
//! Invariants: a URL is fetched only if an entry of the configuration covers it, by exact scheme, host and port and by whole
//! parts of the path. Every address of its host is checked, in one lookup, and git is made to use an address that was
//! checked. Private addresses need an entry that says so; link-local ones, where clouds keep their metadata, are never used.

mod address;
mod source;

use std::net::IpAddr;
use std::time::Duration;

use signalbox_contract::{Digest, Failure, FailureCode, SourceUrl};
use signalbox_service::auth::sha256;
use signalbox_service::git::Remote;
use signalbox_service::ledger::WorkError;
use signalbox_service::telemetry::causes;
use url::Url;

pub use source::Source;
pub(crate) use source::check_clear_text;

use address::{Kind, kind_of};

/// How long a name may take to resolve.
const LOOKUP: Duration = Duration::from_secs(10);

/// How many addresses of a host are handed to git.
const MOST_ADDRESSES: usize = 8;

/// The sources that are allowed.
#[derive(Debug, Clone)]
pub struct Sources {
    entries: Vec<Source>,
}

/// A source that may be fetched, now.
#[derive(Debug, Clone)]
pub struct Cleared {
    /// How git is to reach it.
    pub remote: Remote,
    /// Which copy of ours is its: one for each URL and credential.
    pub copy: Digest,
}

impl Sources {
    /// These entries.
    pub const fn new(entries: Vec<Source>) -> Self {
        Self { entries }
    }

    /// Clears a source for fetching, if an entry allows it and its host has only addresses that may be used.
    ///
    /// # Errors
    /// The failure to answer with: not allowed, no address, or none that may be used.
    pub async fn clear(&self, url: &SourceUrl) -> Result<Cleared, WorkError> {
        // Of several entries the most specific counts.
        let Some(entry) = self.entries.iter().filter(|entry| entry.covers(url)).max_by_key(|entry| entry.prefix_len()) else {
            let failure = Failure::new(FailureCode::SourceNotAllowed, format!("No source of the VCS worker's configuration covers {url}."));
            let hint = "Add a [[sources]] entry with its scheme, host, port and path to the VCS worker's configuration.";
            return Err(WorkError::Failed(failure.configure(hint)));
        };
        let addresses = usable_addresses(url.url(), entry.allows_private()).await.map_err(|trouble| {
            let failure = trouble.failure(FailureCode::SourceAddress, "If that is meant, say private = true in its [[sources]] entry.");
            if trouble.passes { WorkError::Again(failure) } else { WorkError::Failed(failure) }
        })?;
        let remote = Remote::source(url).map_err(|error| WorkError::Failed(Failure::new(FailureCode::SourceNotAllowed, error.said)))?;
        let access = entry.credential().access().map_err(|error| {
            tracing::error!(error = %causes(&error), "source.credential_unreadable");
            let failure = Failure::new(FailureCode::SourceDenied, format!("The credential for {url} cannot be read."));
            WorkError::Failed(failure.hint("See the VCS worker's log; the file must be there, and readable by the worker alone."))
        })?;
        let remote = remote.access(access).pinned(addresses).ca(entry.ca().cloned());
        Ok(Cleared { remote, copy: sha256(format!("{url}\0{}", entry.credential().identity()).as_bytes()) })
    }
}

/// Why a host's addresses are not used.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// What is the matter, as a sentence.
    pub(crate) detail: String,
    /// What to do about it.
    pub(crate) hint: &'static str,
    /// Whether it is that an address is private.
    pub(crate) private: bool,
    /// Whether it may be otherwise in a while.
    pub(crate) passes: bool,
}

impl Trouble {
    /// The failure of whoever wanted the address; `allow` says how to allow private ones.
    pub(crate) fn failure(&self, code: FailureCode, allow: &str) -> Failure {
        let failure = Failure::new(code, &*self.detail);
        if self.private { failure.configure(allow) } else { failure.hint(self.hint) }
    }
}

/// Every address of a URL's host, by one lookup, if all of them may be used.
pub(crate) async fn usable_addresses(url: &Url, private: bool) -> Result<Vec<IpAddr>, Trouble> {
    let host = url.host_str().unwrap_or_default();
    let trouble = |what: &str, hint| Trouble { detail: format!("The host {host} {what}."), hint, private: false, passes: false };
    let addresses = match resolve(url).await {
        Lookup::Found(addresses) => addresses,
        Lookup::Nothing => return Err(trouble("has no address", "Is the host's name right?")),
        Lookup::Silence => {
            let silent = trouble("cannot be looked up for now", "Look at the names' server that the VCS worker's machine asks.");
            return Err(Trouble { passes: true, ..silent });
        }
    };
    match worst(&addresses) {
        Kind::Private if !private => Err(Trouble { private: true, ..trouble("has a private address", "") }),
        Kind::Never => Err(trouble("has an address that is never used (link-local, metadata, multicast or the like)", "")),
        Kind::Public | Kind::Private => Ok(addresses),
    }
}

/// What a host with these addresses is: one bad address among good ones makes it a bad host, for git would try it too.
fn worst(addresses: &[IpAddr]) -> Kind {
    addresses.iter().map(|address| kind_of(*address)).max().unwrap_or(Kind::Never)
}

/// What asking for a name's addresses came to.
enum Lookup {
    Found(Vec<IpAddr>),
    Nothing,
    /// Nobody answers who would know.
    Silence,
}

async fn resolve(url: &Url) -> Lookup {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or(22);
    let found = match tokio::time::timeout(LOOKUP, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(found)) => found,
        // The resolver has no other sign for it than its words.
        Ok(Err(error)) if !error.to_string().contains("Temporary failure") => return Lookup::Nothing,
        Ok(Err(_)) | Err(_) => return Lookup::Silence,
    };
    let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    addresses.dedup();
    // A name with very many addresses is nobody's; those left out are neither checked nor used.
    addresses.truncate(MOST_ADDRESSES);
    if addresses.is_empty() { Lookup::Nothing } else { Lookup::Found(addresses) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Threat 26.
    #[test]
    fn a_name_with_several_addresses_is_as_bad_as_the_worst_of_them() {
        let of = |addresses: &[&str]| worst(&addresses.iter().map(|text| text.parse().expect("an address")).collect::<Vec<_>>());
        assert_eq!(of(&["93.184.216.34", "2606:2800:220:1::1"]), Kind::Public);
        assert_eq!(of(&["93.184.216.34", "10.0.0.7"]), Kind::Private);
        assert_eq!(of(&["10.0.0.7", "93.184.216.34", "169.254.169.254"]), Kind::Never);
        assert_eq!(of(&["93.184.216.34", "::ffff:127.0.0.1"]), Kind::Private);
        assert_eq!(of(&[]), Kind::Never);
    }
}
