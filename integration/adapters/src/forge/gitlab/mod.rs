//! GitLab as a place where changes come from.

mod admission;
mod event;
mod settings;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use admission::MAX_DELIVERY;
pub use settings::GitlabForgeSettings;

use super::{Admitted, Forged, Happening, Knock, Untranslated};

/// One GitLab.
#[derive(Debug, Clone)]
pub struct GitlabForge {
    settings: Arc<GitlabForgeSettings>,
}

impl GitlabForge {
    /// The GitLab that is configured so.
    pub fn new(settings: GitlabForgeSettings) -> Self {
        Self { settings: Arc::new(settings) }
    }

    /// Whether a webhook's call is genuine, what identifies it, and what of it is kept.
    ///
    /// # Errors
    /// When it is not genuine, or cannot be kept.
    pub fn admit(&self, knock: &Knock<'_>) -> Result<Admitted, Forged> {
        admission::admit(&self.settings, knock)
    }

    /// What a delivery that was admitted means.
    ///
    /// # Errors
    /// When it means nothing to us.
    pub fn translate(&self, kind: &str, body: &[u8]) -> Result<Vec<Happening>, Untranslated> {
        event::translate(&self.settings, kind, body)
    }
}
