//! A build at an executor of the model.

use signalbox_contract::build::BuildState;
use signalbox_contract::{AttemptKey, CommitSha, Verdict};

use crate::sample::Manner;

/// A build, as its executor knows it.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    pub(crate) manner: Manner,
    /// What it was asked for under; none if nobody of ours did.
    pub(crate) key: AttemptKey,
    pub(crate) name: String,
    pub(crate) sha: CommitSha,
    /// All that it ever was, oldest first: some executors answer what was true before.
    pub(crate) states: Vec<BuildState>,
    /// When it began, by a clock that nobody sets.
    pub(crate) begun: i64,
    /// Whether a call began it, so that it says whose it is. A push names nobody.
    pub(crate) called: bool,
    /// Not shown yet, though it is there.
    pub(crate) hidden: bool,
    /// Whether it takes no notice of being stopped.
    pub(crate) deaf: bool,
}

impl Build {
    pub(crate) fn state(&self) -> &BuildState {
        self.states.last().unwrap_or(&BuildState::Gone)
    }

    /// Whether its executor shows it.
    pub(crate) fn shown(&self) -> bool {
        !self.hidden && *self.state() != BuildState::Gone
    }

    pub(crate) fn over(&self) -> bool {
        matches!(self.state(), BuildState::Ended { .. } | BuildState::Gone)
    }

    /// Whether it ever passed: what its executor has forgotten since has passed all the same.
    pub(crate) fn passed(&self) -> bool {
        self.states.iter().any(|state| matches!(state, BuildState::Ended { verdict: Verdict::Success, .. }))
    }

    pub(crate) fn become_(&mut self, state: BuildState) {
        if !self.over() {
            self.states.push(state);
        }
    }

    pub(crate) fn end(&mut self, verdict: Verdict) {
        self.become_(BuildState::Ended { verdict, class: None, reason: String::new() });
    }
}
