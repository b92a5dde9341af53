//! What GitLab's webhooks mean, in our words.

use serde_json::Value;
use signalbox_contract::change::{ChangeId, ReviewHead};
use signalbox_contract::{AttemptKey, RefName};
use url::Url;

use super::GitlabForgeSettings;
use crate::forge::comment::asks;
use crate::forge::payload::{at, commit, flag, is_nothing, malformed, needed, number, page, parsed, plain, prose, text, word};
use crate::forge::{Closing, Happening, Proposal, Untranslated};
use crate::mirror::gitlab::place::SEED;

/// How many labels are taken over.
const LABELS: usize = 50;

type Meaning = Result<Vec<Happening>, Untranslated>;

/// What a delivery means. `kind` is asked only where the body itself does not say what it is.
pub(super) fn translate(settings: &GitlabForgeSettings, kind: &str, body: &[u8]) -> Meaning {
    let body = parsed(body)?;
    let kind = text(&body, &["object_kind"]).or_else(|| text(&body, &["event_name"])).unwrap_or(kind);
    match kind {
        "push" | "tag_push" | "Push Hook" | "Tag Push Hook" => pushed(&body),
        "merge_request" | "Merge Request Hook" => merge_request(settings, &body),
        "note" | "Note Hook" => noted(settings, &body),
        "pipeline" | "Pipeline Hook" => pipeline(&body),
        // The header says `Job Hook`.
        "build" | "job" | "Job Hook" => job(&body),
        "unknown" | "" => Err(malformed("object_kind", "is missing, or not what it should be")),
        other => Err(not_needed(word(other).unwrap_or("a delivery of an unknown kind"))),
    }
}

fn not_needed(what: impl Into<String>) -> Untranslated {
    Untranslated::NotNeeded(what.into())
}

/// Whether a ref is one of those that we push ourselves, where this GitLab is a mirror too.
pub(super) fn is_ours(name: &str) -> bool {
    let Some(branch) = name.strip_prefix("refs/heads/") else { return false };
    branch == SEED || branch.strip_prefix("cd/").is_some_and(|key| key.parse::<AttemptKey>().is_ok())
}

/// A branch or tag is elsewhere now.
fn pushed(body: &Value) -> Meaning {
    let name = needed(text(body, &["ref"]), "ref")?;
    if is_ours(name) {
        return Err(Untranslated::Ours);
    }
    if !name.starts_with("refs/heads/") && !name.starts_with("refs/tags/") {
        return Err(not_needed("a ref that is neither branch nor tag"));
    }
    let ref_name = needed(name.parse::<RefName>().ok(), "ref")?;
    let project = needed(project(body, &["project"]).or_else(|| project(body, &["repository"])), "project.path_with_namespace")?;
    let after = needed(text(body, &["after"]), "after")?;
    // Of an annotated tag, `after` is the tag itself; what is built is the commit.
    let tagged = || commit(body, &["checkout_sha"]).filter(|_| name.starts_with("refs/tags/"));
    let sha = if is_nothing(after) { None } else { Some(needed(tagged().or_else(|| commit(body, &["after"])), "after")?) };
    Ok(vec![Happening::Moved { project, ref_name, sha, merged: None }])
}

fn merge_request(settings: &GitlabForgeSettings, body: &Value) -> Meaning {
    let request = needed(at(body, &["object_attributes"]), "object_attributes")?;
    let proposal = match (text(request, &["action"]), text(request, &["state"])) {
        (Some("close"), _) | (None, Some("closed")) => return closed(settings, body, request, Closing::Abandoned),
        (Some("merge"), _) | (None, Some("merged")) => return merged(settings, body, request),
        (Some("open"), _) => Proposal::Uploaded,
        (Some("reopen"), _) => Proposal::Ready,
        // New commits alone have an `oldrev`; everything else is an edit of titles, labels and people.
        (Some("update"), _) if text(request, &["oldrev"]).is_some() => Proposal::Uploaded,
        (Some("update"), _) if became_ready(body) => Proposal::Ready,
        // A rule may want a label.
        (Some("update"), _) if at(body, &["changes", "labels"]).is_some() => Proposal::Seen,
        (Some("update"), _) => return Err(not_needed("a merge request whose commits are the same")),
        (None, Some("opened")) => Proposal::Seen,
        (action, state) => {
            let what = action.or(state).and_then(word).unwrap_or("without an action");
            return Err(not_needed(format!("merge request: {what}")));
        }
    };
    if let Some(state @ ("closed" | "merged" | "locked")) = text(request, &["state"]) {
        return Err(not_needed(format!("a merge request that is {state} already")));
    }
    proposed(settings, body, request, proposal)
}

/// Whether it was a draft until now.
fn became_ready(body: &Value) -> bool {
    ["draft", "work_in_progress"].iter().any(|field| {
        let was = |when| at(body, &["changes", field, when]).and_then(Value::as_bool);
        was("previous") == Some(true) && was("current") == Some(false)
    })
}

fn proposed(settings: &GitlabForgeSettings, body: &Value, request: &Value, proposal: Proposal) -> Meaning {
    let change = change(settings, body, request)?;
    let sha = commit(request, &["last_commit", "id"]);
    let head = ReviewHead {
        // In the project that it is for, also when it comes from a fork.
        ref_name: needed(format!("refs/merge-requests/{}/head", change.number).parse().ok(), "object_attributes.iid")?,
        change,
        patch_set: None,
        sha: needed(sha, "object_attributes.last_commit.id")?,
        branch: needed(text(request, &["target_branch"]).and_then(|name| name.parse().ok()), "object_attributes.target_branch")?,
        topic: None,
        url: page(request, &["url"]),
    };
    let title = text(request, &["title"]).unwrap_or_default();
    let wip = flag(request, &["draft"]) || flag(request, &["work_in_progress"]) || is_draft(title);
    let follows = commit(request, &["oldrev"]);
    Ok(vec![Happening::Proposed { head, proposal, wip, private: false, hashtags: labels(body, request), follows }])
}

/// Whether a title says so, as it did before there was a field for it.
pub(super) fn is_draft(title: &str) -> bool {
    let title = title.trim_start().to_ascii_lowercase();
    ["draft:", "wip:", "[draft]", "[wip]", "(draft)"].iter().any(|mark| title.starts_with(mark))
}

pub(super) fn labels(body: &Value, request: &Value) -> Vec<String> {
    let labels = at(request, &["labels"]).or_else(|| at(body, &["labels"])).and_then(Value::as_array);
    let title = |label: &Value| text(label, &["title"]).or_else(|| plain(label.as_str()?)).map(str::to_owned);
    labels.into_iter().flatten().take(LABELS).filter_map(title).collect()
}

fn closed(settings: &GitlabForgeSettings, body: &Value, request: &Value, closing: Closing) -> Meaning {
    Ok(vec![Happening::Closed { change: change(settings, body, request)?, closing }])
}

/// The target branch is at what the merge made of the request, where the delivery says what that is. Where nothing had to be
/// made, and in old versions, it does not: then the branch itself is looked at.
fn merged(settings: &GitlabForgeSettings, body: &Value, request: &Value) -> Meaning {
    let change = change(settings, body, request)?;
    let closed = Happening::Closed { change: change.clone(), closing: Closing::Merged };
    let branch = text(request, &["target_branch"]).and_then(|name| format!("refs/heads/{name}").parse::<RefName>().ok());
    let made = commit(request, &["merge_commit_sha"]).or_else(|| commit(request, &["squash_commit_sha"]));
    Ok(match branch.zip(made) {
        Some((ref_name, sha)) => {
            let moved = Happening::Moved { project: change.project.clone(), ref_name, sha: Some(sha), merged: Some(change) };
            vec![closed, moved]
        }
        None => vec![closed, Happening::Missed],
    })
}

fn change(settings: &GitlabForgeSettings, body: &Value, request: &Value) -> Result<ChangeId, Untranslated> {
    let project = project(request, &["target"]).or_else(|| project(body, &["project"])).or_else(|| project(body, &["repository"]));
    Ok(ChangeId {
        forge: settings.name.clone(),
        project: needed(project, "project.path_with_namespace")?,
        number: needed(number(request, &["iid"]).filter(|number| *number > 0), "object_attributes.iid")?,
    })
}

/// A project's path, which old versions say in its addresses only.
fn project(value: &Value, place: &[&str]) -> Option<String> {
    let project = at(value, place)?;
    if let Some(path) = text(project, &["path_with_namespace"]) {
        return Some(path.to_owned());
    }
    let address = ["web_url", "homepage", "git_http_url", "http_url"].iter().find_map(|field| text(project, &[field]))?;
    let path = address.parse::<Url>().ok()?.path().trim_matches('/').trim_end_matches(".git").to_owned();
    path.contains('/').then_some(path)
}

fn noted(settings: &GitlabForgeSettings, body: &Value) -> Meaning {
    let note = needed(at(body, &["object_attributes"]), "object_attributes")?;
    let author = text(body, &["user", "username"]);
    if author.is_some() && author == settings.user.as_deref() {
        return Err(Untranslated::Ours);
    }
    if text(note, &["noteable_type"]) != Some("MergeRequest") || flag(note, &["system"]) {
        return Err(not_needed("a comment on something else than a merge request"));
    }
    // An edited comment has been read before.
    if text(note, &["action"]).is_some_and(|action| action != "create") {
        return Err(not_needed("a comment that was edited"));
    }
    if !asks(prose(note, &["note"]).unwrap_or_default(), &settings.rechecks) {
        return Err(not_needed("a comment that asks for nothing"));
    }
    let request = needed(at(body, &["merge_request"]), "merge_request")?;
    if text(request, &["state"]).is_some_and(|state| state != "opened") {
        return Err(not_needed("a merge request that is not open"));
    }
    let by = author.or_else(|| text(body, &["user", "name"])).unwrap_or("somebody").to_owned();
    let mark = needed(number(note, &["id"]), "object_attributes.id")?.to_string();
    proposed(settings, body, request, Proposal::Recheck { by, mark })
}

/// A pipeline has changed, and with it the one that started it.
fn pipeline(body: &Value) -> Meaning {
    let project = number(body, &["project", "id"]).or_else(|| number(body, &["project_id"]));
    let pipeline = number(body, &["object_attributes", "id"]);
    Ok(changed(body, needed(project, "project.id")?, needed(pipeline, "object_attributes.id")?))
}

fn job(body: &Value) -> Meaning {
    let project = number(body, &["project_id"]).or_else(|| number(body, &["project", "id"]));
    // `commit.id` is the pipeline's.
    let pipeline = number(body, &["pipeline_id"]).or_else(|| number(body, &["commit", "id"]));
    Ok(changed(body, needed(project, "project_id")?, needed(pipeline, "pipeline_id")?))
}

fn changed(body: &Value, project: u64, pipeline: u64) -> Vec<Happening> {
    let says = |project: u64, build: u64| Happening::BuildChanged { project: project.to_string(), build: build.to_string() };
    let parent = number(body, &["source_pipeline", "project", "id"]).zip(number(body, &["source_pipeline", "pipeline_id"]));
    std::iter::once(says(project, pipeline)).chain(parent.map(|(project, build)| says(project, build))).collect()
}
