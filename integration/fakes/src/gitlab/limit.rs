//! The limit on requests.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::options::RateLimit;

/// The most users and addresses that are counted apart.
const MOST: usize = 10_000;

/// How many requests came from whom in the present period.
#[derive(Debug)]
pub(crate) struct Meter {
    limit: Option<RateLimit>,
    counts: Mutex<(Option<Instant>, HashMap<String, u32>)>,
}

/// How much of a limit is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) limit: u32,
    pub(crate) observed: u32,
    /// Seconds until the count begins anew.
    pub(crate) reset: u64,
}

impl Usage {
    pub(crate) const fn exceeded(self) -> bool {
        self.observed > self.limit
    }
}

impl Meter {
    pub(crate) fn new(limit: Option<RateLimit>) -> Self {
        Self { limit, counts: Mutex::default() }
    }

    /// Counts a request.
    pub(crate) fn count(&self, who: &str) -> Option<Usage> {
        let limit = self.limit?;
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = *counts.0.get_or_insert_with(Instant::now);
        let begun = if begun.elapsed() >= limit.period || counts.1.len() > MOST {
            *counts = (Some(Instant::now()), HashMap::new());
            Instant::now()
        } else {
            begun
        };
        let observed = counts.1.entry(who.to_owned()).or_default();
        *observed = observed.saturating_add(1);
        let reset = limit.period.saturating_sub(begun.elapsed()).as_millis().div_ceil(1000);
        Some(Usage { limit: limit.requests, observed: *observed, reset: u64::try_from(reset).unwrap_or(1).max(1) })
    }
}

/// What may be done only so often in a minute.
#[derive(Debug, Default)]
pub(crate) struct Often(Mutex<HashMap<String, Vec<Instant>>>);

impl Often {
    /// Counts one time more. False when it was too often already.
    pub(crate) fn allows(&self, what: &str, most: usize) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() > MOST {
            all.clear();
        }
        let times = all.entry(what.to_owned()).or_default();
        times.retain(|at| at.elapsed().as_secs() < 60);
        let allowed = times.len() < most;
        if allowed {
            times.push(Instant::now());
        }
        allowed
    }
}
