//! A local executor with all that it needs around it: a mirror, a store, a controller's keys.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Path as UrlPath, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use signalbox_adapters::executor::conformance::{Harness, Script};
use signalbox_adapters::executor::local::LocalExecutor;
use signalbox_adapters::executor::{
    Anchor, BuildRef, Definition, Executor, LogCursor, Order, PartRef, ProvenSource, Scope, Started, Tracked,
};
use signalbox_contract::api::store::PutResult;
use signalbox_contract::api::vcs::Naming;
use signalbox_contract::build::{BuildState, Observation};
use signalbox_contract::job::{JobSpec, Variables};
use signalbox_contract::{ArtifactName, AttemptKey, Code, CommitSha, Problem, RunId, Verdict};
use signalbox_local_executor::{Config, start};
use signalbox_service::auth::{Signer, init_keys, sha256};
use signalbox_service::clock::{Clock as _, SystemClock};
use signalbox_service::config::Reader;
use signalbox_service::git::testing::{Fixture, GitServer};
use signalbox_service::http::{Json, Refusal, ServeOptions, bind, finish, serve};
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::Telemetry;
use signalbox_service::testing::{eventually, free_port};
use url::Url;

/// How long a test waits for a state.
pub(crate) const SOON: Duration = Duration::from_mins(1);

type Grants = Arc<Mutex<BTreeMap<AttemptKey, BTreeMap<ArtifactName, Bytes>>>>;

/// What stands around an executor, and stays when that dies.
pub(crate) struct Stage {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) mirror: GitServer,
    pub(crate) commit: CommitSha,
    pub(crate) signer: Arc<Signer>,
    pub(crate) executor: Arc<LocalExecutor>,
    pub(crate) address: SocketAddr,
    pub(crate) store: SocketAddr,
    grants: Grants,
    services: Shutdown,
}

/// A build on the stage.
pub(crate) struct Build {
    pub(crate) tracked: Tracked,
    executor: Arc<LocalExecutor>,
}

impl Stage {
    /// A stage without an executor.
    pub(crate) async fn bare() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // The executor may run as somebody else, who must get at his own folder.
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("opened");
        let keys = folder.path().join("keys");
        init_keys(&keys).expect("keys");
        let signer = Arc::new(Signer::open(&keys, SystemClock::shared()).expect("a signer"));
        let repositories = folder.path().join("repositories");
        let fixture = Fixture::new(&repositories, "hello.git").await;
        let commit = fixture.commit("refs/heads/cd/first", &[("hello.txt", "hello\n"), ("dir/other", "other\n")]).await;
        let mirror = GitServer::start(&repositories).await;
        let services = Shutdown::new();
        let grants = Grants::default();
        let store = serve_store(&services, Arc::clone(&grants));
        let address = free_port();
        let base = Url::parse(&format!("http://{address}/")).expect("a URL");
        let executor = Arc::new(LocalExecutor::new(base, None, Arc::clone(&signer)).expect("a client"));
        Self { folder, mirror, commit, signer, executor, address, store, grants, services }
    }

    /// A stage with an executor; `more` are further lines of its configuration.
    pub(crate) async fn with(more: &str) -> Self {
        let stage = Self::bare().await;
        stage.begin(more).await;
        stage
    }

    /// Starts an executor in this process.
    pub(crate) async fn begin(&self, more: &str) {
        let file = self.write_config(more);
        begin(&file, &self.services).await;
    }

    /// Starts an executor in this process, with a whole configuration of the test's.
    pub(crate) async fn begin_with(&self, config: &str) {
        let file = self.folder.path().join("local-executor.toml");
        std::fs::write(&file, config).expect("written");
        begin(&file, &self.services).await;
    }

    /// Writes the executor's configuration, and says where.
    pub(crate) fn write_config(&self, more: &str) -> PathBuf {
        let file = self.folder.path().join("local-executor.toml");
        let text = format!("listen = \"{}\"\ncapacity = 4\n{more}\n", self.address);
        std::fs::write(&file, text).expect("written");
        file
    }

    /// The executor's data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data/local-executor")
    }

    /// An order for the script, with a new key.
    pub(crate) fn order_of(&self, script: Script) -> Order {
        let key = AttemptKey { run: RunId::from_uuid(SystemClock.uuid()), step: 1, attempt: 1 };
        let deadline = SystemClock.now().checked_add(script.deadline).expect("in range");
        Order {
            key,
            repo: "team/hello".parse().expect("valid"),
            source: ProvenSource {
                naming: Naming::Run,
                project: None,
                moved: true,
                url: self.mirror.url("hello.git"),
                ref_name: "refs/heads/cd/first".parse().expect("valid"),
                sha: self.commit.clone(),
                branch: "main".parse().expect("valid"),
            },
            definition: Definition::Job(JobSpec { script: script.text, env: Variables::new(), artifacts: script.artifacts, timeout: None }),
            variables: Variables::new(),
            deadline,
            read: format!("read-capability-{key}").into(),
            put: format!("put-capability-{key}").into(),
            store: Url::parse(&format!("http://{}/", self.store)).expect("a URL"),
        }
    }

    /// Starts a build.
    pub(crate) async fn start(&self, order: &Order) -> Build {
        let started = self.executor.start(order, &Anchor::default()).await.expect("started");
        let Started::Build(build) = started else { panic!("the local executor answers with a build") };
        self.known(order.key, build)
    }

    /// A build that was started before.
    pub(crate) fn known(&self, key: AttemptKey, build: BuildRef) -> Build {
        Build { tracked: Tracked { key, build, scope: Scope::default() }, executor: Arc::clone(&self.executor) }
    }

    /// Runs a script to its end, and gives how it ended and what it said.
    pub(crate) async fn run(&self, script: Script) -> (Verdict, String, String) {
        let build = self.start(&self.order_of(script)).await;
        let (verdict, reason) = build.ended().await;
        (verdict, reason, build.log().await)
    }

    /// What is in an attempt's grant.
    pub(crate) fn grant(&self, key: &AttemptKey) -> BTreeMap<ArtifactName, Bytes> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned().unwrap_or_default()
    }

    /// Ends the executor, and makes sure that nothing of its builds is left.
    pub(crate) async fn close(self) {
        assert!(self.services.drained(Duration::from_secs(30)).await, "everything ends");
        self.nothing_is_left();
    }

    /// Makes sure that no file, control group or process of a build is left.
    pub(crate) fn nothing_is_left(&self) {
        let left: Vec<_> = std::fs::read_dir(self.data().join("work")).expect("there").flatten().map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "files of builds are left: {left:?}");
        assert_eq!(processes_with(&self.data().join("work").display().to_string()), Vec::<String>::new(), "processes of builds are left");
        assert_eq!(control_groups(&self.data()), Vec::<PathBuf>::new(), "control groups of builds are left");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("readable");
        assert!(!mounts.contains(&self.data().display().to_string()), "mounts of builds are left");
    }
}

impl Build {
    pub(crate) async fn observe(&self) -> Observation {
        let seen = self.executor.observe(&self.tracked.scope, std::slice::from_ref(&self.tracked)).await.expect("observed");
        seen.into_iter().next().expect("one")
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) -> (Verdict, String) {
        eventually("the build ends", SOON, || async {
            match self.observe().await.state {
                BuildState::Ended { verdict, reason, .. } => Some((verdict, reason)),
                _ => None,
            }
        })
        .await
    }

    /// Waits until its log holds these words.
    pub(crate) async fn says(&self, words: &str) {
        eventually(words, SOON, || async { self.log().await.contains(words).then_some(()) }).await;
    }

    /// Its log so far.
    pub(crate) async fn log(&self) -> String {
        let part = PartRef { tracked: self.tracked.clone(), part: "build".to_owned() };
        let (mut cursor, mut all) = (LogCursor::default(), Vec::new());
        loop {
            let chunk = self.executor.log(&part, &cursor).await.expect("a log");
            all.extend_from_slice(&chunk.bytes);
            cursor = chunk.next;
            if chunk.bytes.is_empty() || chunk.complete {
                return String::from_utf8_lossy(&all).into_owned();
            }
        }
    }
}

impl Harness for Stage {
    fn executor(&self) -> Arc<dyn Executor> {
        Arc::clone(&self.executor) as Arc<dyn Executor>
    }

    fn scope(&self) -> Scope {
        Scope::default()
    }

    fn order(&self, script: Script) -> BoxFuture<'_, Order> {
        Box::pin(async { self.order_of(script) })
    }

    fn arrived<'a>(&'a self, key: &'a AttemptKey) -> BoxFuture<'a, BTreeMap<ArtifactName, Vec<u8>>> {
        Box::pin(async { self.grant(key).into_iter().map(|(name, bytes)| (name, bytes.to_vec())).collect() })
    }

    fn begun<'a>(&'a self, key: &'a AttemptKey) -> BoxFuture<'a, usize> {
        let wanted = format!("Bearer read-capability-{key}");
        let of_it = move |seen: &signalbox_service::git::testing::Seen| seen.fetches() && seen.authorization.as_deref() == Some(&wanted);
        Box::pin(async move { self.mirror.seen().into_iter().filter(of_it).count() })
    }
}

/// Starts an executor in this process, from a file.
pub(crate) async fn begin(file: &Path, services: &Shutdown) {
    let mut reader = Reader::open(file).expect("a file");
    let config = Config::read(&mut reader).expect("all there");
    reader.finish().expect("valid");
    let listener = bind(config.common.listen).expect("the port is free");
    start(config, listener, SystemClock::shared(), Telemetry::new("local-executor"), services.clone()).await.expect("it starts");
}

/// A store that keeps what is put with the right capability, in memory.
fn serve_store(services: &Shutdown, grants: Grants) -> SocketAddr {
    let address = free_port();
    let listener = bind(address).expect("the port is free");
    let router = axum::Router::new()
        .route("/grants/{key}/{*name}", axum::routing::put(keep).layer(axum::extract::DefaultBodyLimit::disable()))
        .with_state(grants);
    let options = ServeOptions { max_body: 64 << 20, ..ServeOptions::new("store") };
    let router = finish(router, &options, &Telemetry::new("store"));
    let services = services.clone();
    services.clone().spawn("store", serve(listener, router, options, services));
    address
}

async fn keep(
    State(grants): State<Grants>,
    UrlPath((key, name)): UrlPath<(AttemptKey, ArtifactName)>,
    headers: HeaderMap,
    body: axum::body::Body,
) -> Response {
    let wanted = format!("Bearer put-capability-{key}");
    if headers.get("authorization").and_then(|value| value.to_str().ok()) != Some(&wanted) {
        return Refusal::from(Problem::new(Code::Unauthenticated)).into_response();
    }
    let Ok(bytes) = axum::body::to_bytes(body, 64 << 20).await else { return http::StatusCode::BAD_REQUEST.into_response() };
    let result = PutResult { name: name.clone(), digest: sha256(&bytes), size: bytes.len() as u64 };
    grants.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().insert(name, bytes);
    Json(result).into_response()
}

/// The command lines and environments of processes that hold these words.
pub(crate) fn processes_with(words: &str) -> Vec<String> {
    let read = |pid: &str, file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let processes = std::fs::read_dir("/proc").expect("there").flatten();
    processes
        .filter_map(|entry| entry.file_name().into_string().ok().filter(|name| name.parse::<u32>().is_ok()))
        .filter(|pid| pid.parse() != Ok(std::process::id()))
        .filter_map(|pid| {
            let text = String::from_utf8_lossy(&read(&pid, "cmdline")).into_owned() + &String::from_utf8_lossy(&read(&pid, "environ"));
            text.contains(words).then_some(format!("{pid}: {text}"))
        })
        .collect()
}

/// Control groups that an executor made for its builds.
pub(crate) fn control_groups(data: &Path) -> Vec<PathBuf> {
    let instance = std::fs::read_to_string(data.join("instance")).expect("written");
    let mut found = Vec::new();
    let mut folders: Vec<(PathBuf, u32)> = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name().to_string_lossy().starts_with(&format!("signalbox-{}.", instance.trim())) {
                found.push(entry.path());
            }
            if depth < 5 {
                folders.push((entry.path(), depth + 1));
            }
        }
    }
    found
}

/// Waits until no process holds these words any more.
pub(crate) fn wait_until_gone(words: &str) {
    let begun = Instant::now();
    while !processes_with(words).is_empty() {
        assert!(begun.elapsed() < SOON, "still there: {:?}", processes_with(words));
        std::thread::sleep(Duration::from_millis(10));
    }
}
