//! The other side of a fetch or a push.

use std::net::IpAddr;
use std::path::PathBuf;

use base64::Engine as _;
use secrecy::{ExposeSecret as _, SecretString};
use signalbox_contract::SourceUrl;
use url::Url;

use super::{Fault, GitError};

/// How git shows who it is.
#[derive(Debug, Clone, Default)]
pub enum Access {
    /// Not at all.
    #[default]
    Anonymous,
    /// By a token, as HTTP's bearer scheme has it.
    Bearer(SecretString),
    /// By a name and a password or token, as HTTP's basic scheme has it.
    Basic {
        /// The name.
        username: String,
        /// The password or token.
        password: SecretString,
    },
    /// By a key, for ssh.
    SshKey {
        /// The file with the private key.
        key: PathBuf,
        /// The file with the host keys that are believed; no other is.
        known_hosts: PathBuf,
    },
}

/// A repository elsewhere, how to show who we are, and which addresses its host may have.
#[derive(Debug, Clone)]
pub struct Remote {
    url: Url,
    access: Access,
    addresses: Vec<IpAddr>,
    ca: Option<PathBuf>,
}

impl Remote {
    /// The repository at `url`, which is `http`, `https` or `ssh`, and holds no credentials.
    ///
    /// # Errors
    /// When it is another kind of URL.
    pub fn new(url: &Url) -> Result<Self, GitError> {
        let refuse = |why: &str| Err(GitError::new(Fault::Local, format!("the URL cannot be used: {why}")));
        let ssh = match url.scheme() {
            "http" | "https" => false,
            "ssh" => true,
            _ => return refuse("it is neither http, https nor ssh"),
        };
        if url.password().is_some() || (!ssh && !url.username().is_empty()) {
            return refuse("it holds credentials");
        }
        let host = url.host_str().unwrap_or_default();
        if host.is_empty() || host.starts_with('-') || url.username().starts_with('-') {
            return refuse("it has no plain host");
        }
        // What ends up in a configuration value or an argument must be one line without anything special.
        if !url.as_str().bytes().all(|byte| byte.is_ascii_graphic() && !b"'\"\\`$".contains(&byte)) {
            return refuse("it holds characters that are not plain");
        }
        Ok(Self { url: url.clone(), access: Access::Anonymous, addresses: Vec::new(), ca: None })
    }

    /// The repository at a source's URL.
    ///
    /// # Errors
    /// Never, as long as a source's URL is stricter than [`Remote::new`] is.
    pub fn source(url: &SourceUrl) -> Result<Self, GitError> {
        Self::new(url.url())
    }

    /// The same, reached with this access.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// The same, reached at these addresses alone, whatever its name resolves to when git connects.
    #[must_use]
    pub fn pinned(mut self, addresses: Vec<IpAddr>) -> Self {
        self.addresses = addresses;
        self
    }

    /// The same, trusting the certificate authorities in this file alone.
    #[must_use]
    pub fn ca(mut self, file: Option<PathBuf>) -> Self {
        self.ca = file;
        self
    }

    /// The same, with something after the path: some servers have repositories under their name with `.git` alone.
    ///
    /// # Errors
    /// When what comes out is no plain URL.
    pub fn with_suffix(&self, suffix: &str) -> Result<Self, GitError> {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{suffix}", url.path().trim_end_matches('/')));
        Ok(Self { url: Self::new(&url)?.url, ..self.clone() })
    }

    /// The URL.
    pub const fn url(&self) -> &Url {
        &self.url
    }

    pub(super) const fn access_kind(&self) -> &Access {
        &self.access
    }

    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    pub(super) const fn ca_file(&self) -> Option<&PathBuf> {
        self.ca.as_ref()
    }

    /// The port, or the scheme's own.
    pub(super) fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or(22)
    }

    /// The header's value that shows who we are, for HTTP.
    pub(super) fn authorization(&self) -> Option<SecretString> {
        match &self.access {
            Access::Bearer(token) => Some(format!("Authorization: Bearer {}", token.expose_secret()).into()),
            Access::Basic { username, password } => {
                let pair = format!("{username}:{}", password.expose_secret());
                Some(format!("Authorization: Basic {}", base64(pair.as_bytes())).into())
            }
            Access::Anonymous | Access::SshKey { .. } => None,
        }
    }

    /// Every form in which the credential could turn up in what git prints.
    pub(super) fn secrets(&self) -> Vec<SecretString> {
        let secret = match &self.access {
            Access::Bearer(token) => token,
            Access::Basic { password, .. } => password,
            Access::Anonymous | Access::SshKey { .. } => return Vec::new(),
        };
        let encoded = base64(secret.expose_secret().as_bytes());
        let header = self.authorization().map(|header| {
            let text = header.expose_secret();
            text.rsplit(' ').next().unwrap_or(text).to_owned()
        });
        let quoted: String = url::form_urlencoded::byte_serialize(secret.expose_secret().as_bytes()).collect();
        [Some(secret.expose_secret().to_owned()), Some(encoded), Some(quoted), header]
            .into_iter()
            .flatten()
            .map(SecretString::from)
            .collect()
    }
}

/// Base64, as HTTP's basic scheme has it.
pub(super) fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
