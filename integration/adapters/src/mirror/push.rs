//! Bringing a ref at another server to a commit, and taking refs away.

use std::path::Path;
use std::time::Duration;

use signalbox_contract::{CommitSha, Failure, FailureCode, RefName};
use signalbox_service::git::{Fault, Git, MOST_UPDATES, Push, Remote, Update};

use super::note::Before;
use super::refusal::of_push;
use super::{MirrorError, Note};

/// How often a ref is looked at and pushed anew when somebody else moved it in between.
const TRIES: u32 = 3;

/// How long a question for refs may take.
const LOOK: Duration = Duration::from_mins(1);

/// What is to be pushed, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bring<'a> {
    pub(super) remote: &'a Remote,
    pub(super) copy: &'a Path,
    pub(super) ref_name: &'a RefName,
    pub(super) sha: &'a CommitSha,
    pub(super) note: &'a Note,
    /// Words for the server.
    pub(super) options: &'a [&'a str],
    pub(super) deadline: Duration,
}

/// Brings a ref to a commit, and reads it back. Answers whether it was moved there for this attempt, by this call or by an
/// earlier one whose outcome was lost.
pub(super) async fn bring(git: &Git, order: Bring<'_>) -> Result<bool, MirrorError> {
    let Bring { remote, ref_name, sha, note, .. } = order;
    let fault = |error| of_push(&error, remote.url(), Some(ref_name));
    for _ in 0..TRIES {
        let now = look(git, remote, ref_name).await?;
        let before = note.read().map_err(|error| not_noted(&error))?.filter(|before| before.ref_name == *ref_name);
        if now.as_ref().is_some_and(|now| now.sha == *sha) {
            return Ok(before.is_some_and(|before| before.object.as_ref() != Some(sha)));
        }
        let lease = now.map(|now| now.object);
        let replaced = before.and_then(|before| before.replaced);
        note.write(&Before { ref_name: ref_name.clone(), object: lease.clone(), replaced }).map_err(|error| not_noted(&error))?;
        let update = Update { ref_name: ref_name.as_str(), sha: Some(sha), lease: lease.as_ref() };
        match git.push(order.copy, Push { remote, updates: &[update], options: order.options, deadline: order.deadline }).await {
            // Read back by the next look.
            Ok(()) => {}
            Err(error) if error.fault == Fault::NonFastForward => {
                tracing::info!(said = error.said, %ref_name, "mirror.ref_moved_meanwhile");
            }
            Err(error) => return Err(fault(error)),
        }
        if look(git, remote, ref_name).await?.is_some_and(|now| now.sha == *sha) {
            return Ok(true);
        }
    }
    let detail = format!("{ref_name} at {} was moved by somebody else each time that it was pushed.", remote.url());
    let hint = "Let nobody but Signalbox push to the mirror; look who does.";
    Err(MirrorError::Passing(Failure::new(FailureCode::MirrorMoved, detail).hint(hint)))
}

/// Takes refs away that still are what they are believed to be. One that is something else by now stays.
pub(super) async fn remove(
    git: &Git,
    remote: &Remote,
    copy: &Path,
    refs: &[(RefName, CommitSha)],
    deadline: Duration,
) -> Result<(), MirrorError> {
    for some in refs.chunks(MOST_UPDATES) {
        let updates: Vec<Update<'_>> =
            some.iter().map(|(name, object)| Update { ref_name: name.as_str(), sha: None, lease: Some(object) }).collect();
        let pushed = git.push(copy, Push { remote, updates: &updates, options: &[], deadline }).await;
        match (pushed, some.first()) {
            (Err(error), Some((name, _))) if error.fault != Fault::NonFastForward => return Err(of_push(&error, remote.url(), Some(name))),
            _ => {}
        }
    }
    Ok(())
}

/// What a ref is now; none if it is not there.
pub(super) async fn look(git: &Git, remote: &Remote, ref_name: &RefName) -> Result<Option<signalbox_service::git::Shown>, MirrorError> {
    let shown = git.ls_remote(remote, std::slice::from_ref(ref_name), LOOK).await;
    Ok(shown.map_err(|error| of_push(&error, remote.url(), Some(ref_name)))?.into_iter().next())
}

pub(super) fn not_noted(error: &std::io::Error) -> MirrorError {
    let full = error.kind() == std::io::ErrorKind::StorageFull;
    let code = if full { FailureCode::DiskFull } else { FailureCode::Internal };
    let failure = Failure::new(code, "What the ref was before the push cannot be written down or read, so it was not pushed.");
    MirrorError::Passing(failure.hint("Make room on the VCS worker's disk, and see its log."))
}
