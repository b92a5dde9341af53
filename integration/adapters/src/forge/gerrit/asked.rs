//! How one thing is at a Gerrit: a change, and how a branch came to its commit.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use signalbox_contract::change::ChangeId;
use signalbox_contract::{CommitSha, ForgeName, RefName};

use super::heads::{list, proposed, quoted};
use super::rest::{Ask, Rest, RestError};
use super::told::refused;
use crate::forge::payload::{at, commit, number, text};
use crate::forge::{Closing, ForgeError, Happening};

/// How far a merge's own time may be from when its change says that it was merged.
const TOGETHER: SignedDuration = SignedDuration::from_mins(2);

/// How many parents of a merge are looked at.
const PARENTS: usize = 8;

/// How a change is now. Nothing where what is answered cannot be understood.
pub(super) async fn change(rest: &Rest, change: &ChangeId) -> Result<Option<Happening>, ForgeError> {
    let id = format!("{}~{}", change.project, change.number);
    let answer = match rest.json(Ask::get(&["changes", &id]).query(&[("o", "CURRENT_REVISION")])).await {
        Ok(answer) => answer,
        Err(RestError::Said { status, .. }) if status.as_u16() == 404 => return gone(rest, change).await,
        Err(error) => return Err(refused(error, "The change could not be read.")),
    };
    let closed = |closing| Some(Happening::Closed { change: change.clone(), closing });
    Ok(match text(&answer, &["status"]) {
        Some("MERGED") => closed(Closing::Merged),
        Some("ABANDONED") => closed(Closing::Abandoned),
        _ => proposed(rest, &change.forge, &change.project, &answer),
    })
}

/// A change that is not shown is gone where its project is shown; else nothing is known.
async fn gone(rest: &Rest, change: &ChangeId) -> Result<Option<Happening>, ForgeError> {
    match rest.json(Ask::get(&["projects", &change.project])).await {
        Ok(_) => Ok(Some(Happening::Closed { change: change.clone(), closing: Closing::Deleted })),
        Err(error) => Err(refused(error, "The change's project could not be read.")),
    }
}

/// The change that was merged as this commit of a branch: its own commit, or the merge that Gerrit made for it.
pub(super) async fn merged_as(
    rest: &Rest,
    forge: &ForgeName,
    project: &str,
    branch: &RefName,
    sha: &CommitSha,
) -> Result<Option<ChangeId>, ForgeError> {
    let found = async {
        if let Some((change, _)) = merged(rest, forge, project, branch, sha).await? {
            return Ok(Some(change));
        }
        let tip = match rest.json(Ask::get(&["projects", project, "commits", sha.as_str()])).await {
            Ok(tip) => tip,
            Err(RestError::Said { status, .. }) if status.as_u16() == 404 => return Ok(None),
            Err(error) => return Err(error),
        };
        let made = text(&tip, &["committer", "date"]).and_then(time);
        let parents = at(&tip, &["parents"]).and_then(Value::as_array).into_iter().flatten().skip(1).take(PARENTS);
        for parent in parents.filter_map(|parent| commit(parent, &["commit"])) {
            let Some((change, at)) = merged(rest, forge, project, branch, &parent).await? else { continue };
            // A person can merge what was merged before, at another time.
            let together = made.zip(at).is_some_and(|(made, at)| made.duration_since(at).abs() <= TOGETHER);
            if together {
                return Ok(Some(change));
            }
        }
        Ok(None)
    };
    found.await.map_err(|error: RestError| refused(error, "Whether the branch was moved by a merge could not be read."))
}

/// The merged change whose newest patch set is this commit, and when it was merged.
async fn merged(
    rest: &Rest,
    forge: &ForgeName,
    project: &str,
    branch: &RefName,
    sha: &CommitSha,
) -> Result<Option<(ChangeId, Option<Timestamp>)>, RestError> {
    let wanted = format!("status:merged commit:{sha} project:{} branch:{}", quoted(project)?, quoted(branch.short())?);
    let query = [("q", wanted.as_str()), ("o", "CURRENT_REVISION"), ("n", "10")];
    let changes = list(rest.json(Ask::get(&["changes", ""]).query(&query)).await?)?;
    let is = |change: &&Value| commit(change, &["current_revision"]).as_ref() == Some(sha) && text(change, &["project"]) == Some(project);
    Ok(changes.iter().find(is).and_then(|change| {
        let id = ChangeId { forge: forge.clone(), project: project.to_owned(), number: number(change, &["_number"])? };
        Some((id, text(change, &["submitted"]).and_then(time)))
    }))
}

/// `2013-02-01 09:59:32.126000000`, in UTC.
fn time(text: &str) -> Option<Timestamp> {
    let time = DateTime::strptime("%Y-%m-%d %H:%M:%S%.f", text).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}
