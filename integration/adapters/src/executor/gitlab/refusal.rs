//! What GitLab's refusals mean for a build, in words that say what to do.

use signalbox_contract::{Failure, FailureCode};

use crate::executor::ExecutorError;
use crate::gitlab::GitLabError;

/// What an error of a call means to whoever made it.
pub(super) fn translate(error: GitLabError) -> ExecutorError {
    let refused = |code, detail: String, hint: &str| ExecutorError::Refused(Failure::new(code, detail).hint(hint));
    match error {
        GitLabError::NotSent(_) => ExecutorError::NotSent(error.into()),
        GitLabError::Unknown(_) | GitLabError::Unreadable { .. } => ExecutorError::Unknown(error.into()),
        GitLabError::RateLimited { after } | GitLabError::Unavailable { after, .. } => {
            ExecutorError::Retry { after, why: error.to_string() }
        }
        GitLabError::Unauthorized { remote } => refused(
            FailureCode::ExecutorRefused,
            format!("GitLab does not accept the executor's token: {remote}."),
            "Make a token with the scope `api`, put it into the executor's token file; it is read again by itself.",
        ),
        GitLabError::Forbidden { scope: Some(scope), .. } => refused(
            FailureCode::ExecutorRefused,
            format!("The executor's GitLab token lacks a scope: {scope}."),
            "Make a token with the scope `api` and put it into the executor's token file.",
        ),
        GitLabError::Forbidden { scope: None, remote } => refused(
            FailureCode::ExecutorRefused,
            format!("GitLab does not allow it to the executor's token: {remote}."),
            "Give the token's user the role Developer in the group, or Maintainer where the branch is protected.",
        ),
        GitLabError::NotFound { remote } => refused(
            FailureCode::ExecutorRefused,
            format!("GitLab does not have what was asked for, or does not show it: {remote}."),
            "Check that the executor's token may see the project; GitLab does not tell the two apart.",
        ),
        GitLabError::Invalid { .. } => {
            let (code, hint) = definition(&error);
            refused(code, format!("{error}."), hint)
        }
        GitLabError::Conflict { .. } | GitLabError::Moved | GitLabError::Refused { .. } => {
            refused(FailureCode::ExecutorRefused, format!("{error}."), "GitLab's own log of the request says more.")
        }
    }
}

/// What an error of a call that only reads means: whatever became of it, nothing was done, and it may be made again. So it
/// never leaves open whether a build was started.
pub(super) fn not_read(error: GitLabError) -> ExecutorError {
    match translate(error) {
        ExecutorError::Unknown(source) => ExecutorError::NotSent(source),
        other => other,
    }
}

/// Why GitLab made no pipeline.
fn definition(error: &GitLabError) -> (FailureCode, &'static str) {
    if error.says("missing ci config") {
        return (FailureCode::DefinitionMissing, "Add a `.gitlab-ci.yml`, or set the project's `ci_config_path`.");
    }
    if ["no stages", "no jobs", "filtered out", "will not run for the selected trigger"].iter().any(|words| error.says(words)) {
        let hint = "The rules of `.gitlab-ci.yml` select no job for this branch and for pipelines started by the API; \
                    with `naming = \"same\"` it is built under its own name, by a push.";
        return (FailureCode::DefinitionInvalid, hint);
    }
    if error.says("set pipeline variables") {
        let hint = "The project lets the token's role set no variables, and the run has inputs, which are given so: give the token's user the \
                    role Maintainer, or have inputs given to `spec: inputs` (`inputs = \"inputs\"` for the executor).";
        return (FailureCode::ExecutorRefused, hint);
    }
    if error.says("reference not found") {
        return (FailureCode::ExecutorRefused, "The branch is not in the project: is the mirror the executor's own project?");
    }
    if error.says("input") {
        return (FailureCode::DefinitionInvalid, "The inputs of the run must be those that `spec: inputs` of `.gitlab-ci.yml` names.");
    }
    (FailureCode::DefinitionInvalid, "GitLab's pipeline editor shows where `.gitlab-ci.yml` is wrong.")
}
