//! Given: a worker, a store, and hosts.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use signalbox_contract::api::Answer;
use signalbox_contract::api::deploy::{ActivateRequest, DeployRequest, DeployResult, EnvironmentInfo, HostOutcome, HostResult};
use signalbox_contract::token::{Capability, Service};
use signalbox_contract::{AttemptKey, Digest, Failure, RunId};
use signalbox_deploy_worker::testing::{Host, HostOptions};
use signalbox_deploy_worker::{Config, start};
use signalbox_service::auth::{PUBLIC_FILE, Signer, Verifier, init_keys};
use signalbox_service::client::{Call, CallError, Client};
use signalbox_service::clock::{SharedClock, SystemClock};
use signalbox_service::config::Reader;
use signalbox_service::http::bind;
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::Telemetry;
use signalbox_service::testing::free_port;
use tempfile::TempDir;

use crate::store::Store;

/// The name under which the tests publish.
pub(crate) const NAME: &str = "hello";

pub(crate) struct World {
    pub(crate) hosts: Vec<Host>,
    pub(crate) store: Store,
    pub(crate) client: Client,
    pub(crate) signer: Signer,
    pub(crate) folder: TempDir,
    clock: SharedClock,
    config: String,
    shutdown: Shutdown,
    worker: Shutdown,
}

impl World {
    /// A world with this many hosts, all in the environment `test`.
    pub(crate) async fn with_hosts(count: usize) -> Self {
        Self::with(count, "", "").await
    }

    /// The same, with more lines in the worker's configuration and in the environment's table.
    pub(crate) async fn with(count: usize, lines: &str, environment_lines: &str) -> Self {
        Self::with_special(&vec![HostOptions::default(); count], lines, environment_lines).await
    }

    /// The same with hosts that are special.
    pub(crate) async fn with_special(special: &[HostOptions], lines: &str, environment_lines: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // The hosts' accounts must reach what lies in it.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).expect("passable");
        let (mut hosts, count) = (Vec::new(), special.len());
        for (index, options) in special.iter().enumerate() {
            let host = Host::start_with(&folder.path().join("hosts"), &format!("host-{index}"), options.clone()).await;
            hosts.push(host.expect("a host"));
        }
        let named: Vec<String> = (0..count).map(|index| format!("host-{index}")).collect();
        let pairs: Vec<(&str, &Host)> = named.iter().map(String::as_str).zip(&hosts).collect();
        let environment = Host::environment("test", &pairs, &[NAME, "site-*"]).replacen('\n', &format!("\n{environment_lines}\n"), 1);
        let clock = SystemClock::shared();
        let keys = folder.path().join("keys");
        init_keys(&keys).expect("keys");
        let shutdown = Shutdown::new();
        let verifier = Verifier::open(&keys.join(PUBLIC_FILE), Service::ArtifactStore, clock.clone()).expect("public keys");
        let (store, url) = Store::start(Arc::new(verifier), &shutdown);
        let config = format!("store = \"{url}\"\n{lines}\n{environment}");
        let signer = Signer::open(&keys, clock.clone()).expect("a key");
        let worker = Shutdown::new();
        let client = work(&folder, &config, &clock, &worker).await;
        Self { hosts, store, client, signer, folder, clock, config, shutdown, worker }
    }

    /// Ends the worker and starts it again on the same data, with more or other lines in its configuration.
    pub(crate) async fn restart(&mut self, change: impl FnOnce(&str) -> String) {
        assert!(self.worker.drained(Duration::from_secs(30)).await, "the worker did not end");
        self.config = change(&self.config);
        self.worker = Shutdown::new();
        self.client = work(&self.folder, &self.config, &self.clock, &self.worker).await;
    }

    /// Ends the worker and the store, and looks that nothing is left of the connections.
    pub(crate) async fn end(self) {
        assert!(self.worker.drained(Duration::from_secs(30)).await, "the worker did not end");
        let sockets = std::fs::read_dir(self.data().join("ssh")).map(Iterator::count).unwrap_or_default();
        assert_eq!(sockets, 0, "control sockets are left");
        assert!(self.shutdown.drained(Duration::from_secs(30)).await, "the store did not end");
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data/worker")
    }

    pub(crate) fn run(&self) -> RunId {
        RunId::from_uuid(self.clock.uuid())
    }

    pub(crate) fn request(&self, digest: Digest, sequence: u64) -> DeployRequest {
        DeployRequest {
            artifact_id: "build/hello".parse().expect("a name"),
            published_name: NAME.parse().expect("a name"),
            environment: "test".parse().expect("a name"),
            digest,
            sequence,
            run: self.run(),
        }
    }

    /// Asks until there is an answer that stands.
    pub(crate) async fn ask(&self, request: &DeployRequest) -> Result<Answer<DeployResult>, CallError> {
        let key = AttemptKey { run: request.run, step: 2, attempt: 1 };
        let capability = self
            .signer
            .capability(
                Service::ArtifactStore,
                key,
                Capability::ReadDigest { digest: request.digest },
                self.clock.now() + Duration::from_mins(10),
            )
            .expect("a capability");
        let call = Call::post(Service::DeployWorker, "/deploy", key).wait(Duration::from_secs(20)).capability(Some(&capability));
        loop {
            match self.client.ask(&self.signer, &call, request).await? {
                Answer::Working { .. } => {}
                answer => return Ok(answer),
            }
        }
    }

    pub(crate) async fn deploy(&self, bytes: &[u8], sequence: u64) -> Vec<HostResult> {
        let digest = self.store.put(bytes);
        done(self.ask(&self.request(digest, sequence)).await.expect("an answer"))
    }

    pub(crate) async fn activate(&self, digest: Option<Digest>, sequence: u64) -> Answer<DeployResult> {
        let run = self.run();
        let request = ActivateRequest {
            published_name: NAME.parse().expect("a name"),
            environment: "test".parse().expect("a name"),
            digest,
            sequence,
            run,
        };
        self.ask_to_activate(&request).await
    }

    pub(crate) async fn ask_to_activate(&self, request: &ActivateRequest) -> Answer<DeployResult> {
        let key = AttemptKey { run: request.run, step: 0, attempt: 1 };
        let call = Call::post(Service::DeployWorker, "/activate", key).wait(Duration::from_secs(20));
        loop {
            match self.client.ask(&self.signer, &call, request).await.expect("an answer") {
                Answer::Working { .. } => {}
                answer => return answer,
            }
        }
    }

    pub(crate) async fn show(&self) -> EnvironmentInfo {
        self.client.read(&self.signer, &Call::get(Service::DeployWorker, "/environments/test")).await.expect("the environment")
    }

    /// What a host shows under the name.
    pub(crate) fn shown(&self, host: usize) -> Option<Vec<u8>> {
        shown_in(&self.hosts[host].files)
    }

    /// The folder of a host in which the name's releases lie.
    pub(crate) fn releases(&self, host: usize) -> PathBuf {
        self.hosts[host].files.join(".signalbox/releases").join(NAME)
    }

    /// The names of the releases that lie on a host.
    pub(crate) fn release_folders(&self, host: usize) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.releases(host)).expect("releases");
        let mut folders: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir()).collect();
        folders.sort();
        folders
    }

    /// That nothing of an upload is left on a host.
    pub(crate) fn assert_nothing_is_staged(&self, host: usize) {
        for folder in self.release_folders(host) {
            assert!(!folder.to_string_lossy().contains("staging"), "{} is left", folder.display());
        }
    }
}

/// What lies under the name in a root.
pub(crate) fn shown_in(files: &Path) -> Option<Vec<u8>> {
    // The link is relative, so it means the same here and on the host.
    std::fs::read(files.join(NAME)).ok()
}

async fn work(folder: &TempDir, config: &str, clock: &SharedClock, shutdown: &Shutdown) -> Client {
    let path = folder.path().join("worker.toml");
    std::fs::write(&path, config).expect("written");
    let mut reader = Reader::open(&path).expect("TOML");
    let read = Config::read(&mut reader);
    reader.finish().unwrap_or_else(|errors| panic!("{errors}"));
    let config = read.expect("a configuration");
    let address = free_port();
    let listener = bind(address).expect("a free port");
    start(config, listener, clock.clone(), Telemetry::new("deploy-worker"), shutdown.clone()).await.expect("the worker starts");
    Client::new(format!("http://{address}/").parse().expect("a URL"), None).expect("a client")
}

/// The results of something that was done.
pub(crate) fn done(answer: Answer<DeployResult>) -> Vec<HostResult> {
    match answer {
        Answer::Done { result } => result.hosts,
        other => panic!("not done: {other:?}"),
    }
}

/// Why something failed as a whole.
pub(crate) fn failed(answer: Answer<DeployResult>) -> Failure {
    match answer {
        Answer::Failed { failure } => failure,
        other => panic!("not failed: {other:?}"),
    }
}

/// Why a host failed.
pub(crate) fn reason(result: &HostResult) -> &Failure {
    match &result.outcome {
        HostOutcome::Failed { failure } => failure,
        other => panic!("{} did not fail: {other:?}", result.host),
    }
}

/// That each host came out like this.
pub(crate) fn assert_all(results: &[HostResult], outcome: &HostOutcome) {
    for result in results {
        assert_eq!(&result.outcome, outcome, "{result:?}");
    }
}
