//! A fake GitLab with one project, into which definitions are pushed by the real git.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use signalbox_fakes::gitlab::state::job::Job;
use signalbox_fakes::gitlab::state::status::Status;
use signalbox_fakes::gitlab::{FakeGitlab, Options};
use signalbox_service::process::{Bounds, Program};

pub(crate) const PROJECT: &str = "group/hello";

/// A program gets no environment of ours but where programs and caches are.
pub(crate) fn surroundings(mut program: Program) -> Program {
    for name in
        ["PATH", "HOME", "XDG_CACHE_HOME", "GOPROXY", "GOFLAGS", "GOCACHE", "GOMODCACHE", "SSL_CERT_FILE", "HTTPS_PROXY", "https_proxy"]
    {
        if let Ok(value) = std::env::var(name) {
            program = program.env(name, value);
        }
    }
    program
}

/// The GitLab and its project.
pub(crate) struct Yard {
    pub(crate) gitlab: FakeGitlab,
    pub(crate) project: u64,
    pub(crate) folder: tempfile::TempDir,
}

impl Yard {
    pub(crate) async fn new(change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::new(folder.path().join("gitlab"));
        change(&mut options);
        let gitlab = FakeGitlab::start(options).await.unwrap();
        let project = gitlab.create_project(PROJECT).await.unwrap();
        Self { gitlab, project, folder }
    }

    /// Pushes a definition as the only file of a new commit.
    pub(crate) async fn push(&self, definition: &str) {
        self.push_with(definition, &[]).await;
    }

    /// The same, with other files beside it.
    pub(crate) async fn push_with(&self, definition: &str, files: &[(&str, &str)]) {
        let source = self.folder.path().join("source");
        let new = !source.join(".git").exists();
        std::fs::create_dir_all(&source).unwrap();
        for (name, text) in files {
            std::fs::write(source.join(name), text).unwrap();
        }
        std::fs::write(source.join(".gitlab-ci.yml"), definition).unwrap();
        let address = self.gitlab.url().replace("http://", &format!("http://root:{}@", self.gitlab.root_token().expose_secret()));
        let address = format!("{address}/{PROJECT}.git");
        if new {
            self.git(&["init", "-q", "-b", "main"]).await;
        }
        self.git(&["add", "."]).await;
        self.git(&["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "commit", "-qm", "A definition"]).await;
        self.git(&["push", "-q", &address, "HEAD:refs/heads/main"]).await;
    }

    async fn git(&self, args: &[&str]) {
        let git = surroundings(Program::new("git")).args(args).dir(self.folder.path().join("source"));
        let output = git.run(Bounds::new(Duration::from_secs(30))).await.unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The newest attempt of a job of the newest pipeline.
    pub(crate) fn job(&self, name: &str) -> Option<Job> {
        self.gitlab.with(|state| {
            let pipeline = *state.projects.get(&self.project)?.pipelines.last()?;
            state.newest_jobs(pipeline).into_iter().find(|job| job.plan.name == name).cloned()
        })
    }

    pub(crate) fn log(&self, name: &str) -> String {
        self.job(name).map(|job| String::from_utf8_lossy(&job.trace).into_owned()).unwrap_or_default()
    }

    pub(crate) fn pipeline(&self) -> Option<(u64, Status, bool)> {
        self.gitlab.with(|state| {
            let id = *state.projects.get(&self.project)?.pipelines.last()?;
            state.pipelines.get(&id).map(|pipeline| (id, pipeline.status, pipeline.warnings))
        })
    }

    /// Waits until something is so.
    pub(crate) async fn wait(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let end = tokio::time::Instant::now() + Duration::from_secs(90);
        while !so(self) {
            assert!(tokio::time::Instant::now() < end, "{what} did not come; the pipeline is {:?}", self.pipeline());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Vec<u8>) {
        let request = reqwest::Client::new().get(format!("{}/api/v4{path}", self.gitlab.url()));
        let answer = request.header("private-token", self.gitlab.root_token().expose_secret()).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }
}
