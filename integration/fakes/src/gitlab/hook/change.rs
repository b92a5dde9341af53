//! What hooks are told of branches, tags and merge requests.

use serde_json::{Value, json};

use super::payload;
use crate::gitlab::state::State;
use crate::gitlab::state::commit::Commit;
use crate::gitlab::state::project::Project;
use crate::gitlab::time;

/// The most commits that a push's hook lists.
pub(crate) const LISTED: usize = 20;

/// A commit that a push brought, with the files that it changed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Brought {
    pub(crate) commit: Commit,
    pub(crate) added: Vec<String>,
    pub(crate) modified: Vec<String>,
    pub(crate) removed: Vec<String>,
}

/// That a ref changed.
#[derive(Debug, Clone)]
pub(crate) struct RefChange {
    /// The whole name.
    pub(crate) ref_name: String,
    /// Forty zeros if it is new.
    pub(crate) before: String,
    /// Forty zeros if it is gone. For a tag with words of its own, that tag and not the commit.
    pub(crate) after: String,
    /// The commit, if it is not gone.
    pub(crate) commit: Option<Commit>,
    /// A tag's own words.
    pub(crate) message: Option<String>,
    /// The newest commits that it brought, newest last.
    pub(crate) brought: Vec<Brought>,
    /// How many it brought in all.
    pub(crate) total: usize,
}

impl RefChange {
    /// The name without `refs/heads/` or `refs/tags/`, and whether it is a tag's.
    pub(crate) fn short(&self) -> Option<(&str, bool)> {
        let branch = self.ref_name.strip_prefix("refs/heads/").map(|name| (name, false));
        branch.or_else(|| self.ref_name.strip_prefix("refs/tags/").map(|name| (name, true)))
    }

    /// Whether the ref is gone.
    pub(crate) fn deleted(&self) -> bool {
        self.after.bytes().all(|byte| byte == b'0')
    }
}

/// What a push's hook is told.
pub(crate) fn push(state: &State, project: &Project, user: u64, change: &RefChange, options: &Value) -> Option<Value> {
    let (name, tag) = change.short()?;
    let kind = if tag { "tag_push" } else { "push" };
    let user = state.users.get(&user);
    let commits: Vec<Value> = change
        .brought
        .iter()
        .map(|brought| {
            let mut shown = payload::commit(state, project, &brought.commit);
            shown["added"] = json!(brought.added);
            shown["modified"] = json!(brought.modified);
            shown["removed"] = json!(brought.removed);
            shown
        })
        .collect();
    Some(json!({
        "object_kind": kind,
        "event_name": kind,
        "before": change.before,
        "after": change.after,
        "ref": change.ref_name,
        "ref_protected": project.protects(name, tag),
        "checkout_sha": change.commit.as_ref().map(|commit| commit.id.as_str()),
        "message": change.message,
        "user_id": user.map(|user| user.id),
        "user_name": user.map(|user| user.name.as_str()),
        "user_username": user.map(|user| user.username.as_str()),
        "user_email": "",
        "user_avatar": null,
        "project_id": project.id,
        "project": payload::project_with_addresses(state, project),
        "commits": commits,
        "total_commits_count": change.total,
        "push_options": options,
        "repository": payload::repository(state, project),
    }))
}

/// What happened to a merge request.
#[derive(Debug, Clone)]
pub(crate) struct MergeRequestChange {
    /// `open`, `close`, `reopen`, `update` or `merge`.
    pub(crate) action: &'static str,
    /// The commit before, when commits came.
    pub(crate) oldrev: Option<String>,
    /// Fields that changed, each with what it was and is.
    pub(crate) changes: Value,
    /// Who did it.
    pub(crate) user: u64,
}

/// What a merge request's hook is told.
pub(crate) fn merge_request(state: &State, id: u64, commit: Option<&Commit>, change: &MergeRequestChange) -> Option<Value> {
    let request = state.merge_requests.get(&id)?;
    let target = state.projects.get(&request.project)?;
    let source = state.projects.get(&request.source_project)?;
    let labels: Vec<Value> = request.labels.iter().map(|label| json!({ "title": label, "type": "ProjectLabel" })).collect();
    let mut shown = json!({
        "object_kind": "merge_request",
        "event_type": "merge_request",
        "user": payload::user(state, change.user),
        "project": payload::project_with_addresses(state, target),
        "repository": payload::repository(state, target),
        "labels": labels,
        "assignees": [],
        "reviewers": [],
        "changes": change.changes,
        "object_attributes": {
            "id": request.id,
            "iid": request.iid,
            "target_branch": request.target_branch,
            "source_branch": request.source_branch,
            "source_project_id": request.source_project,
            "target_project_id": request.project,
            "author_id": request.author,
            "assignee_ids": [],
            "reviewer_ids": [],
            "title": request.title,
            "description": request.description,
            "created_at": time::hook(request.created_at),
            "updated_at": time::hook(request.updated_at),
            "state": request.state,
            "state_id": match request.state.as_str() { "opened" => 1, "closed" => 2, "merged" => 3, _ => 4 },
            "draft": request.draft,
            "work_in_progress": request.draft,
            "merge_status": "unchecked",
            "detailed_merge_status": if request.draft { "draft_status" } else { "mergeable" },
            "merge_commit_sha": request.merge_commit,
            "head_pipeline_id": request.head_pipeline,
            "url": format!("{}/{}/-/merge_requests/{}", state.url, state.path_of(target), request.iid),
            "source": payload::project_with_addresses(state, source),
            "target": payload::project_with_addresses(state, target),
            "last_commit": commit.map(|commit| payload::commit(state, source, commit)),
            "labels": labels,
            "action": change.action,
        },
    });
    if let Some(oldrev) = &change.oldrev {
        shown["object_attributes"]["oldrev"] = json!(oldrev);
    }
    Some(shown)
}

/// What the hook is told of a comment on a merge request.
pub(crate) fn note(state: &State, request: u64, commit: Option<&Commit>, note: u64) -> Option<Value> {
    let request = state.merge_requests.get(&request)?;
    let project = state.projects.get(&request.project)?;
    let source = state.projects.get(&request.source_project)?;
    let note = request.notes.iter().find(|other| other.id == note)?;
    let url = format!("{}/{}/-/merge_requests/{}", state.url, state.path_of(project), request.iid);
    Some(json!({
        "object_kind": "note",
        "event_type": "note",
        "user": payload::user(state, note.author),
        "project_id": project.id,
        "project": payload::project_with_addresses(state, project),
        "repository": payload::repository(state, project),
        "object_attributes": {
            "id": note.id,
            "note": note.body,
            "noteable_type": "MergeRequest",
            "noteable_id": request.id,
            "author_id": note.author,
            "created_at": time::hook(note.created_at),
            "updated_at": time::hook(note.created_at),
            "project_id": project.id,
            "system": false,
            "action": "create",
            "url": format!("{url}#note_{}", note.id),
        },
        "merge_request": {
            "id": request.id, "iid": request.iid, "title": request.title, "state": request.state,
            "source_branch": request.source_branch, "target_branch": request.target_branch,
            "source_project_id": request.source_project, "target_project_id": request.project,
            "draft": request.draft, "work_in_progress": request.draft,
            "source": payload::project_with_addresses(state, source),
            "target": payload::project_with_addresses(state, project),
            "last_commit": commit.map(|commit| payload::commit(state, source, commit)),
            "url": url,
        },
    }))
}
