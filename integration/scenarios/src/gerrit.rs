//! A real Gerrit.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use signalbox_service::process::{Program, Running};
use signalbox_service::testing::{eventually, free_port, not_run};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::missing::real;
use crate::review::Workspace;

/// How long a start may take: on a machine with much to do, it is a lot of classes to load.
const PATIENCE: Duration = Duration::from_mins(5);

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// The administrator.
    Admin,
    /// Who proposes changes.
    Developer,
    /// Our own account: it reads the stream of events, and votes.
    Robot,
}

impl Account {
    /// Its name and its HTTP password.
    pub const fn login(self) -> (&'static str, &'static str) {
        match self {
            Self::Admin => ("admin", "secret"),
            Self::Developer => ("dev", "devpw"),
            Self::Robot => ("robot", "robotpw"),
        }
    }
}

/// A real Gerrit, with accounts, the label `Verified`, and rights for our account. It ends when it is dropped.
#[derive(Debug)]
pub struct Gerrit {
    http: SocketAddr,
    ssh: SocketAddr,
    client: reqwest::Client,
    folder: TempDir,
    running: Option<Running>,
}

/// What was said on a change with a vote in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Who said it.
    pub by: String,
    /// The patch set.
    pub patch_set: u64,
    /// The words.
    pub words: String,
    /// Its tag, where it has one.
    pub tag: String,
}

impl Gerrit {
    /// Starts one. None where it cannot be had, which is said.
    ///
    /// # Panics
    /// When it does not start.
    #[expect(clippy::expect_used, reason = "a test whose Gerrit does not start cannot go on")]
    pub async fn start() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        signalbox_service::auth::install_crypto();
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_mins(1)).build().expect("a client");
        let mut gerrit = Self { http: free_port(), ssh: free_port(), client, folder, running: None };
        match gerrit.begin().await {
            Ok(()) => Some(gerrit),
            Err(missing) => {
                not_run(&missing);
                None
            }
        }
    }

    /// Starts it again after [`Self::kill`], at the same addresses and with all that it knows.
    ///
    /// # Panics
    /// When it does not start.
    #[expect(clippy::expect_used, reason = "a test whose Gerrit does not start cannot go on")]
    pub async fn up(&mut self) {
        self.begin().await.expect("it was there before");
    }

    /// Starts it and waits until it answers, or says what it needs.
    #[expect(clippy::expect_used, reason = "a test whose Gerrit does not start cannot go on")]
    async fn begin(&mut self) -> Result<(), String> {
        let mut program = Program::new(real("gerrit-up")).arg(self.site()).own_stderr();
        program = program.args([self.http.port().to_string(), self.ssh.port().to_string()]);
        for name in ["PATH", "HOME", "JAVA_HOME", "XDG_CACHE_HOME", "M2_REPO", "GERRIT_VERSION"] {
            if let Ok(value) = std::env::var(name) {
                program = program.env(name, value);
            }
        }
        let mut running = program.start().expect("it is started");
        let mut lines = BufReader::new(running.stdout.take().expect("it prints")).lines();
        let said = async {
            let mut last = String::new();
            while let Some(line) = lines.next_line().await.expect("it prints lines") {
                if line == "ready" {
                    return None;
                }
                last = line;
            }
            Some(last)
        };
        let said = tokio::time::timeout(PATIENCE, said).await.expect("Gerrit answers in time");
        if let Some(last) = said {
            let status = running.wait().await.expect("its end is seen");
            assert_eq!(status.code(), Some(77), "Gerrit does not start: {last}");
            return Err(last.trim_start_matches("needs ").to_owned());
        }
        self.running = Some(running);
        Ok(())
    }

    /// Kills it: no warning, no clean-up.
    pub async fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill().await;
        }
    }

    /// Where it is, with a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}/", self.http)
    }

    /// Where a project is fetched with a password.
    pub fn source(&self, project: &str) -> String {
        format!("{}a/{project}", self.url())
    }

    /// Where it takes SSH.
    pub const fn ssh(&self) -> SocketAddr {
        self.ssh
    }

    /// The file with its host keys.
    pub fn known_hosts(&self) -> PathBuf {
        self.site().join("known_hosts")
    }

    /// The private key of an account.
    pub fn key(&self, account: Account) -> PathBuf {
        self.site().join("keys").join(account.login().0)
    }

    fn site(&self) -> PathBuf {
        self.folder.path().join("site")
    }

    /// Asks it, and answers the status and the JSON that it gives; null where it gives none.
    ///
    /// # Panics
    /// When it does not answer.
    #[expect(clippy::panic, reason = "a test whose Gerrit does not answer cannot go on")]
    pub async fn asked(&self, account: Account, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        let (name, password) = account.login();
        let mut request = self.client.request(method.clone(), format!("{}a/{path}", self.url()));
        request = request.basic_auth(name, Some(password)).header("accept", "application/json");
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => panic!("{method} {path}: {error}"),
        };
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        // The first line is there to keep browsers from running it.
        let json = text.strip_prefix(")]}'").unwrap_or(&text);
        (status, serde_json::from_str(json).unwrap_or_else(|_| Value::from(text.trim())))
    }

    /// The same, when it must not refuse.
    ///
    /// # Panics
    /// When it refuses.
    pub async fn ask(&self, account: Account, method: Method, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.asked(account, method.clone(), path, body).await;
        assert!(status.is_success(), "{method} {path}: {status} {answer}");
        answer
    }

    /// Makes a project with the branch `master`, which holds an empty commit.
    pub async fn project(&self, name: &str) {
        let body = json!({ "create_empty_commit": true, "branches": ["master"] });
        self.ask(Account::Admin, Method::PUT, &format!("projects/{name}"), Some(&body)).await;
    }

    /// A developer's own clone of a project.
    pub async fn clone_of(&self, project: &str) -> Workspace {
        Workspace::clone(&self.source(project), project, Account::Developer).await
    }

    /// Approves a change and submits it.
    pub async fn submit(&self, change: u64) {
        let review = json!({ "labels": { "Code-Review": 2 } });
        self.ask(Account::Admin, Method::POST, &format!("changes/{change}/revisions/current/review"), Some(&review)).await;
        self.ask(Account::Admin, Method::POST, &format!("changes/{change}/submit"), Some(&json!({}))).await;
    }

    /// The commit that the branch `master` of a project points to.
    pub async fn tip(&self, project: &str) -> String {
        let branch = self.ask(Account::Admin, Method::GET, &format!("projects/{project}/branches/master"), None).await;
        branch["revision"].as_str().unwrap_or_default().to_owned()
    }

    /// Does something to a change as its developer: `abandon`, `restore`, `wip`, `ready` …
    pub async fn act(&self, change: u64, what: &str) {
        self.ask(Account::Developer, Method::POST, &format!("changes/{change}/{what}"), Some(&json!({}))).await;
    }

    /// Says something on the current patch set of a change, as its developer.
    pub async fn comment(&self, change: u64, words: &str) {
        let review = json!({ "message": words });
        self.ask(Account::Developer, Method::POST, &format!("changes/{change}/revisions/current/review"), Some(&review)).await;
    }

    /// Our vote on a change's current patch set: nothing where there is none.
    pub async fn vote(&self, change: u64) -> i64 {
        let detail = self.ask(Account::Admin, Method::GET, &format!("changes/{change}/detail"), None).await;
        let votes = detail["labels"]["Verified"]["all"].as_array().cloned().unwrap_or_default();
        let ours = votes.iter().find(|vote| vote["username"] == Account::Robot.login().0);
        ours.and_then(|vote| vote["value"].as_i64()).unwrap_or_default()
    }

    /// The number of a change's current patch set.
    pub async fn patch_set(&self, change: u64) -> u64 {
        let detail = self.ask(Account::Admin, Method::GET, &format!("changes/{change}/?o=CURRENT_REVISION"), None).await;
        let revisions = detail["revisions"].as_object().cloned().unwrap_or_default();
        revisions.values().find_map(|revision| revision["_number"].as_u64()).unwrap_or_default()
    }

    /// All that our account has said on a change, in order.
    pub async fn said(&self, change: u64) -> Vec<Said> {
        let messages = self.ask(Account::Admin, Method::GET, &format!("changes/{change}/messages"), None).await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        messages
            .as_array()
            .into_iter()
            .flatten()
            .map(|message| Said {
                by: text(&message["author"]["username"]),
                patch_set: message["_revision_number"].as_u64().unwrap_or_default(),
                words: text(&message["message"]),
                tag: text(&message["tag"]),
            })
            .filter(|said| said.by == Account::Robot.login().0)
            .collect()
    }

    /// The votes that our account has given on a change, by patch set, in order; 0 is a vote withdrawn.
    pub async fn votes(&self, change: u64) -> BTreeMap<u64, Vec<i64>> {
        let mut votes: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
        for said in self.said(change).await {
            if let Some(vote) = vote_in(&said.words) {
                votes.entry(said.patch_set).or_default().push(vote);
            }
        }
        votes
    }

    /// Waits for our vote on a change.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn until_vote(&self, change: u64, patch_set: u64, vote: i64) {
        let last = std::sync::Mutex::new(Vec::new());
        let seen = || async {
            let said = self.said(change).await;
            let voted = said.iter().rev().filter(|said| said.patch_set == patch_set).find_map(|said| vote_in(&said.words));
            *last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = said;
            (voted == Some(vote)).then_some(())
        };
        let waited = tokio::time::timeout(PATIENCE, eventually("a vote", PATIENCE * 2, seen)).await;
        assert!(waited.is_ok(), "still waiting for Verified{vote:+} on patch set {patch_set} of {change}: {last:#?}");
    }

    /// Ends it as an administrator would.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn close(mut self) {
        self.kill().await;
        let gone = || async { tokio::net::TcpStream::connect(self.http).await.is_err().then_some(()) };
        eventually("Gerrit is gone", PATIENCE, gone).await;
    }
}

/// The vote that Gerrit writes into a message: `Patch Set 2: Verified-1`.
fn vote_in(words: &str) -> Option<i64> {
    let head = words.lines().next()?;
    if head.contains("-Verified") {
        return Some(0);
    }
    let (_, vote) = head.split_once("Verified")?;
    vote.get(..2)?.parse().ok()
}
