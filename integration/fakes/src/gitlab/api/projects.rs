//! Projects.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::call::Call;
use super::page::page;
use super::refusal::{Answer, Refusal, created, ok, show};
use crate::gitlab::fake::Fake;
use crate::gitlab::git::{Edit, NewCommit};
use crate::gitlab::json;
use crate::gitlab::state::project::{Deletion, Project, Visibility};
use crate::gitlab::state::user::level;
use crate::gitlab::state::{NewProject, State};

pub(super) fn routes() -> Router<Arc<Fake>> {
    Router::new()
        .route("/projects", get(list).post(create))
        .route("/projects/{id}", get(one).put(edit).delete(remove))
        .route("/projects/{id}/restore", post(restore))
        .route("/projects/{id}/archive", post(archive))
        .route("/projects/{id}/unarchive", post(unarchive))
        .route("/projects/{id}/transfer", axum::routing::put(transfer))
        .route("/projects/{id}/push_rule", get(push_rule).post(set_push_rule).put(set_push_rule))
        .route("/projects/{id}/members", get(members).post(add_member))
        .route("/projects/{id}/members/all", get(members))
}

/// Settings that can be given and are kept as they are.
const SETTINGS: [&str; 23] = [
    "auto_cancel_pending_pipelines",
    "auto_devops_enabled",
    "build_timeout",
    "builds_access_level",
    "ci_config_path",
    "ci_default_git_depth",
    "ci_forward_deployment_enabled",
    "ci_pipeline_variables_minimum_override_role",
    "group_runners_enabled",
    "issues_enabled",
    "jobs_enabled",
    "lfs_enabled",
    "merge_method",
    "merge_requests_enabled",
    "only_allow_merge_if_pipeline_succeeds",
    "packages_enabled",
    "public_jobs",
    "remove_source_branch_after_merge",
    "repository_access_level",
    "request_access_enabled",
    "shared_runners_enabled",
    "snippets_enabled",
    "wiki_enabled",
];

fn settings(call: &Call) -> Result<BTreeMap<String, Value>, Refusal> {
    let mut given = BTreeMap::new();
    for name in SETTINGS {
        let Some(value) = call.params.0.get(name) else {
            continue;
        };
        let value = match (value.as_str(), name) {
            // A form has texts alone.
            (Some("true"), _) => Value::Bool(true),
            (Some("false"), _) => Value::Bool(false),
            (Some(text), "build_timeout" | "ci_default_git_depth") => {
                text.parse::<u64>().map(Value::from).map_err(|_| Refusal::invalid(name))?
            }
            _ => value.clone(),
        };
        given.insert(name.to_owned(), value);
    }
    if let Some(public) = call.params.flag("public_builds") {
        given.insert("public_jobs".to_owned(), public.into());
    }
    // What GitLab had before there were roles for it.
    if let Some(restricted) = call.params.flag("restrict_user_defined_variables") {
        let role = if restricted { "maintainer" } else { "developer" };
        given.entry("ci_pipeline_variables_minimum_override_role".to_owned()).or_insert_with(|| role.into());
    }
    let one_of = |name: &str, words: &[&str]| match given.get(name).and_then(Value::as_str) {
        Some(word) if !words.contains(&word) => Err(Refusal::invalid(name)),
        _ => Ok(()),
    };
    one_of("builds_access_level", &["disabled", "private", "enabled"])?;
    one_of("auto_cancel_pending_pipelines", &["disabled", "enabled"])?;
    one_of("ci_pipeline_variables_minimum_override_role", &["no_one_allowed", "developer", "maintainer", "owner"])?;
    if given.get("builds_access_level").and_then(Value::as_str) == Some("disabled") {
        given.insert("jobs_enabled".to_owned(), false.into());
    } else if given.contains_key("builds_access_level") {
        given.insert("jobs_enabled".to_owned(), true.into());
    }
    if let Some(enabled) = given.get("jobs_enabled").and_then(Value::as_bool) {
        let word = if enabled { "enabled" } else { "disabled" };
        given.entry("builds_access_level".to_owned()).or_insert_with(|| word.into());
    }
    Ok(given)
}

pub(super) fn list_of(call: &Call, fits: impl Fn(&State, &Project) -> bool) -> Answer {
    let user = call.caller.user;
    let search = call.params.text("search").unwrap_or_default().to_lowercase();
    let (membership, owned) = (call.params.flag("membership").unwrap_or_default(), call.params.flag("owned").unwrap_or_default());
    let archived = call.params.flag("archived");
    let least = call.params.number("min_access_level").and_then(|least| u32::try_from(least).ok()).unwrap_or_default();
    let mut ids = call.change(|state| {
        let fits = |project: &&Project| {
            let access = user.map_or(level::NONE, |user| state.level(user, project));
            fits(state, project)
                && project.deletion != Some(Deletion::Destroying)
                && state.sees(user, project)
                && (search.is_empty() || project.path.to_lowercase().contains(&search) || project.name.to_lowercase().contains(&search))
                && (!membership || access > level::NONE)
                && (!owned || access >= level::OWNER)
                && access >= least
                && archived.is_none_or(|archived| project.archived == archived)
        };
        state.projects.values().filter(fits).map(|project| project.id).collect::<Vec<_>>()
    });
    if call.params.text("sort").as_deref() != Some("asc") {
        ids.reverse();
    }
    Ok(page(call, &ids, |id| shown(call, *id)))
}

async fn list(call: Call) -> Answer {
    list_of(&call, |_, _| true)
}

fn shown(call: &Call, id: u64) -> Value {
    let user = call.caller.user;
    call.change(|state| state.projects.get(&id).map_or(Value::Null, |project| json::project(state, project, user)))
}

async fn one(call: Call) -> Answer {
    let id = call.project(level::NONE)?;
    ok(shown(&call, id))
}

/// A path is made of letters, digits, `_`, `-` and `.`.
fn is_path(path: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !path.is_empty()
        && path.chars().all(plain)
        && !path.starts_with(['-', '.'])
        && !path.ends_with('.')
        && !path.to_ascii_lowercase().ends_with(".git")
}

async fn create(call: Call) -> Answer {
    let user = call.user()?;
    let (name, path) = (call.params.text("name"), call.params.text("path"));
    let (name, path) = match (name, path) {
        (None, None) => {
            return Err(Refusal::error(StatusCode::BAD_REQUEST, "name, path are missing, at least one parameter must be provided"));
        }
        (Some(name), None) => (name.clone(), name.to_lowercase().replace(' ', "-")),
        (None, Some(path)) => (path.clone(), path),
        (Some(name), Some(path)) => (name, path),
    };
    if !is_path(&path) {
        let why = "can contain only letters, digits, '_', '-' and '.'. Cannot start with '-', end in '.git' or end in '.atom'";
        return Err(Refusal::fields(&[("path", why)]));
    }
    let visibility = match call.params.text("visibility") {
        Some(word) => Visibility::parse(&word).ok_or_else(|| Refusal::invalid("visibility"))?,
        None => Visibility::Private,
    };
    let settings = settings(&call)?;
    let asked = call.params.number("namespace_id");
    if call.params.get("namespace_id").is_some() && asked.is_none() {
        return Err(Refusal::error(StatusCode::BAD_REQUEST, "namespace_id is invalid"));
    }
    let made = call.change(|state| {
        let own = state.groups.values().find(|group| group.user == Some(user)).map(|group| group.id);
        let namespace = asked.or(own).ok_or_else(Refusal::forbidden)?;
        let group = state.groups.get(&namespace).ok_or_else(|| Refusal::not_found("Namespace"))?;
        let access = state.level_in_group(user, namespace);
        if access == level::NONE {
            return Err(Refusal::not_found("Namespace"));
        }
        if access < level::MAINTAINER {
            return Err(Refusal::fields(&[("namespace", "is not valid")]));
        }
        if group.user.is_none() && visibility > group.visibility {
            let why = format!("{} is not allowed in a {} group.", visibility.word(), group.visibility.word());
            return Err(Refusal::fields(&[("visibility_level", &why)]));
        }
        let taken = "has already been taken";
        let taken = [("project_namespace.name", taken), ("name", taken), ("path", taken)];
        let new = NewProject { namespace, name, path, visibility, creator: user, settings };
        state.add_project(new).map_err(|_| Refusal::fields(&taken))
    })?;
    let repository = call.fake.repository(made);
    repository.create().await.map_err(|error| Refusal::broken(&error))?;
    if let Some(description) = call.params.text("description") {
        call.of_project(made, |project| project.description = description)?;
    }
    if call.params.flag("initialize_with_readme").unwrap_or_default() {
        let branch = call.params.text("default_branch").unwrap_or_else(|| "main".to_owned());
        let new = NewCommit {
            branch,
            parent: None,
            replaces: None,
            message: "Initial commit".to_owned(),
            author: ("Administrator".to_owned(), "root@example.com".to_owned()),
            edits: vec![Edit::Put("README.md".to_owned(), b"# A project\n".to_vec())],
            at: call.fake.options.clock.now().as_second(),
        };
        super::commits::commit_and_tell(&call, made, &new).await?;
    }
    created(shown(&call, made))
}

async fn edit(call: Call) -> Answer {
    let id = call.project(level::MAINTAINER)?;
    let settings = settings(&call)?;
    let branch = call.params.text("default_branch");
    if let Some(branch) = &branch {
        let repository = call.fake.repository(id);
        if repository.resolve(&format!("refs/heads/{branch}")).await.is_none() {
            return Err(Refusal::fields(&[("base", "Could not change HEAD: branch does not exist")]));
        }
        repository.set_head(branch).await.map_err(|error| Refusal::broken(&error))?;
    }
    let visibility = match call.params.text("visibility") {
        Some(word) => Some(Visibility::parse(&word).ok_or_else(|| Refusal::invalid("visibility"))?),
        None => None,
    };
    call.change(|state| {
        let project = state.projects.get(&id).ok_or_else(|| Refusal::not_found("Project"))?;
        let name = call.params.text("name").unwrap_or_else(|| project.name.clone());
        let path = call.params.text("path").unwrap_or_else(|| project.path.clone());
        let namespace = project.namespace;
        let taken = [("name", "has already been taken"), ("path", "has already been taken")];
        state.rename_project(id, namespace, &name, &path).map_err(|_| Refusal::fields(&taken))?;
        let fixed = &state.fixed_settings;
        if let Some(project) = state.projects.get_mut(&id) {
            project.settings.extend(settings.into_iter().filter(|(name, _)| !fixed.contains(name)));
            project.default_branch = branch.or(project.default_branch.take());
            project.visibility = visibility.unwrap_or(project.visibility);
            if let Some(description) = call.params.text("description") {
                project.description = description;
            }
        }
        Ok(())
    })?;
    ok(shown(&call, id))
}

async fn transfer(call: Call) -> Answer {
    let id = call.project(level::OWNER)?;
    let to = call.params.require("namespace")?;
    call.change(|state| {
        let group = to.parse().ok().and_then(|id: u64| state.groups.get(&id)).or_else(|| state.group_at(&to));
        let namespace = group.ok_or_else(|| Refusal::not_found("Namespace"))?.id;
        let project = state.projects.get(&id).ok_or_else(|| Refusal::not_found("Project"))?;
        let (name, path) = (project.name.clone(), project.path.clone());
        state
            .rename_project(id, namespace, &name, &path)
            .map_err(|_| Refusal::bad("Project with same name or path in target namespace already exists"))
    })?;
    ok(shown(&call, id))
}

/// Whether `If-Unmodified-Since` forbids what is asked for.
fn modified_since(call: &Call, id: u64) -> Result<(), Refusal> {
    let Some(given) = call.headers.get("if-unmodified-since").and_then(|value| value.to_str().ok()) else {
        return Ok(());
    };
    let at = jiff::fmt::rfc2822::parse(given).map_or(Timestamp::MIN, |at| at.timestamp());
    let changed = call.of_project(id, |project| project.last_activity_at.as_second() > at.as_second())?;
    if changed { Err(Refusal::message(StatusCode::PRECONDITION_FAILED, "412 Precondition Failed")) } else { Ok(()) }
}

async fn remove(call: Call) -> Answer {
    let id = call.project(level::OWNER)?;
    modified_since(&call, id)?;
    let options = &call.fake.options;
    let for_good = call.params.flag("permanently_remove").unwrap_or_default() && options.version.marks_deleted();
    if for_good && !options.permanent_removal {
        return Err(Refusal::bad("`permanently_remove` option is not permitted on this instance."));
    }
    let full_path = call.params.text("full_path").unwrap_or_default();
    let refused = call.change(|state| {
        if for_good {
            state.delete_project_for_good(id, &full_path, options.deletion_delay)
        } else {
            state.delete_project(id, options.deletion_delay)
        }
    });
    refused.map_err(|refused| Refusal::bad(&refused.to_string()))?;
    show(StatusCode::ACCEPTED, json!({ "message": "202 Accepted" }))
}

async fn restore(call: Call) -> Answer {
    let id = call.project(level::OWNER)?;
    modified_since(&call, id)?;
    call.change(|state| state.restore_project(id));
    created(shown(&call, id))
}

async fn archive(call: Call) -> Answer {
    set_archived(&call, true)
}

async fn unarchive(call: Call) -> Answer {
    set_archived(&call, false)
}

fn set_archived(call: &Call, archived: bool) -> Answer {
    let id = call.project(level::OWNER)?;
    call.of_project(id, |project| project.archived = archived)?;
    created(shown(call, id))
}

async fn push_rule(call: Call) -> Answer {
    let id = call.project(level::MAINTAINER)?;
    show_push_rule(&call, id)
}

fn show_push_rule(call: &Call, id: u64) -> Answer {
    let rules = call.of_project(id, |project| project.push_rules.clone())?;
    ok(json!({
        "id": id,
        "project_id": id,
        "commit_message_regex": rules.commit_message_regex,
        "branch_name_regex": rules.branch_name_regex,
        "max_file_size": rules.max_file_size.unwrap_or_default(),
    }))
}

async fn set_push_rule(call: Call) -> Answer {
    let id = call.project(level::MAINTAINER)?;
    call.of_project(id, |project| {
        let rules = &mut project.push_rules;
        rules.commit_message_regex = call.params.text("commit_message_regex").or(rules.commit_message_regex.take());
        rules.branch_name_regex = call.params.text("branch_name_regex").or(rules.branch_name_regex.take());
        rules.max_file_size = call.params.number("max_file_size").or(rules.max_file_size).filter(|size| *size > 0);
    })?;
    show_push_rule(&call, id)
}

async fn members(call: Call) -> Answer {
    let id = call.project(level::NONE)?;
    let found = call.change(|state| {
        let project = state.projects.get(&id)?;
        let ids = state.users.keys().copied().filter(|user| state.level(*user, project) > level::NONE);
        let rows = ids.map(|user| {
            let mut shown = json::user(state, user);
            shown["access_level"] = state.level(user, project).min(level::OWNER).into();
            shown
        });
        Some(rows.collect::<Vec<_>>())
    });
    Ok(page(&call, &found.unwrap_or_default(), Clone::clone))
}

async fn add_member(call: Call) -> Answer {
    let id = call.project(level::MAINTAINER)?;
    let user = call.params.number("user_id").ok_or_else(|| Refusal::missing("user_id"))?;
    let access =
        call.params.number("access_level").and_then(|level| u32::try_from(level).ok()).ok_or_else(|| Refusal::missing("access_level"))?;
    let there = call.change(|state| state.users.contains_key(&user));
    if !there {
        return Err(Refusal::not_found("User"));
    }
    let before = call.of_project(id, |project| project.members.insert(user, access))?;
    if before.is_some() {
        return Err(Refusal::conflict("Member already exists"));
    }
    let mut shown = call.change(|state| json::user(state, user));
    shown["access_level"] = access.into();
    created(shown)
}
