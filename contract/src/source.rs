//! Where a repository's source is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::{Failure, FailureCode, Invalid, RepoName};

/// The longest source URL that is accepted, in bytes.
pub const MAX_SOURCE_URL: usize = 2048;

/// The URL of a git repository: `https`, `http` or `ssh`, with a host and a path, and nothing that could smuggle:
/// no password, query or fragment, no control character in any encoding, no user that begins with a dash. A user name
/// is allowed for ssh alone. The scp-like form `user@host:path` is read as ssh.
///
/// Two spellings of one place give one value: the host is lower case, a default port is left out, and neither a
/// trailing slash nor `.git` at the end is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "https://git.example.org/hello")]
pub struct SourceUrl(Url);

const WHAT: &str = "a source URL";

impl SourceUrl {
    /// The URL itself.
    pub const fn url(&self) -> &Url {
        &self.0
    }

    /// Its scheme: `https`, `http` or `ssh`.
    pub fn scheme(&self) -> &str {
        self.0.scheme()
    }

    /// Its host, as the URL writes it.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Its port, or its scheme's own.
    pub fn port(&self) -> u16 {
        self.0.port().unwrap_or(match self.0.scheme() {
            "https" => 443,
            "http" => 80,
            _ => 22,
        })
    }

    /// The user, for ssh.
    pub fn user(&self) -> Option<&str> {
        Some(self.0.username()).filter(|user| !user.is_empty())
    }
}

/// A repository's name belongs to another source than the one that is wanted under it. Two sources never share a name, so
/// that what was built, kept and deployed under it, and what its readers may see, is always of one source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the repository's name belongs to another source")]
pub struct SourceConflict {
    /// The name.
    pub name: RepoName,
    /// The source that it belongs to: the first that was fetched under it.
    pub bound: SourceUrl,
    /// The source that is wanted under it.
    pub wanted: SourceUrl,
}

impl SourceConflict {
    /// The failure of whoever wants it: what the name belongs to, and what to do.
    pub fn failure(&self) -> Failure {
        let Self { name, bound, wanted } = self;
        let detail = format!("The name {name} belongs to {bound}, which was the first to be fetched under it; {wanted} is another source.");
        Failure::new(FailureCode::SourceNotAllowed, detail).hint(format!(
            "If {bound} is still meant, correct the `source` of [repositories.\"{name}\"] in the controller's configuration and restart \
             the controller; another source needs a name of its own."
        ))
    }
}

impl FromStr for SourceUrl {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bad = |rule| Invalid::new(WHAT, rule);
        let rule = |rule| Err(bad(rule));
        if text.is_empty() || text.len() > MAX_SOURCE_URL {
            return rule("must have between 1 and 2048 characters");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
            return rule("must not hold spaces, control characters, backslashes or anything outside ASCII");
        }
        // `https:///host` and `https:host` are repaired by URL parsers; what was meant is unclear, so neither is taken.
        let Some((scheme, rest)) = text.split_once("://") else {
            return scp_like(text);
        };
        if !matches!(scheme, "https" | "http" | "ssh") {
            return rule("must begin with https://, http:// or ssh://");
        }
        if rest.starts_with('/') {
            return rule("must name a host");
        }
        let mut url = Url::parse(text).map_err(|_| bad("is not a URL"))?;
        match url.host() {
            Some(Host::Domain(host)) if host.ends_with('.') || host.starts_with('-') || host.contains("xn--") => {
                return rule("must name its host plainly: no trailing dot, no leading dash, no punycode");
            }
            // Octal, decimal and short forms (127.1, 0x7f000001) become an address here; only the plain spelling counts.
            Some(Host::Ipv4(address)) if !rest.rsplit('@').next().is_some_and(|after| after.starts_with(&address.to_string())) => {
                return rule("must write an IPv4 address as four decimal numbers");
            }
            // ssh is no "special" scheme to the URL parser: a host of digits stays a domain there.
            Some(Host::Domain(host)) if scheme == "ssh" && !ssh_host(host) => {
                return rule("must name its host plainly");
            }
            Some(_) => {}
            None => return rule("must name a host"),
        }
        if url.port() == Some(0) {
            return rule("must not name port 0");
        }
        if url.password().is_some()
            || (scheme != "ssh" && !url.username().is_empty())
            || rest.split('/').next().is_some_and(|a| a.matches('@').count() > 1)
        {
            return rule("must not hold credentials; they belong into the VCS worker's configuration");
        }
        if !user_is_plain(url.username()) {
            return rule("must have a plain user name");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return rule("must have no query and no fragment");
        }
        let path = url.path().trim_end_matches('/').trim_end_matches(".git").to_owned();
        check_path(&path)?;
        if scheme == "ssh" {
            // `Url` lower-cases hosts of special schemes only.
            let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
            url.set_host(Some(&host)).map_err(|_| bad("must name a host"))?;
            if url.port() == Some(22) {
                url.set_port(None).map_err(|()| bad("must name a host"))?;
            }
        }
        url.set_path(&path);
        Ok(Self(url))
    }
}

fn ssh_host(host: &str) -> bool {
    host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
        // All digits, dots and an `x`: a number in disguise, unless it is a plain IPv4 address.
        && (host.parse::<std::net::Ipv4Addr>().is_ok() || host.rsplit('.').next().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_alphabetic())))
}

fn user_is_plain(user: &str) -> bool {
    !user.starts_with('-') && user.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+'))
}

/// The path's segments are plain: no empty ones, no dots, no leading dash, no percent-encoded trick.
fn check_path(path: &str) -> Result<(), Invalid> {
    let body = path.strip_prefix('/').unwrap_or(path);
    if body.is_empty() {
        return Err(Invalid::new(WHAT, "must have a path"));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+~@".contains(&byte);
    for part in body.split('/') {
        if part.is_empty() || part == "." || part == ".." || part.starts_with('-') || !part.bytes().all(plain) {
            return Err(Invalid::new(WHAT, "must have a path of plain parts: letters, digits and . _ - + ~ @"));
        }
    }
    Ok(())
}

/// `user@host:path`, as git's own documentation writes ssh.
fn scp_like(text: &str) -> Result<SourceUrl, Invalid> {
    const INVALID: Invalid = Invalid::new(WHAT, "must begin with https://, http:// or ssh://");
    let (authority, path) = text.split_once(':').ok_or(INVALID)?;
    if authority.contains('/') || !authority.contains('@') || path.is_empty() {
        return Err(INVALID);
    }
    format!("ssh://{authority}/{}", path.trim_start_matches('/')).parse()
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl TryFrom<String> for SourceUrl {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<SourceUrl> for String {
    fn from(url: SourceUrl) -> Self {
        url.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_of_one_place_are_one() {
        let plain: SourceUrl = "https://git.example.org/a/b".parse().expect("valid");
        for text in ["https://GIT.example.org:443/a/b/", "https://git.example.org/a/b.git"] {
            assert_eq!(text.parse::<SourceUrl>().as_ref(), Ok(&plain), "{text}");
        }
        let ssh: SourceUrl = "ssh://git@example.org/a/b".parse().expect("valid");
        assert_eq!("git@Example.org:a/b.git".parse::<SourceUrl>(), Ok(ssh.clone()));
        assert_eq!("ssh://git@example.org:22/a/b".parse::<SourceUrl>(), Ok(ssh));
    }

    // Threats 23 and 24.
    #[test]
    fn urls_that_smuggle_are_refused() {
        for text in [
            "",
            "--upload-pack=touch /tmp/x",
            "-u",
            "ext::sh -c id",
            "EXT::sh",
            "fd::3",
            "file:///etc",
            "/etc/passwd",
            "./x",
            "http+unix://x/y",
            "git://example.org/x",
            "https:///host/x",
            "https://good@evil.example/x",
            "https://u:p@example.org/x",
            "https://good\\@evil/x",
            "https://example.org./x",
            "https://example.org:0/x",
            "https://127.1/x",
            "https://0x7f000001/x",
            "https://2130706433/x",
            "https://0177.0.0.1/x",
            "ssh://-oProxyCommand=id/x",
            "ssh://-oX@example.org/x",
            "ssh://127.1/x",
            "https://example.org/a%0ab",
            "https://example.org/a\nb",
            "https://example.org/../x%2f..",
            "https://example.org/-x",
            "https://example.org/?x",
            "https://example.org/x#y",
            "https://example.org/",
            "https://xn--bcher-kva.example/x",
            "https://[fe80::1%25eth0]/x",
            "git@host",
            "a:b",
        ] {
            assert!(text.parse::<SourceUrl>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn addresses_are_taken_when_plainly_written() {
        for text in ["http://127.0.0.1:8080/x", "https://[::1]/x", "ssh://git@10.0.0.1:2222/x"] {
            assert!(text.parse::<SourceUrl>().is_ok(), "{text:?}");
        }
    }
}
