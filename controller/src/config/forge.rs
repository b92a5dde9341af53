//! Forges, and how what they deliver is taken in.

use std::path::PathBuf;
use std::time::Duration;

use signalbox_adapters::forge::Secrets;
use signalbox_adapters::forge::gerrit::{GerritSettings, GerritSsh, Notify};
use signalbox_adapters::forge::gitlab::GitlabForgeSettings;
use signalbox_contract::ForgeName;
use signalbox_service::config::{Bytes, Reader};
use signalbox_service::ssh;

use super::checked;

/// A forge.
#[derive(Debug, Clone)]
pub struct ForgeConfig {
    /// Which kind it is, and how it is reached.
    pub kind: ForgeKind,
    /// Whether its stream of events is listened to.
    pub stream: bool,
    /// How often what is there is compared with what is known.
    pub resync: Duration,
}

/// A kind of forge.
#[derive(Debug, Clone)]
pub enum ForgeKind {
    /// Gerrit.
    Gerrit(Box<GerritSettings>),
    /// GitLab.
    Gitlab(Box<GitlabForgeSettings>),
}

/// How deliveries are taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntakeConfig {
    /// How many of one forge may wait to be acted on.
    pub waiting: u64,
    /// How many bytes of one are kept.
    pub body: u64,
    /// How long those that were acted on are kept.
    pub age: Duration,
    /// How many are kept.
    pub count: u64,
}

impl Default for IntakeConfig {
    fn default() -> Self {
        Self { waiting: 10_000, body: 4 << 20, age: Duration::from_hours(30 * 24), count: 100_000 }
    }
}

/// Reads `[forges.NAME]`.
pub(super) fn forge(name: &str, reader: &mut Reader) -> Option<(ForgeName, ForgeConfig)> {
    let name: Option<ForgeName> = checked(name, reader);
    let kind: Option<String> = reader.required("kind");
    let url = reader.required_service("url");
    let resync = reader.within("resync", Duration::from_mins(10), Duration::from_secs(1)..=Duration::from_hours(24));
    let kind = match kind.as_deref() {
        Some("gerrit") => gerrit(reader, name.clone(), url),
        Some("gitlab") => gitlab(reader, name.clone(), url),
        Some(_) => {
            reader.refuse("kind", "must be gerrit or gitlab");
            None
        }
        None => None,
    };
    let stream = matches!(&kind, Some(ForgeKind::Gerrit(settings)) if settings.ssh.is_some()) && reader.or("stream", true);
    Some((name?, ForgeConfig { kind: kind?, stream, resync }))
}

fn gerrit(reader: &mut Reader, name: Option<ForgeName>, url: Option<url::Url>) -> Option<ForgeKind> {
    let user: Option<String> = reader.required("user");
    let password = reader.optional_secret("password_file");
    let email = reader.optional("email");
    let ca = reader.optional("ca");
    let (label, passed, failed) =
        (reader.or("label", "Verified".to_owned()), reader.within("passed", 1_i8, -10..=10), reader.within("failed", -1_i8, -10..=10));
    if label.is_empty() || label.len() > 100 || !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        reader.refuse("label", "must have 1 to 100 letters, digits and dashes");
    }
    let announce = reader.or("announce", true);
    let notify = match reader.or("notify", "owner".to_owned()).as_str() {
        "nobody" => Notify::Nobody,
        "owner" => Notify::Owner,
        "reviewers" => Notify::Reviewers,
        _ => {
            reader.refuse("notify", "must be nobody, owner or reviewers");
            Notify::default()
        }
    };
    let timeout = reader.within("timeout", Duration::from_secs(30), Duration::from_secs(1)..=Duration::from_mins(2));
    let (secrets, rechecks) = (secrets(reader, "secret_files"), rechecks(reader));
    let host = url.as_ref().and_then(|url| url.host_str().map(str::to_owned));
    let mut silence = Duration::from_hours(1);
    let stream = reader.table("ssh", |reader| {
        let host = reader.optional("host").or(host);
        if host.is_none() {
            reader.refuse("host", "must be given");
        }
        let port = reader.within("port", 29418_u16, 1..=u16::MAX);
        let (key, known_hosts): (Option<PathBuf>, Option<PathBuf>) = (reader.required("key_file"), reader.required("known_hosts"));
        if let Some(file) = &key {
            ssh::check_key(reader, "key_file", file);
        }
        if let Some(file) = &known_hosts {
            ssh::check_known_hosts(reader, "known_hosts", file, host.as_deref().map(|host| (host, port)));
        }
        silence = reader.within("silence", silence, Duration::from_secs(30)..=Duration::from_hours(24));
        Some(GerritSsh { host: host?, port, key: key?, known_hosts: known_hosts? })
    });
    let settings = GerritSettings::new(name?, url?, user?);
    Some(ForgeKind::Gerrit(Box::new(GerritSettings {
        email,
        password,
        ca,
        ssh: stream,
        secrets,
        label,
        passed,
        failed,
        rechecks,
        announce,
        notify,
        timeout,
        silence,
        ..settings
    })))
}

fn gitlab(reader: &mut Reader, name: Option<ForgeName>, url: Option<url::Url>) -> Option<ForgeKind> {
    let token_file: Option<PathBuf> = reader.optional("token_file");
    let token = reader.optional_secret("token_file");
    let calls_per_minute = reader.within("budget", 600_u32, 1..=100_000);
    let (ca, user) = (reader.optional("ca"), reader.optional("user"));
    let (secrets, signing) = (secrets(reader, "secret_files"), secrets(reader, "signing_files"));
    let tolerance = reader.within("tolerance", Duration::from_mins(5), Duration::from_secs(1)..=Duration::from_hours(24));
    let status = reader.or("status", "signalbox".to_owned());
    if status.is_empty() || status.len() > 200 {
        reader.refuse("status", "must have between 1 and 200 bytes");
    }
    let rechecks = rechecks(reader);
    let settings = GitlabForgeSettings::new(name?, url?);
    Some(ForgeKind::Gitlab(Box::new(GitlabForgeSettings {
        token,
        token_file,
        calls_per_minute,
        ca,
        user,
        secrets,
        signing,
        tolerance,
        status,
        rechecks,
        ..settings
    })))
}

fn secrets(reader: &mut Reader, key: &'static str) -> Secrets {
    let files: Vec<PathBuf> = reader.or(key, Vec::new());
    if files.len() > 5 {
        reader.refuse(key, "may name five files at most");
    }
    Secrets::read(files).unwrap_or_else(|error| {
        reader.refuse(key, signalbox_service::telemetry::causes(&error));
        Secrets::default()
    })
}

fn rechecks(reader: &mut Reader) -> Vec<String> {
    let words: Vec<String> = reader.or("recheck", vec!["recheck".to_owned()]);
    if words.len() > 20 || words.iter().any(|word| word.trim().is_empty() || word.len() > 100) {
        reader.refuse("recheck", "may hold 20 words at most, of 1 to 100 bytes each");
    }
    words
}

/// Reads `[intake]`.
pub(super) fn intake(reader: &mut Reader) -> IntakeConfig {
    let mut intake = IntakeConfig::default();
    reader.table("intake", |reader| {
        intake.waiting = reader.within("waiting", intake.waiting, 1..=1_000_000);
        intake.body = reader.within("body", Bytes(intake.body), Bytes(1024)..=Bytes(25 << 20)).0;
        intake.age = reader.within("age", intake.age, Duration::from_hours(1)..=Duration::from_hours(10 * 366 * 24));
        intake.count = reader.within("count", intake.count, 1..=10_000_000);
        Some(())
    });
    intake
}
