//! What is right: pure, from what was asked and what each receiver says it did.

use std::collections::{BTreeMap, BTreeSet};

use signalbox_fakes::gitlab::state::status::Status;

/// Each commit that was asked for has one run, and no other commit has one. `known` says how many runs each has.
pub(super) fn runs(repo: &str, asked: &BTreeSet<&str>, known: &BTreeMap<String, u64>) -> Vec<String> {
    let surplus = known.iter().filter(|(sha, runs)| **runs > 1 || !asked.contains(sha.as_str()));
    let mut wrong: Vec<String> = surplus.map(|(sha, runs)| format!("doubled: {repo} has {runs} runs of {sha:?}")).collect();
    let missing = asked.iter().filter(|sha| !sha.is_empty() && !known.contains_key(**sha));
    wrong.extend(missing.map(|sha| format!("lost: {repo} has no run of {sha}")));
    wrong
}

/// Each build began once, and belongs to an attempt of a run that was asked for.
pub(super) fn builds(attempts: &BTreeSet<String>, begun: &BTreeMap<String, u64>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (key, times) in begun {
        if *times > 1 {
            wrong.push(format!("doubled: the build {key} began {times} times"));
        }
        if !attempts.contains(key) {
            wrong.push(format!("doubled: the build {key} began, which is no attempt of a run that was asked for"));
        }
    }
    wrong
}

/// GitLab has no more pipelines of a commit that went on than there were attempts.
pub(super) fn pipelines(repo: &str, sha: &str, all: &[Status], attempts: u64) -> Option<String> {
    let counted = all.iter().filter(|status| **status != Status::Canceled).count() as u64;
    (counted > attempts).then(|| format!("doubled: {repo} has {counted} pipelines of {sha} for {attempts} attempts: {all:?}"))
}

/// A run that passed was shown once on each host; another one once at most.
pub(super) fn switches(run: &str, times: &[usize], passed: bool) -> Option<String> {
    let wrong = times.iter().any(|times| *times > 1 || *times < usize::from(passed));
    wrong.then(|| format!("the hosts showed {run} {times:?} times"))
}

/// None went over a newer one, and what is shown `now` is the `last`.
pub(super) fn host(host: usize, name: &str, numbers: &[u64], (now, last): (Option<&str>, Option<&str>)) -> Vec<String> {
    let mut wrong = Vec::new();
    if !numbers.is_sorted_by(|one, next| one < next) {
        wrong.push(format!("host {host} showed {name} in another order: {numbers:?}"));
    }
    if now != last {
        wrong.push(format!("host {host} shows {now:?} as {name}, not {last:?}"));
    }
    wrong
}

/// A change whose run passed has one vote, and that the right one; another one has none.
pub(super) fn votes(change: u64, given: &[i64], passed: bool) -> Option<String> {
    let wanted: &[i64] = if passed { &[1] } else { &[] };
    let what = if given.len() > wanted.len() { "doubled" } else { "lost" };
    (given != wanted).then(|| format!("{what}: change {change} has the votes {given:?} instead of {wanted:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
        of.iter().map(|(what, times)| ((*what).to_owned(), *times)).collect()
    }

    #[test]
    fn a_run_that_is_lost_doubled_or_nobodys_is_found() {
        let asked = BTreeSet::from(["a", "b"]);
        assert_eq!(runs("alpha", &asked, &times(&[("a", 1), ("b", 1)])), Vec::<String>::new());
        for (what, known) in
            [("lost", times(&[("a", 1)])), ("doubled", times(&[("a", 2), ("b", 1)])), ("nobody's", times(&[("a", 1), ("b", 1), ("c", 1)]))]
        {
            assert_eq!(runs("alpha", &asked, &known).len(), 1, "{what}");
        }
    }

    #[test]
    fn a_build_that_is_doubled_or_nobodys_is_found_here_and_in_gitlab() {
        let attempts = BTreeSet::from(["a-1-1".to_owned(), "a-1-2".to_owned()]);
        assert_eq!(builds(&attempts, &times(&[("a-1-1", 1)])), Vec::<String>::new(), "an attempt may end before its build begins");
        assert_eq!(builds(&attempts, &times(&[("a-1-1", 2)])).len(), 1);
        assert_eq!(builds(&attempts, &times(&[("b-1-1", 1)])).len(), 1);
        assert_eq!(pipelines("branch", "a", &[Status::Success, Status::Canceled], 1), None, "one that was cancelled does not count");
        assert!(pipelines("branch", "a", &[Status::Success, Status::Success], 1).is_some());
        assert!(pipelines("branch", "a", &[Status::Failed], 0).is_some(), "of a commit that nobody asked for");
    }

    #[test]
    fn a_switch_that_is_lost_doubled_or_out_of_order_is_found() {
        assert_eq!((switches("run", &[1, 1], true), switches("run", &[0, 0], false)), (None, None));
        for (shown, passed) in [([1, 0], true), ([1, 2], true), ([2, 0], false)] {
            assert!(switches("run", &shown, passed).is_some(), "{shown:?}");
        }
        assert_eq!(host(0, "alpha", &[1, 2, 5], (Some("e"), Some("e"))), Vec::<String>::new());
        for (numbers, now) in [([1, 5, 2].as_slice(), "e"), (&[1, 2, 2], "e"), (&[1, 2, 5], "b")] {
            assert_eq!(host(0, "alpha", numbers, (Some(now), Some("e"))).len(), 1, "{numbers:?} {now}");
        }
    }

    #[test]
    fn a_vote_that_is_lost_doubled_wrong_or_too_many_is_found() {
        assert_eq!((votes(1, &[1], true), votes(1, &[], false)), (None, None));
        for (given, passed) in [([].as_slice(), true), (&[1, 1], true), (&[-1], true), (&[1, 0], true), (&[1], false)] {
            assert!(votes(1, given, passed).is_some(), "{given:?}");
        }
    }
}
