//! Where a mirror lives: where an attempt's commit is shown to its executor.
//!
//! Invariants: a mirror is written by pushing single refs with a lease, never as a whole. What is ours there lies below
//! `cd/`; of other refs only the one is touched that [`Naming::Same`] names.
//! What a ref was before a push is written down before the push, so that a push whose answer was lost is known to be ours.
//! What a server says is mapped to a failure of ours that says what to do.

mod face;
pub(crate) mod gitlab;
mod note;
mod push;
mod refusal;
mod remote;

pub use face::{Finding, Fut, Listed, Mirror, MirrorError, Order, Severity, Shown, Target};
pub use gitlab::{GitlabMirror, GitlabSettings};
pub use note::Note;
pub use remote::{RemoteMirror, RemoteSettings};

use signalbox_contract::api::vcs::Naming;
use signalbox_contract::{AttemptKey, Failure, FailureCode, RefName};

/// Below this lie the refs that are ours.
pub const OURS: &str = "refs/heads/cd/";

/// The full name of an attempt's ref.
pub fn attempt_ref(key: &AttemptKey) -> String {
    format!("{OURS}{key}")
}

/// The attempt whose ref this is.
pub fn attempt_of(ref_name: &RefName) -> Option<AttemptKey> {
    ref_name.as_str().strip_prefix(OURS)?.parse().ok()
}

/// The full name of the ref under which an order's commit is shown.
///
/// # Errors
/// The failure to answer with, when the order names none that may be used.
pub fn shown_as(order: &Order<'_>) -> Result<RefName, Failure> {
    let unusable = |detail: String| Failure::new(FailureCode::MirrorRefused, detail);
    match order.naming {
        Naming::Run => attempt_ref(order.key).parse().map_err(|_| Failure::new(FailureCode::Internal, "The ref's name cannot be made.")),
        Naming::Replace => "refs/heads/master".parse().map_err(|_| Failure::new(FailureCode::Internal, "The ref's name cannot be made.")),
        Naming::Same => {
            let Some(original) = order.original else {
                return Err(unusable("The ref's name at its source was not given, and it is to be shown under that name.".to_owned()));
            };
            let branch_or_tag = original.as_str().starts_with("refs/heads/") || original.as_str().starts_with("refs/tags/");
            if !branch_or_tag {
                let hint = "Say naming = \"run\" for it.";
                return Err(unusable(format!("{original} is neither a branch nor a tag, so it has no name at a mirror.")).hint(hint));
            }
            if original.as_str().starts_with(OURS) || original.as_str() == OURS.trim_end_matches('/') {
                let hint = "Rename the branch at its source, or say naming = \"run\" for it.";
                return Err(unusable(format!("{original} would lie where Signalbox keeps its own refs.")).hint(hint));
            }
            Ok(original.clone())
        }
    }
}
