//! What an earlier process of the same service left running when it was killed.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// Kills every program of this user whose environment has `key` with a value that lies in `folder`, and tells how many
/// there were. To be called before work begins, by the one process that holds the folder: what is found then was left by one
/// that was killed, and would go on writing beside us.
pub fn end_orphans(key: &str, folder: &Path) -> usize {
    let wanted = [key.as_bytes(), b"=", folder.as_os_str().as_bytes(), b"/"].concat();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return 0;
    };
    let mut ended = 0;
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        // Other users' processes cannot be read, and one that ends meanwhile need not be.
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(&wanted)) && kill_process(pid, Signal::KILL).is_ok() {
            ended += 1;
        }
    }
    ended
}
