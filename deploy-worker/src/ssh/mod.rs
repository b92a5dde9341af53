//! Reaching hosts: one warm, multiplexed connection to each, through the machine's own `ssh`.
//!
//! The operator's OpenSSH does what it does best (keys, certificates, hardware tokens, its vendor's security updates);
//! the crate `openssh` speaks to it over its control socket, so that a command on a warm host costs no process here.
//! The connection itself is started by this module and not by the crate, for three reasons: a host that hangs while it
//! logs us in is cut off with its process, which the crate would leave behind; the environment is empty; and no
//! connection outlives this process, however it ends, because each one ends when its standard input does.
//!
//! Invariants:
//!
//! * Only hosts whose key is in the given file of known hosts are spoken to. No file of the user or the machine changes
//!   how: there is no configuration, agent, forwarding, proxy or password.
//! * Every wait has a deadline and every output a bound. What a host says is data, and is escaped before it is shown.
//! * Whatever is run may be run again: where a connection turns out to be dead, or a script is killed, it is run three times at most.

mod connection;
mod control;
mod exchange;
mod options;
mod pool;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

pub use control::ControlFolderError;
pub use exchange::{Heard, Input, Remote};
pub use options::{Destination, PathInvalid, check_path};
pub use pool::{Sessions, Times};

/// What is being done while a connection is made, as [`SshError::Late`] says it.
pub const CONNECTING: &str = "connecting";

/// Why something could not be run on a host. What the host or `ssh` said is escaped and cut short.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// `ssh` itself cannot be started here.
    #[error("ssh cannot be started")]
    NoSsh(#[source] signalbox_service::process::ProcessError),
    /// The connection was not made.
    #[error("no connection: {said}")]
    NotConnected {
        /// What ssh said.
        said: String,
    },
    /// The host is not known, or not by the key that it shows.
    #[error("its host key is not the one that is pinned: {why}")]
    Distrusted {
        /// What it shows, and what is known of it.
        why: String,
    },
    /// The connection broke. What was run may have been done or not.
    #[error("the connection broke while the host was at work")]
    Broken,
    /// There was no answer in time.
    #[error("no answer within {} while {doing}", Readable(*after))]
    Late {
        /// What was being done.
        doing: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The host has no POSIX shell of the name `sh`, or the account may not run commands.
    #[error("the host cannot run sh")]
    NoShell,
    /// It printed more than is taken.
    #[error("the host printed more than {limit} bytes")]
    TooMuch {
        /// The limit.
        limit: usize,
    },
    /// A local fault.
    #[error("{path} cannot be used")]
    Local {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl SshError {
    /// Whether the host was not even asked to let us in, which may be otherwise in a moment.
    fn is_unreached(&self) -> bool {
        let Self::NotConnected { said } = self else { return false };
        UNREACHED.iter().any(|words| said.contains(words)) && !ANSWERED.iter().any(|words| said.contains(words))
    }
}

/// The words in which `ssh` says that it did not come as far as exchanging keys.
const UNREACHED: [&str; 9] = [
    connection::WORDLESS,
    "Connection refused",
    "Connection reset",
    "Connection timed out",
    "No route to host",
    "Network is unreachable",
    "Temporary failure in name resolution",
    "kex_exchange_identification",
    "banner exchange",
];

/// The words in which it says that the host did answer, and that asking again has the same answer.
const ANSWERED: [&str; 2] = ["Permission denied", "Host key verification failed"];

struct Readable(Duration);

impl std::fmt::Display for Readable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 < Duration::from_secs(2) { write!(f, "{} ms", self.0.as_millis()) } else { write!(f, "{} s", self.0.as_secs()) }
    }
}

/// The longest piece of foreign text that is shown, in characters.
const SHOWN: usize = 300;

/// Makes foreign bytes fit to be shown: printable ASCII as it is, everything else as `?`, lines joined, the end of it
/// when it is long, since what matters comes last.
pub fn escape(bytes: &[u8]) -> String {
    let text: String = bytes
        .iter()
        .map(|byte| match byte {
            b'\n' | b'\r' | b'\t' => ' ',
            byte if byte.is_ascii_graphic() || *byte == b' ' => char::from(*byte),
            _ => '?',
        })
        .collect();
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ");
    // All of it is ASCII: bytes are characters.
    if text.len() > SHOWN { format!("...{}", &text[text.len() - SHOWN..]) } else { text }
}
