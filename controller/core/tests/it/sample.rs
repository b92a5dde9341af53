//! What the stories are about: two executors, two environments, a few repositories and jobs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use signalbox_contract::api::deploy::{HostOutcome, HostResult};
use signalbox_contract::api::run::ArtifactView;
use signalbox_contract::change::{ChangeId, ReviewHead};
use signalbox_contract::grant::Glob;
use signalbox_contract::job::{JobFile, JobSpec};
use signalbox_contract::{ArtifactName, CommitSha, Digest, Failure, FailureCode, Origin, RunId};
use signalbox_controller_core::attempt::Published;
use signalbox_controller_core::plan::{CdOrder, DeployTarget, Native, Request, Route};
use signalbox_controller_core::resource::ResourceKey;

/// A name, a ref, a URL: whatever parses itself.
pub(crate) fn named<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a valid sample")
}

/// A pattern that covers every artifact.
pub(crate) fn all() -> Vec<Glob> {
    vec![named("*")]
}

/// So many seconds after the stories begin.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("in range")
}

pub(crate) fn run_id(number: u64) -> RunId {
    RunId::from_uuid(uuid::Uuid::from_u128(u128::from(number)))
}

pub(crate) fn sha(seed: u8) -> CommitSha {
    named(&format!("{seed:02x}").repeat(20).replace("00", "0a"))
}

pub(crate) fn digest(seed: u8) -> Digest {
    Digest::from_bytes([seed; 32])
}

pub(crate) fn executor(name: &str) -> ResourceKey {
    ResourceKey::Executor(named(name))
}

pub(crate) fn environment(name: &str) -> ResourceKey {
    ResourceKey::Environment(named(name))
}

pub(crate) fn target(environment: &str, name: &str) -> DeployTarget {
    DeployTarget { environment: named(environment), name: named(name) }
}

/// `POST /cd` for a repository, with what is to be deployed where.
pub(crate) fn cd(repo: &str, deploy: Option<(&str, DeployTarget)>) -> CdOrder {
    CdOrder {
        repo: named(repo),
        source: named(&format!("https://git.example.org/{repo}")),
        ref_name: named("main"),
        job: None,
        executor: named("local"),
        inputs: BTreeMap::new(),
        artifacts: all(),
        deploy: deploy.map(|(artifact, target)| (named(artifact), target)),
        origin: Origin::Api,
        publish: true,
        vote: false,
        route: Route::default(),
    }
}

/// The same for a change under review, whose forge is told.
pub(crate) fn reviewed(order: CdOrder) -> CdOrder {
    let change = ChangeId { forge: named("gerrit"), project: order.repo.to_string(), number: 7 };
    let head = ReviewHead {
        change,
        patch_set: Some(2),
        sha: sha(7),
        ref_name: named("refs/changes/07/7/2"),
        branch: named("main"),
        topic: None,
        url: None,
    };
    CdOrder { origin: Origin::Review(head), vote: true, ..order }
}

/// The main job, of a repository that somebody else's server builds by what it finds in it, when its refs are pushed there.
pub(crate) fn native_job() -> Request {
    Request::Cd(Box::new(elsewhere(cd("hello", Some(("hello", target("test", "hello")))))))
}

/// The same, built by a server that has a mirror of its own and begins builds when refs are pushed there.
pub(crate) fn elsewhere(order: CdOrder) -> CdOrder {
    let native = Native { file: Some(named("ci.yml")), picks: Vec::new() };
    CdOrder { route: Route { mirror: Some(named("forge")), naming: None, native: Some(native) }, ..order }
}

/// The main job: the artifact `hello` goes to the environment `test`.
pub(crate) fn main_job() -> Request {
    Request::Cd(Box::new(cd("hello", Some(("hello", target("test", "hello"))))))
}

pub(crate) fn build_only() -> Request {
    Request::Cd(Box::new(cd("hello", None)))
}

pub(crate) fn job(artifacts: &[&str]) -> JobSpec {
    JobSpec {
        script: "make".to_owned(),
        env: BTreeMap::new(),
        artifacts: artifacts.iter().map(|name| (named::<ArtifactName>(name), named("out/file"))).collect(),
        timeout: None,
    }
}

/// A job file with jobs of these names, each of which makes `hello`.
pub(crate) fn job_file(jobs: &[&str]) -> JobFile {
    JobFile { version: 1, jobs: jobs.iter().map(|name| (named(name), job(&["hello"]))).collect() }
}

pub(crate) fn published() -> Published {
    Published {
        url: "http://127.0.0.1:7481/git/hello".parse().expect("a URL"),
        ref_name: named("refs/heads/cd/x"),
        project: None,
        moved: true,
    }
}

pub(crate) fn made(name: &str, seed: u8) -> ArtifactView {
    ArtifactView { name: named(name), digest: digest(seed), size: 1 }
}

pub(crate) fn host(name: &str, outcome: HostOutcome) -> HostResult {
    HostResult { host: named(name), outcome, digest: None, previous: None, newer: None, bytes: 0, took_ms: 0 }
}

pub(crate) fn failure(code: FailureCode) -> Failure {
    Failure::new(code, "It did not work.")
}
