//! A line of work: one commit after the other, each asked for once and waited for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use signalbox_contract::RunId;
use signalbox_contract::api::run::{Outcome, RunView};
use signalbox_scenarios::{Gerrit, Workspace, job_file};
use signalbox_service::git::testing::Fixture;

use crate::asker::Asker;
use crate::dice::Dice;

/// Where the commits come from.
pub(super) enum Kind {
    /// A branch of a repository that is built here.
    Local(Fixture),
    /// A branch that GitLab builds.
    Branch(Fixture),
    /// Refs that are no branches, which GitLab builds.
    Review(Fixture),
    /// Changes in Gerrit.
    Change {
        /// The Gerrit.
        gerrit: Arc<Gerrit>,
        /// The developer's clone.
        workspace: Workspace,
        /// Whether they are built here; else in GitLab.
        here: bool,
    },
}

/// A line of work.
pub(super) struct Line {
    pub(super) name: &'static str,
    kind: Kind,
    /// The folders that the hosts publish in.
    hosts: Vec<PathBuf>,
    count: u64,
}

/// What came of one commit.
#[derive(Debug)]
pub(super) struct Done {
    /// The repository.
    pub(super) repo: &'static str,
    /// The commit.
    pub(super) sha: String,
    /// Its run, as it was at its end.
    pub(super) view: Option<Box<RunView>>,
    /// What the hosts are to show, where they are to show something.
    pub(super) shown: Option<String>,
    /// How often each host switched for its run, where it is deployed. It is counted at the run's end, since hosts forget.
    pub(super) switches: Vec<usize>,
    /// The change, where it is one.
    pub(super) change: Option<u64>,
    /// What is wrong, where it never came to its end.
    pub(super) fault: Option<String>,
    /// Whether it had ended before anybody was killed.
    pub(super) calm: bool,
    pub(super) begun: Instant,
    pub(super) ended: Instant,
}

impl Done {
    /// What never came to an end.
    pub(super) fn lost(fault: String) -> Self {
        let now = Instant::now();
        let (sha, fault) = (String::new(), Some(fault));
        Self { repo: "", sha, view: None, shown: None, switches: Vec::new(), change: None, fault, calm: false, begun: now, ended: now }
    }
}

/// What GitLab is to do. The fake one is told how it goes.
const DEFINITION: &str = "compile: {script: [make], artifacts: {paths: [out/]}}\n";

impl Line {
    pub(super) const fn new(name: &'static str, kind: Kind, hosts: Vec<PathBuf>) -> Self {
        Self { name, kind, hosts, count: 0 }
    }

    /// One commit, from its making to its run's end.
    pub(super) async fn go(&mut self, asker: &Asker, dice: &mut Dice) -> Done {
        self.count += 1;
        let text = format!("{} {}\n", self.name, self.count);
        let script = format!("echo begun\nsleep 0.{}\ncp text {}", dice.below(10), self.name);
        let here = [(".signalbox.yaml", job_file(&script, &[self.name])), ("text", text.clone())];
        let there = [(".gitlab-ci.yml", DEFINITION.to_owned()), ("text", text.clone())];
        let begun;
        let sha;
        let (mut change, mut shown) = (None, None);
        let ended = match &mut self.kind {
            Kind::Local(repository) => {
                sha = repository.commit("refs/heads/main", &borrowed(&here)).await.to_string();
                shown = Some(text);
                begun = Instant::now();
                asked(asker, self.name, "main", true, self.count).await
            }
            Kind::Branch(repository) => {
                sha = repository.commit("refs/heads/main", &borrowed(&there)).await.to_string();
                shown = Some(sha.clone());
                begun = Instant::now();
                asked(asker, self.name, "main", true, self.count).await
            }
            Kind::Review(repository) => {
                let ref_name = format!("refs/changes/{:02}/{}/1", self.count % 100, self.count);
                sha = repository.commit(&ref_name, &borrowed(&there)).await.to_string();
                begun = Instant::now();
                asked(asker, self.name, &ref_name, false, self.count).await
            }
            Kind::Change { gerrit, workspace, here: built_here } => {
                workspace.refresh().await;
                workspace.write(&borrowed(if *built_here { &here } else { &there }));
                begun = Instant::now();
                let proposed = workspace.propose(&format!("Change {}", self.count), "").await;
                sha = proposed.sha.to_string();
                change = Some(proposed.number);
                judged(asker, gerrit, self.name, &sha, proposed.number).await
            }
        };
        let ended_at = Instant::now();
        let mut switches = Vec::new();
        if let (Some(_), Ok(view)) = (&shown, &ended) {
            let run = view.summary.id.to_string();
            let lines = |host: &PathBuf| std::fs::read_to_string(host.join(".signalbox/releases").join(self.name).join("activations"));
            let of_run = |line: &&str| line.starts_with("shown ") && line.split(' ').nth(3) == Some(run.as_str());
            switches = self.hosts.iter().map(|host| lines(host).unwrap_or_default().lines().filter(of_run).count()).collect();
        }
        // A little while, so that runs do not all begin together.
        tokio::time::sleep(dice.millis(0..300)).await;
        let (view, fault) = match ended {
            Ok(view) => (Some(Box::new(view)), None),
            Err(fault) => (None, Some(format!("{} {}: {fault}", self.name, self.count))),
        };
        Done { repo: self.name, sha, view, shown, switches, change, fault, calm: false, begun, ended: ended_at }
    }
}

fn borrowed<'a>(files: &'a [(&'a str, String)]) -> Vec<(&'a str, &'a str)> {
    files.iter().map(|(name, text)| (*name, text.as_str())).collect()
}

/// Asks for a run and waits for its end.
async fn asked(asker: &Asker, repo: &str, ref_name: &str, deployed: bool, count: u64) -> Result<RunView, String> {
    let mut body = json!({ "repo": repo, "ref": ref_name });
    if deployed {
        body["artifact"] = json!(repo);
    }
    let run: RunId = asker.cd(&body, &format!("{repo}-{count}")).await?;
    asker.ended(run).await
}

/// Waits for the run that a change makes, its end, and the vote.
async fn judged(asker: &Asker, gerrit: &Gerrit, repo: &str, sha: &str, change: u64) -> Result<RunView, String> {
    let limit = Instant::now() + asker.patience();
    loop {
        let runs = asker.runs_at(repo, sha).await?;
        if let Some(run) = runs.first() {
            let view = asker.ended(run.id).await?;
            // What is given up says nothing about the change, so there is no vote to wait for.
            if view.summary.outcome == Some(Outcome::Lost) {
                return Ok(view);
            }
            while gerrit.votes(change).await.is_empty() {
                if Instant::now() > limit {
                    return Err(format!("change {change} got no vote; its run ended {:?}", view.summary.outcome));
                }
                tokio::time::sleep(LOOK).await;
            }
            return Ok(view);
        }
        if Instant::now() > limit {
            return Err(format!("change {change} got no run"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Between two looks at Gerrit.
const LOOK: Duration = Duration::from_millis(400);
