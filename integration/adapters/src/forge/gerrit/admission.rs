//! Which of Gerrit's deliveries are genuine, what identifies one, and what of it is kept.
//!
//! Its webhooks carry no signature, no secret and no id. So a secret stands in the path, which nothing of ours writes down;
//! and what is said identifies a delivery, the same whether it came by a webhook, by the stream or by both.

use serde_json::{Value, json};
use signalbox_service::auth::constant_time_eq;
use signalbox_service::secret::{ExposeSecret as _, SecretString};

use super::event::{full_ref, project};
use crate::forge::payload::{at, content_id, kept, object, text, word};
use crate::forge::{Admitted, Forged, Glance, Knock};

/// The largest event that is taken, in bytes.
pub const MAX_EVENT: usize = 1024 * 1024;

/// The headers that say something and hold no secret.
const HEADERS: &[&str] = &["content-type", "user-agent"];

/// Whether a path holds a secret of ours.
pub(super) fn glance(path: &str, secrets: &[SecretString]) -> Result<Glance, Forged> {
    let said = path.trim_matches('/');
    // Each is compared, and each in constant time: how long it takes says nothing.
    let known = secrets.iter().fold(false, |known, secret| constant_time_eq(said.as_bytes(), secret.expose_secret().as_bytes()) | known);
    if known && !said.is_empty() { Ok(Glance::Known) } else { Err(Forged::Unsigned) }
}

/// A webhook's call.
pub(super) fn admit(knock: &Knock<'_>, secrets: &[SecretString]) -> Result<Admitted, Forged> {
    glance(knock.path, secrets)?;
    let headers = HEADERS.iter().filter_map(|name| {
        let value = knock.headers.get(*name)?.to_str().ok()?;
        (value.len() <= 256).then(|| ((*name).to_owned(), value.to_owned()))
    });
    Ok(Admitted { headers: headers.collect(), ..admit_event(knock.body)? })
}

/// An event, wherever it came from.
pub(super) fn admit_event(body: &[u8]) -> Result<Admitted, Forged> {
    if body.len() > MAX_EVENT {
        return Err(Forged::Unreadable);
    }
    let event = object(body).ok_or(Forged::Unreadable)?;
    let kind = text(&event, &["type"]).and_then(word).unwrap_or("unknown").to_owned();
    Ok(Admitted { id: identity(&event), kind, headers: Vec::new(), body: kept(event) })
}

/// What identifies an event. Where it says when it was made, that second and all that can differ within one; else all of
/// it.
fn identity(event: &Value) -> String {
    // A loss that we noticed has nothing but a mark of its own; several may be noticed within one second.
    let Some(made) = at(event, &["eventCreatedOn"]).filter(|_| at(event, &["lost"]).is_none()) else {
        return content_id(event);
    };
    let change = |name| at(event, &["change", name]);
    let patch_set = |name: &str| at(event, &["patchSet", name]).map(plain_number);
    let update = |update: &Value| {
        let name = text(update, &["refName"]).map(full_ref);
        json!([text(update, &["project"]), name, at(update, &["oldRev"]), at(update, &["newRev"])])
    };
    let updates = at(event, &["refUpdates"]).and_then(Value::as_array).map(|updates| updates.iter().map(update).collect::<Vec<_>>());
    content_id(&json!([
        at(event, &["type"]),
        plain_number(made),
        project(event),
        change("number").map(plain_number).or_else(|| change("url").cloned()),
        change("id"),
        change("status"),
        change("branch"),
        change("topic"),
        change("hashtags"),
        change("wip"),
        change("private"),
        patch_set("number"),
        patch_set("revision"),
        at(event, &["newRev"]),
        at(event, &["refUpdate"]).map(update),
        updates,
        at(event, &["comment"]),
        at(event, &["author"]).map(who),
        at(event, &["reviewer"]).map(who),
        at(event, &["approvals"]),
        at(event, &["projectName"]),
    ]))
}

/// A number as one, whether it came as one or as a string.
fn plain_number(value: &Value) -> Value {
    value.as_str().and_then(|text| text.parse::<u64>().ok()).map_or_else(|| value.clone(), Value::from)
}

fn who(account: &Value) -> Value {
    json!([text(account, &["username"]), text(account, &["email"]), text(account, &["name"])])
}
