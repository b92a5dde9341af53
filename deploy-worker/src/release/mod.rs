//! Releases on a host: the script that makes and switches them, what it is told, and what it answers.
//!
//! `ROOT/NAME` is a symbolic link to `ROOT/.signalbox/releases/NAME/SEQ-DIGEST/NAME`. It is switched by renaming another
//! link over it, so that whoever opens `ROOT/NAME` at any moment opens the whole old file or the whole new one. Bytes are
//! proven on the host before they become a release, and again each time before the link is switched to them. The highest
//! sequence that was asked for is on the disk before the link changes, and a lower one is refused under the host's lock.

mod order;
mod report;

pub use order::{MAX_SEQUENCE, Order, Task, script};
pub use report::{Candidate, End, Fault, Malformed, NameState, ReleaseId, Report, Shown, Soundness, parse};
