//! Times, summed up.

use std::time::Duration;

/// How long something took: half of all no longer than `p50`, all but one of a hundred no longer than `p99`. In milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// How often it was measured.
    pub(crate) count: usize,
    /// The middle.
    pub(crate) p50: u64,
    /// All but a hundredth.
    pub(crate) p99: u64,
    /// The longest.
    pub(crate) max: u64,
}

impl Times {
    /// The sum of what was measured.
    pub(crate) fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        let at = |share: usize| all.get((all.len() * share / 100).min(all.len().saturating_sub(1))).copied().unwrap_or_default();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self { count: all.len(), p50: millis(at(50)), p99: millis(at(99)), max: millis(all.last().copied().unwrap_or_default()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_is_below_the_middle_and_the_longest_is_the_longest() {
        let times = Times::of((1..=200).rev().map(Duration::from_millis).collect());
        assert_eq!((times.count, times.p50, times.p99, times.max), (200, 101, 199, 200));
        assert_eq!(Times::of(Vec::new()), Times::default());
    }
}
