//! A GitLab: the fake, with a group for mirrors, a token for each of our services that needs one, and, where a story wants
//! it, the real GitLab Runner.

use std::time::Duration;

use signalbox_fakes::gitlab::fault::AnswerFault;
use signalbox_fakes::gitlab::state::status::Status;
use signalbox_fakes::gitlab::state::user::{NewToken, TokenKind, level};
use signalbox_fakes::gitlab::{FakeGitlab, Options};
use signalbox_service::process::Running;
use signalbox_service::secret::SecretString;
use signalbox_service::testing::eventually;
use tempfile::TempDir;

/// How long a build may take. Only a hanging one takes so long.
const PATIENCE: Duration = Duration::from_mins(3);

/// The group in which mirrors are made.
pub const GROUP: &str = "mirrors";

/// A GitLab with a group for mirrors.
pub struct Gitlab {
    /// The server.
    pub fake: FakeGitlab,
    /// The VCS worker's token: it makes projects in the group, and pushes.
    pub worker: SecretString,
    /// The controller's token: it starts, stops and reads pipelines of the group.
    pub controller: SecretString,
    pub(crate) folder: TempDir,
    pub(crate) runner: Option<Running>,
}

/// A pipeline, as a story looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pipeline {
    /// Its id.
    pub id: u64,
    /// The branch or tag.
    pub ref_name: String,
    /// The commit.
    pub sha: String,
    /// What made it: `push`, `api`.
    pub source: String,
    /// Its status.
    pub status: Status,
}

impl Gitlab {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// Starts one that is special.
    ///
    /// # Panics
    /// When it does not start.
    #[expect(clippy::expect_used, reason = "a test without its GitLab cannot go on")]
    pub async fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = Options::new(folder.path().join("gitlab"));
        change(&mut options);
        let fake = FakeGitlab::start(options).await.expect("the fake GitLab starts");
        let group = fake.create_group(GROUP);
        let worker = member(&fake, group, "signalbox-worker", level::MAINTAINER, &["api"]);
        let controller = member(&fake, group, "signalbox-controller", level::MAINTAINER, &["api"]);
        Self { fake, worker, controller, folder, runner: None }
    }

    /// Kills the runner and what it does.
    pub async fn kill_runner(&mut self) {
        if let Some(mut runner) = self.runner.take() {
            runner.kill().await;
        }
    }

    /// Lets every connection be cut before anything is done, until [`Self::up`]: as it is while GitLab is away.
    pub fn down(&self) {
        self.fake.faults().answer_some(None, "/", AnswerFault::Refused, 1.0);
    }

    /// Ends all faults.
    pub fn up(&self) {
        self.fake.faults().clear();
    }

    /// All pipelines of a project in the group, the oldest first.
    pub fn pipelines(&self, project: &str) -> Vec<Pipeline> {
        let path = format!("{GROUP}/{project}");
        self.fake.with(|state| {
            let ids = state.project_at(&path).map(|project| project.pipelines.clone()).unwrap_or_default();
            let pipelines = ids.iter().filter_map(|id| state.pipelines.get(id));
            pipelines
                .map(|pipeline| Pipeline {
                    id: pipeline.id,
                    ref_name: pipeline.ref_name.clone(),
                    sha: pipeline.sha.clone(),
                    source: pipeline.source.clone(),
                    status: pipeline.status,
                })
                .collect()
        })
    }

    /// Whether a project in the group has a webhook that works.
    pub fn tells(&self, project: &str) -> bool {
        let path = format!("{GROUP}/{project}");
        self.fake.with(|state| state.project_at(&path).is_some_and(|project| project.hooks.iter().any(|hook| !hook.disabled)))
    }

    /// Turns the webhooks of a project in the group off, as GitLab does when they fail too often.
    pub fn turn_off(&self, project: &str) {
        let path = format!("{GROUP}/{project}");
        self.fake.with(|state| {
            let id = state.project_at(&path).map(|project| project.id).unwrap_or_default();
            for hook in state.projects.get_mut(&id).into_iter().flat_map(|project| &mut project.hooks) {
                hook.disabled = true;
            }
        });
    }

    /// The branches of a project in the group, as GitLab has them now.
    pub fn branches(&self, project: &str) -> Vec<String> {
        let path = format!("{GROUP}/{project}");
        let id = self.fake.with(|state| state.project_at(&path).map(|project| project.id)).unwrap_or_default();
        let folder = self.folder.path().join(format!("gitlab/repositories/{id}.git/refs/heads"));
        let mut names = Vec::new();
        let mut folders = vec![folder.clone()];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(next).into_iter().flatten().flatten().map(|entry| entry.path()) {
                if entry.is_dir() {
                    folders.push(entry);
                } else if let Ok(name) = entry.strip_prefix(&folder) {
                    names.push(name.display().to_string());
                }
            }
        }
        names.sort();
        names
    }

    /// The log of a job of a pipeline, its newest attempt's.
    pub fn log(&self, pipeline: u64, job: &str) -> String {
        self.fake.with(|state| {
            let job = state.newest_jobs(pipeline).into_iter().find(|candidate| candidate.plan.name == job);
            job.map(|job| String::from_utf8_lossy(&job.trace).into_owned()).unwrap_or_default()
        })
    }

    /// Waits until a pipeline of a project suits.
    ///
    /// # Panics
    /// When none comes to.
    pub async fn until(&self, project: &str, what: &str, suits: impl Fn(&Pipeline) -> bool) -> Pipeline {
        let found = || async { self.pipelines(project).into_iter().find(|pipeline| suits(pipeline)) };
        let Ok(pipeline) = tokio::time::timeout(PATIENCE, eventually(what, PATIENCE * 2, found)).await else {
            panic!("still waiting: {what}; there are {:#?}", self.pipelines(project))
        };
        pipeline
    }

    /// Waits until no pipeline of a project is at work and no attempt's branch is left, and says what is where that does not come.
    ///
    /// # Errors
    /// With what is left.
    pub async fn tidy(&self, project: &str) -> Result<(), String> {
        let tidy = || async {
            let idle = self.pipelines(project).iter().all(|pipeline| pipeline.status.complete());
            // The default branch is the mirror's own, and stays.
            let attempt = |branch: &String| branch.starts_with("cd/") && branch != "cd/default";
            let clean = !self.branches(project).iter().any(attempt);
            (idle && clean).then_some(())
        };
        let waited = tokio::time::timeout(PATIENCE, eventually("nothing is left", PATIENCE * 2, tidy)).await;
        waited.map_err(|_| format!("{project} has {:#?} and {:?}", self.pipelines(project), self.branches(project)))
    }

    /// Ends it, and fails if a pipeline is still at work or an attempt's branch is left.
    ///
    /// # Panics
    /// When something is left over.
    pub async fn close(mut self, projects: &[&str]) {
        for project in projects {
            if let Err(left) = self.tidy(project).await {
                panic!("{left}");
            }
        }
        self.kill_runner().await;
        self.fake.stop().await;
    }
}

/// Makes somebody with a level in a group and a token with these scopes.
pub(crate) fn member(fake: &FakeGitlab, group: u64, name: &str, level: u32, scopes: &[&str]) -> SecretString {
    fake.with(|state| {
        let user = state.add_bot(name, name);
        if let Some(group) = state.groups.get_mut(&group) {
            group.members.insert(user, level);
        }
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        state.add_token(NewToken { name: name.to_owned(), user, kind: TokenKind::Personal, scopes, expires_at: None }).1
    })
}
