//! Telling Gerrit how a run stands: a message and a vote, on the commit that was built and on no other.
//!
//! What is there already is looked up first and not written again, so telling may be repeated. Gerrit drops a label that it
//! does not know, and answers with success: so what it answers is compared with what was said.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Map, Value, json};
use signalbox_contract::change::{Origin, ReviewHead};
use signalbox_contract::{Failure, FailureCode};

use super::event::{MARK, TAG, proper};
use super::rest::{Ask, Rest, RestError};
use super::{GerritSettings, Notify};
use crate::forge::payload::{at, cut, number, prose, text};
use crate::forge::{ForgeError, Review, Standing, Told};

/// How much of a summary is written. Gerrit takes 16 KiB.
const SUMMARY: usize = 4000;

/// Makes what Gerrit shows of a run what it should be.
pub(super) async fn tell(settings: &GerritSettings, rest: &Rest, own: u64, review: &Review) -> Result<Told, ForgeError> {
    // A branch has no votes and no messages.
    let Origin::Review(head) = &review.origin else { return Ok(Told::default()) };
    let id = format!("{}~{}", head.change.project, head.change.number);
    let detail = rest.json(Ask::get(&["changes", &id, "detail"])).await.map_err(|error| refused(error, "The change could not be read."))?;
    let there = There::read(&detail, head, own, &settings.label);
    if review.overtaken.map(|standing| vote(settings, standing)).is_some_and(|was| was != 0 && there.vote == was) {
        return Ok(Told::default());
    }
    let vote = vote(settings, review.standing);
    let message = message(review);
    let voted = there.vote == vote;
    // What says that it has begun, or that nothing came of it, may be unwanted; a verdict is not.
    let silent = vote == 0 && !settings.announce;
    let said = silent || there.message.is_some_and(|last| same_words(last, &message));
    if voted && said {
        return Ok(Told::default());
    }
    let review = Writing {
        rest,
        id: &id,
        head,
        message: (!said).then_some(&*message),
        notify: if vote == 0 { Notify::Nobody } else { settings.notify },
    };
    let label = (!voted || vote != 0).then_some((settings.label.as_str(), vote));
    review.write(label).await
}

/// The vote for a standing. None is a vote too: it withdraws one.
fn vote(settings: &GerritSettings, standing: Standing) -> i64 {
    match standing {
        Standing::Passed => settings.passed.into(),
        Standing::Failed => settings.failed.into(),
        Standing::Started | Standing::Undecided => 0,
    }
}

fn message(review: &Review) -> String {
    let word = match review.standing {
        Standing::Started => "started",
        Standing::Passed => "passed",
        Standing::Failed => "failed",
        Standing::Undecided => "no verdict",
    };
    let summary: String = review.summary.chars().map(|letter| if letter.is_control() && letter != '\n' { ' ' } else { letter }).collect();
    let summary = cut(summary.trim(), SUMMARY);
    let gap = if summary.is_empty() { "" } else { "\n\n" };
    format!("{MARK}{word}. {}{gap}{summary}", review.url)
}

fn same_words(one: &str, other: &str) -> bool {
    one.split_whitespace().eq(other.split_whitespace())
}

/// What stands there of ours, on the commit that is spoken of.
struct There<'a> {
    vote: i64,
    /// Our last message.
    message: Option<&'a str>,
}

impl<'a> There<'a> {
    fn read(detail: &'a Value, head: &ReviewHead, own: u64, label: &str) -> Self {
        let messages = at(detail, &["messages"]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let on = head.patch_set.map(u64::from);
        let ours = |message: &&Value| {
            number(message, &["author", "_account_id"]) == Some(own) && (on.is_none() || number(message, &["_revision_number"]) == on)
        };
        let ours: Vec<&Value> = messages.iter().filter(ours).collect();
        let said = |message: &&'a Value| prose(message, &["message"]);
        let newest = number(detail, &["current_revision_number"])
            .or_else(|| messages.iter().filter_map(|one| number(one, &["_revision_number"])).max());
        let message = ours.iter().rev().filter(|message| text(message, &["tag"]) == Some(TAG)).find_map(said).map(proper);
        // Votes are shown of the newest patch set alone; of an older one, our messages' first lines tell.
        let told = || ours.iter().rev().filter_map(said).find_map(|message| in_headline(message, label));
        let vote = if on.is_some() && newest == on { shown(detail, own, label) } else { told() };
        Self { vote: vote.unwrap_or(0), message }
    }
}

/// Our vote, as the labels show it.
fn shown(detail: &Value, own: u64, label: &str) -> Option<i64> {
    let all = at(detail, &["labels", label, "all"])?.as_array()?;
    all.iter().find(|vote| number(vote, &["_account_id"]) == Some(own))?.get("value")?.as_i64()
}

/// The vote that a message's first line tells: `Patch Set 2: Code-Review+1 Verified-1`, `Patch Set 2: -Verified`.
fn in_headline(message: &str, label: &str) -> Option<i64> {
    let votes = message.lines().next()?.split_once(':')?.1;
    votes.split_whitespace().find_map(|vote| {
        if vote.strip_prefix('-') == Some(label) {
            return Some(0);
        }
        vote.strip_prefix(label).filter(|value| value.starts_with(['+', '-']))?.parse().ok()
    })
}

/// What is written to one revision.
struct Writing<'a> {
    rest: &'a Rest,
    id: &'a str,
    head: &'a ReviewHead,
    message: Option<&'a str>,
    notify: Notify,
}

impl Writing<'_> {
    async fn write(&self, label: Option<(&str, i64)>) -> Result<Told, ForgeError> {
        let Some((name, value)) = label else {
            self.post(None).await.map_err(|error| refused(error, "The message could not be written."))?;
            return Ok(Told { written: true, remarks: Vec::new() });
        };
        let answer = match self.post(label).await {
            Ok(answer) => answer,
            // The vote cannot be, and for good; the message still can.
            Err(RestError::Said { status, words, .. }) if is_about_the_label(status, &words) => {
                let remark = format!("Gerrit did not take the vote {name} {value:+}: {words}.");
                let written = self.message.is_some();
                if written {
                    self.post(None).await.map_err(|error| refused(error, "The message could not be written."))?;
                }
                return Ok(Told { written, remarks: vec![remark] });
            }
            Err(error) => return Err(refused(error, "The vote could not be written.")),
        };
        let taken = at(&answer, &["labels", name]).and_then(Value::as_i64);
        let dropped = format!(
            "Gerrit dropped the vote {name} {value:+}: the project has no such label, or no such value of it. Define the label, or name another in the configuration."
        );
        let remarks = if taken == Some(value) || value == 0 { Vec::new() } else { vec![dropped] };
        Ok(Told { written: true, remarks })
    }

    async fn post(&self, label: Option<(&str, i64)>) -> Result<Value, RestError> {
        let mut body = Map::new();
        body.insert("tag".to_owned(), json!(TAG));
        body.insert("notify".to_owned(), json!(self.notify.as_str()));
        body.insert("omit_duplicate_comments".to_owned(), json!(true));
        if let Some(message) = self.message {
            body.insert("message".to_owned(), json!(message));
        }
        if let Some((name, value)) = label {
            body.insert("labels".to_owned(), json!({ name: value }));
        }
        // The commit itself, never the newest: what comes late then votes on what was built, and does no harm.
        let path = ["changes", self.id, "revisions", self.head.sha.as_str(), "review"];
        self.rest.json(Ask::post(&path, Value::Object(body))).await
    }
}

/// Whether the vote alone was refused, for a reason that stays.
fn is_about_the_label(status: StatusCode, words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    match status {
        StatusCode::CONFLICT => words.contains("closed") || words.contains("cannot reduce vote"),
        StatusCode::BAD_REQUEST => words.contains("is not a configured label") || words.contains("is not a valid value"),
        _ => false,
    }
}

/// What a call's fault means for whoever asked.
pub(super) fn refused(error: RestError, what: &str) -> ForgeError {
    let (status, words, after) = match error {
        RestError::Said { status, words, after } => (status, words, after),
        RestError::Redirected { to } => {
            let detail = format!("{what} Gerrit redirects to {to}.");
            return no(detail, "Configure the address that Gerrit itself has, its canonicalWebUrl; redirects are not followed.");
        }
        other => return ForgeError::Unreachable(other.into()),
    };
    let detail = format!("{what} Gerrit says {}: {words}", status.as_u16());
    match status.as_u16() {
        401 => no(detail, "Check the account's name and its HTTP password (Settings, HTTP Credentials)."),
        403 if words.contains("Applying label") => {
            no(detail, "Give the account's group the right to vote on this label, with this range, on refs/heads/* of the project.")
        }
        403 => no(detail, "Give the account's group the right to do this in the project's access settings."),
        404 => no(detail, "It is not there, or the account may not see it: give its group Read on refs/* of the project."),
        // A lock that another writer holds, quotas, a server that starts or ends.
        409 | 412 | 429 | 500..=599 => ForgeError::Retry { after: after.map(|after| after.min(Duration::from_mins(10))) },
        _ => no(detail, "Look into Gerrit's log for this request."),
    }
}

fn no(detail: String, hint: &str) -> ForgeError {
    ForgeError::Refused(Failure::new(FailureCode::ForgeRefused, detail).hint(hint))
}
