//! What git and the servers say: made harmless, and understood.

use std::fmt::Write as _;
use std::process::ExitStatus;

use secrecy::{ExposeSecret as _, SecretString};

use super::error::{Fault, GitError};
use crate::ssh::distrust;

/// How much of what was said is passed on, in bytes.
const MOST: usize = 1000;

/// Words by which a failure is known, and what it means. The first that is found counts, so the narrow ones come first.
/// All in lower case; what is compared is, too.
const KNOWN: &[(&str, Fault)] = &[
    ("no space left on device", Fault::DiskFull),
    ("disk quota exceeded", Fault::DiskFull),
    ("couldn't find remote ref", Fault::NoSuchRef),
    ("not our ref", Fault::NotOurRef),
    ("does not allow request for unadvertised object", Fault::NotOurRef),
    ("returned error: 401", Fault::Denied),
    ("returned error: 403", Fault::Denied),
    ("returned error: 404", Fault::NotFound),
    ("returned error: 410", Fault::NotFound),
    ("returned error: 301", Fault::Redirects),
    ("returned error: 302", Fault::Redirects),
    ("returned error: 303", Fault::Redirects),
    ("returned error: 307", Fault::Redirects),
    ("returned error: 308", Fault::Redirects),
    ("returned error: 413", Fault::Rejected),
    ("rpc failed; http 413", Fault::Rejected),
    ("returned error: 429", Fault::ServerFailed),
    ("returned error: 5", Fault::ServerFailed),
    ("http 5", Fault::ServerFailed),
    ("rpc failed; http 401", Fault::Denied),
    ("rpc failed; http 403", Fault::Denied),
    ("rpc failed; http 404", Fault::NotFound),
    ("rpc failed; http 30", Fault::Redirects),
    ("could not read username", Fault::Denied),
    ("could not read password", Fault::Denied),
    ("authentication failed", Fault::Denied),
    ("permission denied (", Fault::Denied),
    ("too many authentication failures", Fault::Denied),
    ("host key verification failed", Fault::HostKey),
    ("host key for", Fault::HostKey),
    ("ssl certificate problem", Fault::Certificate),
    ("server certificate verification failed", Fault::Certificate),
    ("no alternative certificate subject name", Fault::Certificate),
    ("certificate subject name", Fault::Certificate),
    ("error setting certificate", Fault::Certificate),
    ("operation too slow", Fault::Timeout),
    ("operation timed out", Fault::Timeout),
    ("could not resolve host", Fault::Unreachable),
    ("failed to connect", Fault::Unreachable),
    ("couldn't connect", Fault::Unreachable),
    ("connection refused", Fault::Unreachable),
    ("connection timed out", Fault::Unreachable),
    ("network is unreachable", Fault::Unreachable),
    ("no route to host", Fault::Unreachable),
    ("gnutls_handshake", Fault::Unreachable),
    ("ssl connect error", Fault::Unreachable),
    ("tls connect error", Fault::Unreachable),
    ("kex_exchange_identification", Fault::Unreachable),
    ("empty reply from server", Fault::Unreachable),
    ("does not appear to be a git repository", Fault::NotFound),
    ("repository not found", Fault::NotFound),
    ("' not found", Fault::NotFound),
    ("access denied or repository not exported", Fault::NotFound),
    ("not valid: is this a git repository", Fault::NotGit),
    ("invalid server response", Fault::NotGit),
    ("bad line length", Fault::NotGit),
    ("protocol error", Fault::NotGit),
    ("unexpected line", Fault::NotGit),
    ("invalid content-type", Fault::NotGit),
    ("expected flush", Fault::NotGit),
    ("expected '", Fault::NotGit),
    ("does not support push options", Fault::Rejected),
    ("does not support --atomic", Fault::Rejected),
    ("server does not support", Fault::NotGit),
    ("received http/0.9", Fault::NotGit),
    ("fsck error", Fault::BrokenObjects),
    ("bad object", Fault::BrokenObjects),
    ("pack signature mismatch", Fault::BrokenObjects),
    ("pack is corrupted", Fault::BrokenObjects),
    ("pack has", Fault::BrokenObjects),
    ("inflate", Fault::BrokenObjects),
    ("unresolved deltas", Fault::BrokenObjects),
    ("unpack-objects failed", Fault::BrokenObjects),
    ("did not send all necessary objects", Fault::BrokenObjects),
    ("[remote rejected] (non-fast-forward)", Fault::ForceRefused),
    ("force push", Fault::ForceRefused),
    ("exists; cannot create", Fault::Rejected),
    // The ref was moved between what was promised and what was done; also by an earlier one of the same push, whose answer was lost.
    ("(failed to update ref)", Fault::NonFastForward),
    ("cannot lock ref", Fault::NonFastForward),
    ("failed to lock", Fault::NonFastForward),
    ("non-fast-forward", Fault::NonFastForward),
    ("stale info", Fault::NonFastForward),
    ("fetch first", Fault::NonFastForward),
    ("deny updating a hidden ref", Fault::HiddenRef),
    ("hidden ref", Fault::HiddenRef),
    ("pre-receive hook declined", Fault::Rejected),
    ("protected branch", Fault::Rejected),
    ("[remote rejected]", Fault::Rejected),
    ("[rejected]", Fault::Rejected),
    (".lock': file exists", Fault::Locked),
    ("connection reset", Fault::Unreachable),
    ("gnutls recv error", Fault::Unreachable),
    ("gnutls send error", Fault::Unreachable),
    ("unexpected eof while reading", Fault::Unreachable),
    ("recv failure", Fault::Unreachable),
    ("send failure", Fault::Unreachable),
    ("connection closed", Fault::Unreachable),
    ("transfer closed", Fault::Unreachable),
    ("the remote end hung up", Fault::Unreachable),
    ("early eof", Fault::Unreachable),
    ("unexpected disconnect", Fault::Unreachable),
    ("invalid index-pack output", Fault::BrokenObjects),
    ("index-pack failed", Fault::BrokenObjects),
    ("not a valid object name", Fault::NoSuchObject),
    ("nonexistent object", Fault::NoSuchObject),
];

/// What a command that failed has to say. `limited`: it had a limit on the size of files, whose breach the kernel shows by a
/// signal.
pub(super) fn judge(stderr: &[u8], stdout: &[u8], status: ExitStatus, secrets: &[SecretString], limited: bool) -> GitError {
    let stderr = String::from_utf8_lossy(stderr);
    let stdout = String::from_utf8_lossy(stdout);
    // What the server says on its own account does not decide what happened; the lines that a push is refused with do.
    let ours = || {
        stderr.lines().filter(|line| !line.trim_start().starts_with("remote:")).chain(stdout.lines().filter(|line| line.starts_with('!')))
    };
    let mut text = ours().collect::<Vec<_>>().join("\n").to_ascii_lowercase();
    // Why a ref was not updated, git says on the server's own account alone: one that is in the way of another stays there.
    if text.contains("(failed to update ref)")
        && let Some(why) = stderr.lines().find(|line| line.contains("exists; cannot create"))
    {
        text = format!("{}\n{text}", why.to_ascii_lowercase());
    }
    let too_large = limited
        && (["died of signal 25", "file too large", "out of memory"].iter().any(|words| text.contains(words))
            // A helper that was killed by the limit says nothing; git itself only misses its output.
            || text.trim() == "fatal: fetch-pack: invalid index-pack output");
    let fault = if too_large {
        Fault::TooLarge
    } else {
        KNOWN.iter().find(|(words, _)| text.contains(words)).map_or(Fault::Other, |(_, fault)| *fault)
    };
    let mut words = stderr
        .lines()
        .chain(stdout.lines().filter(|line| line.starts_with('!')))
        .map(|line| line.trim().replace('\t', " "))
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("; ");
    if fault == Fault::HostKey
        && let Some(why) = distrust(&stderr)
    {
        words = why;
    }
    if words.is_empty() {
        let _ = write!(words, "git ended with {status}");
    }
    GitError::new(fault, harmless(&words, secrets))
}

/// One line of printable text of bounded length, without any of the secrets.
pub(super) fn harmless(text: &str, secrets: &[SecretString]) -> String {
    // The secrets go first: cutting or escaping could leave half of one.
    let mut clean = text.to_owned();
    for secret in secrets.iter().map(SecretString::expose_secret).filter(|secret| !secret.is_empty()) {
        clean = clean.replace(secret, "[redacted]");
    }
    let mut line = String::with_capacity(clean.len().min(MOST + 16));
    for character in clean.chars() {
        if line.len() >= MOST {
            line.push_str(" [...]");
            break;
        }
        // Control characters move a terminal's cursor; the others turn the direction of text or hide it.
        let deceives = character.is_control()
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}');
        if deceives {
            line.extend(character.escape_unicode());
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn a_connection_that_is_cut_may_be_tried_again_whichever_library_says_so() {
        for said in [
            "GnuTLS recv error (-110): The TLS connection was non-properly terminated.",
            "GnuTLS, handshake failed: gnutls_handshake() failed: The TLS connection was non-properly terminated.",
            "OpenSSL SSL_read: error:0A000126:SSL routines::unexpected eof while reading, errno 0",
            "Recv failure: Connection reset by peer",
            "Send failure: Broken pipe",
        ] {
            let stderr = format!("fatal: unable to access 'https://127.0.0.1:7481/mirrors/hello.git/': {said}\n");
            let error = judge(stderr.as_bytes(), b"", ExitStatus::from_raw(128 << 8), &[], false);
            assert_eq!(error.fault, Fault::Unreachable, "{said}");
        }
    }

    fn fault(stderr: &str, stdout: &str) -> Fault {
        judge(stderr.as_bytes(), stdout.as_bytes(), ExitStatus::from_raw(256), &[], false).fault
    }

    #[test]
    fn a_ref_that_was_moved_meanwhile_is_told_from_one_that_is_in_the_way() {
        let refused = "!\tabc:refs/heads/main\t[remote rejected] (failed to update ref)\nDone\n";
        let moved = "remote: error: cannot lock ref 'refs/heads/main': is at a but expected b\nerror: failed to push some refs to 'x'\n";
        assert_eq!(fault(moved, refused), Fault::NonFastForward);
        let taken = "remote: error: cannot lock ref 'refs/heads/a/b': 'refs/heads/a' exists; cannot create 'refs/heads/a/b'\n";
        assert_eq!(fault(taken, refused), Fault::Rejected);
        let hook = "!\tabc:refs/heads/main\t[remote rejected] (pre-receive hook declined)\n";
        assert_eq!(
            fault("remote: error: cannot lock ref, says the hook\n", hook),
            Fault::Rejected,
            "the server's words decide nothing else"
        );
    }
}
