//! What GitLab's API refuses, and what to do about it.

use signalbox_contract::{Failure, FailureCode};

use super::super::MirrorError;
use crate::gitlab::GitLabError;

/// The failure when `doing` something by the API did not succeed. `doing` begins a sentence.
pub(super) fn of_api(error: &GitLabError, doing: &str) -> MirrorError {
    let detail = format!("{doing} at the mirror's GitLab failed: {error}.");
    let say = |code, hint: String| Failure::new(code, detail).hint(hint);
    match error {
        GitLabError::NotSent(_)
        | GitLabError::Unknown(_)
        | GitLabError::RateLimited { .. }
        | GitLabError::Unavailable { .. }
        | GitLabError::Unreadable { .. } => {
            MirrorError::Passing(say(FailureCode::MirrorUnreachable, "Check that the GitLab runs and that its url is right.".to_owned()))
        }
        GitLabError::Unauthorized { .. } => {
            MirrorError::Final(say(FailureCode::MirrorDenied, "Make a new token: this one is wrong, expired or revoked.".to_owned()))
        }
        GitLabError::Forbidden { scope: Some(scope), .. } => MirrorError::Final(say(
            FailureCode::MirrorDenied,
            format!("Make a token with the scope {scope}; the VCS worker's needs `api`."),
        )),
        GitLabError::Forbidden { scope: None, .. } => MirrorError::Final(say(
            FailureCode::MirrorDenied,
            "Give the token's user the role Maintainer in the mirror's group, and see that its projects limit is not used up.".to_owned(),
        )),
        GitLabError::NotFound { .. } => MirrorError::Final(say(
            FailureCode::MirrorNotFound,
            "Check the mirror's group; GitLab also says this to those who may not see it.".to_owned(),
        )),
        GitLabError::Conflict { .. } => MirrorError::Passing(say(FailureCode::MirrorTaken, "It is tried again.".to_owned())),
        GitLabError::Moved => {
            MirrorError::Final(say(FailureCode::MirrorTaken, "Somebody renamed or moved it; give it its name back.".to_owned()))
        }
        GitLabError::Invalid { .. } | GitLabError::Refused { .. } => {
            MirrorError::Final(say(FailureCode::MirrorRefused, "Look at GitLab's own words.".to_owned()))
        }
    }
}
