//! A controller of one's own, for the time of a test, with stand-ins for all that it calls.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use signalbox_adapters::executor::Executor;
use signalbox_adapters::forge::Forge;
use signalbox_adapters::forge::gitlab::GitlabForge;
use signalbox_contract::api::run::{Accepted, Outcome, RunState, RunView};
use signalbox_contract::grant::{Action, Glob, Grant};
use signalbox_contract::token::{ISSUER, OperatorClaims, Service};
use signalbox_contract::{Problem, RunId};
use signalbox_controller::Config;
use signalbox_controller::config::{ForgeConfig, ForgeKind};
use signalbox_controller::{AtHand, StartError, start_with};
use signalbox_service::auth::{Signer, init_keys};
use signalbox_service::clock::{Clock as _, SystemClock};
use signalbox_service::http::bind;
use signalbox_service::secret::{ExposeSecret as _, SecretString, write_secret};
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::{Telemetry, init_logging};
use signalbox_service::testing::{eventually, free_port};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::stand_ins::{At, Elsewhere, StandInForge, World};

/// How long anything is waited for. Nothing takes this long; a busy machine may.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// The source of the repository `hello`.
pub(crate) const SOURCE: &str = "https://git.example.org/hello";

/// How the controller is set up, beyond what every test needs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    top: String,
    tables: String,
    capacity: Option<u32>,
    source: Option<&'static str>,
    data: Option<PathBuf>,
}

impl Setup {
    /// A line at the top of the configuration.
    pub(crate) fn top(mut self, line: &str) -> Self {
        self.top.push_str(line);
        self.top.push('\n');
        self
    }

    /// A table at its end.
    pub(crate) fn table(mut self, text: &str) -> Self {
        self.tables.push_str(text);
        self.tables.push('\n');
        self
    }

    /// How many builds the executors are given at a time.
    pub(crate) fn capacity(mut self, builds: u32) -> Self {
        self.capacity = Some(builds);
        self
    }

    /// Another source of `hello`.
    pub(crate) fn source(mut self, url: &'static str) -> Self {
        self.source = Some(url);
        self
    }

    /// Where the data is.
    pub(crate) fn data(mut self, folder: &Path) -> Self {
        self.data = Some(folder.to_owned());
        self
    }

    fn text(&self, world: &World) -> String {
        let Self { top, tables, .. } = self;
        let (vcs, store, deploy) = (world.url(At::Vcs), world.url(At::Store), world.url(At::Deploy));
        let (local, spare) = (world.url(At::Executor), world.url(At::Spare));
        let capacity = self.capacity.unwrap_or(2);
        let source = self.source.unwrap_or(SOURCE);
        let data = self.data.as_deref().unwrap_or(Path::new("data")).display();
        format!(
            "data = \"{data}\"\nvcs_worker = \"{vcs}\"\nartifact_store = \"{store}\"\ndeploy_worker = \"{deploy}\"\n{top}
            [executors.local]\nurl = \"{local}\"\ncapacity = {capacity}
            [executors.spare]\nurl = \"{spare}\"\ncapacity = {capacity}
            [repositories.hello]\nsource = \"{source}\"\nexecutor = \"local\"\nenvironment = \"test\"
            [repositories.\"team/other\"]\nsource = \"https://git.example.org/other\"\nexecutor = \"local\"
            [executors.far]\nkind = \"gitlab\"\nurl = \"https://ci.example.org\"\ntoken_file = \"far.token\"\nmirror = \"far\"\ngroup = \"cd\"\ncapacity = {capacity}
            [repositories.native]\nsource = \"https://git.example.org/native\"\nexecutor = \"far\"\nenvironment = \"test\"
            [repositories.native.artifacts]\n\"site/hello\" = {{ part = \"build\", path = \"out/hello\" }}
            [repositories.bare]\nsource = \"https://git.example.org/bare\"\n{tables}"
        )
    }
}

/// A controller that serves, on a folder that goes with the test.
pub(crate) struct House {
    pub(crate) folder: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) signer: Arc<Signer>,
    pub(crate) world: Arc<World>,
    /// Every forge that is configured.
    pub(crate) forge: Arc<StandInForge>,
    http: reqwest::Client,
    token: String,
    setup: Setup,
    /// What the controller that was started last counts.
    telemetry: Mutex<Option<Telemetry>>,
    /// The controller has threads of its own, so that it can be ended between any two steps.
    running: Option<(Runtime, Shutdown)>,
}

impl House {
    /// A controller, set up as most tests need it.
    pub(crate) async fn open() -> Self {
        Self::with(Setup::default()).await
    }

    /// A controller with further settings.
    pub(crate) async fn with(setup: Setup) -> Self {
        if std::env::var_os("SIGNALBOX_LOG").is_some() {
            init_logging("controller");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let keys = folder.path().join("keys");
        init_keys(&keys).expect("keys");
        write_secret(&folder.path().join("far.token"), &SecretString::from("far-token-0000000000")).expect("a token");
        let signer = Arc::new(Signer::open(&keys, SystemClock::shared()).expect("a signer"));
        let world = World::open(&keys.join("public.json"));
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
        let token = token(&signer, "tester", vec![Grant::everything()]);
        let mut house = Self {
            folder,
            address: free_port(),
            signer,
            world,
            forge: Arc::default(),
            http,
            token,
            setup,
            telemetry: Mutex::default(),
            running: None,
        };
        house.comes_back().await;
        house
    }

    /// Starts the controller, with what the last one left.
    pub(crate) async fn comes_back(&mut self) {
        assert!(self.running.is_none(), "it is here");
        eventually("the port is free", LONG, async || bind(self.address).is_ok().then_some(())).await;
        let started = eventually("the controller starts", LONG, async || match self.try_start().await {
            Ok(running) => Some(running),
            // The one that was ended just now may still have the folder for a moment.
            Err(StartError::Folder(_)) => None,
            Err(error) => panic!("the controller does not start: {error:?}"),
        });
        self.running = Some(started.await);
    }

    /// Starts a controller on the folder of this house, whoever may be in it already.
    pub(crate) async fn try_start(&self) -> Result<(Runtime, Shutdown), StartError> {
        let file = self.folder.path().join("controller.toml");
        std::fs::write(&file, self.setup.text(&self.world)).expect("a configuration");
        let config = Config::load(&file).unwrap_or_else(|errors| panic!("{errors}"));
        let address = if self.running.is_some() { free_port() } else { self.address };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let shutdown = Shutdown::new();
        let ending = shutdown.clone();
        let forge: Arc<dyn Forge> = Arc::clone(&self.forge) as Arc<dyn Forge>;
        let world = Arc::clone(&self.world);
        let telemetry = Telemetry::new("controller");
        *self.telemetry.lock().unwrap_or_else(PoisonError::into_inner) = Some(telemetry.clone());
        let starting = runtime.spawn(async move {
            let listener = bind(address).expect("its port");
            let executors = [("far".parse().expect("a name"), Arc::new(Elsewhere(world)) as Arc<dyn Executor>)].into();
            let forges =
                config.forges.iter().map(|(name, config)| (name.clone(), genuine(config).unwrap_or_else(|| forge.clone()))).collect();
            start_with(config, AtHand { forges, executors }, listener, SystemClock::shared(), telemetry, ending).await
        });
        match starting.await.expect("no panic") {
            Ok(()) => Ok((runtime, shutdown)),
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// What the controller has counted, as Prometheus is told.
    pub(crate) fn metrics(&self) -> String {
        let telemetry = self.telemetry.lock().unwrap_or_else(PoisonError::into_inner);
        telemetry.as_ref().map(|telemetry| telemetry.metrics().expect("text")).unwrap_or_default()
    }

    /// Ends the controller as a crash would: whatever it is at stays undone.
    pub(crate) fn dies(&mut self) {
        if let Some((runtime, _)) = self.running.take() {
            runtime.shutdown_background();
        }
    }

    /// Ends the controller in good order.
    pub(crate) async fn stops(&mut self) {
        if let Some((runtime, shutdown)) = self.running.take() {
            assert!(shutdown.drained(LONG).await, "something did not end");
            runtime.shutdown_background();
        }
    }

    /// Other settings, from the next start on.
    pub(crate) fn set_up(&mut self, setup: Setup) {
        self.setup = setup;
    }

    /// Ends everything. Nothing may be left at work.
    pub(crate) async fn close(mut self) {
        self.stops().await;
        self.world.close().await;
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A request without a token.
    pub(crate) fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path)).timeout(LONG)
    }

    /// A request of somebody's.
    pub(crate) fn by(&self, token: &str, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(token)
    }

    /// A reading request of somebody who may do everything.
    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.by(&self.token, Method::GET, path)
    }

    /// A changing request of somebody who may do everything.
    pub(crate) fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.by(&self.token, Method::POST, path).json(body)
    }

    /// The token of somebody who may do everything.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// A token with these grants.
    pub(crate) fn token_of(&self, principal: &str, grants: Vec<Grant>) -> String {
        token(&self.signer, principal, grants)
    }

    /// Starts a run.
    pub(crate) async fn cd(&self, body: &Value) -> RunId {
        let accepted: Accepted = expect(self.post("/cd", body), StatusCode::ACCEPTED).await;
        accepted.run
    }

    /// Starts a run on behalf of somebody.
    pub(crate) async fn cd_by(&self, token: &str, body: &Value) -> RunId {
        let accepted: Accepted = expect(self.by(token, Method::POST, "/cd").json(body), StatusCode::ACCEPTED).await;
        accepted.run
    }

    /// Starts a run of a branch of `hello` that deploys.
    pub(crate) async fn branch(&self, branch: &str) -> RunId {
        self.cd(&json!({ "repo": "hello", "ref": branch, "artifact": "site/hello" })).await
    }

    pub(crate) async fn run(&self, run: RunId) -> RunView {
        expect(self.get(&format!("/runs/{run}")), StatusCode::OK).await
    }

    /// The run, once it is as `is` says.
    pub(crate) async fn until(&self, what: &str, run: RunId, is: impl Fn(&RunView) -> bool) -> RunView {
        eventually(what, LONG, async || Some(self.run(run).await).filter(|view| is(view))).await
    }

    /// The run, once it is over.
    pub(crate) async fn ended(&self, run: RunId) -> RunView {
        self.until("the run ends", run, |view| view.summary.state == RunState::Finished).await
    }

    /// The run, which ends like this.
    pub(crate) async fn ends(&self, run: RunId, outcome: Outcome) -> RunView {
        let view = self.ended(run).await;
        assert_eq!(view.summary.outcome, Some(outcome), "{view:#?}");
        view
    }

    /// The run, once its build is at the executor.
    pub(crate) async fn builds(&self, run: RunId) -> RunView {
        self.until("the build runs", run, |view| phase(view) == "running").await
    }

    /// Waits for something that is seen elsewhere than in a run.
    pub(crate) async fn sees<F: Future<Output = bool>>(&self, what: &str, mut is: impl FnMut() -> F) {
        eventually(what, LONG, || {
            let is = is();
            async move { is.await.then_some(()) }
        })
        .await;
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.dies();
    }
}

/// How far the run's current attempt is.
/// The forge itself, where a GitLab has a secret: it cannot be asked, but understands what GitLab really says.
fn genuine(config: &ForgeConfig) -> Option<Arc<dyn Forge>> {
    let ForgeKind::Gitlab(settings) = &config.kind else { return None };
    let real = GitlabForge::with(None, (**settings).clone(), SystemClock::shared());
    (!settings.secrets.is_empty()).then(|| Arc::new(real) as Arc<dyn Forge>)
}

pub(crate) fn phase(view: &RunView) -> &str {
    let live = view.steps.iter().filter_map(|step| step.attempts.last()).find(|attempt| !attempt.ended);
    live.map_or("", |attempt| &attempt.phase)
}

fn token(signer: &Signer, principal: &str, grants: Vec<Grant>) -> String {
    let iat = SystemClock.now().as_second();
    let claims = OperatorClaims {
        iss: ISSUER.to_owned(),
        sub: principal.to_owned(),
        aud: Service::Controller,
        jti: SystemClock.uuid(),
        iat,
        exp: iat + 3600,
        grants,
    };
    signer.operator(&claims).expect("a token").expose_secret().to_owned()
}

pub(crate) fn globs(patterns: &[&str]) -> Vec<Glob> {
    patterns.iter().map(|pattern| pattern.parse().expect("a pattern")).collect()
}

/// A grant on repositories alone.
pub(crate) fn on_repos(actions: &[Action], repos: &[&str]) -> Grant {
    Grant { actions: actions.to_vec(), repos: globs(repos), ..Grant::default() }
}

/// The answer, which has this status.
pub(crate) async fn answer(request: RequestBuilder, status: StatusCode) -> Response {
    let response = request.send().await.expect("an answer");
    if response.status() != status {
        let (got, url) = (response.status(), response.url().clone());
        panic!("{url} answered {got}, not {status}: {}", response.text().await.unwrap_or_default());
    }
    response
}

/// The answer's JSON, which comes with this status.
pub(crate) async fn expect<T: DeserializeOwned>(request: RequestBuilder, status: StatusCode) -> T {
    answer(request, status).await.json().await.expect("JSON of the shape that is documented")
}

/// The problem that comes with this status.
pub(crate) async fn refused(request: RequestBuilder, status: u16) -> Problem {
    let response = answer(request, StatusCode::from_u16(status).expect("a status")).await;
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Problem = response.json().await.expect("a problem");
    assert_eq!(problem.status, status);
    assert!(problem.instance.is_some(), "it names the request: {problem:?}");
    problem
}
