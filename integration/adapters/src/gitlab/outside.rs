//! Where GitLab sends us for bytes that it keeps elsewhere: its object storage. Our token never goes there, and a GitLab
//! that was taken over cannot make us call what only we can reach.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::HeaderMap;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::client::{GitLabSetUpError, builder, failed};
use super::error::GitLabError;

/// Two clients without a token: one for public addresses alone, one for the origins that were named.
#[derive(Debug)]
pub(super) struct Outside {
    base: Url,
    named: Vec<Url>,
    public: reqwest::Client,
    trusted: reqwest::Client,
}

impl Outside {
    pub(super) fn new(
        base: &Url,
        named: &[Url],
        build: impl Fn(reqwest::ClientBuilder) -> Result<reqwest::Client, GitLabSetUpError>,
    ) -> Result<Self, GitLabSetUpError> {
        Ok(Self {
            base: base.clone(),
            named: named.to_vec(),
            // A private authority is not the one of a public store.
            public: builder().dns_resolver(PublicOnly).build().map_err(|error| GitLabSetUpError::SetUp(error.without_url()))?,
            trusted: build(builder())?,
        })
    }

    /// Gets an address that GitLab redirected to.
    pub(super) async fn get(&self, url: &Url, headers: HeaderMap) -> Result<reqwest::Response, GitLabError> {
        let client = self.client(url).map_err(GitLabError::unreadable)?;
        client.get(url.clone()).headers(headers).send().await.map_err(failed)
    }

    fn client(&self, url: &Url) -> Result<&reqwest::Client, &'static str> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err("it redirects to something that is not HTTP");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it redirects to an address with credentials");
        }
        if url.origin() == self.base.origin() || self.named.iter().any(|named| named.origin() == url.origin()) {
            return Ok(&self.trusted);
        }
        if url.scheme() != "https" {
            return Err("it redirects to an address without TLS that is not among the storage that was named");
        }
        // A name's addresses are checked when it is resolved, by the resolver that the connection uses.
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) => None,
            None => return Err("it redirects to no host"),
        };
        if address.is_some_and(|address| !is_public(address)) {
            return Err("it redirects to a private address that is not among the storage that was named");
        }
        Ok(&self.public)
    }
}

/// Resolves names to public addresses alone: what was checked is what is connected to.
#[derive(Debug, Clone, Copy)]
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses: Vec<_> = addresses.filter(|address| is_public(address.ip())).collect();
            if addresses.is_empty() {
                return Err(io::Error::other("the name has no public address").into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => is_public_v4(address),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation();
    // "This" network, carriers' own, protocol assignments, benchmarks, reserved.
    let reserved = a == 0 || (a == 100 && b & 0xc0 == 64) || (a == 192 && b == 0 && c == 0) || (a == 198 && b & 0xfe == 18) || a >= 240;
    !special && !reserved
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // Only 2000::/3 is global unicast; 2001:db8 is for documentation, 2002 and 64:ff9b carry IPv4 addresses.
    a & 0xe000 == 0x2000 && !(a == 0x2001 && b == 0xdb8) && a != 0x2002
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_inside_are_told_from_public_ones() {
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "172.16.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "198.18.0.1",
            "224.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "fe80::1",
            "fd00::1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
        ] {
            assert!(!is_public(inside.parse().expect("an address")), "{inside}");
        }
        for outside in ["8.8.8.8", "2606:4700:4700::1111"] {
            assert!(is_public(outside.parse().expect("an address")), "{outside}");
        }
    }
}
