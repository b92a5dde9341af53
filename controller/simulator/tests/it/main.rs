//! The simulator by itself: that the controller's heart holds, that a history can be played again, and that mistakes are found.

mod planted;

use signalbox_simulator::{Real, Settings, play, tell};

#[test]
fn ten_thousand_histories_break_no_law() {
    let figures = play(&Real, Settings::default(), 0..10_000).unwrap_or_else(|failure| panic!("{failure:?}"));
    assert_eq!(figures.histories, 10_000);
    assert!(figures.transitions > 500_000, "{figures:?}: too little happens in them");
}

#[test]
fn a_history_is_the_same_each_time_it_is_played() {
    for seed in 0..50 {
        assert_eq!(tell(&Real, Settings::default(), seed), tell(&Real, Settings::default(), seed));
    }
}

#[test]
fn everything_that_can_happen_to_a_run_happens_in_some_history() {
    let mut all = String::new();
    for seed in 0..1_000 {
        for line in tell(&Real, Settings::default(), seed).1 {
            all.push_str(&line);
            all.push('\n');
        }
    }
    let happens = "fetched published prepared started start_unclear found fenced sealed resolved deployed reported effect_failed \
                   deadline_passed stop_requested rerun_requested dies jumps late again Gone Aborted Unstable Failed Lost";
    for word in happens.split_whitespace() {
        assert!(all.contains(word), "nothing is ever {word}");
    }
}
