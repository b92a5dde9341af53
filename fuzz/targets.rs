//! One function for each parser of bytes that strangers choose: whatever comes, it does not panic, and what it takes is what it
//! says. The controller's tests run them on the corpus and on mutations of it; `cargo fuzz` runs them for as long as one likes.

use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::sync::LazyLock;

use serde::de::DeserializeOwned;
use signalbox_adapters::forge::Forge;
use signalbox_adapters::forge::gerrit::{Gerrit, GerritSettings};
use signalbox_adapters::forge::gitlab::{GitlabForge, GitlabForgeSettings};
use signalbox_adapters::gitlab::{Branch, Bridge, Commit, Hook, Job, Pipeline, PipelineVariable, Project, TestReport, TokenInfo, Version};
use signalbox_contract::api::{deploy, executor, mirrors, run, store, token, vcs};
use signalbox_contract::grant::Glob;
use signalbox_contract::token::Service;
use signalbox_contract::{
    ArtifactName, AttemptKey, CommitSha, Digest, EnvironmentName, ExecutorName, ForgeName, HostName, JobName, MirrorName, PublishedName,
    RefName, RepoName, RunId, SourceUrl,
};
use signalbox_service::auth::{PUBLIC_FILE, Verifier, init_keys, sha256};
use signalbox_service::clock::SystemClock;

/// A parser, which must bear whatever it is given.
pub type Target = fn(&[u8]);

/// All of them, by the names of their folders in `corpus`.
pub const ALL: [(&str, Target); 6] = [
    ("names", names),
    ("requests", requests),
    ("tokens", tokens),
    ("definitions", definitions),
    ("deliveries", deliveries),
    ("gitlab", gitlab),
];

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("\u{fffd}")
}

/// What is taken is written as it was read, and can neither lead elsewhere nor deceive.
fn name<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    let Ok(name) = text.parse::<T>() else { return };
    let shown = name.to_string();
    assert!(shown.parse::<T>().is_ok_and(|again| again == name), "{shown:?}");
    assert!(!shown.is_empty() && shown.len() <= 4096 && !shown.starts_with('-'), "{shown:?}");
    assert!(shown.bytes().all(|byte| (0x21..0x7f).contains(&byte)) || std::any::type_name::<T>().ends_with("RefName"), "{shown:?}");
    assert!(!shown.chars().any(char::is_control) && !shown.split('/').any(|part| part == ".."), "{shown:?}");
}

/// Names, refs, addresses, ids.
pub fn names(bytes: &[u8]) {
    let text = text(bytes);
    name::<ArtifactName>(text);
    name::<EnvironmentName>(text);
    name::<ExecutorName>(text);
    name::<ForgeName>(text);
    name::<HostName>(text);
    name::<JobName>(text);
    name::<MirrorName>(text);
    name::<PublishedName>(text);
    name::<RepoName>(text);
    name::<RefName>(text);
    name::<CommitSha>(text);
    name::<Digest>(text);
    name::<RunId>(text);
    name::<AttemptKey>(text);
    name::<SourceUrl>(text);
    if let Ok(glob) = text.parse::<Glob>() {
        let _ = glob.matches("team/hello");
    }
}

fn json<T: DeserializeOwned>(bytes: &[u8]) {
    let _ = serde_json::from_slice::<T>(bytes);
}

/// Bodies of requests.
pub fn requests(bytes: &[u8]) {
    json::<run::CdRequest>(bytes);
    json::<run::DeployArtifactRequest>(bytes);
    json::<run::RollbackRequest>(bytes);
    json::<run::RerunRequest>(bytes);
    json::<token::TokenRequest>(bytes);
    json::<vcs::RepoRequest>(bytes);
    json::<vcs::RefsRequest>(bytes);
    json::<mirrors::CollectRequest>(bytes);
    json::<store::CloseRequest>(bytes);
    json::<store::UnpinRequest>(bytes);
    json::<store::ResolveRequest>(bytes);
    json::<deploy::DeployRequest>(bytes);
    json::<deploy::ActivateRequest>(bytes);
    json::<executor::BuildRequest>(bytes);
    json::<executor::ObserveRequest>(bytes);
}

/// Verifiers that know a key which nobody has any more.
static VERIFIERS: LazyLock<[Verifier; 2]> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    init_keys(folder.path()).expect("keys");
    [Service::Controller, Service::VcsWorker]
        .map(|service| Verifier::open(&folder.path().join(PUBLIC_FILE), service, SystemClock::shared()).expect("a verifier"))
});

/// Tokens: none of them is good.
pub fn tokens(bytes: &[u8]) {
    let (text, body) = (text(bytes), sha256(b""));
    for verifier in &*VERIFIERS {
        assert!(verifier.operator(text).is_err());
        assert!(verifier.act(text, "POST /repo", &body).is_err());
        assert!(verifier.capability(text).is_err());
    }
}

/// `.signalbox.yaml`.
pub fn definitions(bytes: &[u8]) {
    let Ok(file) = signalbox_controller::definition::parse(text(bytes)) else { return };
    assert!((1..=100).contains(&file.jobs.len()));
    assert!(file.jobs.values().all(|job| !job.script.trim().is_empty()));
}

static FORGES: LazyLock<(GitlabForge, Gerrit)> = LazyLock::new(|| {
    let name = |name: &str| name.parse::<ForgeName>().expect("a name");
    let lab = GitlabForgeSettings::new(name("lab"), "https://gitlab.example/".parse().expect("an address"));
    let gerrit = GerritSettings::new(name("gerrit"), "https://gerrit.example/".parse().expect("an address"), "robot");
    (GitlabForge::with(None, lab, SystemClock::shared()), Gerrit::new(gerrit, SystemClock::shared()).expect("settings"))
});

/// What forges say.
pub fn deliveries(bytes: &[u8]) {
    let (lab, gerrit) = &*FORGES;
    for kind in ["Push Hook", "Merge Request Hook", "Note Hook", "Tag Push Hook", "Pipeline Hook", "Job Hook"] {
        let _ = lab.translate(kind, bytes);
    }
    let Ok(admitted) = gerrit.admit_streamed(bytes) else { return };
    assert!(admitted.kind.len() <= 64 && admitted.body.len() <= bytes.len() * 8 + 64, "{}", admitted.kind);
    let _ = gerrit.translate(&admitted.kind, &admitted.body);
}

/// What GitLab's API answers.
pub fn gitlab(bytes: &[u8]) {
    json::<Pipeline>(bytes);
    json::<Vec<Pipeline>>(bytes);
    json::<Vec<PipelineVariable>>(bytes);
    json::<Job>(bytes);
    json::<Vec<Job>>(bytes);
    json::<Vec<Bridge>>(bytes);
    json::<TestReport>(bytes);
    json::<Project>(bytes);
    json::<Vec<Hook>>(bytes);
    json::<Vec<Branch>>(bytes);
    json::<Commit>(bytes);
    json::<TokenInfo>(bytes);
    json::<Version>(bytes);
}
