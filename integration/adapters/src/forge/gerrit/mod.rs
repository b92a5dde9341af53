//! Gerrit: changes come as events, and what became of them is told by a vote.

mod admission;
mod event;
mod settings;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use admission::MAX_EVENT;
pub use settings::{GerritSettings, GerritSsh, Notify};

use super::{Admitted, Forged, Happening, Knock, Untranslated};

/// One Gerrit.
#[derive(Debug, Clone)]
pub struct Gerrit {
    settings: Arc<GerritSettings>,
}

impl Gerrit {
    /// The Gerrit that is configured so.
    pub fn new(settings: GerritSettings) -> Self {
        Self { settings: Arc::new(settings) }
    }

    /// Whether a webhook's call is genuine, what identifies it, and what of it is kept.
    ///
    /// # Errors
    /// When it is not genuine, or cannot be kept.
    pub fn admit(&self, knock: &Knock<'_>) -> Result<Admitted, Forged> {
        admission::admit(knock, &self.settings.secrets)
    }

    /// The same for a line of the stream, which is genuine as its server's host key is.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn admit_streamed(&self, line: &[u8]) -> Result<Admitted, Forged> {
        admission::admit_event(line)
    }

    /// What an event that was admitted means.
    ///
    /// # Errors
    /// When it means nothing to us.
    pub fn translate(&self, kind: &str, body: &[u8]) -> Result<Vec<Happening>, Untranslated> {
        event::translate(&self.settings, kind, body)
    }
}
