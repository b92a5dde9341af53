//! An executor in a GitLab whose jobs run what a story wants.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use signalbox_adapters::executor::conformance::{Harness, Script};
use signalbox_adapters::executor::gitlab::GitLabExecutor;
use signalbox_adapters::executor::{Definition, Executor, NativeBuild, Order, ProvenSource, Scope};
use signalbox_adapters::gitlab::{Connection, GitLab, Request};
use signalbox_contract::api::vcs::Naming;
use signalbox_contract::job::Variables;
use signalbox_contract::{ArtifactName, AttemptKey, CommitSha, RunId};
use signalbox_fakes::gitlab::{FakeGitlab, Options, Outcome};
use signalbox_service::clock::{Clock as _, SystemClock};
use url::Url;

/// What the fake runs for each branch, and how often it has begun.
type Scripts = Arc<Mutex<BTreeMap<String, (Script, usize)>>>;

pub(crate) struct Stage {
    pub(crate) fake: FakeGitlab,
    pub(crate) gitlab: GitLab,
    pub(crate) executor: Arc<GitLabExecutor>,
    pub(crate) project: u64,
    sha: CommitSha,
    scripts: Scripts,
    _folder: tempfile::TempDir,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let fake = FakeGitlab::start(Options::new(folder.path())).await.expect("started");
        let project = fake.create_project("builds/team/hello").await.expect("made");
        let scripts = Scripts::default();
        let known = Arc::clone(&scripts);
        fake.script(move |_, pipeline| {
            let mut scripts = known.lock().unwrap_or_else(PoisonError::into_inner);
            let (script, begun) = scripts.get_mut(&pipeline.ref_name)?;
            *begun += 1;
            Some(play(script))
        });
        let url = Url::parse(&fake.url()).expect("a URL");
        let gitlab =
            GitLab::new(&Connection { calls_per_minute: 100_000, ..Connection::new(url, fake.root_token().clone()) }).expect("a client");
        let executor = Arc::new(GitLabExecutor::new(gitlab.clone(), "builds", SystemClock::shared()));
        // A message that says so makes GitLab skip what a push would start, and not what the API starts.
        let definition = "build:\n  script: [make]\n  artifacts:\n    paths: [out]\n";
        let commit = json!({
            "branch": "main", "commit_message": "The first [ci skip]",
            "actions": [{ "action": "create", "file_path": ".gitlab-ci.yml", "content": definition }],
        });
        let project_path = format!("{project}");
        let made: Value =
            gitlab.call(Request::post(["projects", &project_path, "repository", "commits"]).json(&commit)).await.expect("a commit");
        let sha = made["id"].as_str().expect("an id").parse().expect("a commit");
        Self { fake, gitlab, executor, project, sha, scripts, _folder: folder }
    }

    /// An order for the script, whose branch is published.
    pub(crate) async fn order_of(&self, script: Script) -> Order {
        let key = AttemptKey { run: RunId::from_uuid(SystemClock.uuid()), step: 1, attempt: 1 };
        let branch = format!("cd/{key}");
        let deadline = SystemClock.now().checked_add(script.deadline).expect("in range");
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner).insert(branch.clone(), (script, 0));
        let project = self.project.to_string();
        let publish = Request::post(["projects", &project, "repository", "branches"]).with("branch", &branch).with("ref", "main");
        self.gitlab.act(publish).await.expect("published");
        let nowhere = Url::parse("http://127.0.0.1:9/").expect("a URL");
        Order {
            key,
            repo: "team/hello".parse().expect("valid"),
            source: ProvenSource {
                url: nowhere.clone(),
                ref_name: format!("refs/heads/{branch}").parse().expect("valid"),
                sha: self.sha.clone(),
                branch: "main".parse().expect("valid"),
                naming: Naming::Run,
                project: Some(project),
                moved: true,
            },
            definition: Definition::Native(NativeBuild::default()),
            variables: Variables::from([("SIGNALBOX_RUN".parse().expect("a name"), key.run.to_string())]),
            deadline,
            read: "read".into(),
            put: "put".into(),
            store: nowhere,
        }
    }

    pub(crate) fn count(&self, key: &AttemptKey) -> usize {
        let scripts = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        scripts.get(&format!("cd/{key}")).map_or(0, |(_, begun)| *begun)
    }

    pub(crate) async fn close(self) {
        self.fake.stop().await;
    }
}

/// Runs a script at once, and gives how the job goes by that. One that sleeps for long says what comes before it, and does
/// not end.
#[expect(clippy::disallowed_methods, reason = "the fake asks in the middle of a change, and the scripts of the cases are over at once")]
fn play(script: &Script) -> Outcome {
    let (text, hangs) = match script.text.split_once("sleep 600") {
        Some((before, _)) => (before, true),
        None => (script.text.as_str(), false),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let ran = std::process::Command::new("bash")
        .args(["-e", "-c", &format!("exec 2>&1\n{text}")])
        .current_dir(folder.path())
        .output()
        .expect("bash runs");
    if hangs {
        // The fake shows the first half of what a job prints while it runs.
        let never = vec![b'?'; ran.stdout.len()];
        return Outcome::hangs().saying([ran.stdout, never].concat());
    }
    let outcome = if ran.status.success() { Outcome::success() } else { Outcome::failure("script_failure") };
    let files = script.artifacts.values().filter_map(|path| Some((path, std::fs::read(folder.path().join(path.as_str())).ok()?)));
    files.fold(outcome.saying(ran.stdout), |outcome, (path, bytes)| outcome.leaving(path.as_str(), bytes))
}

impl Harness for Stage {
    fn executor(&self) -> Arc<dyn Executor> {
        Arc::clone(&self.executor) as Arc<dyn Executor>
    }

    fn scope(&self) -> Scope {
        Scope::default()
    }

    fn order(&self, script: Script) -> BoxFuture<'_, Order> {
        Box::pin(self.order_of(script))
    }

    fn arrived<'a>(&'a self, _key: &'a AttemptKey) -> BoxFuture<'a, BTreeMap<ArtifactName, Vec<u8>>> {
        Box::pin(async { panic!("artifacts of GitLab are fetched") })
    }

    fn begun<'a>(&'a self, key: &'a AttemptKey) -> BoxFuture<'a, usize> {
        Box::pin(async { self.count(key) })
    }

    fn keeps_deadlines(&self) -> bool {
        false
    }
}
