//! What this GitLab knows: a model in memory. Everything here is plain and immediate; git, time and the network are elsewhere.
//!
//! Invariants: whoever changes something here does it under one lock, so no answer ever shows half a change. What is to
//! be told to hooks or done later is collected, and taken by whoever holds the lock when they are done.

mod action;
mod bridge;
pub mod commit;
pub mod deployment;
pub mod group;
pub mod hook;
pub mod job;
pub mod merge_request;
pub mod pipeline;
pub mod plan;
mod process;
pub mod project;
mod projects;
mod report;
pub mod runner;
pub mod status;
pub mod user;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::Value;
use signalbox_service::clock::SharedClock;

use self::deployment::{Deployment, Environment};
use self::group::Group;
use self::hook::Topic;
use self::job::Job;
use self::merge_request::MergeRequest;
use self::pipeline::Pipeline;
use self::project::{DeployKey, Project, Visibility};
use self::runner::Runner;
use self::user::{NewToken, Token, TokenKind, User, level};
use crate::gitlab::options::Version;

pub use process::NewPipeline;
pub use projects::{DeleteRefused, NameTaken, NewProject};
pub use report::{NewStatus, StatusRefused};

/// How a person's token begins.
const PERSONAL: &str = "glpat-";

/// Something that is to be done later, by whoever can wait.
#[derive(Debug, Clone)]
pub enum Chore {
    /// A project that was marked as being destroyed goes.
    Destroy(u64),
    /// A job whose time has come may start.
    Due(u64),
    /// A job starts another pipeline.
    Bridge(u64),
    /// A scripted job begins.
    Begin(u64),
    /// A scripted job ends.
    End(u64),
}

/// Something that hooks are to be told.
#[derive(Debug, Clone)]
pub struct News {
    /// The project whose hooks they are.
    pub project: u64,
    /// What it is about.
    pub topic: Topic,
    /// The branch that it is about, for hooks that want some branches alone.
    pub branch: Option<String>,
    /// What is told.
    pub payload: Value,
}

/// All that this GitLab knows.
pub struct State {
    /// Where it is reached, without a slash at the end.
    pub url: String,
    /// Which version it says that it is.
    pub version: Version,
    /// People and robots.
    pub users: BTreeMap<u64, User>,
    /// Their tokens.
    pub tokens: BTreeMap<u64, Token>,
    /// Groups, and the name spaces of users.
    pub groups: BTreeMap<u64, Group>,
    /// Projects, those that are being destroyed included.
    pub projects: BTreeMap<u64, Project>,
    /// Paths that projects had before.
    pub former_paths: BTreeMap<String, u64>,
    /// Keys for ssh.
    pub deploy_keys: BTreeMap<u64, DeployKey>,
    /// Pipelines.
    pub pipelines: BTreeMap<u64, Pipeline>,
    /// Jobs.
    pub jobs: BTreeMap<u64, Job>,
    /// Merge requests.
    pub merge_requests: BTreeMap<u64, MergeRequest>,
    /// Environments.
    pub environments: BTreeMap<u64, Environment>,
    /// Deployments.
    pub deployments: BTreeMap<u64, Deployment>,
    /// Runners.
    pub runners: BTreeMap<u64, Runner>,
    /// What older runners register with.
    pub registration_token: SecretString,
    /// How many pipelines of a project are kept.
    pub kept_pipelines: usize,
    /// What new projects are set to, besides the usual, unless whoever makes one says else.
    pub new_settings: BTreeMap<String, Value>,
    /// Settings that nobody can change any more: whoever does is answered as always, and they stay as they are.
    pub fixed_settings: BTreeSet<String>,
    clock: SharedClock,
    next: u64,
    /// What hooks are to be told.
    pub(in crate::gitlab) news: Vec<News>,
    /// What is to be done later.
    pub(in crate::gitlab) chores: Vec<(Duration, Chore)>,
    /// Jobs that just began to wait for a runner.
    pub(in crate::gitlab) pending: Vec<u64>,
}

impl State {
    /// A GitLab in which there is nothing but its administrator, whose token comes along.
    pub(in crate::gitlab) fn new(url: String, version: Version, clock: SharedClock, token: Option<SecretString>) -> (Self, SecretString) {
        let mut state = Self {
            url,
            version,
            users: BTreeMap::new(),
            tokens: BTreeMap::new(),
            groups: BTreeMap::new(),
            projects: BTreeMap::new(),
            former_paths: BTreeMap::new(),
            deploy_keys: BTreeMap::new(),
            pipelines: BTreeMap::new(),
            jobs: BTreeMap::new(),
            merge_requests: BTreeMap::new(),
            environments: BTreeMap::new(),
            deployments: BTreeMap::new(),
            runners: BTreeMap::new(),
            registration_token: Self::secret("GR1348941"),
            kept_pipelines: 20_000,
            new_settings: BTreeMap::new(),
            fixed_settings: BTreeSet::new(),
            clock,
            next: 0,
            news: Vec::new(),
            chores: Vec::new(),
            pending: Vec::new(),
        };
        let root = state.add_user("root", "Administrator", true);
        let token = token.unwrap_or_else(|| Self::secret(PERSONAL));
        let (_, secret) = state.add_token_of(
            token,
            NewToken {
                name: "root".to_owned(),
                user: root,
                kind: TokenKind::Personal,
                scopes: ["api", "read_api", "read_repository", "write_repository", "create_runner", "sudo"].map(str::to_owned).to_vec(),
                expires_at: None,
            },
        );
        (state, secret)
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A new id. One row of numbers serves all kinds of things, so that a mixed-up id is found out at once.
    pub fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A new identifier for what is told to hooks.
    pub(in crate::gitlab) fn uuid(&self) -> String {
        self.clock.uuid().to_string()
    }

    /// Random letters for a secret.
    pub(in crate::gitlab) fn secret(prefix: &str) -> SecretString {
        use base64::Engine as _;
        let mut bytes = [0; 15];
        // Without randomness of the system there could be no TLS either; a fake goes on with what it has.
        let _ = aws_lc_rs::rand::fill(&mut bytes);
        let letters = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
        SecretString::from(format!("{prefix}{letters}"))
    }

    /// Adds a person, with a name space of their own.
    pub fn add_user(&mut self, username: &str, name: &str, admin: bool) -> u64 {
        let id = self.insert_user(username, name, admin, false);
        let group = self.id();
        let user_space = Group {
            id: group,
            parent: None,
            name: name.to_owned(),
            path: username.to_owned(),
            full_path: username.to_owned(),
            visibility: Visibility::Public,
            user: Some(id),
            members: BTreeMap::from([(id, level::OWNER)]),
            created_at: self.now(),
            marked_for_deletion_at: None,
        };
        self.groups.insert(group, user_space);
        id
    }

    /// Adds the robot of a token.
    pub fn add_bot(&mut self, username: &str, name: &str) -> u64 {
        self.insert_user(username, name, false, true)
    }

    fn insert_user(&mut self, username: &str, name: &str, admin: bool, bot: bool) -> u64 {
        let id = self.id();
        let user = User {
            id,
            username: username.to_owned(),
            name: name.to_owned(),
            email: format!("{username}@example.com"),
            admin,
            bot,
            blocked: false,
        };
        self.users.insert(id, user);
        id
    }

    /// Adds a token, and answers it with its characters, which nobody can ask for later.
    pub fn add_token(&mut self, new: NewToken) -> (u64, SecretString) {
        self.add_token_of(Self::secret(PERSONAL), new)
    }

    /// The same, with these letters.
    fn add_token_of(&mut self, secret: SecretString, new: NewToken) -> (u64, SecretString) {
        let id = self.id();
        let token = Token::new(id, new, secret.clone(), self.now());
        self.tokens.insert(id, token);
        (id, secret)
    }

    /// Adds a project's token: a robot with this level there.
    pub fn add_project_token(&mut self, project: u64, name: &str, scopes: &[&str], access: u32) -> (u64, SecretString) {
        let bot = self.add_bot(&format!("project_{project}_bot_{}", self.next), name);
        if let Some(project) = self.projects.get_mut(&project) {
            project.members.insert(bot, access);
        }
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        self.add_token(NewToken { name: name.to_owned(), user: bot, kind: TokenKind::Project(project), scopes, expires_at: None })
    }

    /// The token with these characters.
    pub fn token(&self, secret: &str) -> Option<&Token> {
        self.tokens.values().find(|token| token.is(secret))
    }

    /// The running job with this token.
    pub fn job_of_token(&self, secret: &str) -> Option<&Job> {
        use secrecy::ExposeSecret as _;
        self.jobs.values().rev().find(|job| job.status == status::Status::Running && job.token.expose_secret() == secret)
    }

    /// The user with this name.
    pub fn user_named(&self, username: &str) -> Option<&User> {
        self.users.values().find(|user| user.username == username)
    }

    /// What a user may do in a group.
    pub fn level_in_group(&self, user: u64, group: u64) -> u32 {
        if self.users.get(&user).is_some_and(|user| user.admin) {
            return level::ADMIN;
        }
        let mut highest = level::NONE;
        let mut at = self.groups.get(&group);
        while let Some(group) = at {
            highest = highest.max(group.members.get(&user).copied().unwrap_or_default());
            at = group.parent.and_then(|parent| self.groups.get(&parent));
        }
        highest
    }

    /// What a user may do in a project.
    pub fn level(&self, user: u64, project: &Project) -> u32 {
        self.level_in_group(user, project.namespace).max(project.members.get(&user).copied().unwrap_or_default())
    }

    /// Whether somebody, or nobody in particular, may see a project.
    pub fn sees(&self, user: Option<u64>, project: &Project) -> bool {
        match (project.visibility, user) {
            (Visibility::Public, _) | (Visibility::Internal, Some(_)) => true,
            (_, Some(user)) => self.level(user, project) >= level::GUEST,
            (_, None) => false,
        }
    }

    /// Whether a project's hooks want to hear of something. Asked before the news is written.
    pub(in crate::gitlab) fn interests(&self, project: u64, topic: Topic) -> bool {
        let now = self.now();
        let wants = |hook: &hook::Hook| hook.topics.contains(&topic) && hook.alert_status(now) == "executable";
        self.projects.get(&project).is_some_and(|project| project.hooks.iter().any(wants))
    }

    /// Puts something off.
    pub(in crate::gitlab) fn later(&mut self, after: Duration, chore: Chore) {
        self.chores.push((after, chore));
    }
}
