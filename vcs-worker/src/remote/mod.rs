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

pub use source::Source;

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
    pub async fn clear(&self, url: &SourceUrl) -> Result<Cleared, Failure> {
        // Of several entries the most specific counts.
        let Some(entry) = self.entries.iter().filter(|entry| entry.covers(url)).max_by_key(|entry| entry.prefix_len()) else {
            return Err(Failure::new(FailureCode::SourceNotAllowed, format!("No source of the VCS worker's configuration covers {url}."))
                .hint("Add a [[sources]] entry with its scheme, host, port and path to the VCS worker's configuration."));
        };
        let addresses = resolve(url).await?;
        for address in &addresses {
            match kind_of(*address) {
                Kind::Public => {}
                Kind::Private if entry.allows_private() => {}
                Kind::Private => {
                    return Err(
                        unusable(url, "has a private address").hint("If that is meant, say private = true in its [[sources]] entry.")
                    );
                }
                Kind::Never => {
                    return Err(unusable(url, "has an address that is never used (link-local, metadata, multicast or the like)"));
                }
            }
        }
        let remote = Remote::source(url).map_err(|error| Failure::new(FailureCode::SourceNotAllowed, error.said))?;
        let access = entry.access().map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "source.credential_unreadable");
            Failure::new(FailureCode::SourceDenied, format!("The credential for {url} cannot be read."))
                .hint("See the VCS worker's log; the file must be there, and readable by the worker alone.")
        })?;
        let remote = remote.access(access).pinned(addresses).ca(entry.ca().cloned());
        Ok(Cleared { remote, copy: sha256(format!("{url}\0{}", entry.identity()).as_bytes()) })
    }
}

/// Every address of the source's host, by one lookup.
async fn resolve(url: &SourceUrl) -> Result<Vec<IpAddr>, Failure> {
    let none =
        || Failure::new(FailureCode::SourceAddress, format!("The host {} has no address.", url.host())).hint("Is the host's name right?");
    let host = url.host().trim_matches(['[', ']']);
    let found = tokio::time::timeout(LOOKUP, tokio::net::lookup_host((host, url.port()))).await;
    let Ok(found) = found else {
        return Err(Failure::new(FailureCode::SourceAddress, format!("Looking up the host {} took too long.", url.host())));
    };
    let mut addresses: Vec<IpAddr> = found.map_err(|_| none())?.map(|address| address.ip()).collect();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(none());
    }
    // A name with very many addresses is nobody's; those left out are neither checked nor used.
    addresses.truncate(MOST_ADDRESSES);
    Ok(addresses)
}

fn unusable(url: &SourceUrl, what: &str) -> Failure {
    Failure::new(FailureCode::SourceAddress, format!("The host {} {what}.", url.host()))
}
