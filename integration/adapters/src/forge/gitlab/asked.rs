//! How one thing is at a GitLab: a merge request, and how a branch came to its commit.

use serde_json::Value;
use signalbox_contract::change::ChangeId;
use signalbox_contract::{CommitSha, RefName};

use super::GitlabForgeSettings;
use super::call::{proposed, refused};
use crate::forge::payload::{commit, number, text};
use crate::forge::{Closing, ForgeError, Happening};
use crate::gitlab::{GitLab, GitLabError, ProjectRef, Request};

/// How a merge request is now. Nothing where what is answered cannot be understood, or while it is being merged.
pub(super) async fn change(gitlab: &GitLab, settings: &GitlabForgeSettings, change: &ChangeId) -> Result<Option<Happening>, ForgeError> {
    let there = ProjectRef::from(&*change.project);
    let closed = |closing| Some(Happening::Closed { change: change.clone(), closing });
    let asked = async {
        let request = match gitlab.call::<Value>(Request::get(there.segments(["merge_requests", &change.number.to_string()]))).await {
            Ok(request) => request,
            // What is not shown is gone only where its project is shown.
            Err(error @ GitLabError::NotFound { .. }) => {
                return if gitlab.project(&there).await?.is_some() { Ok(closed(Closing::Deleted)) } else { Err(error) };
            }
            Err(error) => return Err(error),
        };
        Ok(match text(&request, &["state"]) {
            Some("merged") => closed(Closing::Merged),
            Some("closed") => closed(Closing::Abandoned),
            Some("opened") => proposed(settings, &change.project, &request),
            _ => None,
        })
    };
    asked.await.map_err(|error| refused(error, "The merge request could not be read."))
}

/// The merge request that was merged as this commit of a branch.
pub(super) async fn merged_as(
    gitlab: &GitLab,
    settings: &GitlabForgeSettings,
    project: &str,
    branch: &RefName,
    sha: &CommitSha,
) -> Result<Option<ChangeId>, ForgeError> {
    let there = ProjectRef::from(project);
    let asked = gitlab.list::<Value>(Request::get(there.segments(["repository", "commits", sha.as_str(), "merge_requests"])), 1).await;
    let requests = match asked {
        Ok(requests) => requests.items,
        Err(GitLabError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(refused(error, "Whether the branch was moved by a merge could not be read.")),
    };
    // Others hold the commit too: those that come from the branch since.
    let made = |request: &Value| {
        ["merge_commit_sha", "squash_commit_sha", "sha"].iter().any(|field| commit(request, &[field]).as_ref() == Some(sha))
    };
    let is = |request: &&Value| {
        text(request, &["state"]) == Some("merged") && text(request, &["target_branch"]) == Some(branch.short()) && made(request)
    };
    let number = requests.iter().find(is).and_then(|request| number(request, &["iid"]));
    Ok(number.map(|number| ChangeId { forge: settings.name.clone(), project: project.to_owned(), number }))
}
