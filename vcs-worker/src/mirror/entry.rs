//! One `[mirrors.NAME]` of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use signalbox_adapters::mirror::{GitlabMirror, GitlabSettings, Mirror, RemoteMirror, RemoteSettings};
use signalbox_contract::MirrorName;
use signalbox_service::clock::SharedClock;
use signalbox_service::config::Reader;
use signalbox_service::git::{Credential, Git};
use signalbox_service::ssh;
use url::Url;

use crate::remote::check_clear_text;

/// A place for mirrors, as it is configured.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name.
    pub(crate) name: MirrorName,
    /// Whether its server may have private addresses.
    pub(crate) private: bool,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Remote(RemoteSettings),
    Gitlab(GitlabSettings),
}

/// The keys that say how to show who we are.
struct Keys {
    token: Option<PathBuf>,
    username: Option<String>,
    key: Option<PathBuf>,
    known_hosts: Option<PathBuf>,
}

impl Entry {
    /// Its name.
    pub const fn name(&self) -> &MirrorName {
        &self.name
    }

    /// Reads one entry. `deadline` is how long one push may take.
    pub(crate) fn read(name: &str, deadline: Duration, reader: &mut Reader) -> Option<Self> {
        let parsed: Result<MirrorName, _> = name.parse();
        if let Err(invalid) = &parsed {
            reader.refuse("", format!("is no name of a mirror: it {}", invalid.rule));
        }
        let kind: Option<String> = reader.required("kind");
        let gitlab = kind.as_deref() == Some("gitlab");
        let url: Option<String> = reader.required("url");
        // These are known for every kind, so that a wrong one is told from an unknown one.
        let group: Option<String> = if gitlab { reader.required("group") } else { reader.optional("group") };
        let visibility = reader.or("visibility", "private".to_owned());
        let calls_per_minute = reader.within("budget", 300, 1..=100_000);
        let private = reader.or("private", false);
        let ca: Option<PathBuf> = reader.optional("ca");
        let keys = Keys {
            token: reader.optional("token_file"),
            username: reader.optional("username"),
            key: reader.optional("ssh_key_file"),
            known_hosts: reader.optional("known_hosts_file"),
        };
        let scheme = url.as_deref().and_then(|url| check_url(reader, url));
        if let (Some(scheme), Some(url)) = (&scheme, &url) {
            keys.check(reader, scheme, url, private);
            if gitlab {
                keys.check_gitlab(reader, scheme);
            }
            if ca.is_some() && scheme == "ssh" {
                reader.refuse("ca", "is for https");
            }
        }
        if let Some(file) = ca.as_deref().filter(|file| !file.is_file()) {
            reader.refuse("ca", format!("names {}, which is not there", file.display()));
        }
        if !gitlab && group.is_some() {
            reader.refuse("group", "is for the kind gitlab");
        }
        if let Some(group) = group.as_deref().filter(|group| group.parse::<signalbox_contract::RepoName>().is_err()) {
            reader.refuse("group", format!("must be the full path of a group, not {group:?}"));
        }
        if !matches!(visibility.as_str(), "private" | "internal" | "public") {
            reader.refuse("visibility", "must be private, internal or public");
        }
        let kind = match kind?.as_str() {
            "remote" => Kind::Remote(RemoteSettings { url: url?, credential: keys.credential(), ca, deadline }),
            "gitlab" => Kind::Gitlab(GitlabSettings {
                url: Url::parse(&url?).ok()?,
                token: keys.token?,
                group: group?,
                visibility,
                ca,
                deadline,
                calls_per_minute,
            }),
            _ => {
                reader.refuse("kind", "must be \"gitlab\" or \"remote\"");
                return None;
            }
        };
        scheme?;
        Some(Self { name: parsed.ok()?, private, kind })
    }

    /// The place itself.
    pub(crate) fn open(&self, git: &Git, clock: &SharedClock) -> Result<Box<dyn Mirror>, String> {
        match &self.kind {
            Kind::Remote(settings) => Ok(Box::new(RemoteMirror::new(git.clone(), settings.clone())?)),
            Kind::Gitlab(settings) => Ok(Box::new(GitlabMirror::new(git.clone(), settings.clone(), clock.clone()))),
        }
    }
}

impl Keys {
    fn check(&self, reader: &mut Reader, scheme: &str, url: &str, private: bool) {
        if let Some(file) = &self.token {
            reader.secret_at("token_file", file);
        }
        if let Some(file) = &self.key {
            ssh::check_key(reader, "ssh_key_file", file);
        }
        // The name of a repository may stand in it, which is put in later.
        let Ok(parsed) = Url::parse(&url.replace("{name}", "x")) else { return };
        if let Some(file) = &self.known_hosts {
            let server = Some(&parsed).and_then(|url| Some((url.host_str()?, url.port().unwrap_or(ssh::PORT))));
            ssh::check_known_hosts(reader, "known_hosts_file", file, server);
        }
        let over_ssh = scheme == "ssh";
        for (name, given) in [("token_file", self.token.is_some()), ("username", self.username.is_some())] {
            if over_ssh && given {
                reader.refuse(name, "is for https; ssh takes ssh_key_file and known_hosts_file");
            }
        }
        for (name, given) in [("ssh_key_file", self.key.is_some()), ("known_hosts_file", self.known_hosts.is_some())] {
            if !over_ssh && given {
                reader.refuse(name, "is for ssh");
            }
        }
        if over_ssh && (self.key.is_none() || self.known_hosts.is_none()) {
            reader.refuse("url", "is ssh, so it needs ssh_key_file and known_hosts_file: the host's key is pinned");
        }
        if self.token.is_some() && !private {
            check_clear_text(reader, &parsed, "token");
        }
        if self.username.as_deref().is_some_and(|name| name.contains(':') || name.chars().any(char::is_control)) {
            reader.refuse("username", "must hold neither a colon nor control characters");
        }
        if self.username.is_some() && self.token.is_none() && !over_ssh {
            reader.refuse("username", "needs a token_file");
        }
    }

    fn check_gitlab(&self, reader: &mut Reader, scheme: &str) {
        if self.token.is_none() {
            reader.refuse("token_file", "is missing: a GitLab is spoken to by its API");
        }
        if self.username.is_some() {
            reader.refuse("username", "is not needed: GitLab takes its tokens under any name");
        }
        if scheme == "ssh" {
            reader.refuse("url", "must begin with https: a GitLab is spoken to by its API");
        }
    }

    fn credential(self) -> Credential {
        match self {
            Self { key: Some(key), known_hosts: Some(known_hosts), .. } => Credential::SshKey { key, known_hosts },
            Self { token: Some(file), username: Some(username), .. } => Credential::Basic { username, file },
            Self { token: Some(file), .. } => Credential::Bearer { file },
            _ => Credential::None,
        }
    }
}

/// A mirror's URL obeys the rules of a source's. Answers its scheme.
fn check_url(reader: &mut Reader, url: &str) -> Option<String> {
    let probe = url.replace("{name}", "x");
    let probe = format!("{}/x", probe.trim_end_matches('/').trim_end_matches(".git"));
    match probe.parse::<signalbox_contract::SourceUrl>() {
        // The scp-like form is read as ssh, and would be another URL once a name is put into it.
        Ok(_) if Url::parse(&probe).is_err() || !probe.contains("://") => {
            reader.refuse("url", "must begin with https://, http:// or ssh://");
            None
        }
        Ok(source) => Some(source.scheme().to_owned()),
        Err(invalid) => {
            reader.refuse("url", invalid.rule);
            None
        }
    }
}
