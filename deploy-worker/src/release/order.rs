//! What the script on the host is told.

use std::sync::LazyLock;

use jiff::Timestamp;
use signalbox_contract::{Digest, PublishedName, RunId};

use crate::environment::{FileMode, RootFolder};

/// The highest sequence that a host can count.
pub const MAX_SEQUENCE: u64 = 999_999_999_999_999_999;

/// The script as it is sent: without its comments.
pub fn script() -> &'static str {
    static SCRIPT: LazyLock<String> = LazyLock::new(|| {
        let lines = include_str!("host.sh").lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.collect::<Vec<_>>().join("\n")
    });
    &SCRIPT
}

/// What the script is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Switch to the bytes if they are there.
    Deploy,
    /// Take the bytes from standard input, prove them, and switch to them.
    Upload,
    /// Switch to a kept release; refuse one that has rotted.
    Activate,
    /// Say what an activation would switch to, and whether it is sound.
    Check,
    /// Say what every name shows and keeps.
    State,
}

impl Task {
    const fn word(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Upload => "upload",
            Self::Activate => "activate",
            Self::Check => "check",
            Self::State => "state",
        }
    }
}

/// One thing to do with one name on a host.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    /// The environment's root.
    pub root: &'a RootFolder,
    /// The published name; none where every name is meant.
    pub name: Option<&'a PublishedName>,
    /// The activation's number.
    pub sequence: u64,
    /// The bytes; none where the host is to say which were shown before.
    pub digest: Option<Digest>,
    /// The run.
    pub run: Option<RunId>,
    /// Now.
    pub now: Timestamp,
    /// The artifact's name, for people.
    pub artifact: &'a str,
    /// How many releases are kept.
    pub keep: u32,
    /// The file's permissions.
    pub file_mode: FileMode,
    /// A word that no other order has.
    pub nonce: String,
    /// How many seconds to wait for the host's lock.
    pub patience: u64,
}

impl Order<'_> {
    /// The script's arguments, in its order.
    pub fn arguments(&self, task: Task) -> Vec<String> {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        vec![
            task.word().to_owned(),
            self.root.as_str().to_owned(),
            or_dash(self.name.map(ToString::to_string)),
            self.sequence.to_string(),
            or_dash(self.digest.map(|digest| digest.hex())),
            or_dash(self.run.map(|run| run.to_string())),
            self.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            self.artifact.to_owned(),
            self.keep.to_string(),
            self.file_mode.as_str().to_owned(),
            self.nonce.clone(),
            self.patience.to_string(),
        ]
    }
}
