//! What is open and where branches are, found without any event.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use signalbox_contract::ForgeName;
use signalbox_contract::change::{ChangeId, ReviewHead};
use signalbox_service::telemetry::causes;

use bytes::Bytes;

use super::rest::{Ask, Rest, RestError};
use super::told::refused;
use crate::forge::payload::{at, commit, flag, number, object, plain, text};
use crate::forge::{ForgeError, Happening, Proposal, Watched};

/// How many changes or branches are asked for at once.
const PAGE: usize = 100;

/// How many pages are read of one project.
const PAGES: usize = 50;

/// How far any time zone is from UTC. The events' log takes times in its server's own zone, and does not say which.
const ZONES: SignedDuration = SignedDuration::from_hours(14);

/// Everything that is open, every branch, and every tag where they are wanted, in these projects. One that cannot be read does not hide the others.
pub(super) async fn heads(rest: &Rest, forge: &ForgeName, projects: &[Watched]) -> Result<Vec<Happening>, ForgeError> {
    let mut happenings = Vec::new();
    let (mut read, mut fault) = (0, None);
    for Watched { project, tags } in projects {
        match of_project(rest, forge, project, *tags).await {
            Ok(found) => {
                read += 1;
                happenings.extend(found);
            }
            // A project that is not there, or that we may not see, is its own fault; another kind is everybody's.
            Err(error @ RestError::Said { status, .. }) if matches!(status.as_u16(), 400 | 403 | 404) => {
                tracing::warn!(%forge, %project, error = %causes(&error), "a project's changes cannot be read");
                fault = Some(error);
            }
            Err(error) => return Err(refused(error, "Its open changes could not be read.")),
        }
    }
    match fault {
        Some(error) if read == 0 => Err(refused(error, "Its open changes could not be read.")),
        _ => Ok(happenings),
    }
}

/// A name as a query takes it.
pub(super) fn quoted(name: &str) -> Result<String, RestError> {
    if plain(name).is_none() || name.contains(['"', '\\', '{', '}']) {
        return Err(RestError::Unreadable("is not asked for: the name cannot be written in a query"));
    }
    Ok(format!("\"{name}\""))
}

async fn of_project(rest: &Rest, forge: &ForgeName, project: &str, tags: bool) -> Result<Vec<Happening>, RestError> {
    let wanted = format!("status:open project:{}", quoted(project)?);
    let count = PAGE.to_string();
    let mut happenings = Vec::new();
    for page in 0..PAGES {
        let skip = (page * PAGE).to_string();
        let query = [("q", wanted.as_str()), ("o", "CURRENT_REVISION"), ("n", &count), ("S", &skip)];
        let changes = list(rest.json(Ask::get(&["changes", ""]).query(&query)).await?)?;
        happenings.extend(changes.iter().filter_map(|change| proposed(rest, forge, project, change)));
        if !changes.last().is_some_and(|last| flag(last, &["_more_changes"])) {
            break;
        }
        if page + 1 == PAGES {
            tracing::warn!(%forge, %project, "more changes are open than are compared; the oldest are left out");
        }
    }
    let kinds = if tags { ["branches", "tags"].as_slice() } else { &["branches"] };
    for kind in kinds {
        for page in 0..PAGES {
            let skip = (page * PAGE).to_string();
            let query = [("n", count.as_str()), ("S", &skip)];
            let refs = list(rest.json(Ask::get(&["projects", project, kind, ""]).query(&query)).await?)?;
            happenings.extend(refs.iter().filter_map(|one| moved(project, one)));
            // Some versions send the first answer's `HEAD` along with every page.
            if refs.len() < PAGE {
                break;
            }
            if page + 1 == PAGES {
                tracing::warn!(%forge, %project, kind, "there are more than are compared; the last by name are left out");
            }
        }
    }
    Ok(happenings)
}

pub(super) fn list(answer: Value) -> Result<Vec<Value>, RestError> {
    match answer {
        Value::Array(members) => Ok(members),
        _ => Err(RestError::Unreadable("is no list")),
    }
}

/// A change as it is now. One that is not understood is left out: the next event may say more.
pub(super) fn proposed(rest: &Rest, forge: &ForgeName, project: &str, change: &Value) -> Option<Happening> {
    let sha = commit(change, &["current_revision"])?;
    let revision = at(change, &["revisions", text(change, &["current_revision"])?])?;
    let change_number = number(change, &["_number"])?;
    let tags = at(change, &["hashtags"]).and_then(Value::as_array).into_iter().flatten();
    // The name that was asked for is the one that counts: a project may answer under another that it has been renamed to.
    (text(change, &["project"])? == project).then_some(())?;
    Some(Happening::Proposed {
        head: ReviewHead {
            change: ChangeId { forge: forge.clone(), project: project.to_owned(), number: change_number },
            patch_set: number(revision, &["_number"]).and_then(|number| u32::try_from(number).ok()),
            sha,
            ref_name: text(revision, &["ref"])?.parse().ok()?,
            branch: text(change, &["branch"]).map(|name| name.strip_prefix("refs/heads/").unwrap_or(name))?.parse().ok()?,
            topic: text(change, &["topic"]).map(str::to_owned),
            url: rest.page(project, change_number),
        },
        proposal: Proposal::Seen,
        wip: flag(change, &["work_in_progress"]),
        private: flag(change, &["is_private"]),
        hashtags: tags.take(50).filter_map(|tag| plain(tag.as_str()?)).map(str::to_owned).collect(),
        follows: None,
    })
}

/// A branch or a tag.
fn moved(project: &str, one: &Value) -> Option<Happening> {
    let named = |name: &&str| name.starts_with("refs/heads/") || name.starts_with("refs/tags/");
    let ref_name = text(one, &["ref"]).filter(named)?.parse().ok()?;
    // Of an annotated tag, `revision` is the tag itself; what is built is the commit.
    let sha = commit(one, &["object"]).or_else(|| commit(one, &["revision"]))?;
    Some(Happening::Moved { project: project.to_owned(), ref_name, sha: Some(sha), merged: None })
}

/// The events since then, from the plugin `events-log`; nothing where there is none. Its newest alone are answered.
pub(super) async fn events_since(rest: &Rest, since: Timestamp) -> Result<Option<Vec<Bytes>>, ForgeError> {
    let from = since.checked_sub(ZONES).unwrap_or(since).strftime("%Y-%m-%d %H:%M:%S").to_string();
    let answer = match rest.call(Ask::get(&["plugins", "events-log", "events", ""]).query(&[("t1", &from)])).await {
        Ok(answer) => answer,
        // Not installed, not for us, or without its database: the comparison has to do.
        Err(RestError::Said { status, .. }) if matches!(status.as_u16(), 401 | 403 | 404 | 405 | 503) => return Ok(None),
        // More than is read at once was kept, or something else stands at that address.
        Err(RestError::Unreadable(_)) => return Ok(None),
        Err(error) => return Err(refused(error, "Its log of events could not be read.")),
    };
    let first = u64::try_from(since.as_second()).unwrap_or_default();
    let lines = answer.body.split(|byte| *byte == b'\n').filter(|line| {
        // It was asked for more than is wanted, whatever the zone.
        object(line).is_some_and(|event| number(&event, &["eventCreatedOn"]).is_some_and(|made| made >= first))
    });
    Ok(Some(lines.map(Bytes::copy_from_slice).collect()))
}
