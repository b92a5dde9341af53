//! `POST /repo` and `POST /refs`: the VCS worker, and git.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use signalbox_contract::token::{Capability, Service};
use signalbox_contract::{AttemptKey, CommitSha, RunId};
use signalbox_service::auth::sha256;
use signalbox_service::clock::{Clock as _, SystemClock};
use signalbox_service::git::testing::{Fixture, GitServer};
use signalbox_service::process::{Bounds, Program};
use signalbox_service::secret::ExposeSecret as _;
use signalbox_service::telemetry::Telemetry;
use signalbox_vcs_worker::{Config, NAME, start};

use super::recording::Recording;
use super::site::{PATIENCE, Site, configured, http, in_order, serving};
use super::subject::Subject;

/// What is asked of the worker, in this order.
const ASKED: [&str; 5] = ["repo-1", "show-1", "repo-2", "show-2", "hide-1"];

/// The repository's name on our side.
const REPOSITORY: &str = "team/hello";

/// Commits that were mirrored.
#[derive(Debug)]
pub struct Mirrored {
    site: Site,
    git: GitServer,
    attempts: [AttemptKey; 2],
    commits: [CommitSha; 2],
    answers: Vec<Value>,
}

/// A request: where, for which attempt, and what.
type Request = (&'static str, AttemptKey, Value);

impl Mirrored {
    /// Has a worker mirror commits while it is watched, from its first start to its end.
    ///
    /// # Errors
    /// When that is not possible.
    pub async fn record() -> Result<(Self, Recording)> {
        in_order(Self::recorded).await
    }

    async fn recorded() -> Result<(Self, Recording)> {
        let site = Site::new()?;
        let repositories = site.path().join("repositories");
        let source = Fixture::new(&repositories, "r/hello").await;
        let first = source.commit("refs/heads/main", &[("README", "one\n"), (".signalbox.yaml", "version: 1\n")]).await;
        let second = source.commit("refs/heads/other", &[("README", "two\n"), ("more", "text\n")]).await;
        let git = GitServer::start(&repositories).await;
        let attempts = [1, 2].map(|step| AttemptKey { run: RunId::from_uuid(SystemClock.uuid()), step, attempt: 1 });
        let mut mirrored = Self { site, git, attempts, commits: [first, second], answers: Vec::new() };
        let answers = Mutex::new(Vec::new());
        let ask = async |address| {
            for request in ASKED {
                let answer = mirrored.ask(address, request).await?;
                answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
            }
            Ok(())
        };
        let recording = mirrored.site.record(Service::VcsWorker, |data| mirrored.configuration(data), &ASKED, ask).await?;
        mirrored.answers = answers.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((mirrored, recording))
    }

    fn configuration(&self, data: &Path) -> String {
        let source = format!("[[sources]]\nurl = \"http://{}/r/\"\nprivate = true\n", self.git.address());
        format!("{}{source}", self.site.configuration(data))
    }

    fn request(&self, name: &str) -> Request {
        let repo = |index: usize, ref_name: &str| {
            let body = json!({ "git": self.git.url("r/hello"), "ref": ref_name, "name": REPOSITORY });
            ("/repo", self.attempts[index], body)
        };
        let refs = |index: usize, action: &str| {
            let body = json!({ "name": REPOSITORY, "sha": self.commits[index], "action": action });
            ("/refs", self.attempts[index], body)
        };
        match name {
            "repo-1" => repo(0, "main"),
            "repo-2" => repo(1, "other"),
            "show-1" => refs(0, "publish"),
            "show-2" => refs(1, "publish"),
            _ => refs(0, "remove"),
        }
    }

    /// Asks for one of these, and answers what came of it, which must be good.
    async fn ask(&self, address: SocketAddr, name: &str) -> Result<Value> {
        let (path, key, body) = self.request(name);
        let body = serde_json::to_vec(&body)?;
        let token = self.site.signer.act(Service::VcsWorker, &format!("POST {path}"), Some(key), sha256(&body))?;
        let asked = http()?.post(format!("http://{address}{path}")).bearer_auth(token.expose_secret()).header("x-request-id", name);
        let answer = asked.header("content-type", "application/json").header("prefer", "wait=20").body(body).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.as_u16() == 200, "{name}: {status} {text}");
        let answer: Value = serde_json::from_str(&text)?;
        ensure!(answer["state"] == "done", "{name}: {text}");
        Ok(answer)
    }

    /// What was acknowledged is answered word for word, what was not is done now, and whoever clones the mirror gets what was shown.
    async fn look(&self, address: SocketAddr, acknowledged: &BTreeSet<String>) -> Result<()> {
        for (name, first) in ASKED.into_iter().zip(&self.answers) {
            let again = self.ask(address, name).await?;
            let sha = |answer: &Value| answer["result"]["sha"].clone();
            ensure!(sha(&again) == sha(first), "{name} is answered with {again}, and was with {first}");
            // An address is where the worker listens, which is elsewhere now.
            let timed = |answer: &Value| answer["result"]["timings"].clone();
            ensure!(!acknowledged.contains(name) || timed(&again) == timed(first), "{name} was acknowledged, and is done again");
        }
        let clone = tempfile::tempdir()?;
        let shown = self.clone_mirror(address, clone.path()).await?;
        let expected = format!("{} refs/heads/cd/{}", self.commits[1], self.attempts[1]);
        ensure!(shown.trim() == expected, "the mirror shows {shown:?}, and not {expected:?}");
        Ok(())
    }

    async fn clone_mirror(&self, address: SocketAddr, folder: &Path) -> Result<String> {
        let cap = Capability::ReadRepo { repo: REPOSITORY.parse()?, sha: self.commits[1].clone() };
        let until = SystemClock.now() + Duration::from_mins(10);
        let token = self.site.signer.capability(Service::VcsWorker, self.attempts[1], cap, until)?;
        let git = |arguments: &[&str]| {
            Program::new("git")
                .args(arguments)
                .dir(folder)
                .env("PATH", "/usr/bin:/bin")
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .env("HOME", folder)
                .env("GIT_CONFIG_COUNT", "1")
                .env("GIT_CONFIG_KEY_0", "http.extraHeader")
                .env("GIT_CONFIG_VALUE_0", format!("Authorization: Bearer {}", token.expose_secret()))
                .run(Bounds::new(PATIENCE))
        };
        let url = format!("http://{address}/mirrors/{REPOSITORY}.git");
        let cloned = git(&["clone", "--quiet", "--mirror", &url, "clone"]).await?;
        if !cloned.status.success() {
            bail!("the mirror cannot be cloned: {}", String::from_utf8_lossy(&cloned.stderr));
        }
        let listed = git(&["-C", "clone", "for-each-ref", "--format=%(objectname) %(refname)"]).await?;
        String::from_utf8(listed.stdout).context("names that are no text")
    }
}

impl Subject for Mirrored {
    const NAME: &'static str = "mirror";

    async fn judge(&self, folder: &Path, acknowledged: &BTreeSet<String>) -> Result<()> {
        let config = configured("vcs-worker.toml", &self.configuration(folder), Config::read)?;
        serving(
            async |listener, shutdown| start(config, listener, SystemClock::shared(), Telemetry::new(NAME), shutdown).await,
            async |address| self.look(address, acknowledged).await,
        )
        .await
    }
}
