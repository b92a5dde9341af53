//! What GitLab's API is asked by a forge: what is open, where branches are, and how a commit stands.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use serde_json::{Map, Value, json};
use signalbox_contract::change::{ChangeId, Origin, ReviewHead};
use signalbox_contract::{CommitSha, Failure, FailureCode};
use signalbox_service::telemetry::causes;

use super::GitlabForgeSettings;
use super::event::{is_draft, is_ours, labels};
use crate::forge::payload::{commit, cut, flag, number, page, text};
use crate::forge::{ForgeError, Happening, Proposal, Review, Standing, Told, Watched};
use crate::gitlab::{GitLab, GitLabError, ProjectRef, Request};

/// How many pages are read of one list.
const PAGES: usize = 50;

/// How many pages are read of tags.
const TAG_PAGES: usize = 10;

/// How long a description of a status may be. GitLab takes 255 characters.
const DESCRIPTION: usize = 255;

/// Everything that is open, every branch, and the newest tags where they are wanted, in these projects. One that cannot be read does not hide the others.
pub(super) async fn heads(gitlab: &GitLab, settings: &GitlabForgeSettings, projects: &[Watched]) -> Result<Vec<Happening>, ForgeError> {
    let mut happenings = Vec::new();
    let (mut read, mut fault) = (0, None);
    for Watched { project, tags } in projects {
        match of_project(gitlab, settings, project, *tags).await {
            Ok(found) => {
                read += 1;
                happenings.extend(found);
            }
            Err(error @ (GitLabError::NotFound { .. } | GitLabError::Forbidden { .. })) => {
                tracing::warn!(forge = %settings.name, %project, error = %causes(&error), "a project's merge requests cannot be read");
                fault = Some(error);
            }
            Err(error) => return Err(refused(error, "Its open merge requests could not be read.")),
        }
    }
    match fault {
        Some(error) if read == 0 => Err(refused(error, "Its open merge requests could not be read.")),
        _ => Ok(happenings),
    }
}

async fn of_project(gitlab: &GitLab, settings: &GitlabForgeSettings, project: &str, tags: bool) -> Result<Vec<Happening>, GitLabError> {
    let there = ProjectRef::from(project);
    let requests = gitlab.list::<Value>(Request::get(there.segments(["merge_requests"])).with("state", "opened"), PAGES).await?;
    let branches = gitlab.list::<Value>(Request::get(there.segments(["repository", "branches"])), PAGES).await?;
    if requests.more || branches.more {
        tracing::warn!(forge = %settings.name, %project, "more is open than is compared; the rest is left out");
    }
    let mut happenings: Vec<Happening> = requests.items.iter().filter_map(|request| proposed(settings, project, request)).collect();
    happenings.extend(branches.items.iter().filter_map(|branch| moved(project, "refs/heads/", branch)));
    if tags {
        // The newest first. One that is older than all of these was seen long ago.
        let newest = Request::get(there.segments(["repository", "tags"])).with("order_by", "updated").with("sort", "desc");
        let tags = gitlab.list::<Value>(newest, TAG_PAGES).await?;
        happenings.extend(tags.items.iter().filter_map(|tag| moved(project, "refs/tags/", tag)));
    }
    Ok(happenings)
}

pub(super) fn proposed(settings: &GitlabForgeSettings, project: &str, request: &Value) -> Option<Happening> {
    let iid = number(request, &["iid"])?;
    let title = text(request, &["title"]).unwrap_or_default();
    Some(Happening::Proposed {
        head: ReviewHead {
            change: ChangeId { forge: settings.name.clone(), project: project.to_owned(), number: iid },
            patch_set: None,
            sha: commit(request, &["sha"])?,
            ref_name: format!("refs/merge-requests/{iid}/head").parse().ok()?,
            branch: text(request, &["target_branch"])?.parse().ok()?,
            topic: None,
            url: page(request, &["web_url"]),
        },
        proposal: Proposal::Seen,
        wip: flag(request, &["draft"]) || flag(request, &["work_in_progress"]) || is_draft(title),
        private: false,
        hashtags: labels(request, request),
        follows: None,
    })
}

/// A branch or a tag. Of an annotated tag too, `commit` is the commit that it names.
fn moved(project: &str, below: &str, branch: &Value) -> Option<Happening> {
    let name = format!("{below}{}", text(branch, &["name"])?);
    if is_ours(&name) {
        return None;
    }
    let sha = Some(commit(branch, &["commit", "id"])?);
    Some(Happening::Moved { project: project.to_owned(), ref_name: name.parse().ok()?, sha, merged: None })
}

/// One telling at a time for a commit: two at once would make two pipelines, one of which would hang for ever.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<BTreeMap<CommitSha, Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    fn of(&self, sha: &CommitSha) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(sha).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(sha.clone(), Arc::downgrade(&turn));
        turn
    }
}

/// Where a commit's status is shown.
struct Place {
    project: ProjectRef,
    /// The branch or tag, its short name.
    name: Option<String>,
}

/// Makes the commit's status what it should be.
pub(super) async fn tell(gitlab: &GitLab, settings: &GitlabForgeSettings, turns: &Turns, review: &Review) -> Result<Told, ForgeError> {
    let (sha, places) = match &review.origin {
        Origin::Api => return Ok(Told::default()),
        Origin::Moved { project, ref_name, sha, .. } => {
            (sha, vec![Place { project: ProjectRef::from(&**project), name: Some(ref_name.short().to_owned()) }])
        }
        Origin::Review(head) => {
            let places = places(gitlab, head).await.map_err(|error| refused(error, "The merge request could not be read."))?;
            (&head.sha, places)
        }
    };
    let turn = turns.of(sha);
    let _turn = turn.lock().await;
    let mut remarks = Vec::new();
    let mut last = None;
    for place in places {
        match show(gitlab, settings, &place, sha, review).await {
            Ok(written) => return Ok(Told { written, remarks }),
            // A fork whose owner has not let us in: the project that it is for is the next best.
            Err(error @ (GitLabError::NotFound { .. } | GitLabError::Forbidden { .. })) => {
                remarks.push(format!("The status cannot be shown in the project {}: {error}.", place.project));
                last = Some(error);
            }
            Err(error) => return Err(refused(error, "The status could not be written.")),
        }
    }
    Err(refused(last.unwrap_or(GitLabError::Moved), "The status could not be written."))
}

/// Where a merge request's status is seen: in the project that it comes from, and else in the one that it is for.
async fn places(gitlab: &GitLab, head: &ReviewHead) -> Result<Vec<Place>, GitLabError> {
    let target = ProjectRef::from(&*head.change.project);
    let request: Value = gitlab.call(Request::get(target.segments(["merge_requests", &head.change.number.to_string()]))).await?;
    let name = text(&request, &["source_branch"]).map(str::to_owned);
    let (from, to) = (number(&request, &["source_project_id"]), number(&request, &["target_project_id"]));
    let here = Place { project: target, name: name.clone() };
    Ok(match from.filter(|from| Some(*from) != to) {
        Some(from) => vec![Place { project: ProjectRef::Id(from), name }, here],
        None => vec![here],
    })
}

/// Shows the status in one project, unless it is shown already.
async fn show(
    gitlab: &GitLab,
    settings: &GitlabForgeSettings,
    place: &Place,
    sha: &CommitSha,
    review: &Review,
) -> Result<bool, GitLabError> {
    let state = state(review.standing);
    let mut ask =
        Request::get(place.project.segments(["repository", "commits", sha.as_str(), "statuses"])).with("name", settings.status.clone());
    if let Some(name) = &place.name {
        ask = ask.with("ref", name.clone());
    }
    let there = gitlab.list::<Value>(ask, 1).await?;
    let ours =
        there.items.iter().filter(|status| text(status, &["name"]) == Some(&settings.status)).max_by_key(|status| number(status, &["id"]));
    let shown =
        |status: &Value, state| text(status, &["status"]) == Some(state) && text(status, &["target_url"]) == Some(review.url.as_str());
    let overtaken = review.overtaken.filter(|standing| *standing != Standing::Started).map(self::state);
    if ours.is_some_and(|ours| shown(ours, state) || overtaken.is_some_and(|state| shown(ours, state))) {
        return Ok(false);
    }
    let mut body = Map::new();
    body.insert("state".to_owned(), json!(state));
    body.insert("name".to_owned(), json!(settings.status));
    body.insert("target_url".to_owned(), json!(review.url));
    body.insert("description".to_owned(), json!(description(review)));
    if let Some(name) = &place.name {
        body.insert("ref".to_owned(), json!(name));
    }
    // The pipeline that holds our status so far; else GitLab might take another one.
    if let Some(pipeline) = ours.and_then(|status| number(status, &["pipeline_id"])) {
        body.insert("pipeline_id".to_owned(), json!(pipeline));
    }
    let said = gitlab.act(Request::post(place.project.segments(["statuses", sha.as_str()])).json(&body)).await;
    match said {
        Ok(()) => Ok(true),
        // Until 2025, this is how GitLab said that it is so already.
        Err(error @ GitLabError::Invalid { .. }) if error.says("cannot transition status") => Ok(false),
        Err(error) => Err(error),
    }
}

const fn state(standing: Standing) -> &'static str {
    match standing {
        Standing::Started => "running",
        Standing::Passed => "success",
        Standing::Failed => "failed",
        Standing::Undecided => "canceled",
    }
}

fn description(review: &Review) -> String {
    let words = review.summary.split_whitespace().collect::<Vec<_>>().join(" ");
    let words: String = words.chars().filter(|letter| !letter.is_control()).collect();
    cut(&words, DESCRIPTION).to_owned()
}

/// What a call's fault means for whoever asked.
pub(super) fn refused(error: GitLabError, what: &str) -> ForgeError {
    let hint = match &error {
        GitLabError::NotSent(_) | GitLabError::Unknown(_) | GitLabError::Unreadable { .. } => return ForgeError::Unreachable(error.into()),
        GitLabError::RateLimited { after } | GitLabError::Unavailable { after, .. } => {
            return ForgeError::Retry { after: after.map(|after| after.min(Duration::from_mins(10))) };
        }
        GitLabError::Conflict { .. } => return ForgeError::Retry { after: None },
        GitLabError::Unauthorized { .. } => "Make another token with the scope api, and put it into the file that the configuration names.",
        GitLabError::Forbidden { .. } => "Give the token's owner the role Developer in the project, and the token the scope api.",
        GitLabError::NotFound { .. } => "It is not there, or the token may not see it: check the project's path and the token's role.",
        GitLabError::Moved => "The project has another path now: configure that one.",
        _ => "Look at what GitLab says.",
    };
    ForgeError::Refused(Failure::new(FailureCode::ForgeRefused, format!("{what} {error}.")).hint(hint))
}
