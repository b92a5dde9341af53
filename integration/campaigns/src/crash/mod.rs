//! Services are killed at random moments while work goes through them; afterwards everything is counted where it was received.
//!
//! The services run as processes of their own, with real git, sandboxed builds and hosts with sshd; a GitLab builds from branches and from
//! review refs; a real Gerrit proposes changes, where one can be had. Several lines of work go on at once, each asking for one run after
//! the other. Meanwhile somebody kills with signal 9, and what was killed comes back at once or after a while; it may die again while it
//! starts, and several may be away at a time.

mod count;
mod judge;
mod line;
mod stage;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::asker::Asker;
use crate::dice::Dice;
use crate::figures::Times;
use crate::progress::Progress;
use crate::reaper::{Pace, Reaper};
use crate::report::Part;
use line::Done;
use stage::Stage;

/// What is ordered.
#[derive(Debug, Clone)]
pub struct Orders {
    /// How many kills.
    pub kills: usize,
    /// Where chance begins.
    pub seed: u64,
    /// How long something may take before it counts as lost.
    pub patience: Duration,
}

impl Orders {
    /// So many kills, from this seed.
    pub const fn new(kills: usize, seed: u64) -> Self {
        Self { kills, seed, patience: Duration::from_mins(8) }
    }
}

/// Kills so often, and tells what came of it.
pub async fn run(orders: &Orders, progress: &Progress) -> Vec<Part> {
    let mut dice = Dice::new(orders.seed);
    progress.begin("setting the stage", 1);
    let mut stage = Stage::new().await;
    progress.step();
    let asker = Asker::new(&stage.world, orders.patience);
    let over = Arc::new(AtomicBool::new(false));
    let calm = Arc::new(AtomicBool::new(true));
    let ended = Arc::new(AtomicUsize::new(0));
    let mut lines = tokio::task::JoinSet::new();
    let all = stage.lines().await;
    let number = all.len();
    for mut line in all {
        let (asker, over, calm, mut dice) = (asker.clone(), Arc::clone(&over), Arc::clone(&calm), dice.split());
        let ended = Arc::clone(&ended);
        lines.spawn(async move {
            let mut done = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let mut one = line.go(&asker, &mut dice).await;
                one.calm = calm.load(Ordering::Relaxed);
                // What is lost once is lost: nothing more is asked on that line, so that what it left can be looked at.
                let lost = one.fault.is_some();
                ended.fetch_add(usize::from(done.is_empty()), Ordering::Relaxed);
                done.push(one);
                if lost {
                    break;
                }
            }
            done
        });
    }
    // What a run takes when nobody is killed.
    let wait = Instant::now();
    while ended.load(Ordering::Relaxed) < number && wait.elapsed() < CALM {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    calm.store(false, Ordering::Relaxed);
    progress.begin("kills", orders.kills);
    let pace = Pace { gap: 100..1500, away: 100..2500 };
    let mut reaper = Reaper::new(dice.split(), pace);
    while reaper.moments.len() < orders.kills {
        reaper.strike(&mut stage.world, Some(&stage.gitlab)).await;
        progress.step();
    }
    reaper.relent(&mut stage.world, Some(&stage.gitlab)).await;
    over.store(true, Ordering::Relaxed);
    progress.begin("waiting until all is caught up, and counting", 1);
    let mut done: Vec<Done> = Vec::new();
    while let Some(line) = lines.join_next().await {
        match line {
            Ok(some) => done.extend(some),
            Err(error) => done.push(Done::lost(format!("a line of work broke: {error}"))),
        }
    }
    let mut parts = vec![count::kills(&reaper.killed, &caught_up(&reaper.moments, &done), &undisturbed(&done))];
    parts.extend(count::all(stage, &asker, &done).await);
    progress.step();
    parts
}

/// How long everything is left alone at first, at most: until each line of work has come to an end once.
const CALM: Duration = Duration::from_secs(30);

/// How long it took after each kill until all that was on its way then had ended.
fn caught_up(kills: &[Instant], done: &[Done]) -> Times {
    let ends = |kill: Instant| done.iter().filter(move |one| one.begun <= kill && kill < one.ended).map(|one| one.ended).max();
    Times::of(kills.iter().map(|kill| ends(*kill).map_or(Duration::ZERO, |end| end - *kill)).collect())
}

/// How long what had ended before the first kill took.
fn undisturbed(done: &[Done]) -> Times {
    Times::of(done.iter().filter(|one| one.calm).map(|one| one.ended - one.begun).collect())
}
