//! What is the matter while something is tried again: it is told meanwhile, and at the end, if it stays so.

use signalbox_contract::{AttemptKey, Failure, FailureCode};

use super::change::Change;
use crate::attempt::Phase;
use crate::effect::Kind;
use crate::plan::Request;

impl Change {
    /// Something that the attempt's phase has done failed, or does not fail any more, and is tried again.
    pub(super) fn troubled(&mut self, key: &AttemptKey, kind: Kind, failure: Option<&Failure>) -> bool {
        let Some(attempt) = self.attempt(key).filter(|attempt| attempt.phase.acts().contains(&kind)) else { return false };
        // The same at every try is one thing to know, not many.
        let same = match (&attempt.trouble, failure) {
            (Some(known), Some(failure)) => is_the_same(known, failure),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if same {
            return false;
        }
        attempt.trouble = failure.cloned();
        true
    }

    pub(super) fn trouble(&self, key: &AttemptKey) -> Option<Failure> {
        self.run.current(key).filter(|attempt| !attempt.ended()).and_then(|attempt| attempt.trouble.clone())
    }

    pub(super) fn forget_trouble(&mut self, key: &AttemptKey) {
        if let Some(attempt) = self.attempt(key) {
            attempt.trouble = None;
        }
    }

    /// Has an attempt whose time is over end with the reason for it, as far as that is known.
    pub(super) fn explain_lateness(&mut self, key: &AttemptKey, phase: &Phase) {
        let (class, failure) = match (self.trouble(key), phase) {
            (Some(trouble), _) => (Some(trouble.code.class()), too_late(trouble)),
            (None, Phase::Fetching) => match self.slow_source() {
                Some(failure) => (None, failure),
                None => return,
            },
            (None, _) => return,
        };
        if let Some(attempt) = self.attempt(key).filter(|attempt| attempt.failure.is_none() && attempt.cancel.is_none()) {
            attempt.class = class;
            attempt.failure = Some(failure);
        }
    }

    /// Nothing failed, and yet the source is not there: its server does not answer, or is slow.
    fn slow_source(&self) -> Option<Failure> {
        let Request::Cd(order) = &self.run.request else { return None };
        let detail = format!("The source {} was still being fetched when the time that it may take was over.", order.source);
        Some(
            Failure::new(FailureCode::DeadlinePassed, detail).hint(
                "See whether its server answers. How long a fetch may take is `fetch` in [limits] of the controller's configuration.",
            ),
        )
    }
}

/// What it is called when it was the matter until the time was over: the words stay, for they say what to do.
pub(super) fn too_late(trouble: Failure) -> Failure {
    Failure { code: FailureCode::DeadlinePassed, ..trouble }
}

/// Whether two failures say the same. What foreign programs say of one fault differs in numbers: how long they waited, from
/// which port they asked.
fn is_the_same(known: &Failure, failure: &Failure) -> bool {
    let words = |failure: &Failure| failure.detail.chars().filter(|letter| !letter.is_ascii_digit()).collect::<String>();
    known.code == failure.code && known.hint == failure.hint && words(known) == words(failure)
}
