//! Gerrit's events as its versions send them.

mod admission;
mod answers;
mod events;
mod hostile;
mod real;

use serde_json::{Value, json};
use signalbox_service::clock::SystemClock;
use signalbox_service::secret::SecretString;

use super::*;

const SHA: &str = "3dd5b154a8a882f049ffaff665187cfb6e816c43";
const TIP: &str = "d8a42d045b52745becefda26af9206291618a5a8";
const NOTHING: &str = "0000000000000000000000000000000000000000";

fn settings() -> GerritSettings {
    let name = "gerrit".parse().expect("a name");
    let mut settings = GerritSettings::new(name, "https://gerrit.example.org/".parse().expect("an address"), "robot");
    settings.email = Some("robot@example.com".to_owned());
    settings.secrets = vec![SecretString::from("old-secret"), SecretString::from("new-secret")].into();
    settings
}

fn gerrit() -> Gerrit {
    Gerrit::new(settings(), SystemClock::shared()).expect("settings that can be used")
}

/// An event about change 1, patch set 2, as 3.10 streams it.
fn event(kind: &str) -> Value {
    let dev = json!({"name": "Dev Eloper", "email": "dev@example.com", "username": "dev"});
    json!({
        "type": kind,
        "eventCreatedOn": 1_795_371_318,
        "instanceId": "testgerrit",
        "project": "demo",
        "refName": "refs/heads/master",
        "changeKey": {"id": "I0000000000000000000000000000000000000001"},
        "patchSet": {
            "number": 2, "revision": SHA, "parents": [TIP], "ref": "refs/changes/01/1/2", "uploader": dev, "author": dev,
            "createdOn": 1_795_371_317, "kind": "REWORK", "sizeInsertions": 11, "sizeDeletions": -3
        },
        "change": {
            "project": "demo", "branch": "master", "id": "I0000000000000000000000000000000000000001", "number": 1,
            "subject": "one", "owner": dev, "url": "https://gerrit.example.org/c/demo/+/1", "commitMessage": "one\n",
            "createdOn": 1_795_371_316, "status": "NEW"
        }
    })
}

/// The same event, changed.
fn with(kind: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut event = event(kind);
    change(&mut event);
    event
}

fn translated(event: &Value) -> Result<Vec<Happening>, Untranslated> {
    gerrit().translate("", event.to_string().as_bytes())
}

/// A project that is compared with its tags.
fn watched(project: &str) -> Watched {
    Watched { project: project.to_owned(), tags: true }
}
