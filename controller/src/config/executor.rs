//! `[executors.NAME]`

use std::path::PathBuf;
use std::time::Duration;

use signalbox_adapters::gitlab::Connection;
use signalbox_contract::git::RepoPath;
use signalbox_contract::{ExecutorName, ForgeName, MirrorName, RepoName};
use signalbox_service::config::Reader;
use signalbox_service::secret::{SecretString, read_secret};
use url::Url;

use super::checked;

/// How many calls a minute are made of a GitLab where nothing else is said: half of what gitlab.com allows for a user's token.
const BUDGET: u32 = 300;

/// An executor.
#[derive(Debug, Clone)]
pub struct ExecutorConfig {
    /// What it is, and where.
    pub kind: ExecutorKind,
    /// How many builds it is given at a time.
    pub capacity: u32,
}

/// The kinds of executors.
#[derive(Debug, Clone)]
pub enum ExecutorKind {
    /// A local executor.
    Local {
        /// Where it is.
        url: Url,
    },
    /// A group in a GitLab.
    GitLab(Box<GitLabConfig>),
}

/// A group in a GitLab, in which projects are built.
#[derive(Debug, Clone)]
pub struct GitLabConfig {
    /// Where it is.
    pub url: Url,
    /// The token with which it is called.
    pub token: SecretString,
    /// The file from which it comes.
    pub token_file: PathBuf,
    /// The VCS worker's mirror that pushes there.
    pub mirror: MirrorName,
    /// The group's full path.
    pub group: String,
    /// How many calls a minute are made at most.
    pub budget: u32,
    /// The only authority whose certificates are believed.
    pub ca: Option<PathBuf>,
    /// Origins with private addresses to which it may redirect downloads.
    pub storage: Vec<Url>,
    /// Whether its jobs may upload by their ID tokens.
    pub identity: Option<IdentityConfig>,
    /// Whether a run's inputs are given to those that its definition declares, instead of as variables.
    pub typed_inputs: bool,
    /// The webhook of the projects in which is built, if they are to have one.
    pub hook: Option<HookConfig>,
}

/// `[executors.NAME.identity]`: what a job's ID token must be for.
#[derive(Debug, Clone)]
pub struct IdentityConfig {
    /// The audience.
    pub audience: String,
    /// Where its jobs reach the artifact store, where that is not the address that everybody else uses.
    pub store: Option<Url>,
}

/// The webhook by which a GitLab tells us at once how builds go.
#[derive(Debug, Clone)]
pub struct HookConfig {
    /// The forge to which it leads, where several are at that GitLab.
    pub forge: Option<ForgeName>,
    /// Where the GitLab reaches us, where that is not our `public_url`.
    pub address: Option<Url>,
    /// How often it is looked at.
    pub check: Duration,
}

impl GitLabConfig {
    /// How its API is called.
    pub fn connection(&self) -> Connection {
        Connection {
            ca: self.ca.clone(),
            calls_per_minute: self.budget,
            storage: self.storage.clone(),
            token_file: Some(self.token_file.clone()),
            ..Connection::new(self.url.clone(), self.token.clone())
        }
    }
}

impl ExecutorKind {
    /// The file in a repository by which it builds, where it reads a definition of its own.
    pub fn native_file(&self) -> Option<RepoPath> {
        match self {
            Self::Local { .. } => None,
            Self::GitLab(_) => ".gitlab-ci.yml".parse().ok(),
        }
    }

    /// Where its builds reach the artifact store, where that is an address of its own.
    pub fn store(&self) -> Option<&Url> {
        match self {
            Self::Local { .. } => None,
            Self::GitLab(gitlab) => gitlab.identity.as_ref()?.store.as_ref(),
        }
    }

    /// Whether it reads definitions of its own.
    pub const fn is_native(&self) -> bool {
        matches!(self, Self::GitLab(_))
    }

    /// The mirror that it reads; none if that is the VCS worker's own.
    pub const fn mirror(&self) -> Option<&MirrorName> {
        match self {
            Self::Local { .. } => None,
            Self::GitLab(gitlab) => Some(&gitlab.mirror),
        }
    }
}

pub(super) fn read(name: &str, reader: &mut Reader) -> Option<(ExecutorName, ExecutorConfig)> {
    let name = checked(name, reader);
    let word = reader.or("kind", "local".to_owned());
    let kind = match word.as_str() {
        "local" => reader.required_service("url").map(|url| ExecutorKind::Local { url }),
        "gitlab" => gitlab(reader).map(Box::new).map(ExecutorKind::GitLab),
        _ => {
            reader.refuse("kind", "must be \"local\" or \"gitlab\"");
            None
        }
    };
    let capacity = reader.within("capacity", if word == "gitlab" { 20 } else { 2_u32 }, 1..=10_000);
    Some((name?, ExecutorConfig { kind: kind?, capacity }))
}

fn gitlab(reader: &mut Reader) -> Option<GitLabConfig> {
    let url: Option<Url> = reader.required("url");
    let token_file: Option<PathBuf> = reader.required("token_file");
    let token = token_file.as_deref().and_then(|file| match read_secret(file) {
        Ok(token) => Some(token),
        Err(error) => {
            reader.refuse("token_file", signalbox_service::telemetry::causes(&error));
            None
        }
    });
    let mirror = reader.required("mirror");
    let group: Option<String> = reader.required("group");
    let budget = reader.within("budget", BUDGET, 1..=100_000);
    let ca: Option<PathBuf> = reader.optional("ca");
    let storage = reader.or("storage", Vec::new());
    let identity = reader.table("identity", identity);
    let inputs = reader.or("inputs", "variables".to_owned());
    if !matches!(inputs.as_str(), "variables" | "inputs") {
        reader.refuse("inputs", "must be \"variables\" or \"inputs\"");
    }
    let wanted = reader.or("hook", false);
    let address = reader.optional_service("hook_address");
    let check = reader.within("hook_check", Duration::from_mins(10), Duration::from_secs(1)..=Duration::from_hours(24));
    let forge = reader.optional("hook_forge");
    let hook = wanted.then_some(HookConfig { forge, address, check });
    if let Some(url) = url.as_ref().filter(|url| !matches!(url.scheme(), "https" | "http") || url.host().is_none()) {
        reader.refuse("url", format!("must be http or https with a host, not {}", url.scheme()));
    }
    // The path of a group is written like the name of a repository.
    if let Some(group) = group.as_deref().filter(|group| group.parse::<RepoName>().is_err()) {
        reader.refuse("group", format!("must be the full path of a group, not {group:?}"));
    }
    if let Some(file) = ca.as_deref().filter(|file| !file.is_file()) {
        reader.refuse("ca", format!("names {}, which is not there", file.display()));
    }
    Some(GitLabConfig {
        url: url?,
        token: token?,
        mirror: mirror?,
        group: group?,
        budget,
        ca,
        storage,
        identity,
        typed_inputs: inputs == "inputs",
        hook,
        token_file: token_file?,
    })
}

fn identity(reader: &mut Reader) -> Option<IdentityConfig> {
    let (audience, store): (Option<String>, _) = (reader.required("audience"), reader.optional_service("store"));
    let audience = audience?;
    if audience.is_empty() || audience.len() > 500 || audience.contains(|letter: char| letter.is_control() || letter.is_whitespace()) {
        reader.refuse("audience", "must be what the jobs write as `aud`, such as this installation's address");
    }
    Some(IdentityConfig { audience, store })
}
