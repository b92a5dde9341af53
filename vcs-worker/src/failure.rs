//! What a caller is told when git failed: what happened, and what to do about it.

use signalbox_contract::{Failure, SourceUrl};
use signalbox_service::git::{Fault, GitError};
use signalbox_service::ledger::WorkError;

/// The failure to answer with when `source` could not be fetched, and whether it is one that may pass.
pub(crate) fn of_source(error: &GitError, source: &SourceUrl) -> WorkError {
    let said = if error.said.is_empty() { String::new() } else { format!(" ({})", error.said) };
    let detail = format!("Fetching from {source} failed: {}{said}.", error.fault.as_str());
    let failure = Failure::new(error.fault.failure_code(), detail);
    let failure = if is_configured(error.fault) { failure.configure(hint(error.fault)) } else { failure.hint(hint(error.fault)) };
    if may_pass(error.fault) { WorkError::Again(failure) } else { WorkError::Failed(failure) }
}

/// Whether the same question may have another answer in a while, without anybody changing anything for it. Whoever asks
/// knows how long that is worth waiting for.
pub(crate) const fn may_pass(fault: Fault) -> bool {
    matches!(fault, Fault::Unreachable | Fault::ServerFailed | Fault::Timeout | Fault::Locked)
}

/// Whether the VCS worker's configuration is what is to be changed.
const fn is_configured(fault: Fault) -> bool {
    matches!(fault, Fault::Denied | Fault::Certificate | Fault::Timeout | Fault::TooLarge)
}

/// What to do about a fault.
const fn hint(fault: Fault) -> &'static str {
    match fault {
        Fault::Denied => {
            "Give the source's [[sources]] entry a credential that may read the repository; over ssh, have its server let the entry's `key` in."
        }
        Fault::NotFound => "Check the URL; a server may also say this to those whose credential may not see the repository.",
        Fault::NoSuchRef => "Check the ref's name; it may have been deleted.",
        Fault::NotOurRef | Fault::NoSuchObject => "The commit is gone from the source or hidden there; ask for one that a ref points to.",
        Fault::Redirects => "Use the URL to which the server redirects: redirects are not followed, so that no credential goes astray.",
        Fault::Unreachable => "Check that the server runs and that the VCS worker's network reaches it.",
        Fault::Certificate => "Name the server's certificate authority as `ca` in its [[sources]] entry.",
        Fault::HostKey => {
            "Compare the key with what the server's administrators say. If it was changed on purpose, put the new one, which \
             `ssh-keyscan -p PORT HOST` prints, into the entry's `known_hosts` in place of the old one; that counts at once."
        }
        Fault::Timeout => "Try again later, or raise fetch_timeout in the VCS worker's configuration.",
        Fault::DiskFull => "Make room on the VCS worker's disk.",
        Fault::TooLarge => "Raise max_repository in the VCS worker's configuration if the repository is meant to be this large.",
        Fault::BrokenObjects => "Run `git fsck` on the source; objects that it complains about are not taken.",
        Fault::NotGit => {
            "Check the URL: what answers there does not speak git's protocol. It may be the page of a sign-in or of a proxy; open it in a browser."
        }
        Fault::ServerFailed => "Look at the source's server; it failed by itself.",
        Fault::NonFastForward | Fault::ForceRefused | Fault::HiddenRef | Fault::Rejected => {
            "Look at the other server's rules for this ref."
        }
        Fault::Cancelled | Fault::Locked => "Ask again.",
        Fault::Local | Fault::Other => "See the VCS worker's log.",
    }
}
