//! What is configured about one Gerrit.

use std::path::PathBuf;
use std::time::Duration;

use signalbox_contract::ForgeName;
use signalbox_service::secret::SecretString;
use url::Url;

use crate::forge::Secrets;

/// One Gerrit.
#[derive(Debug, Clone)]
pub struct GerritSettings {
    /// Its configured name.
    pub name: ForgeName,
    /// Where it is reached: its canonical web address, with a path where it has one.
    pub url: Url,
    /// The username of our account there. What it does never starts anything.
    pub user: String,
    /// Our account's email address, for events that leave out usernames.
    pub email: Option<String>,
    /// Our account's HTTP password; without it nothing can be compared and nothing told.
    pub password: Option<SecretString>,
    /// The only authority whose certificates are believed, in place of the system's.
    pub ca: Option<PathBuf>,
    /// How its events are streamed; without it, webhooks alone bring them.
    pub ssh: Option<GerritSsh>,
    /// The secrets that may stand in a webhook's path; several while they are changed.
    pub secrets: Secrets,
    /// The label that is voted on.
    pub label: String,
    /// The vote for a run that passed.
    pub passed: i8,
    /// The vote for a run that did not.
    pub failed: i8,
    /// What people write, on a line of its own, to have a change run again.
    pub rechecks: Vec<String>,
    /// Whether a message says that a run has started.
    pub announce: bool,
    /// Who gets mail of what we write.
    pub notify: Notify,
    /// How long one answer may take.
    pub timeout: Duration,
    /// How long the stream may be silent before it is made anew.
    pub silence: Duration,
}

/// Who gets mail of what we write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Notify {
    /// Nobody.
    Nobody,
    /// The change's owner.
    #[default]
    Owner,
    /// The owner and the reviewers.
    Reviewers,
}

/// How the stream of events is reached.
#[derive(Debug, Clone)]
pub struct GerritSsh {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The file with our account's private key.
    pub key: PathBuf,
    /// The file with the server's host keys. No other is believed.
    pub known_hosts: PathBuf,
}

impl GerritSettings {
    /// Settings with every choice at its default, for the Gerrit `name` at `url`, with our account `user`.
    pub fn new(name: ForgeName, url: Url, user: impl Into<String>) -> Self {
        Self {
            name,
            url,
            user: user.into(),
            email: None,
            password: None,
            ca: None,
            ssh: None,
            secrets: Secrets::default(),
            label: "Verified".to_owned(),
            passed: 1,
            failed: -1,
            rechecks: vec!["recheck".to_owned()],
            announce: true,
            notify: Notify::default(),
            timeout: Duration::from_secs(30),
            silence: Duration::from_hours(1),
        }
    }
}
impl Notify {
    /// Gerrit's word.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Nobody => "NONE",
            Self::Owner => "OWNER",
            Self::Reviewers => "OWNER_REVIEWERS",
        }
    }
}
