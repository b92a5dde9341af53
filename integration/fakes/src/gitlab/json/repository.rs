//! Commits, branches, tags.

use serde_json::{Value, json};

use crate::gitlab::state::State;
use crate::gitlab::state::commit::Commit;
use crate::gitlab::state::project::Project;
use crate::gitlab::state::user::level;

/// A commit.
pub(crate) fn commit(state: &State, project: u64, commit: &Commit) -> Value {
    let path = state.projects.get(&project).map(|project| state.path_of(project)).unwrap_or_default();
    json!({
        "id": commit.id,
        "short_id": commit.short(),
        "created_at": commit.committed,
        "parent_ids": commit.parents,
        "title": commit.title(),
        "message": commit.message,
        "author_name": commit.author_name,
        "author_email": commit.author_email,
        "authored_date": commit.authored,
        "committer_name": commit.committer_name,
        "committer_email": commit.committer_email,
        "committed_date": commit.committed,
        "trailers": {},
        "extended_trailers": {},
        "web_url": format!("{}/{path}/-/commit/{}", state.url, commit.id),
    })
}

/// A branch.
pub(crate) fn branch(state: &State, project: &Project, name: &str, tip: &Commit, access: u32) -> Value {
    let protection = project.protection(name);
    let may = protection.map_or(access >= level::DEVELOPER, |protected| protected.push != level::NONE && access >= protected.push);
    json!({
        "name": name,
        "merged": false,
        "protected": protection.is_some(),
        "default": project.default_branch.as_deref() == Some(name),
        "developers_can_push": protection.is_none_or(|protected| protected.push == level::DEVELOPER),
        "developers_can_merge": protection.is_none_or(|protected| protected.merge == level::DEVELOPER),
        "can_push": may,
        "web_url": format!("{}/{}/-/tree/{name}", state.url, state.path_of(project)),
        "commit": commit(state, project.id, tip),
    })
}

/// A tag.
pub(crate) fn tag(state: &State, project: &Project, name: &str, target: &str, message: Option<&str>, tip: &Commit) -> Value {
    json!({
        "name": name,
        "message": message,
        "target": target,
        "commit": commit(state, project.id, tip),
        "release": null,
        "protected": project.protects(name, true),
        "created_at": null,
    })
}
