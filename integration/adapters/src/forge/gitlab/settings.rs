//! What is configured about one GitLab, as a place where changes come from.

use std::path::PathBuf;
use std::time::Duration;

use signalbox_contract::ForgeName;
use signalbox_service::secret::SecretString;
use url::Url;

use crate::forge::Secrets;
use crate::gitlab::Connection;

/// One GitLab.
#[derive(Debug, Clone)]
pub struct GitlabForgeSettings {
    /// Its configured name.
    pub name: ForgeName,
    /// Where it is reached.
    pub url: Url,
    /// A token for its API; without it nothing can be compared and nothing told.
    pub token: Option<SecretString>,
    /// The file from which the token comes, and from which it is read again when it was changed.
    pub token_file: Option<PathBuf>,
    /// How many calls of its API are made a minute at most.
    pub calls_per_minute: u32,
    /// The only authority whose certificates are believed, in place of the system's.
    pub ca: Option<PathBuf>,
    /// The username of the token's owner, a bot. Its comments never start anything.
    pub user: Option<String>,
    /// The secrets that a webhook may send in `X-Gitlab-Token`; several while they are changed.
    pub secrets: Secrets,
    /// The keys with which webhooks may be signed, each `whsec_` and base64; several while they are changed.
    pub signing: Secrets,
    /// How far a signature's time may be from ours.
    pub tolerance: Duration,
    /// The name of the commit status that is set.
    pub status: String,
    /// What people write, on a line of its own, to have a merge request run again.
    pub rechecks: Vec<String>,
}

impl GitlabForgeSettings {
    /// Settings with every choice at its default, for the GitLab `name` at `url`.
    pub fn new(name: ForgeName, url: Url) -> Self {
        Self {
            name,
            url,
            token: None,
            token_file: None,
            calls_per_minute: 600,
            ca: None,
            user: None,
            secrets: Secrets::default(),
            signing: Secrets::default(),
            tolerance: Duration::from_mins(5),
            status: "signalbox".to_owned(),
            rechecks: vec!["recheck".to_owned()],
        }
    }

    /// How its API is called, where there is a token.
    pub fn connection(&self) -> Option<Connection> {
        let mut connection = Connection::new(self.url.clone(), self.token.clone()?);
        connection.ca.clone_from(&self.ca);
        connection.token_file.clone_from(&self.token_file);
        connection.calls_per_minute = self.calls_per_minute;
        Some(connection)
    }
}
