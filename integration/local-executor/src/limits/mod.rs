//! What keeps a build within its bounds: control groups where they can be written, else limits of each process.

mod cgroup;
mod leftover;

pub(crate) use cgroup::{Cgroup, Cgroups};
pub(crate) use leftover::{MARK, end_marked, end_with};

/// What a build may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Memory, in bytes.
    pub(crate) memory: u64,
    /// Processes and threads.
    pub(crate) processes: u64,
    /// Disk, in bytes.
    pub(crate) disk: u64,
}

/// A number of bytes as people say it.
pub(crate) fn human(bytes: u64) -> String {
    for (unit, name) in [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{} {name}", bytes / unit);
        }
    }
    format!("{bytes} bytes")
}
