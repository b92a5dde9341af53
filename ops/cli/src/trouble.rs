//! What is the matter with a step while it is tried again, told once to whoever follows the run.

use std::collections::BTreeMap;

use signalbox_contract::AttemptKey;
use signalbox_contract::api::run::{StepState, StepView};

/// How the controller begins to say why a step that is at work does not get on. Whatever else a step at work waits for is
/// ordinary, and is no line of its own.
const TRIED_AGAIN: &str = "is tried again: ";

/// The troubles that were told, by attempt.
#[derive(Debug, Default)]
pub(crate) struct Troubles(BTreeMap<AttemptKey, String>);

impl Troubles {
    /// A line about the step's trouble, if it is new or another one than was told last. One that comes back as it was is no news.
    pub(crate) fn news(&mut self, step: &StepView) -> Option<String> {
        let attempt = step.attempts.last().filter(|attempt| step.state == StepState::Active && !attempt.ended)?;
        if !step.reason.starts_with(TRIED_AGAIN) || self.0.get(&attempt.key) == Some(&step.reason) {
            return None;
        }
        self.0.insert(attempt.key, step.reason.clone());
        Some(format!("{}: {}", step.name, step.reason))
    }
}
