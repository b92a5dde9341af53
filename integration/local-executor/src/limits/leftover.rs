//! Processes found by a mark in their environment.
//!
//! A control group holds all that a build starts. Where there is none, the sandbox's first process is found by the
//! variable that the executor gave it, which a build inside cannot change; with it the kernel ends all of the sandbox.
//! Only an unsandboxed build without a control group can hide a process from this, by giving it another environment.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The variable by which a build's outermost processes are marked.
pub(crate) const MARK: &str = "SIGNALBOX_EXECUTOR_MARK";

/// Kills every process that carries a mark beginning so, and waits until none is left or `limit` is over. Answers whether
/// none is left.
pub(crate) fn end_marked(prefix: &str, limit: Duration) -> bool {
    end_with(&format!("{MARK}={prefix}"), limit)
}

/// Kills every process that has a variable beginning so, name and all, like [`end_marked`].
pub(crate) fn end_with(wanted: &str, limit: Duration) -> bool {
    let begun = Instant::now();
    loop {
        let found = marked(wanted.as_bytes());
        if found.is_empty() {
            return true;
        }
        for pid in found {
            // It may have ended by itself meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
        if begun.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn marked(wanted: &[u8]) -> Vec<Pid> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            // A process that has ended and waits to be reaped has no environment any more.
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(wanted)))
        })
        .filter_map(Pid::from_raw)
        .collect()
}
