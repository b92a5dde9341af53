//! Forges, and what is done about what happens there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use signalbox_adapters::forge::Secrets;
use signalbox_adapters::forge::gerrit::{GerritSettings, GerritSsh, Notify};
use signalbox_adapters::forge::gitlab::GitlabForgeSettings;
use signalbox_contract::api::run::{MAX_INPUT, MAX_INPUTS};
use signalbox_contract::grant::Glob;
use signalbox_contract::job::{VariableName, Variables};
use signalbox_contract::{ArtifactName, EnvironmentName, ExecutorName, ForgeName, JobName, PublishedName};
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

/// What happens at a forge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// A change is proposed, or has a new patch set.
    Review,
    /// A branch moved because a change was merged.
    Merged,
    /// A branch moved, for whatever reason.
    Branch,
    /// A tag was made or moved.
    Tag,
}

impl When {
    const ALL: [Self; 4] = [Self::Review, Self::Merged, Self::Branch, Self::Tag];

    /// The word in the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Review => "review",
            Self::Merged => "merged",
            Self::Branch => "branch",
            Self::Tag => "tag",
        }
    }
}

/// What is done when something happens at a repository's forge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// When.
    pub when: When,
    /// For which branches or tags.
    pub branches: Vec<Glob>,
    /// Which job.
    pub job: Option<JobName>,
    /// Where it is built, if not where the repository's runs are.
    pub executor: Option<ExecutorName>,
    /// What is deployed.
    pub artifact: Option<ArtifactName>,
    /// Where to, if not where the repository's runs go.
    pub environment: Option<EnvironmentName>,
    /// Under which name.
    pub published_name: Option<PublishedName>,
    /// What the build gets.
    pub inputs: Variables,
    /// Whether what the build makes is published under its names.
    pub publish: bool,
    /// Which artifacts may be published.
    pub artifacts: Vec<Glob>,
    /// Whether the forge is told.
    pub vote: bool,
    /// Whether changes that are not ready are built too.
    pub wip: bool,
    /// Whether changes that only some may see are built too.
    pub private: bool,
}

impl Rule {
    /// What tells its runs from those of other rules.
    pub fn purpose(&self) -> String {
        let Self { when, job, executor, artifact, environment, published_name, inputs, .. } = self;
        let what = format!("{job:?} {executor:?} {artifact:?} {environment:?} {published_name:?} {inputs:?}");
        let digest: String = signalbox_service::auth::sha256(what.as_bytes()).hex().chars().take(16).collect();
        format!("{} {digest}", when.word())
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

/// The forge, project and rules of a repository.
pub(super) struct Source {
    pub(super) forge: Option<(ForgeName, String)>,
    pub(super) on: Vec<Rule>,
}

/// Reads `forge`, `project` and `[[on]]` of a repository, whose runs are built and deployed by default where it is said.
pub(super) fn source(
    reader: &mut Reader,
    forges: &BTreeMap<ForgeName, ForgeConfig>,
    executors: &BTreeSet<&ExecutorName>,
    built: bool,
    deployed: bool,
) -> Source {
    let forge: Option<ForgeName> = reader.optional("forge");
    let project: Option<String> = reader.optional("project");
    if let Some(forge) = forge.as_ref().filter(|forge| !forges.contains_key(*forge)) {
        reader.refuse("forge", format!("names {forge}, which is not among [forges]"));
    }
    match (&forge, &project) {
        (Some(_), None) => reader.refuse("project", "must be given where there is a forge: the project's path there"),
        (None, Some(_)) => reader.refuse("project", "makes sense only with a forge"),
        _ => {}
    }
    let on = reader.tables("on", |reader| rule(reader, executors, built, deployed));
    if !on.is_empty() && forge.is_none() {
        reader.refuse("on", "makes sense only with a forge");
    }
    let mut seen = BTreeSet::new();
    if !on.iter().all(|rule| seen.insert(rule.purpose())) {
        reader.refuse("on", "has two rules for the same event that do the same: put their branches into one");
    }
    Source { forge: forge.zip(project), on }
}

fn rule(reader: &mut Reader, executors: &BTreeSet<&ExecutorName>, built: bool, deployed: bool) -> Option<Rule> {
    let word: Option<String> = reader.required("event");
    let when = word.and_then(|word| {
        let when = When::ALL.into_iter().find(|when| when.word() == word);
        if when.is_none() {
            reader.refuse("event", "must be review, merged, branch or tag");
        }
        when
    });
    let all = || "*".parse().map(|glob| vec![glob]).unwrap_or_default();
    let branches: Vec<Glob> = reader.or("branches", all());
    let (job, executor, artifact) = (reader.optional("job"), reader.optional("executor"), reader.optional("artifact"));
    let (environment, published_name) = (reader.optional("environment"), reader.optional("published_name"));
    match &executor {
        Some(executor) if !executors.contains(executor) => {
            reader.refuse("executor", format!("names {executor}, which is not among [executors]"));
        }
        None if !built => reader.refuse("executor", "must be given: the repository has no default"),
        _ => {}
    }
    if artifact.is_some() && environment.is_none() && !deployed {
        reader.refuse("environment", "must be given: the repository has no default");
    }
    if let Some(artifact) = artifact.as_ref().filter(|_| published_name.is_none())
        && Option::<PublishedName>::from(ArtifactName::clone(artifact)).is_none()
    {
        reader.refuse("published_name", "must be given: the artifact's name does not fit a host");
    }
    if artifact.is_none() && (environment.is_some() || published_name.is_some()) {
        reader.refuse("artifact", "must be given where something is deployed");
    }
    let inputs = inputs(reader);
    let review = when == Some(When::Review);
    let publish = reader.or("publish", !review || artifact.is_some());
    let artifacts = reader.or(
        "artifacts",
        artifact.as_ref().filter(|_| review).and_then(|name| name.as_str().parse().ok()).map_or_else(all, |glob| vec![glob]),
    );
    let (vote, wip, private) = (reader.or("vote", true), reader.or("wip", false), reader.or("private", false));
    Some(Rule {
        when: when?,
        branches,
        job,
        executor,
        artifact,
        environment,
        published_name,
        inputs,
        publish,
        artifacts,
        vote,
        wip,
        private,
    })
}

fn inputs(reader: &mut Reader) -> Variables {
    let given: BTreeMap<String, String> = reader.or("inputs", BTreeMap::new());
    if given.len() > MAX_INPUTS || given.values().any(|value| value.len() > MAX_INPUT || value.contains('\0')) {
        reader.refuse("inputs", format!("may hold {MAX_INPUTS} values of at most {MAX_INPUT} bytes, without a NUL"));
    }
    let mut inputs = Variables::new();
    for (name, value) in given {
        match name.parse::<VariableName>() {
            Ok(name) if name.is_kept() => {
                let why = "it belongs to Signalbox or the executor, or decides which programs a build runs";
                reader.refuse("inputs", format!("has {name}, a name that no input may have: {why}"));
            }
            Ok(name) => drop(inputs.insert(name, value)),
            Err(_) => reader.refuse("inputs", "has a name that no variable can have"),
        }
    }
    inputs
}
