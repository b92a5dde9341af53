//! A real Gerrit for tests, started by the script of the scenarios.

#![expect(clippy::expect_used, reason = "in a test, what cannot be set up is a failure")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use signalbox_service::clock::SystemClock;
use signalbox_service::process::{Bounds, Output, Program, Running, Tail};
use signalbox_service::secret::SecretString;
use signalbox_service::testing::{free_port, not_run};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use url::Url;

use super::rest::{Ask, Rest};
use super::{Gerrit, GerritSettings, GerritSsh};

/// How long it may take to come up, with everything that has to be fetched and made first.
const UP: Duration = Duration::from_mins(5);

/// How long anything else may take.
const SOON: Duration = Duration::from_mins(1);

/// A Gerrit that runs, with the project `demo` and the accounts `admin`, `robot` and `dev`. It ends when it is dropped.
#[derive(Debug)]
pub struct RealGerrit {
    site: PathBuf,
    http: u16,
    ssh: u16,
    running: Option<Running>,
}

impl RealGerrit {
    /// Starts one with its site below `folder`; `None` where it cannot run, which is said.
    ///
    /// # Panics
    /// When it does not come up; and, where `CI` is set, when it cannot run.
    pub async fn start(folder: &Path) -> Option<Self> {
        let mut gerrit = Self { site: folder.join("gerrit"), http: free_port().port(), ssh: free_port().port(), running: None };
        match gerrit.up().await {
            Ok(()) => Some(gerrit),
            Err(what) => {
                not_run(&format!("a real Gerrit, which {what}"));
                None
            }
        }
    }

    /// Starts it again, at the same ports and with all that it had.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_again(&mut self) {
        assert_eq!(self.up().await, Ok(()));
    }

    /// Kills it, as a machine that loses its power would.
    pub async fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill().await;
        }
    }

    async fn up(&mut self) -> Result<(), String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/real/gerrit-up");
        let mut program = Program::new(script).arg(&self.site).args([self.http.to_string(), self.ssh.to_string()]);
        for name in ["PATH", "HOME", "XDG_CACHE_HOME", "JAVA_HOME", "M2_REPO"] {
            if let Some(value) = std::env::var_os(name) {
                program = program.env(name, value);
            }
        }
        let mut running = program.start().expect("the script starts");
        running.stdin = None;
        let mut lines = BufReader::new(running.stdout.take().expect("a stream")).lines();
        let mut stderr = running.stderr.take();
        let mut said = Tail::new(4096);
        let ready = async {
            let mut last = String::new();
            while let Ok(Some(line)) = lines.next_line().await {
                if line == "ready" {
                    return Ok(());
                }
                last = line;
            }
            Err(last)
        };
        let listen = async {
            if let Some(stderr) = &mut stderr {
                let _ = said.read(stderr).await;
            }
            std::future::pending::<()>().await;
        };
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(UP, ready) => outcome.expect("it comes up in time"),
            () = listen => unreachable!("it never ends"),
        };
        if let Err(last) = outcome {
            let status = running.wait().await.expect("it has ended");
            assert_eq!(status.code(), Some(77), "{last} {}", String::from_utf8_lossy(&said.into_bytes()));
            return Err(last);
        }
        self.running = Some(running);
        Ok(())
    }

    /// Its address.
    ///
    /// # Panics
    /// Never.
    pub fn url(&self) -> Url {
        format!("http://127.0.0.1:{}/", self.http).parse().expect("an address")
    }

    /// The private key of an account.
    pub fn key(&self, account: &str) -> PathBuf {
        self.site.join("keys").join(account)
    }

    /// Its host keys.
    pub fn known_hosts(&self) -> PathBuf {
        self.site.join("known_hosts")
    }

    /// The password of an account.
    pub fn password(account: &str) -> SecretString {
        SecretString::from(if account == "admin" { "secret".to_owned() } else { format!("{account}pw") })
    }

    /// Settings with which Signalbox uses it, as this account.
    ///
    /// # Panics
    /// Never.
    pub fn settings(&self, account: &str) -> GerritSettings {
        let mut settings = GerritSettings::new("gerrit".parse().expect("a name"), self.url(), account);
        settings.password = Some(Self::password(account));
        let ssh = GerritSsh { host: "127.0.0.1".to_owned(), port: self.ssh, key: self.key(account), known_hosts: self.known_hosts() };
        settings.ssh = Some(ssh);
        settings
    }

    /// The forge, as the account `robot`.
    ///
    /// # Panics
    /// Never.
    pub fn forge(&self) -> Gerrit {
        Gerrit::new(self.settings("robot"), SystemClock::shared()).expect("settings that can be used")
    }

    /// Posts to its API, and gives what it answers.
    ///
    /// # Panics
    /// When it refuses.
    pub async fn post(&self, account: &str, path: &[&str], body: Value) -> Value {
        self.rest(account).json(Ask::post(path, body)).await.unwrap_or_else(|error| panic!("{path:?}: {error}"))
    }

    /// Does something by its API, whatever it answers.
    ///
    /// # Panics
    /// When it refuses.
    pub async fn act(&self, account: &str, path: &[&str], body: Value) {
        self.rest(account).call(Ask::post(path, body)).await.unwrap_or_else(|error| panic!("{path:?}: {error}"));
    }

    /// Puts something by its API, and gives what it answers.
    ///
    /// # Panics
    /// When it refuses.
    pub async fn put(&self, account: &str, path: &[&str], body: Value) -> Value {
        self.rest(account).json(Ask::new(Method::PUT, path, Some(body))).await.unwrap_or_else(|error| panic!("{path:?}: {error}"))
    }

    /// Deletes something by its API.
    ///
    /// # Panics
    /// When it refuses.
    pub async fn delete(&self, account: &str, path: &[&str]) {
        self.rest(account).call(Ask::new(Method::DELETE, path, None)).await.unwrap_or_else(|error| panic!("{path:?}: {error}"));
    }

    /// Asks its API.
    ///
    /// # Panics
    /// When it refuses.
    pub async fn get(&self, account: &str, path: &[&str], query: &[(&str, &str)]) -> Value {
        self.rest(account).json(Ask::get(path).query(query)).await.unwrap_or_else(|error| panic!("{path:?}: {error}"))
    }

    fn rest(&self, account: &str) -> Rest {
        Rest::new(&self.settings(account)).expect("settings that can be used").expect("a password")
    }

    /// Pushes a change to `refs/for/master` as `dev`, by a file with this text in a fresh clone; the commit's id. The same
    /// `change` is another patch set of the same change. `options` stand behind the ref: `%wip`.
    ///
    /// # Panics
    /// When it cannot be pushed.
    pub async fn propose(&self, change: u64, text: &str, options: &str) -> String {
        let script = r#"
            set -e
            work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
            git clone -q "$URL" "$work"
            cd "$work"
            printf '%s\n' "$TEXT" >"file-$CHANGE"
            git add .
            git -c user.name='Dev Eloper' -c user.email=dev@example.com commit -q -m "$TEXT" -m "Change-Id: $ID"
            git push -q origin "HEAD:refs/for/master$OPTIONS" >&2
            git rev-parse HEAD"#;
        let output = Program::new("/bin/sh")
            .args(["-c", script])
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("URL", format!("http://dev:devpw@127.0.0.1:{}/a/demo", self.http))
            .env("TEXT", text)
            .env("CHANGE", change.to_string())
            .env("ID", format!("I{change:040}"))
            .env("OPTIONS", options)
            .run(Bounds::new(SOON))
            .await
            .expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Has an account vote, on one revision.
    ///
    /// # Panics
    /// When it may not.
    pub async fn vote(&self, account: &str, change: u64, revision: &str, label: &str, value: i64) {
        let id = format!("demo~{change}");
        self.post(account, &["changes", &id, "revisions", revision, "review"], json!({"labels": {label: value}})).await;
    }

    /// Ends every ssh connection of an account, as its administrator would.
    ///
    /// # Panics
    /// When it cannot be done.
    pub async fn cut(&self, account: &str) {
        for connection in self.connections(account).await {
            self.admin(&["gerrit", "close-connection", &connection]).await;
        }
    }

    /// The ssh connections of an account.
    ///
    /// # Panics
    /// When they cannot be listed.
    pub async fn connections(&self, account: &str) -> Vec<String> {
        let output = self.admin(&["gerrit", "show-connections", "--wide"]).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        words.filter(|words| words.contains(&account)).filter_map(|words| words.first().map(|&id| id.to_owned())).collect()
    }

    async fn admin(&self, words: &[&str]) -> Output {
        let settings = self.settings("admin");
        let ssh = settings.ssh.as_ref().expect("set");
        let output = super::ssh::command(ssh, "admin", "ERROR", words).run(Bounds::new(SOON)).await.expect("it runs");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }
}
