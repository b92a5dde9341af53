//! What all measurements share: where, how long, how often.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use indicatif::ProgressBar;

/// How measurements are made.
pub(crate) struct Bench {
    /// The `signalbox` program, as it is shipped.
    pub(crate) program: PathBuf,
    /// The folder in which everything is made: on a real disk, and one that every user may enter.
    pub(crate) place: PathBuf,
    /// The programs of a virtual environment that has Buildbot.
    pub(crate) buildbot: PathBuf,
    /// How often each side is measured.
    pub(crate) rounds: u32,
    /// For how long each time.
    pub(crate) time: Duration,
    /// Where it is said how far it is.
    pub(crate) bar: ProgressBar,
}

impl Bench {
    /// Says what is being done.
    pub(crate) fn doing(&self, what: &str) {
        if self.bar.is_hidden() {
            eprintln!("{what}");
        }
        self.bar.set_message(what.to_owned());
    }
}

/// The best of what was seen of a rate.
pub(crate) fn most(seen: &[f64]) -> f64 {
    seen.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// The best of what was seen of a time.
pub(crate) fn least(seen: &[f64]) -> f64 {
    seen.iter().copied().fold(f64::INFINITY, f64::min)
}

/// Milliseconds, with what is below them.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// What is asked of a process's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// What it holds now.
    Now,
    /// The most that it has held so far.
    Peak,
}

/// The memory of a process and of all that it has started, in MiB.
///
/// # Errors
/// When it is not there.
pub(crate) fn memory(process: u32, which: Memory) -> Result<f64> {
    let field = if which == Memory::Now { "VmRSS:" } else { "VmHWM:" };
    let mut total = 0.0;
    let mut waiting = vec![process];
    while let Some(id) = waiting.pop() {
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let kib = status.lines().find_map(|line| line.strip_prefix(field)?.trim().split(' ').next()?.parse::<f64>().ok());
        total += kib.unwrap_or_default() / 1024.0;
        for task in std::fs::read_dir(format!("/proc/{id}/task"))?.flatten() {
            // One that ends meanwhile has no children any more.
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            waiting.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    Ok(total)
}
