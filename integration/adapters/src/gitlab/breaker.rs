//! A GitLab that is down is not asked again and again.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;
use jiff::Timestamp;

use super::error::GitLabError;

/// After how many failures in a row the calls stop.
const FAILURES: u32 = 5;

/// How long the first stop lasts.
const FIRST: Duration = Duration::from_secs(5);

/// How long a stop lasts at most.
const LONGEST: Duration = Duration::from_mins(2);

/// How a GitLab is doing, as far as our calls tell.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        /// For how long they have failed.
        since: Duration,
        /// For how much longer it is not asked.
        left: Duration,
        /// How the last of them failed.
        why: String,
    },
    /// It answers, and has asked to be left alone for a while.
    Limited {
        /// For how much longer.
        left: Duration,
    },
}

impl Health {
    /// Why builds wait for it, for people, where it is left alone; since when, by a clock that shows `now`.
    pub fn rest(&self, now: Timestamp) -> Option<String> {
        match self {
            Self::Well | Self::Failing { .. } => None,
            Self::Resting { failures, since, left, why } => {
                let begun = now.checked_sub(*since).unwrap_or(now).round(jiff::Unit::Second).unwrap_or(now);
                let left = left.as_secs() + 1;
                Some(format!("has failed {failures} times in a row since {begun} ({why}), and is left alone for {left} more seconds"))
            }
            Self::Limited { left } => Some(format!("has asked for no calls for {} more seconds", left.as_secs() + 1)),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// When the first of them was.
    since: Option<Instant>,
    /// How the last of them failed.
    why: &'static str,
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
            let (failures, why, left_s) = (state.failures, state.why, left.as_secs() + 1);
            let remote = format!("{failures} calls in a row have failed ({why}), and it is left alone for {left_s} seconds");
            return Err(GitLabError::Unavailable { after: Some(left), remote });
        }
        state.rests = Some(now + rest(state.failures));
        Ok(())
    }

    /// GitLab has answered a call: well, or in the way of a server that is down; or it has not.
    pub(super) fn record(&self, sent: Result<StatusCode, &GitLabError>) {
        match sent {
            Ok(StatusCode::BAD_GATEWAY) => self.fail("it answered 502 Bad Gateway"),
            Ok(StatusCode::SERVICE_UNAVAILABLE) => self.fail("it answered 503 Service Unavailable"),
            Ok(StatusCode::GATEWAY_TIMEOUT) => self.fail("it answered 504 Gateway Timeout"),
            Ok(_) => *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::default(),
            Err(GitLabError::NotSent(_)) => self.fail("it could not be reached"),
            Err(_) => self.fail("it gave no answer"),
        }
    }

    /// A call has failed in the way of a server that is down.
    pub(super) fn fail(&self, why: &'static str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.why = why;
        state.since.get_or_insert_with(Instant::now);
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES {
            state.rests = Some(Instant::now() + rest(state.failures));
        }
    }

    pub(super) fn health(&self) -> Health {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match (state.failures, state.rests.map(|until| until.saturating_duration_since(Instant::now()))) {
            (0, _) => Health::Well,
            (failures, Some(left)) if !left.is_zero() => {
                let since = state.since.map_or(Duration::ZERO, |since| since.elapsed());
                Health::Resting { failures, since, left, why: state.why.to_owned() }
            }
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
            breaker.record(Ok(StatusCode::BAD_GATEWAY));
            assert!(breaker.pass().is_ok());
        }
        breaker.fail("it gave no answer");
        let refused = breaker.pass().expect_err("it rests");
        assert!(
            matches!(&refused, GitLabError::Unavailable { after: Some(_), remote } if remote.contains("it gave no answer")),
            "{refused:?}"
        );
        let words = breaker.health().rest("2026-05-05T12:00:00Z".parse().expect("a time")).expect("it rests");
        assert!(words.starts_with("has failed 5 times in a row since 2026-05-05T1") && words.contains("(it gave no answer)"), "{words}");
        breaker.record(Ok(StatusCode::NOT_FOUND));
        assert!(breaker.pass().is_ok());
        assert_eq!(breaker.health(), Health::Well);
    }
}
