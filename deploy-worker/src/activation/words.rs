//! What failed on a host, in words for the person who asked.

use signalbox_contract::api::deploy::ActivateRequest;
use signalbox_contract::{Failure, FailureCode};

use crate::blob::BlobError;
use crate::environment::Host;
use crate::release::Fault;
use crate::ssh::{CONNECTING, SshError, escape};

/// What to do about a host that was not reached.
const UNREACHED: &str = "Is the host up, and does it take connections from the deployment worker's machine?";

/// What to do about a host of which nothing was heard any more.
const UNKNOWN: &str = "Whether it was switched is not known; the environment's page asks it, and so does the same deployment again.";

/// The words for a host that could not be asked, or gave no answer.
pub(super) fn of_ssh(host: &Host, error: &SshError) -> Failure {
    let name = &host.name;
    let failure = |code, detail: String| Failure::new(code, detail);
    match error {
        SshError::NotConnected { said } => {
            let failure = failure(FailureCode::HostUnreachable, format!("{name} cannot be reached over SSH: {said}."));
            if said.contains("Permission denied") {
                failure.hint("The host does not take the environment's `key` for its `user`.")
            } else {
                failure.hint(UNREACHED)
            }
        }
        SshError::Distrusted { .. } => failure(FailureCode::HostUnreachable, format!("{name}: {error}.")).hint(format!(
            "Compare the key with what the host's administrators say. If it was changed on purpose, put the new one, which \
             `ssh-keyscan -p {} {}` prints, into {} in place of the old one; that counts at once.",
            host.destination.port,
            host.destination.address,
            host.destination.known_hosts.display()
        )),
        SshError::Late { doing, .. } => {
            let hint = if *doing == CONNECTING { UNREACHED } else { UNKNOWN };
            failure(FailureCode::HostUnreachable, format!("{name} gave {error}.")).hint(hint)
        }
        SshError::Broken => failure(FailureCode::HostUnreachable, format!("{name}: {error}.")).hint(UNKNOWN),
        SshError::NoShell => failure(FailureCode::HostsFailed, format!("{name}: {error}.")).hint("The account needs a POSIX shell."),
        SshError::TooMuch { .. } => failure(FailureCode::HostsFailed, format!("{name}: {error}.")),
        SshError::NoSsh(source) => {
            tracing::error!(error = %source, "ssh.not_started");
            failure(FailureCode::Internal, "ssh cannot be started on the deployment worker.".to_owned()).hint("Install openssh-client.")
        }
        SshError::Local { source, .. } => {
            tracing::error!(error = %source, "cache.file_unreadable");
            failure(FailureCode::Internal, "The worker cannot read the bytes that it keeps.".to_owned())
        }
    }
}

/// The words for what a host says that it could not do.
pub(super) fn of_fault(host: &Host, fault: &Fault, complaint: &[u8]) -> Failure {
    let name = &host.name;
    let said = |what: &str| {
        let complaint = escape(complaint);
        if complaint.is_empty() { format!("{name}: {what}.") } else { format!("{name}: {what}: {complaint}.") }
    };
    let failed = |detail: String| Failure::new(FailureCode::HostsFailed, detail);
    match fault {
        Fault::NoRoot => failed(said("the root folder is not there, or may not be entered")).hint("Make it, owned by the account."),
        Fault::RootIsLink => failed(said("the root folder is a symbolic link")).hint("Give the folder that it points to as `root`."),
        Fault::RootNotWritable => {
            failed(said("the root folder may not be written to")).hint("Give it to the account, on a disk that can be written.")
        }
        Fault::NotOurs(what) => failed(said(&format!("{what} is a link, no folder, or belongs to another account")))
            .hint("Somebody else put it there. Look at it, and remove it."),
        Fault::NameTaken => failed(said("under the published name there is something that Signalbox did not put there"))
            .hint("Move it away, or publish under another name."),
        Fault::Locked => failed(said("another deployment of this name holds the lock")).hint("Try again when it has ended."),
        Fault::Tool(tool) => {
            failed(said(&format!("there is no program {tool}"))).hint("The host needs a POSIX shell and GNU coreutils, or the like.")
        }
        Fault::Write => failed(said("something cannot be written")).hint("Is the disk full?"),
        Fault::Read => failed(said("what was written cannot be read")),
        Fault::Sync => failed(said("what was written cannot be made durable")),
        Fault::SyncAfter => failed(said("it was switched, and that cannot be made durable")).hint("Look after the host's disk."),
        Fault::Switch => failed(said("the link cannot be switched")),
        Fault::Digest(digest) => failed(said(&format!("the bytes that arrived have the digest {digest}"))).hint("Try again."),
        Fault::Rotten => failed(said("the kept bytes are no longer what they were")).hint("Deploy the artifact again."),
        Fault::SequenceReused => failed(said("another activation has used this number for other bytes")).hint(
            "Another installation, or this one before a backup was restored, deploys to the same root. Give each a root of its own; or have \
             this one count above all that was given: stop the controller, `touch data/controller/restored`, start it, and rerun.",
        ),
    }
}

/// The words for a host that does not have what should be activated.
pub(super) fn not_kept(host: &Host) -> Failure {
    Failure::new(FailureCode::ReleaseNotFound, format!("{} does not keep this release.", host.name))
}

/// The words for a host that has nothing to go back to: only one release of the name, or nothing under it that was ever
/// `deployed`. What other names there are is for those to see who may.
pub(super) fn nothing_before(host: &Host, request: &ActivateRequest, deployed: bool) -> Failure {
    let ActivateRequest { published_name: name, environment, .. } = request;
    let host = &host.name;
    let (detail, hint) = if deployed {
        (format!("{host} has no release of {name} before the present one."), "")
    } else {
        (format!("Nothing was ever deployed as {name} on {host}."), " Was another name meant?")
    };
    let hint = format!("Nothing was switched on any host.{hint} `signalbox environments {environment}` shows what is deployed there.");
    Failure::new(FailureCode::ReleaseNotFound, detail).hint(hint)
}

/// The words for a host whose answer makes no sense.
pub(super) fn unexpected(host: &Host, what: &str, complaint: &[u8]) -> Failure {
    let complaint = escape(complaint);
    let detail =
        if complaint.is_empty() { format!("{}: {what}.", host.name) } else { format!("{}: {what}. It complains: {complaint}.", host.name) };
    Failure::new(FailureCode::HostsFailed, detail).hint("Can the account run `sh`, and is its login quiet?")
}

/// The words for a deployment that took too long.
pub(super) fn too_late(host: &Host) -> Failure {
    Failure::new(FailureCode::DeadlinePassed, format!("{} was not done when the deployment's time was over.", host.name))
        .configure("`deploy_timeout` in the deployment worker's configuration says how long it may take; raise it if that is too short.")
}

/// The words for bytes that are not to be had. What is behind it is logged.
pub(super) fn no_bytes(error: &BlobError) -> Failure {
    let mut detail = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(this) = cause {
        detail.push_str(": ");
        detail.push_str(&escape(this.to_string().as_bytes()));
        cause = this.source();
    }
    tracing::warn!(error = %detail, "blob.unavailable");
    let failure = |what: String| Failure::new(FailureCode::ArtifactUnavailable, what);
    match error {
        BlobError::Store(call) => match call.problem() {
            Some(problem) if problem.status == 404 => failure("The artifact store does not have the bytes any more.".to_owned()),
            Some(problem) => failure(format!("The artifact store does not give the bytes: {}", escape(problem.to_string().as_bytes()))),
            None => failure(format!("The artifact store does not give the bytes: {}.", escape(call.to_string().as_bytes()))),
        },
        BlobError::Wrong => failure("The artifact store gave bytes that have another digest.".to_owned()),
        BlobError::TooLarge { .. } => failure(format!("{error}.")),
        BlobError::DiskFull => Failure::new(FailureCode::DiskFull, "There is no room on the deployment worker's disk."),
        BlobError::Local(_) => failure("The deployment worker cannot keep the bytes.".to_owned()),
    }
}
