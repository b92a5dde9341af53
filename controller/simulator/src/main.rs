//! `cargo xtask simulate`: plays histories of the controller's heart, and says what they broke.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use clap::Parser;
use signalbox_simulator::{Failure, Figures, Real, Settings, play, shorten, tell};

/// Plays histories of the controller's heart, each determined by a number, in which everything goes wrong that can.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Arguments {
    /// How many histories are played.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The number of the first.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Plays this one alone, and tells all of it.
    #[arg(long, conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
    /// How many steps a history has before everything is left to come to its end.
    #[arg(long, default_value_t = Settings::default().steps)]
    steps: usize,
    /// How many threads play.
    #[arg(long)]
    threads: Option<usize>,
}

/// How many histories a thread takes at a time.
const PORTION: u64 = 100;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let settings = Settings { steps: arguments.steps };
    match arguments.seed {
        Some(seed) => one(seed, settings),
        None => many(&arguments, settings),
    }
}

fn one(seed: u64, settings: Settings) -> ExitCode {
    let (result, story) = tell(&Real, settings, seed);
    for line in story {
        println!("{line}");
    }
    match result {
        Ok(transitions) => {
            println!("history {seed}: every law held in {transitions} transitions");
            ExitCode::SUCCESS
        }
        Err(broken) => {
            report(&Failure { seed, broken }, settings);
            ExitCode::FAILURE
        }
    }
}

fn many(arguments: &Arguments, settings: Settings) -> ExitCode {
    let threads = arguments.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let (next, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let sum = Mutex::new(Figures::default());
    let found = Mutex::new(None::<Failure>);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let from = next.fetch_add(PORTION, Ordering::Relaxed);
                    if from >= arguments.seeds {
                        return;
                    }
                    let until = arguments.seeds.min(from + PORTION);
                    match play(&Real, settings, (from..until).map(|seed| seed + arguments.first)) {
                        Ok(figures) => {
                            let mut sum = sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                            *sum = sum.and(figures);
                            if sum.histories % 100_000 == 0 {
                                eprintln!("{} histories, {} transitions", sum.histories, sum.transitions);
                            }
                        }
                        Err(failure) => {
                            over.store(true, Ordering::Relaxed);
                            let mut found = found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                            // The first in the order of their numbers, so that the same command says the same.
                            if found.as_ref().is_none_or(|known| known.seed > failure.seed) {
                                *found = Some(failure);
                            }
                        }
                    }
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let rate = u128::from(sum.transitions) * 1_000_000 / sum.cpu.as_micros().max(1);
    println!("{} histories, {} transitions, {rate} transitions a second of one processor", sum.histories, sum.transitions);
    match found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        None => {
            println!("every law held");
            ExitCode::SUCCESS
        }
        Some(failure) => {
            report(&failure, settings);
            ExitCode::FAILURE
        }
    }
}

fn report(failure: &Failure, settings: Settings) {
    println!("\nhistory {} breaks a law: {}\n\nWithout what is not needed for that:", failure.seed, failure.broken);
    for line in shorten(&Real, settings, failure) {
        println!("{line}");
    }
    println!("\nAll of it: cargo xtask simulate --seed {} --steps {}", failure.seed, settings.steps);
}
