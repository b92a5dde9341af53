//! How many calls a minute we allow ourselves, and how long GitLab has asked us to wait.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::error::GitLabError;

/// The longest that a call waits for its turn; beyond it the caller is told to come back.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest wait that GitLab can order. A greater one is an error there, or malice.
const LONGEST: Duration = Duration::from_mins(15);

/// A bucket of calls that fills evenly, a minute's worth deep at most a tenth at once.
#[derive(Debug)]
pub(super) struct Budget {
    /// The time that one call costs.
    cost: Duration,
    /// How much may be saved up.
    depth: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Until when the calls made so far have used up the budget.
    spent: Instant,
    /// Before when GitLab wants no call.
    paused: Option<Instant>,
}

impl Budget {
    pub(super) fn per_minute(calls: u32) -> Self {
        let calls = calls.max(1);
        let cost = Duration::from_mins(1) / calls;
        let depth = cost * (calls / 10).max(20);
        let now = Instant::now();
        Self { cost, depth, state: Mutex::new(State { spent: now.checked_sub(depth).unwrap_or(now), paused: None }) }
    }

    /// Waits for a call's turn.
    pub(super) async fn turn(&self) -> Result<(), GitLabError> {
        let wait = self.reserve(Instant::now())?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    /// Takes a call's share, and says how long to wait for it. What would have to wait too long takes nothing.
    fn reserve(&self, now: Instant) -> Result<Duration, GitLabError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = now.checked_sub(self.depth).unwrap_or(now);
        let spent = state.spent.max(begin) + self.cost;
        let ours = spent.saturating_duration_since(now);
        let theirs = state.paused.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let wait = ours.max(theirs);
        if wait > PATIENCE {
            return Err(GitLabError::RateLimited { after: Some(wait) });
        }
        state.spent = spent;
        Ok(wait)
    }

    /// For how much longer GitLab wants no call.
    pub(super) fn paused(&self) -> Duration {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.paused.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// Learns from an answer's headers, and says how long GitLab wants to be left alone.
    pub(super) fn learn(&self, limited: bool, headers: &HeaderMap) -> Option<Duration> {
        let asked = retry_after(headers).or_else(|| exhausted(headers));
        let pause = match asked {
            Some(pause) => pause.min(LONGEST),
            None if limited => Duration::from_secs(10),
            None => return None,
        };
        let until = Instant::now() + pause;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.paused = Some(state.paused.map_or(until, |paused| paused.max(until)));
        Some(pause)
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

/// `Retry-After`, in seconds or as a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = header(headers, "retry-after")?;
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let then = http_date(text)?;
    Some(Duration::try_from(then.duration_since(date(headers)?)).unwrap_or_default())
}

/// How long until the window ends whose calls are used up. Both ends are of GitLab's own clock, so ours does not matter.
fn exhausted(headers: &HeaderMap) -> Option<Duration> {
    if header(headers, "ratelimit-remaining")?.parse::<u64>().ok()? > 0 {
        return None;
    }
    let reset: i64 = header(headers, "ratelimit-reset")?.parse().ok()?;
    let left = date(headers)?.as_second();
    Some(Duration::from_secs(u64::try_from(reset.saturating_sub(left)).unwrap_or_default()).max(Duration::from_secs(1)))
}

/// What GitLab's clock showed when it answered.
pub(super) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(header(headers, "date")?)
}

fn http_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| ((*name).parse().expect("a name"), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn the_budget_allows_a_burst_and_then_its_pace() {
        let budget = Budget::per_minute(600);
        let now = Instant::now();
        for _ in 0..60 {
            assert_eq!(budget.reserve(now).ok(), Some(Duration::ZERO));
        }
        let wait = budget.reserve(now).expect("a turn");
        assert!(wait > Duration::ZERO && wait <= Duration::from_millis(100), "{wait:?}");
        let mut refused = 0;
        for _ in 0..1000 {
            refused += usize::from(budget.reserve(now).is_err());
        }
        assert!(refused > 700, "nobody waits without end: {refused}");
    }

    // Threat 68.
    #[test]
    fn a_wait_that_gitlab_orders_is_kept_and_bounded() {
        let budget = Budget::per_minute(600);
        assert_eq!(budget.learn(true, &headers(&[("retry-after", "7")])), Some(Duration::from_secs(7)));
        assert!(budget.reserve(Instant::now()).expect("soon") > Duration::from_secs(5));
        assert_eq!(budget.learn(true, &headers(&[("retry-after", "99999999999")])), Some(LONGEST));
        assert!(matches!(budget.reserve(Instant::now()), Err(GitLabError::RateLimited { after: Some(_) })));
    }

    #[test]
    fn a_window_that_is_used_up_is_waited_for_by_gitlabs_clock() {
        let budget = Budget::per_minute(600);
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let used = headers(&[("ratelimit-remaining", "0"), ("ratelimit-reset", "784111787"), ("date", date)]);
        assert_eq!(budget.learn(false, &used), Some(Duration::from_secs(10)));
        let left = headers(&[("ratelimit-remaining", "3"), ("ratelimit-reset", "784111787"), ("date", date)]);
        assert_eq!(budget.learn(false, &left), None);
    }
}
