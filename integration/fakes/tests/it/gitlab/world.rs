//! A fake GitLab with a client, a working copy and a receiver of hooks.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use http::{HeaderMap, Method, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use signalbox_fakes::gitlab::{FakeGitlab, Options};
use signalbox_service::http::{ServeOptions, bind, serve};
use signalbox_service::process::{Bounds, Program};
use signalbox_service::shutdown::Shutdown;

/// How long anything may take before a test gives up.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct World {
    pub(super) gitlab: FakeGitlab,
    pub(super) folder: tempfile::TempDir,
    client: reqwest::Client,
    token: String,
}

/// An answer of the API.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(|options| options).await
    }

    pub(super) async fn with(change: impl FnOnce(Options) -> Options) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let options = change(Options::new(folder.path().join("gitlab")));
        let gitlab = FakeGitlab::start(options).await.expect("it starts");
        let token = gitlab.root_token().expose_secret().to_owned();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().expect("a client");
        Self { gitlab, folder, client, token }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}/api/v4{path}", self.gitlab.url())
    }

    pub(super) async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Said {
        self.ask_as(&self.token, method, path, body).await
    }

    pub(super) async fn ask_as(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> Said {
        let mut request = self.client.request(method, self.url(path)).header("PRIVATE-TOKEN", token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("it answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("a body");
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Said { status, headers, body }
    }

    pub(super) async fn get(&self, path: &str) -> Said {
        self.ask(Method::GET, path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Said {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// A working copy, with one commit on `main`, whose remote is this project.
    pub(super) async fn copy(&self, project: &str, token: Option<&str>) -> Copy {
        let folder = tempfile::tempdir_in(self.folder.path()).expect("a folder").keep();
        let copy = Copy { folder };
        let token = token.unwrap_or(&self.token);
        let url = self.gitlab.url().replacen("http://", &format!("http://oauth2:{token}@"), 1);
        copy.git(&["init", "--quiet", "-b", "main"]).await;
        copy.git(&["remote", "add", "origin", &format!("{url}/{project}.git")]).await;
        copy.commit("README.md", "hello\n", "First").await;
        copy
    }

    /// Asks until there is an answer that suits.
    pub(super) async fn until(&self, what: &str, path: &str, suits: impl Fn(&Value) -> bool) -> Value {
        signalbox_service::testing::eventually(what, PATIENCE, || async {
            let said = self.get(path).await;
            suits(&said.body).then_some(said.body)
        })
        .await
    }
}

/// A working copy.
pub(super) struct Copy {
    pub(super) folder: PathBuf,
}

impl Copy {
    /// Runs git, which must succeed; answers all that it said.
    pub(super) async fn git(&self, args: &[&str]) -> String {
        let (fine, said) = self.try_git(args).await;
        assert!(fine, "git {args:?}: {said}");
        said
    }

    /// Runs git; answers whether it succeeded, and all that it said.
    pub(super) async fn try_git(&self, args: &[&str]) -> (bool, String) {
        run(&self.folder, args).await
    }

    pub(super) async fn commit(&self, file: &str, text: &str, message: &str) -> String {
        let path = self.folder.join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
        self.git(&["add", "-A"]).await;
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]).await;
        self.git(&["rev-parse", "HEAD"]).await.trim().to_owned()
    }
}

async fn run(folder: &Path, args: &[&str]) -> (bool, String) {
    let mut program = Program::new("git")
        .args(args)
        .dir(folder)
        .env("PATH", std::env::var("PATH").unwrap_or_default())
        .env("HOME", folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0");
    for who in ["AUTHOR", "COMMITTER"] {
        program = program.env(format!("GIT_{who}_NAME"), "A Developer").env(format!("GIT_{who}_EMAIL"), "dev@example.com");
    }
    let output = program.run(Bounds::new(PATIENCE)).await.expect("git runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// A delivery that arrived.
#[derive(Debug, Clone)]
pub(super) struct Arrived {
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
    pub(super) raw: String,
}

/// Somebody who is told by hooks. It ends when it is dropped.
pub(super) struct Receiver {
    pub(super) url: String,
    shared: Arc<Shared>,
    end: Shutdown,
}

#[derive(Default)]
struct Shared {
    arrived: Mutex<Vec<Arrived>>,
    answer: Mutex<Option<StatusCode>>,
}

impl Receiver {
    pub(super) fn start() -> Self {
        let listener = bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let (shared, end) = (Arc::new(Shared::default()), Shutdown::new());
        let router = Router::new().route("/hook", post(take)).with_state(Arc::clone(&shared));
        tokio::spawn(serve(listener, router, ServeOptions::new("receiver"), end.clone()));
        Self { url, shared, end }
    }

    /// Answers all further deliveries with this status.
    pub(super) fn answer(&self, status: StatusCode) {
        *self.shared.answer.lock().expect("a lock") = Some(status);
    }

    pub(super) fn arrived(&self) -> Vec<Arrived> {
        self.shared.arrived.lock().expect("a lock").clone()
    }

    /// Waits for a delivery that suits.
    pub(super) async fn until(&self, what: &str, suits: impl Fn(&Arrived) -> bool) -> Arrived {
        signalbox_service::testing::eventually(what, PATIENCE, || async { self.arrived().into_iter().find(|one| suits(one)) }).await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.end.begin();
    }
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, raw: String) -> StatusCode {
    let body = serde_json::from_str(&raw).unwrap_or_default();
    shared.arrived.lock().expect("a lock").push(Arrived { headers, body, raw });
    shared.answer.lock().expect("a lock").unwrap_or(StatusCode::OK)
}
