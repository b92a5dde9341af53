//! People, groups, projects and what belongs to them.

use serde_json::{Map, Value, json};

use crate::gitlab::hook::payload::ssh_url;
use crate::gitlab::state::State;
use crate::gitlab::state::deployment::{Deployment, Environment};
use crate::gitlab::state::group::Group;
use crate::gitlab::state::hook::{Hook, Topic};
use crate::gitlab::state::merge_request::{MergeRequest, Note};
use crate::gitlab::state::project::{Deletion, DeployKey, Project, ProtectedBranch, Variable};
use crate::gitlab::state::user::{Token, level};
use crate::gitlab::time;

/// A user.
pub(crate) fn user(state: &State, id: u64) -> Value {
    state.users.get(&id).map_or(Value::Null, |user| {
        json!({
            "id": user.id,
            "username": user.username,
            "name": user.name,
            "state": if user.blocked { "blocked" } else { "active" },
            "locked": false,
            "avatar_url": null,
            "web_url": format!("{}/{}", state.url, user.username),
        })
    })
}

/// A group, or a name space.
pub(crate) fn group(state: &State, group: &Group) -> Value {
    json!({
        "id": group.id,
        "name": group.name,
        "path": group.path,
        "full_name": group.full_path.replace('/', " / "),
        "full_path": group.full_path,
        "description": "",
        "visibility": group.visibility.word(),
        "parent_id": group.parent,
        "kind": group.kind(),
        "avatar_url": null,
        "web_url": if group.user.is_some() { format!("{}/{}", state.url, group.full_path) } else { format!("{}/groups/{}", state.url, group.full_path) },
        "request_access_enabled": true,
        "created_at": time::api(group.created_at),
        "default_branch_protection": 2,
        "marked_for_deletion_on": group.marked_for_deletion_at.map(time::day),
    })
}

/// A project, with what this user may do there.
pub(crate) fn project(state: &State, project: &Project, user: Option<u64>) -> Value {
    let path = state.path_of(project);
    let url = format!("{}/{path}", state.url);
    let group = state.groups.get(&project.namespace);
    let marked = match project.deletion {
        Some(Deletion::Marked(at)) => Some(time::day(at)),
        _ => None,
    };
    let access = |level: u32| if level == level::NONE { Value::Null } else { json!({ "access_level": level, "notification_level": 3 }) };
    let own = user.and_then(|user| project.members.get(&user)).copied().unwrap_or_default();
    let inherited = user.map_or(level::NONE, |user| state.level_in_group(user, project.namespace).min(level::OWNER));
    let mut shown: Map<String, Value> = project.settings.clone().into_iter().collect();
    shown.remove("restrict_user_defined_variables");
    let restricted = project.least_level_for_variables() > level::DEVELOPER;
    let more = json!({
        "id": project.id,
        "description": project.description,
        "name": project.name,
        "name_with_namespace": state.name_of(project),
        "path": project.path,
        "path_with_namespace": path,
        "created_at": time::api(project.created_at),
        "updated_at": time::api(project.last_activity_at),
        "last_activity_at": time::api(project.last_activity_at),
        "default_branch": project.default_branch,
        "tag_list": [],
        "ssh_url_to_repo": ssh_url(state, &path),
        "http_url_to_repo": format!("{url}.git"),
        "web_url": url,
        "readme_url": null,
        "forks_count": 0,
        "star_count": 0,
        "avatar_url": null,
        "namespace": group.map(|group| json!({
            "id": group.id, "name": group.name, "path": group.path, "kind": group.kind(),
            "full_path": group.full_path, "parent_id": group.parent, "avatar_url": null,
            "web_url": format!("{}/{}", state.url, group.full_path),
        })),
        "visibility": project.visibility.word(),
        "creator_id": project.creator,
        "import_status": "none",
        "open_issues_count": 0,
        "empty_repo": project.default_branch.is_none(),
        "archived": project.archived,
        "public_builds": project.is_on("public_jobs"),
        "restrict_user_defined_variables": restricted,
        "marked_for_deletion_at": marked,
        "marked_for_deletion_on": marked,
        "permissions": { "project_access": access(own), "group_access": access(inherited) },
        "_links": { "self": format!("{}/api/v4/projects/{}", state.url, project.id) },
    });
    if let Value::Object(more) = more {
        shown.extend(more);
    }
    Value::Object(shown)
}

/// A token, without its characters.
pub(crate) fn token(token: &Token, now: jiff::Timestamp) -> Value {
    json!({
        "id": token.id,
        "name": token.name,
        "description": null,
        "revoked": token.revoked,
        "created_at": time::api(token.created_at),
        "scopes": token.scopes,
        "user_id": token.user,
        "last_used_at": time::api_or_null(token.last_used_at),
        "active": token.active(now),
        "expires_at": token.expires_at.map(time::day),
    })
}

/// A hook, without its secrets.
pub(crate) fn hook(project: u64, hook: &Hook, now: jiff::Timestamp, signs: bool) -> Value {
    let mut shown = json!({
        "id": hook.id,
        "url": hook.url,
        "name": hook.name,
        "description": hook.description,
        "project_id": project,
        "created_at": time::api(hook.created_at),
        "push_events_branch_filter": hook.branch_filter.clone().unwrap_or_default(),
        "branch_filter_strategy": "wildcard",
        "enable_ssl_verification": hook.verifies,
        "alert_status": hook.alert_status(now),
        "disabled_until": hook.disabled_until.filter(|end| now < *end).map(time::api),
        "url_variables": [],
        "custom_webhook_template": null,
        "custom_headers": hook.custom_headers.iter().map(|(key, _)| json!({ "key": key })).collect::<Vec<_>>(),
        "repository_update_events": false,
        "issues_events": false,
        "confidential_issues_events": false,
        "confidential_note_events": false,
        "wiki_page_events": false,
        "feature_flag_events": false,
        "resource_access_token_events": false,
    });
    for topic in Topic::ALL {
        shown[topic.switch()] = hook.topics.contains(&topic).into();
    }
    if signs {
        shown["token_present"] = hook.token.is_some().into();
        shown["signing_token_present"] = hook.signing_token.is_some().into();
    }
    shown
}

/// A protected branch.
pub(crate) fn protected_branch(state: &State, branch: &ProtectedBranch) -> Value {
    let words = |level: u32| match level {
        level::NONE => "No one",
        level::DEVELOPER => "Developers + Maintainers",
        level::ADMIN => "Administrators",
        _ => "Maintainers",
    };
    let row = |level: u32| json!({ "id": branch.id, "access_level": level, "access_level_description": words(level), "user_id": null, "group_id": null });
    let mut push = vec![row(branch.push)];
    push.extend(branch.users.iter().map(|user| {
        let name = state.users.get(user).map(|user| user.name.clone());
        json!({ "id": branch.id, "access_level": null, "access_level_description": name, "user_id": user, "group_id": null })
    }));
    json!({
        "id": branch.id,
        "name": branch.name,
        "push_access_levels": push,
        "merge_access_levels": [row(branch.merge)],
        "unprotect_access_levels": branch.unprotect.map(row).into_iter().collect::<Vec<_>>(),
        "allow_force_push": branch.allow_force_push,
        "code_owner_approval_required": false,
        "inherited": false,
    })
}

/// A variable.
pub(crate) fn variable(variable: &Variable) -> Value {
    json!({
        "variable_type": if variable.file { "file" } else { "env_var" },
        "key": variable.key,
        "value": if variable.hidden { Value::Null } else { variable.value.clone().into() },
        "protected": variable.protected,
        "masked": variable.masked,
        "hidden": variable.hidden,
        "raw": variable.raw,
        "environment_scope": variable.scope,
        "description": variable.description,
    })
}

/// A key for ssh.
pub(crate) fn deploy_key(key: &DeployKey, can_push: bool) -> Value {
    json!({
        "id": key.id, "title": key.title, "key": key.key, "can_push": can_push,
        "created_at": time::api(key.created_at), "expires_at": null, "fingerprint": null, "fingerprint_sha256": null,
    })
}

/// An environment.
pub(crate) fn environment(environment: &Environment) -> Value {
    json!({
        "id": environment.id,
        "name": environment.name,
        "slug": environment.slug(),
        "description": environment.description,
        "external_url": environment.external_url,
        "state": if environment.stopped { "stopped" } else { "available" },
        "tier": environment.tier,
        "created_at": time::api(environment.created_at),
        "updated_at": time::api(environment.updated_at),
    })
}

/// A deployment.
pub(crate) fn deployment(state: &State, deployment: &Deployment) -> Value {
    let job = deployment.job.and_then(|job| state.jobs.get(&job));
    json!({
        "id": deployment.id,
        "iid": deployment.iid,
        "ref": deployment.ref_name,
        "sha": deployment.sha,
        "status": deployment.status,
        "created_at": time::api(deployment.created_at),
        "updated_at": time::api(deployment.updated_at),
        "user": user(state, deployment.user),
        "environment": state.environments.get(&deployment.environment).map(environment),
        "deployable": job.map(|job| super::job(state, job)),
    })
}

/// A merge request.
pub(crate) fn merge_request(state: &State, request: &MergeRequest) -> Value {
    let path = state.projects.get(&request.project).map(|project| state.path_of(project)).unwrap_or_default();
    let pipeline = request.head_pipeline.and_then(|pipeline| state.pipelines.get(&pipeline));
    json!({
        "id": request.id,
        "iid": request.iid,
        "project_id": request.project,
        "source_project_id": request.source_project,
        "target_project_id": request.project,
        "source_branch": request.source_branch,
        "target_branch": request.target_branch,
        "title": request.title,
        "description": request.description,
        "state": request.state,
        "author": user(state, request.author),
        "assignees": [],
        "reviewers": [],
        "labels": request.labels,
        "draft": request.draft,
        "work_in_progress": request.draft,
        "sha": request.sha,
        "merge_commit_sha": request.merge_commit,
        "merge_status": "can_be_merged",
        "detailed_merge_status": if request.draft { "draft_status" } else { "mergeable" },
        "created_at": time::api(request.created_at),
        "updated_at": time::api(request.updated_at),
        "user_notes_count": request.notes.len(),
        "head_pipeline": pipeline.map(|pipeline| super::pipeline(state, pipeline)),
        "pipeline": pipeline.map(|pipeline| super::pipeline_in_list(state, pipeline)),
        "references": { "short": format!("!{}", request.iid), "relative": format!("!{}", request.iid), "full": format!("{path}!{}", request.iid) },
        "web_url": format!("{}/{path}/-/merge_requests/{}", state.url, request.iid),
    })
}

/// A comment.
pub(crate) fn note(state: &State, request: &MergeRequest, note: &Note) -> Value {
    json!({
        "id": note.id,
        "type": null,
        "body": note.body,
        "author": user(state, note.author),
        "created_at": time::api(note.created_at),
        "updated_at": time::api(note.created_at),
        "system": false,
        "noteable_id": request.id,
        "noteable_iid": request.iid,
        "noteable_type": "MergeRequest",
        "project_id": request.project,
        "resolvable": false,
        "confidential": false,
        "internal": false,
    })
}
