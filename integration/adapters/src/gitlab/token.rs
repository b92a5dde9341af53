//! The token, which may be changed while we run.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderValue;
use signalbox_service::secret::{ExposeSecret as _, SecretString, is_same_secret, read_secret};
use signalbox_service::telemetry::causes;

use super::client::GitLabSetUpError;

/// How often its file is looked into, at most.
const AGAIN: Duration = Duration::from_secs(1);

/// A token, and the file from which it comes.
pub(super) struct Token {
    file: Option<PathBuf>,
    now: Mutex<Now>,
}

struct Now {
    secret: SecretString,
    header: HeaderValue,
    looked: Instant,
    /// The last look did not give a token; that is said once.
    unreadable: bool,
}

impl Token {
    pub(super) fn new(secret: &SecretString, file: Option<PathBuf>) -> Result<Self, GitLabSetUpError> {
        let now = Now { header: header(secret)?, secret: secret.clone(), looked: Instant::now(), unreadable: false };
        Ok(Self { file, now: Mutex::new(now) })
    }

    /// The token as it is sent.
    pub(super) fn header(&self) -> HeaderValue {
        self.current().header.clone()
    }

    /// The token as it was sent last.
    pub(super) fn secret(&self) -> SecretString {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).secret.clone()
    }

    fn current(&self) -> MutexGuard<'_, Now> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = self.file.as_deref().filter(|_| now.looked.elapsed() >= AGAIN) else { return now };
        now.looked = Instant::now();
        // While it is replaced it may be empty or away for a moment: the one that we have is used until there is another.
        match read_secret(file).map_err(|error| causes(&error)).and_then(|secret| match header(&secret) {
            Ok(header) => Ok((secret, header)),
            Err(error) => Err(error.to_string()),
        }) {
            Ok((secret, header)) => {
                now.unreadable = false;
                if !is_same_secret(&secret, &now.secret) {
                    tracing::info!(file = %file.display(), "a GitLab's token was changed; the new one is used from now on");
                    (now.secret, now.header) = (secret, header);
                }
            }
            Err(error) if !now.unreadable => {
                tracing::warn!(file = %file.display(), error, "a GitLab's token cannot be read again; the one that was read before is used");
                now.unreadable = true;
            }
            Err(_) => {}
        }
        now
    }
}

fn header(secret: &SecretString) -> Result<HeaderValue, GitLabSetUpError> {
    let mut header = HeaderValue::try_from(secret.expose_secret()).map_err(|_| GitLabSetUpError::Token)?;
    header.set_sensitive(true);
    Ok(header)
}
