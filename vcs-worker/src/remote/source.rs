//! One entry of the allow-list.

use std::path::PathBuf;

use signalbox_contract::SourceUrl;
use signalbox_service::client::is_here;
use signalbox_service::config::Reader;
use signalbox_service::git::Credential;
use signalbox_service::ssh;
use url::Url;

/// A place from which repositories may be fetched, and how to show who we are there.
#[derive(Debug, Clone)]
pub struct Source {
    prefix: Url,
    private: bool,
    credential: Credential,
    ca: Option<PathBuf>,
}

impl Source {
    /// Reads one `[[sources]]` entry.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let url: Option<String> = reader.required("url");
        let private = reader.or("private", false);
        let credential: Option<PathBuf> = reader.optional("credential");
        let username: Option<String> = reader.optional("username");
        let key: Option<PathBuf> = reader.optional("key");
        let known_hosts: Option<PathBuf> = reader.optional("known_hosts");
        let ca: Option<PathBuf> = reader.optional("ca");
        let url = url?;
        let prefix = match parse_prefix(&url) {
            Ok(prefix) => prefix,
            Err(why) => {
                reader.refuse("url", why);
                return None;
            }
        };
        if let Some(file) = &credential {
            reader.secret_at("credential", file);
        }
        if let Some(file) = ca.as_deref().filter(|file| !file.is_file()) {
            reader.refuse("ca", format!("names {}, which is not there", file.display()));
        }
        if let Some(file) = &key {
            ssh::check_key(reader, "key", file);
        }
        if let Some(file) = &known_hosts {
            let server = prefix.host_str().map(|host| (host, prefix.port().unwrap_or(ssh::PORT)));
            ssh::check_known_hosts(reader, "known_hosts", file, server);
        }
        let over_ssh = prefix.scheme() == "ssh";
        for (name, given) in [("credential", credential.is_some()), ("username", username.is_some()), ("ca", ca.is_some())] {
            if over_ssh && given {
                reader.refuse(name, "is for https and http; ssh takes key and known_hosts");
            }
        }
        for (name, given) in [("key", key.is_some()), ("known_hosts", known_hosts.is_some())] {
            if !over_ssh && given {
                reader.refuse(name, "is for ssh");
            }
        }
        if credential.is_some() && !private {
            check_clear_text(reader, &prefix, "credential");
        }
        if username.is_some() && credential.is_none() && !over_ssh {
            reader.refuse("username", "needs a credential");
        }
        if username.as_deref().is_some_and(|name| name.contains(':') || name.chars().any(char::is_control)) {
            reader.refuse("username", "must hold neither a colon nor control characters");
        }
        if over_ssh && (key.is_none() || known_hosts.is_none()) {
            reader.refuse("url", "is ssh, so it needs key and known_hosts: the host's key is pinned");
        }
        let credential = match (credential, username, key, known_hosts) {
            (Some(file), Some(username), ..) => Credential::Basic { username, file },
            (Some(file), None, ..) => Credential::Bearer { file },
            (None, _, Some(key), Some(known_hosts)) => Credential::SshKey { key, known_hosts },
            _ => Credential::None,
        };
        Some(Self { prefix, private, credential, ca })
    }

    /// Whether a repository lies in this place: scheme, user, host and port are the same, and the path begins with the same
    /// whole parts.
    pub fn covers(&self, source: &SourceUrl) -> bool {
        let url = source.url();
        let path = self.path();
        self.prefix.scheme() == url.scheme()
            && self.prefix.host_str() == url.host_str()
            && self.port() == source.port()
            && self.prefix.username() == url.username()
            && (url.path() == path || url.path().strip_prefix(path).is_some_and(|rest| rest.starts_with('/')))
    }

    pub(super) fn prefix_len(&self) -> usize {
        self.path().len()
    }

    pub(super) const fn allows_private(&self) -> bool {
        self.private
    }

    pub(super) const fn ca(&self) -> Option<&PathBuf> {
        self.ca.as_ref()
    }

    pub(super) const fn credential(&self) -> &Credential {
        &self.credential
    }

    fn path(&self) -> &str {
        self.prefix.path().trim_end_matches('/')
    }

    fn port(&self) -> u16 {
        self.prefix.port_or_known_default().unwrap_or(22)
    }
}

/// Refuses an address of clear text where a secret would be sent, of an entry that does not say that it is private.
pub(crate) fn check_clear_text(reader: &mut Reader, url: &Url, secret: &str) {
    if url.scheme() != "http" {
        return;
    }
    // No network is crossed; but no private address is used unless that is said, and this machine's own are private.
    let words = if is_here(url) {
        "leads to this machine, whose own addresses are private: say private = true".to_owned()
    } else {
        format!("is http, so the {secret} would cross public networks in clear text: use https, or say private = true")
    };
    reader.refuse("url", words);
}

/// A prefix obeys the rules of a source's URL, but may stop at the host.
fn parse_prefix(text: &str) -> Result<Url, String> {
    // A source's URL loses this ending too.
    let trimmed = text.trim_end_matches('/').trim_end_matches(".git");
    // A part is added so that a bare host has the path that a source must have.
    let probe: SourceUrl = format!("{trimmed}/x").parse().map_err(|invalid: signalbox_contract::Invalid| invalid.rule.to_owned())?;
    let mut prefix = probe.url().clone();
    let path = prefix.path().strip_suffix("/x").unwrap_or_default().to_owned();
    prefix.set_path(if path.is_empty() { "/" } else { &path });
    Ok(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(url: &str) -> Source {
        let prefix = parse_prefix(url).expect("a prefix");
        Source { prefix, private: false, credential: Credential::None, ca: None }
    }

    #[test]
    fn an_entry_covers_whole_parts_of_one_place() {
        let entry = source("https://git.example.org/r/");
        let covers = |text: &str| entry.covers(&text.parse().expect("a source"));
        assert!(covers("https://git.example.org/r/a/b"));
        assert!(covers("https://GIT.example.org:443/r/a.git"));
        for other in [
            "http://git.example.org/r/a",
            "https://git.example.org/rr/a",
            "https://git.example.org/x",
            "https://git.example.org:8443/r/a",
            "https://git.example.org.evil.example/r/a",
            "https://evil.example/r/a",
        ] {
            assert!(!covers(other), "{other}");
        }
        assert!(source("https://git.example.org").covers(&"https://git.example.org/any".parse().expect("a source")));
        let ssh = source("ssh://git@git.example.org/");
        assert!(ssh.covers(&"git@git.example.org:a/b".parse().expect("a source")));
        assert!(!ssh.covers(&"ssh://root@git.example.org/a".parse().expect("a source")));
        assert!(!ssh.covers(&"ssh://git@git.example.org:2222/a".parse().expect("a source")));
    }
}
