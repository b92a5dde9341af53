//! People at work in a GitLab: a group with projects of their own, to which they push and where they propose what is to be
//! merged. What is told of it is told by the GitLab's own webhooks.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use signalbox_contract::CommitSha;
use signalbox_contract::token::Service;
use signalbox_fakes::gitlab::state::user::level;
use signalbox_service::git::testing::Fixture;
use signalbox_service::secret::{ExposeSecret as _, SecretString};
use tempfile::TempDir;

use crate::gitlab::{GROUP, Gitlab, member};
use crate::options::WorldOptions;
use crate::world::World;

/// The group in which people work.
const TEAM: &str = "team";

/// The secret of its webhooks.
const SECRET: &str = "the-secret-of-the-team's-webhooks";

/// The username of the account that speaks for us.
const ROBOT: &str = "signalbox-robot";

/// What a webhook of a project is about.
const TOPICS: [&str; 4] = ["push_events", "tag_push_events", "merge_requests_events", "note_events"];

/// A group with people.
#[derive(Debug)]
pub struct Team {
    url: String,
    people: SecretString,
    robot: SecretString,
    reader: SecretString,
    client: Client,
    folder: TempDir,
}

/// One of its projects, with somebody's copy of it.
#[derive(Debug)]
pub struct Upstream<'a> {
    /// Its path: `team/hello`.
    pub path: String,
    /// The copy in which commits are made.
    pub copy: Fixture,
    team: &'a Team,
}

/// A merge request that somebody has opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// Its number in its project.
    pub number: u64,
    /// The branch that it comes from.
    pub branch: String,
}

/// A commit status of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// `running`, `success` …
    pub state: String,
    /// Where people can look.
    pub url: String,
    /// The pipeline that it stands in.
    pub pipeline: u64,
    /// What it says.
    pub words: String,
}

impl Gitlab {
    /// Adds a group in which people work.
    ///
    /// # Panics
    /// When it cannot be made.
    #[expect(clippy::expect_used, reason = "a test without its people cannot go on")]
    pub fn team(&self) -> Team {
        let group = self.fake.create_group(TEAM);
        let mirrors = self.fake.create_group(GROUP);
        let people = member(&self.fake, group, "developer", level::MAINTAINER, &["api"]);
        let robot = member(&self.fake, group, ROBOT, level::DEVELOPER, &["api"]);
        let reader = member(&self.fake, group, "signalbox-reader", level::REPORTER, &["read_repository"]);
        self.fake.with(|state| {
            let user = state.user_named(ROBOT).map(|user| user.id).unwrap_or_default();
            if let Some(group) = state.groups.get_mut(&mirrors) {
                group.members.insert(user, level::DEVELOPER);
            }
        });
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().expect("a client");
        Team { url: self.fake.url(), people, robot, reader, client, folder: tempfile::tempdir().expect("a folder") }
    }
}

impl WorldOptions {
    /// The same, with a GitLab in front, as the forge `front`: the worker reads sources of the team.
    #[must_use]
    pub fn with_team(mut self, team: &Team) -> Self {
        self.secrets.insert("front-robot", team.robot.expose_secret().to_owned());
        self.secrets.insert("front-reader", team.reader.expose_secret().to_owned());
        self.secrets.insert("front-hook", SECRET.to_owned());
        let url = &team.url;
        self.with(
            Service::Controller,
            &format!(
                "[forges.front]\nkind = \"gitlab\"\nurl = \"{url}\"\ntoken_file = \"secrets/front-robot\"\nuser = \"{ROBOT}\"\n\
                 secret_files = [\"secrets/front-hook\"]\nresync = \"3s\"\nbudget = 6000\n"
            ),
        )
        .with(
            Service::VcsWorker,
            &format!(
                "[[sources]]\nurl = \"{url}/{TEAM}/\"\nprivate = true\nusername = \"reader\"\ncredential = \"secrets/front-reader\"\n"
            ),
        )
    }
}

impl Team {
    /// Where a project of the team is fetched.
    pub fn source(&self, name: &str) -> String {
        format!("{}/{TEAM}/{name}.git", self.url)
    }

    /// Makes a project whose `main` has these files.
    ///
    /// # Panics
    /// When it cannot be made.
    #[expect(clippy::expect_used, reason = "a test without its project cannot go on")]
    pub async fn project(&self, gitlab: &Gitlab, name: &str, files: &[(&str, &str)]) -> Upstream<'_> {
        let path = format!("{TEAM}/{name}");
        gitlab.fake.create_project(&path).await.expect("a project");
        let upstream = Upstream { path, copy: Fixture::new(self.folder.path(), name).await, team: self };
        upstream.copy.commit("refs/heads/main", files).await;
        upstream.push(&["refs/heads/main"]).await;
        gitlab.fake.pushes_followed().await;
        upstream
    }

    async fn asked(&self, token: &SecretString, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = self.client.request(method.clone(), format!("{}/api/v4/{path}", self.url));
        let answer = request.header("private-token", token.expose_secret()).json(body).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        (answer.status(), answer.json().await.unwrap_or_default())
    }
}

impl Upstream<'_> {
    /// Pushes refs of the copy as they are there, all in one push, and answers when that is done.
    pub async fn push(&self, refs: &[&str]) {
        let login = STANDARD.encode(format!("developer:{}", self.team.people.expose_secret()));
        let (header, url) = (format!("http.extraHeader=Authorization: Basic {login}"), format!("{}/{}.git", self.team.url, self.path));
        let refs = refs.iter().map(|name| format!("+{name}:{name}")).collect::<Vec<_>>();
        let mut args = vec!["-c", &header, "push", "--quiet", &url];
        args.extend(refs.iter().map(String::as_str));
        self.copy.git(&args, "").await;
    }

    /// Commits files to a branch and pushes it.
    pub async fn commit(&self, branch: &str, files: &[(&str, &str)]) -> CommitSha {
        let name = format!("refs/heads/{branch}");
        let sha = self.copy.commit(&name, files).await;
        self.push(&[&name]).await;
        sha
    }

    /// Asks the API about the project, as one of the people.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn ask(&self, method: Method, path: &str, body: &Value) -> Value {
        self.ask_as(&self.team.people, method, path, body).await
    }

    async fn ask_as(&self, token: &SecretString, method: Method, path: &str, body: &Value) -> Value {
        let path = format!("projects/{}/{path}", self.path.replace('/', "%2F"));
        let (status, answer) = self.team.asked(token, method.clone(), &path, body).await;
        assert!(status.is_success(), "{method} {path}: {status} {answer}");
        answer
    }

    /// Opens a merge request of a branch for `main`.
    pub async fn open(&self, branch: &str, title: &str) -> Proposed {
        let body = json!({ "source_branch": branch, "target_branch": "main", "title": title });
        let request = self.ask(Method::POST, "merge_requests", &body).await;
        Proposed { number: request["iid"].as_u64().unwrap_or_default(), branch: branch.to_owned() }
    }

    /// Changes a merge request: `{"state_event": "close"}`, `{"title": …}`.
    pub async fn edit(&self, request: &Proposed, change: &Value) {
        self.ask(Method::PUT, &format!("merge_requests/{}", request.number), change).await;
    }

    /// Merges one.
    pub async fn merge(&self, request: &Proposed) {
        self.ask(Method::PUT, &format!("merge_requests/{}/merge", request.number), &json!({})).await;
    }

    /// Comments on one, as one of the people.
    pub async fn comment(&self, request: &Proposed, words: &str) {
        self.ask(Method::POST, &format!("merge_requests/{}/notes", request.number), &json!({ "body": words })).await;
    }

    /// Comments on one in our own name.
    pub async fn comment_as_robot(&self, request: &Proposed, words: &str) {
        let path = format!("merge_requests/{}/notes", request.number);
        self.ask_as(&self.team.robot, Method::POST, &path, &json!({ "body": words })).await;
    }

    /// Our statuses at a commit of a branch or tag, the oldest first, also those that a newer one has taken the place of.
    pub async fn statuses(&self, sha: &CommitSha, name: &str) -> Vec<Shown> {
        let path = format!("repository/commits/{sha}/statuses?ref={name}&name=signalbox&all=true&per_page=100");
        let statuses = self.ask(Method::GET, &path, &json!({})).await;
        let mut statuses = statuses.as_array().cloned().unwrap_or_default();
        statuses.sort_by_key(|status| status["id"].as_u64());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        statuses
            .iter()
            .map(|status| Shown {
                state: text(&status["status"]),
                url: text(&status["target_url"]),
                pipeline: status["pipeline_id"].as_u64().unwrap_or_default(),
                words: text(&status["description"]),
            })
            .collect()
    }

    /// Waits until our newest status at a commit is this.
    pub async fn until_shown(&self, world: &World, sha: &CommitSha, name: &str, state: &str) -> Shown {
        world
            .patiently(&format!("the status of {sha} is {state}"), || async {
                self.statuses(sha, name).await.pop().filter(|shown| shown.state == state)
            })
            .await
    }

    /// In how many pipelines our statuses at a commit stand.
    pub async fn pipelines_with_ours(&self, sha: &CommitSha, name: &str) -> usize {
        self.statuses(sha, name).await.into_iter().map(|shown| shown.pipeline).collect::<BTreeSet<_>>().len()
    }
}

/// Has a project of a GitLab tell the controller of a world of what happens in it, as an administrator would.
///
/// # Panics
/// When it is refused.
#[expect(clippy::expect_used, reason = "a test whose webhook is not made cannot go on")]
pub async fn hook(gitlab: &Gitlab, world: &World, path: &str) {
    // An executor sees to webhooks of its own; this is not one of them, by its address.
    let mut body = json!({ "url": format!("{}/webhooks/front?of={path}", world.url(Service::Controller)), "token": SECRET });
    for topic in TOPICS {
        body[topic] = json!(true);
    }
    let url = format!("{}/api/v4/projects/{}/hooks", gitlab.fake.url(), path.replace('/', "%2F"));
    let client = Client::builder().no_proxy().build().expect("a client");
    let answer = client.post(url).header("private-token", gitlab.fake.root_token().expose_secret()).json(&body).send().await;
    let status = answer.expect("an answer").status();
    assert_eq!(status, StatusCode::CREATED);
}
