//! What a server's refusal means, and what to do about it.
//!
//! Only the words of the server's answer to our own push are looked at; they are bounded and harmless already. Which failure
//! is told depends on them, and nothing else does.

use signalbox_contract::{Failure, FailureCode, RefName};
use signalbox_service::git::{Fault, GitError};
use url::Url;

use super::MirrorError;

/// Words of servers, what they mean, and what to do. The first that is found counts. All in lower case.
const WORDS: &[(&str, FailureCode, &str)] = &[
    (
        "not allowed to force push",
        FailureCode::MirrorProtected,
        "Allow force pushes for the protected branch (GitLab: Settings, Repository, Protected branches), or say naming = \"run\".",
    ),
    (
        "not allowed to push code to protected branches",
        FailureCode::MirrorProtected,
        "Give the VCS worker's token the role Maintainer, or allow its role to push to the protected branch.",
    ),
    ("not allowed to delete protected branches", FailureCode::MirrorProtected, "Unprotect the branch; `cd/*` should not be protected."),
    ("not allowed to create protected", FailureCode::MirrorProtected, "Unprotect the name pattern; `cd/*` should not be protected."),
    ("protected tag", FailureCode::MirrorProtected, "Allow the VCS worker's token to create the protected tag, or unprotect it."),
    ("protected branch", FailureCode::MirrorProtected, "Allow the VCS worker's token to push to the protected branch, or unprotect it."),
    ("default branch of a project cannot be deleted", FailureCode::MirrorProtected, "Make another branch the project's default."),
    ("deploy key", FailureCode::MirrorDenied, "Let the deploy key write to the project."),
    ("not allowed to push code", FailureCode::MirrorDenied, "Give the VCS worker's token the role Maintainer in the group."),
    ("archived", FailureCode::MirrorDenied, "Unarchive the project at the mirror."),
    ("read-only", FailureCode::MirrorUnreachable, "The server is in maintenance; it is tried again."),
    ("temporarily unavailable", FailureCode::MirrorUnreachable, "The server is in maintenance; it is tried again."),
    ("push size", FailureCode::MirrorFull, "Raise the server's limit on the size of a push."),
    ("exceeds the maximum", FailureCode::MirrorFull, "Raise the server's limit, or take the large file out of the history."),
    ("exceeds github's file size", FailureCode::MirrorFull, "Take the large file out of the history, or use another mirror."),
    ("file is larger than", FailureCode::MirrorFull, "Raise the limit on the size of files (GitLab: push rules)."),
    ("larger than the allowed size", FailureCode::MirrorFull, "Raise the limit on the size of files (GitLab: push rules)."),
    ("exceeded its size limit", FailureCode::MirrorFull, "Raise the project's size limit, or run `mirrors gc`."),
    ("above its size limit", FailureCode::MirrorFull, "Raise the project's size limit, or run `mirrors gc`."),
    ("storage limit", FailureCode::MirrorFull, "Raise the namespace's storage limit, or make room there."),
    ("quota", FailureCode::MirrorFull, "Raise the quota at the mirror, or make room there."),
    ("no space left", FailureCode::MirrorFull, "Make room on the mirror's server."),
    ("413", FailureCode::MirrorFull, "Raise the limit on the size of requests of the mirror's server or of the proxy before it."),
    ("does not follow the pattern", FailureCode::MirrorRefused, PUSH_RULE),
    ("doesn't follow the pattern", FailureCode::MirrorRefused, PUSH_RULE),
    ("is not a member of team", FailureCode::MirrorRefused, PUSH_RULE),
    ("committer's email", FailureCode::MirrorRefused, PUSH_RULE),
    ("commit must be signed", FailureCode::MirrorRefused, PUSH_RULE),
    ("secret", FailureCode::MirrorRefused, PUSH_RULE),
    ("blacklisted", FailureCode::MirrorRefused, PUSH_RULE),
    ("prohibited", FailureCode::MirrorRefused, PUSH_RULE),
    ("file name", FailureCode::MirrorRefused, PUSH_RULE),
    ("lfs objects", FailureCode::MirrorRefused, "Turn off LFS for the mirror's project: the objects themselves are not mirrored."),
    (
        "exists; cannot create",
        FailureCode::MirrorTaken,
        "A ref whose name is the beginning of this one is in the way; remove it at the mirror.",
    ),
    (
        "push options",
        FailureCode::MirrorRefused,
        "Let the server take push options (git: receive.advertisePushOptions), so that a push can say that it starts no pipeline.",
    ),
];

/// What to do about a push rule.
const PUSH_RULE: &str = "Except the mirror's project from the push rule: it holds what others wrote, unchanged.";

/// The failure when a question or a push to `url` was not answered as it should be.
pub(super) fn of_push(error: &GitError, url: &Url, ref_name: Option<&RefName>) -> MirrorError {
    let said = if error.said.is_empty() { String::new() } else { format!(" ({})", error.said) };
    let doing = ref_name.map_or_else(|| "Listing the refs of".to_owned(), |name| format!("Pushing {name} to"));
    let detail = format!("{doing} the mirror at {url} failed: {}{said}.", error.fault.as_str());
    let (code, hint) = meaning(error);
    let failure = Failure::new(code, detail).hint(hint);
    let passes = matches!(code, FailureCode::MirrorUnreachable | FailureCode::MirrorMoved)
        && !matches!(error.fault, Fault::Certificate | Fault::HostKey | Fault::Redirects)
        || matches!(error.fault, Fault::DiskFull | Fault::Locked | Fault::Cancelled | Fault::Local | Fault::Other);
    if passes { MirrorError::Passing(failure) } else { MirrorError::Final(failure) }
}

fn meaning(error: &GitError) -> (FailureCode, &'static str) {
    let refused = || {
        let words = error.said.to_ascii_lowercase();
        let known = WORDS.iter().find(|(text, ..)| words.contains(text));
        known.map(|(_, code, hint)| (*code, *hint))
    };
    match error.fault {
        Fault::Denied => refused().unwrap_or((
            FailureCode::MirrorDenied,
            "Give the mirror's entry a credential that may write there; tokens expire, and need the scope for git's writing.",
        )),
        Fault::NotFound => (
            FailureCode::MirrorNotFound,
            "Make the repository at the mirror, or give the entry a credential that may see it: a server also says this to those who may not.",
        ),
        Fault::Redirects => (FailureCode::MirrorNotFound, "Use the URL to which the server redirects: redirects are not followed."),
        Fault::Unreachable | Fault::ServerFailed => (FailureCode::MirrorUnreachable, "Check that the mirror's server runs and is reached."),
        Fault::Timeout => (FailureCode::MirrorUnreachable, "The mirror's server is slow; raise fetch_timeout if this stays."),
        Fault::Certificate => (FailureCode::MirrorUnreachable, "Name the server's certificate authority as `ca` in the mirror's entry."),
        Fault::HostKey => (
            FailureCode::MirrorUnreachable,
            "Compare the key with what the server's administrators say. If it was changed on purpose, put the new one, which \
             `ssh-keyscan -p PORT HOST` prints, into the entry's `known_hosts_file` in place of the old one; that counts at once.",
        ),
        Fault::NotGit => (FailureCode::MirrorUnreachable, "Check the mirror's URL: what answers there does not speak git."),
        Fault::ForceRefused => refused().unwrap_or((
            FailureCode::MirrorProtected,
            "Allow that the ref's history is replaced there (git: receive.denyNonFastForwards), or say naming = \"run\".",
        )),
        Fault::HiddenRef => (FailureCode::MirrorRefused, "The server keeps this ref to itself; say naming = \"run\"."),
        Fault::NonFastForward => (FailureCode::MirrorMoved, "Let nobody but Signalbox push to the mirror."),
        Fault::Rejected => {
            refused().unwrap_or((FailureCode::MirrorRefused, "Look at the server's rules for this ref, and at its own words."))
        }
        Fault::DiskFull => (FailureCode::DiskFull, "Make room on the VCS worker's disk."),
        Fault::NoSuchObject | Fault::NoSuchRef | Fault::NotOurRef => (FailureCode::CommitNotFound, "Mirror it first, by POST /repo."),
        Fault::TooLarge => (FailureCode::MirrorFull, "The mirror answers more than is read; it has too many refs."),
        Fault::BrokenObjects => (FailureCode::MirrorRefused, "The server found broken objects; run `git fsck` on the source."),
        Fault::Cancelled | Fault::Locked | Fault::Local | Fault::Other => (FailureCode::Internal, "See the VCS worker's log."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(fault: Fault, said: &str) -> MirrorError {
        let url = "https://git.example.org/a.git".parse().expect("a URL");
        of_push(&GitError::new(fault, said), &url, Some(&"refs/heads/main".parse().expect("a ref")))
    }

    #[test]
    fn what_a_server_refuses_says_what_to_change() {
        for (fault, said, code) in [
            (
                Fault::Rejected,
                "remote: GitLab: You are not allowed to force push code to a protected branch on this project.; ! a:b [remote rejected] (pre-receive hook declined)",
                FailureCode::MirrorProtected,
            ),
            (
                Fault::Rejected,
                "remote: GitLab: You are not allowed to push code to protected branches on this project.",
                FailureCode::MirrorProtected,
            ),
            (Fault::Rejected, "remote: GitLab: Commit message does not follow the pattern 'X'", FailureCode::MirrorRefused),
            (Fault::Rejected, "remote: GitLab: File \"a\" is larger than the allowed size of 5 MiB", FailureCode::MirrorFull),
            (
                Fault::Rejected,
                "remote: Your push has been rejected, because this repository has exceeded its size limit of 1 GB",
                FailureCode::MirrorFull,
            ),
            (Fault::Rejected, "error: RPC failed; HTTP 413 curl 22 The requested URL returned error: 413", FailureCode::MirrorFull),
            (Fault::Rejected, "! [remote rejected] (pre-receive hook declined)", FailureCode::MirrorRefused),
            (Fault::ForceRefused, "! [remote rejected] (non-fast-forward)", FailureCode::MirrorProtected),
            (Fault::HiddenRef, "! [remote rejected] (deny updating a hidden ref)", FailureCode::MirrorRefused),
            (Fault::Denied, "HTTP Basic: Access denied", FailureCode::MirrorDenied),
            (Fault::HostKey, "", FailureCode::MirrorUnreachable),
        ] {
            let MirrorError::Final(failure) = judged(fault, said) else { panic!("{said} passes") };
            assert_eq!(failure.code, code, "{said}");
            assert!(!failure.hint.is_empty(), "{said}");
        }
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        for fault in [Fault::Unreachable, Fault::ServerFailed, Fault::Timeout, Fault::NonFastForward, Fault::DiskFull] {
            assert!(matches!(judged(fault, ""), MirrorError::Passing(_)), "{fault:?}");
        }
    }
}
