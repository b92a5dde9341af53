//! A GitLab that is down is not asked again and again.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::GitLabError;

/// After how many failures in a row the calls stop.
const FAILURES: u32 = 5;

/// How long the first stop lasts.
const FIRST: Duration = Duration::from_secs(5);

/// How long a stop lasts at most.
const LONGEST: Duration = Duration::from_mins(2);

/// How a GitLab is doing, as far as our calls tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Well,
    /// Some calls in a row have failed.
    Failing {
        /// How many.
        failures: u32,
    },
    /// So many have failed that for a while it is not asked.
    Resting {
        /// How many in a row.
        failures: u32,
        /// For how much longer.
        left: Duration,
    },
}

#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Before when nothing is asked.
    rests: Option<Instant>,
}

impl Breaker {
    /// Whether a call may be made. After a rest one call is let through, and the rest begins anew until that has answered: a
    /// call that is given up in the middle thus holds nobody up for longer than a rest.
    pub(super) fn pass(&self) -> Result<(), GitLabError> {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(until) = state.rests else { return Ok(()) };
        let left = until.saturating_duration_since(now);
        if !left.is_zero() {
            let remote = format!("{} calls in a row have failed, and it is left alone for {} seconds", state.failures, left.as_secs() + 1);
            return Err(GitLabError::Unavailable { after: Some(left), remote });
        }
        state.rests = Some(now + rest(state.failures));
        Ok(())
    }

    /// GitLab has answered: well, or badly in the way of a server that is down.
    pub(super) fn record(&self, well: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if well {
            *state = State::default();
            return;
        }
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES {
            state.rests = Some(Instant::now() + rest(state.failures));
        }
    }

    pub(super) fn health(&self) -> Health {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match (state.failures, state.rests.map(|until| until.saturating_duration_since(Instant::now()))) {
            (0, _) => Health::Well,
            (failures, Some(left)) if !left.is_zero() => Health::Resting { failures, left },
            (failures, _) => Health::Failing { failures },
        }
    }
}

fn rest(failures: u32) -> Duration {
    FIRST.saturating_mul(1 << failures.saturating_sub(FAILURES).min(8)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_failures_in_a_row_it_rests_and_one_good_answer_ends_that() {
        let breaker = Breaker::default();
        for _ in 1..FAILURES {
            breaker.record(false);
            assert!(breaker.pass().is_ok());
        }
        breaker.record(false);
        assert!(matches!(breaker.pass(), Err(GitLabError::Unavailable { after: Some(_), .. })));
        assert!(matches!(breaker.health(), Health::Resting { .. }));
        breaker.record(true);
        assert!(breaker.pass().is_ok());
        assert_eq!(breaker.health(), Health::Well);
    }
}
