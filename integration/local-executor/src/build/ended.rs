//! How builds end.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use signalbox_contract::{FailureClass, Verdict};

use crate::limits::{Limits, human};

/// How a build ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) verdict: Verdict,
    pub(crate) class: Option<FailureClass>,
    pub(crate) reason: String,
}

impl Ended {
    pub(crate) const fn success() -> Self {
        Self { verdict: Verdict::Success, class: None, reason: String::new() }
    }

    /// What was built does not work.
    pub(crate) fn failed(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failed, class: Some(FailureClass::Work), reason: reason.into() }
    }

    /// A machine or a service failed, not the work.
    pub(crate) fn broken(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failed, class: Some(FailureClass::Infrastructure), reason: reason.into() }
    }

    pub(crate) fn aborted() -> Self {
        Self { verdict: Verdict::Aborted, class: None, reason: "It was cancelled.".to_owned() }
    }

    pub(crate) fn timed_out(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::TimedOut, class: Some(FailureClass::Work), reason: reason.into() }
    }

    /// Nobody knows how it would have ended.
    pub(crate) fn lost(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Lost, class: Some(FailureClass::Infrastructure), reason: reason.into() }
    }

    /// The executor was told to end while it was at it. Nothing is wrong with the build.
    pub(crate) fn interrupted() -> Self {
        let reason = "The executor was stopped.".to_owned();
        Self { verdict: Verdict::Lost, class: Some(FailureClass::Interrupted), reason }
    }

    /// How the script itself ended.
    pub(crate) fn of_script(status: ExitStatus, out_of_memory: bool, limits: &Limits) -> Self {
        if status.success() {
            return Self::success();
        }
        if out_of_memory {
            return Self::failed(format!("The build needed more memory than the {} that it may have.", human(limits.memory)));
        }
        match (status.code(), status.signal()) {
            // A shell, and bubblewrap like one, says 128 and the signal's number.
            (Some(code @ 129..=192), _) => Self::failed(format!("The script was ended by {}.", signal(code - 128))),
            (Some(code), _) => Self::failed(format!("The script ended with exit code {code}.")),
            (None, Some(number)) => Self::failed(format!("The script was ended by {}.", signal(number))),
            (None, None) => Self::failed("The script ended in a way that is not known."),
        }
    }
}

fn signal(number: i32) -> String {
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ (a file larger than the build's disk)",
        31 => "SIGSYS (a system call that the sandbox does not allow)",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

/// What a program said, as one bounded line without control characters.
pub(crate) fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_is_told_in_words() {
        let limits = Limits { memory: 1 << 30, processes: 1, disk: 1 };
        let said = |raw, oom| Ended::of_script(ExitStatus::from_raw(raw), oom, &limits).reason;
        assert_eq!(said(0, false), "");
        assert_eq!(said(3 << 8, false), "The script ended with exit code 3.");
        assert_eq!(said(139 << 8, false), "The script was ended by SIGSEGV.");
        assert_eq!(said(9, false), "The script was ended by SIGKILL.");
        assert_eq!(said(137 << 8, true), "The build needed more memory than the 1 GiB that it may have.");
        assert_eq!(plain(b"bwrap: \x1b[31mno\n\n way\xff"), "bwrap: [31mno way\u{fffd}");
    }
}
