//! A build's log: raw bytes in a file, appended while it runs, read from any offset, bounded.

mod file;
mod mask;

pub(crate) use file::{Chunk, LogFile, Logs};
