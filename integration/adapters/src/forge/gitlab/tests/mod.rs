//! GitLab's webhooks as its versions send them.

mod admission;
mod answers;
mod events;
mod hostile;

use serde_json::{Value, json};
use signalbox_service::clock::SystemClock;

use super::*;

const SHA: &str = "3dd5b154a8a882f049ffaff665187cfb6e816c43";
const OLD: &str = "d8a42d045b52745becefda26af9206291618a5a8";
const NOTHING: &str = "0000000000000000000000000000000000000000";

fn settings() -> GitlabForgeSettings {
    let mut settings =
        GitlabForgeSettings::new("gitlab".parse().expect("a name"), "https://gitlab.example.org".parse().expect("an address"));
    settings.user = Some("signalbox".to_owned());
    settings
}

fn forge(settings: GitlabForgeSettings) -> GitlabForge {
    GitlabForge::new(settings, SystemClock::shared()).expect("settings that can be used")
}

fn translated(body: &Value) -> Result<Vec<Happening>, Untranslated> {
    forge(settings()).translate("", body.to_string().as_bytes())
}

/// A project that is compared with its tags.
fn watched(project: &str) -> Watched {
    Watched { project: project.to_owned(), tags: true }
}
