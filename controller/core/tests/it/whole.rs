//! Everything together, in a world where whatever can go wrong does.
//!
//! `SIGNALBOX_CASES` says how many histories are played (default: few enough for every build), `SIGNALBOX_SEED` which.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Debug;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::world::World;

fn from_environment(name: &str) -> Option<u32> {
    std::env::var(name).ok()?.parse().ok()
}

/// Plays `property` with as many values as were asked for, and shows the smallest for which it does not hold.
pub(crate) fn check<S: Strategy<Value: Debug + Clone>>(what: &str, cases: u32, values: &S, property: impl Fn(S::Value)) {
    let seed = from_environment("SIGNALBOX_SEED").unwrap_or(1);
    let cases = from_environment("SIGNALBOX_CASES").unwrap_or(cases);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let result = runner.run(values, |value| {
        property(value);
        Ok::<(), TestCaseError>(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(why, value)) => panic!("{what}, seed {seed}: {why}\nwith {value:?}"),
        Err(TestError::Abort(why)) => panic!("{what}, seed {seed}: {why}"),
    }
}

#[test]
fn whatever_happens_the_invariants_hold_and_every_run_comes_to_its_end() {
    let choices = prop::collection::vec(any::<u32>(), 1..250);
    let seen = RefCell::new(BTreeSet::new());
    check("the whole", 200, &choices, |choices| {
        let mut world = World::default();
        for choice in choices {
            world.step(choice);
        }
        world.come_to_rest();
        seen.borrow_mut().extend(world.seen);
    });
    // A world in which some of it never comes to pass would prove nothing of that.
    let phases =
        "waiting fetching preparing publishing starting searching expected running queued stopping storing resolving deploying ended";
    let ends = "Passed Failed Unstable Stopped TimedOut Lost Superseded Success Aborted Skipped";
    for word in phases.split(' ').chain(ends.split(' ')) {
        assert!(seen.borrow().contains(word), "nothing was ever {word}");
    }
}
