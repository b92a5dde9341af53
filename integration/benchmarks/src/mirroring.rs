//! V1, V2 and V3: what mirroring a commit costs beside the bare git commands that nobody can do without.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use signalbox_contract::api::Answer;
use signalbox_contract::api::vcs::{Naming, RefsAction, RefsRequest, RefsResult, RepoRequest, RepoResult};
use signalbox_contract::token::Service;
use signalbox_contract::{AttemptKey, RunId};
use signalbox_service::auth::Signer;
use signalbox_service::client::{Call, Client};
use signalbox_service::clock::SystemClock;
use signalbox_service::git::testing::{Fixture, GitServer};
use signalbox_service::process::{Bounds, Program};

use crate::bench::{Bench, least, millis};
use crate::site::{Besides, Site};
use crate::table::{Goal, Peer, Row};

/// How long a worker is waited for.
const PATIENCE: Duration = Duration::from_mins(10);

/// The sources: their names, how many commits they have, each of four objects, and how many branches.
const SOURCES: [(&str, usize, usize); 3] = [("short", 10, 1), ("long", 100_000, 1), ("branches", 10, 100_000)];

/// A repository with so many commits on `main` and so many branches, always the same.
async fn source(root: &Path, name: &str, commits: usize, branches: usize) -> Result<Fixture> {
    use std::fmt::Write as _;
    let fixture = Fixture::new(root, name).await;
    let mut stream = String::new();
    for number in 0..commits {
        // Each commit makes a file, its folder and the root anew. Writing to a string cannot fail.
        let content = format!("{number}\n");
        let _ = write!(
            stream,
            "commit refs/heads/main\ncommitter Bench <bench@example.org> {} +0000\ndata 2\nx\nM 100644 inline folder/{}\ndata {}\n{content}",
            1_700_000_000 + number,
            number % 100,
            content.len()
        );
    }
    fixture.git(&["fast-import", "--quiet", "--force"], &stream).await;
    if branches > 1 {
        let head = fixture.read("refs/heads/main").await;
        // A file for each would take minutes. Such a list must be in order.
        let mut names: Vec<String> = (1..branches).map(|number| format!("refs/heads/topic-{number}")).collect();
        names.sort_unstable();
        let lines: Vec<String> = names.iter().map(|name| format!("{head} {name}\n")).collect();
        std::fs::write(fixture.path().join("packed-refs"), format!("# pack-refs with: peeled fully-peeled sorted \n{}", lines.concat()))
            .context("writing a list of branches")?;
    }
    fixture.git(&["repack", "-a", "-d", "-q"], "").await;
    Ok(fixture)
}

/// Runs bare git, and says how long it took.
async fn git(folder: &Path, arguments: &[&str]) -> Result<f64> {
    let begun = Instant::now();
    let program = Program::new("git").dir(folder).env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", folder).args(arguments);
    let output = program.run(Bounds::new(PATIENCE).stdout(64 << 20)).await.context("running git")?;
    if !output.status.success() {
        bail!("git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(millis(begun.elapsed()))
}

/// The VCS worker, asked as the controller asks it.
struct Worker {
    client: Client,
    signer: Signer,
    last: RunId,
}

impl Worker {
    /// Asks for an act of a new attempt, and waits for its end.
    async fn act<B: serde::Serialize, R: serde::de::DeserializeOwned>(&mut self, path: &str, body: &B) -> Result<R> {
        self.last = self.last.successor();
        let key = AttemptKey { run: self.last, step: 0, attempt: 1 };
        let call = Call::post(Service::VcsWorker, path, key).wait(Duration::from_secs(20));
        let begun = Instant::now();
        loop {
            match self.client.ask::<B, R>(&self.signer, &call, body).await? {
                Answer::Done { result } => return Ok(result),
                Answer::Failed { failure } => bail!("{path}: {}", failure.detail),
                Answer::Working { .. } if begun.elapsed() < PATIENCE => {}
                Answer::Working { .. } => bail!("{path} takes too long"),
            }
        }
    }

    /// Mirrors the branch `main` of a source, and shows it where an executor can read it.
    async fn mirror(&mut self, server: &GitServer, name: &str) -> Result<()> {
        let result = self.repo(server, name).await?;
        let request = RefsRequest {
            name: name.parse()?,
            sha: result.sha,
            action: RefsAction::Publish,
            mirror: None,
            naming: Naming::Run,
            original: None,
        };
        self.act::<_, RefsResult>("/refs", &request).await.map(|_| ())
    }

    async fn repo(&mut self, server: &GitServer, name: &str) -> Result<RepoResult> {
        let request = RepoRequest {
            git: server.url(name).as_str().parse()?,
            ref_name: "refs/heads/main".parse()?,
            name: name.parse()?,
            sha: None,
            announced: false,
            files: Vec::new(),
        };
        self.act("/repo", &request).await
    }
}

/// Measures it.
///
/// # Errors
/// When something does not run.
pub(crate) async fn mirroring(bench: &Bench) -> Result<Vec<Row>> {
    let root = tempfile::tempdir_in(&bench.place)?;
    let server = GitServer::start(root.path()).await;
    let besides =
        Besides { vcs_worker: format!("[[sources]]\nurl = \"http://{}/\"\nprivate = true\n", server.address()), ..Besides::default() };
    let mut site = Site::started(&bench.program, &bench.place, &besides).await?;
    let mut worker = Worker {
        client: Client::new(site.url(Service::VcsWorker, "/").parse()?, None)?,
        signer: Signer::open(&site.folder().join("keys"), SystemClock::shared())?,
        last: RunId::FIRST,
    };
    let mut rows = Vec::new();
    for (name, commits, branches) in SOURCES {
        bench.doing(&format!("V: a source of {commits} commits and {branches} branches is made"));
        let fixture = source(root.path(), name, commits, branches).await?;
        let url = server.url(name).to_string();
        // What bare git mirrors from and to: a clone of its own, and a repository that it pushes to.
        let (ours, target) = (root.path().join(format!("{name}-clone")), root.path().join(format!("{name}-target")));
        for folder in [&ours, &target] {
            git(root.path(), &["init", "--quiet", "--bare", &folder.display().to_string()]).await?;
        }
        let fetch = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", url.as_str(), "+refs/heads/main:refs/heads/main"];
        let target = target.display().to_string();
        let push = ["push", "--quiet", target.as_str(), "+refs/heads/main:refs/heads/main"];
        git(&ours, &fetch).await?;
        git(&ours, &push).await?;
        worker.mirror(&server, name).await?;
        let (mut floor, mut own, mut idle_floor, mut idle) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for round in 1..=bench.rounds {
            bench.doing(&format!("V, {name}, round {round}"));
            fixture.commit("refs/heads/main", &[("one", &round.to_string())]).await;
            floor.push(git(&ours, &fetch).await? + git(&ours, &push).await?);
            let begun = Instant::now();
            worker.mirror(&server, name).await?;
            own.push(millis(begun.elapsed()));
            idle_floor.push(git(&ours, &["ls-remote", &url, "refs/heads/main"]).await?);
            let begun = Instant::now();
            worker.repo(&server, name).await?;
            idle.push(millis(begun.elapsed()));
        }
        let row = |id, what: String, ours, peer, name, must, aim| Row {
            id,
            what,
            ours,
            peer: Some(Peer { name, figure: peer }),
            unit: "ms",
            must: Some(Goal::AtMost(must)),
            aim: Some(Goal::AtMost(aim)),
        };
        let commands = "bare git fetch and push";
        if branches > 1 {
            rows.push(row("V2", format!("one new commit, {branches} branches"), least(&own), least(&floor), commands, 1.5, 1.1));
        } else {
            rows.push(row("V1", format!("one new commit after {commits}"), least(&own), least(&floor), commands, 2.0, 1.3));
        }
        rows.push(row(
            "V3",
            format!("nothing new, {commits} commits, {branches} branches"),
            least(&idle),
            least(&idle_floor),
            "bare git ls-remote",
            2.0,
            1.2,
        ));
    }
    site.stop().await?;
    Ok(rows)
}
