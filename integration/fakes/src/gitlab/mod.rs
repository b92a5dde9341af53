//! A GitLab that fits into one process: groups, projects, git over HTTP, pipelines, hooks.
//!
//! [`state`] is what it knows, and changes at once under one lock. Around it: `api` translates requests, `git` serves
//! repositories by the real git, `hook` tells others, `agenda` does what is due later, [`script`] plays jobs that no runner
//! does, [`fault`] makes it misbehave.
//!
//! Invariants: what GitLab does is modelled with its quirks, or refused; a request that is not modelled is answered 404,
//! never with a guess. Everything ends when the fake is dropped.

mod agenda;
#[expect(clippy::unnecessary_wraps, reason = "what a handler ends with is an answer, also where nothing is left to refuse")]
mod api;
mod archive;
pub mod ci;
mod definition;
mod fake;
pub mod fault;
mod git;
mod hook;
mod json;
mod junit;
mod limit;
mod oidc;
pub mod options;
pub mod orders;
mod pipelines;
mod push;
mod runner;
pub mod script;
pub mod state;
mod storage;
mod time;
mod variables;

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use signalbox_service::git::GitError;
use signalbox_service::http::{ServeOptions, bind, serve};
use signalbox_service::shutdown::Shutdown;

pub use fault::Faults;
pub use options::Options;
pub use script::Outcome;

use fake::Fake;
use state::State;
use state::job::Job;
use state::pipeline::Pipeline;
use state::plan::Plan;
use state::user::{NewToken, TokenKind};

/// Why a fake does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is not to be had.
    #[error("{0} cannot be listened at")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The folder cannot be used.
    #[error("the folder for its repositories cannot be used")]
    Folder(#[source] std::io::Error),
    /// Git is missing or cannot work there.
    #[error("git cannot work in the folder for its repositories")]
    Git(#[source] GitError),
    /// The client that tells hooks cannot be made.
    #[error("the client that tells hooks cannot be made")]
    Client(#[source] reqwest::Error),
}

/// A GitLab that runs. It ends when it is dropped.
pub struct FakeGitlab {
    fake: Arc<Fake>,
    address: SocketAddr,
    root_token: SecretString,
}

impl FakeGitlab {
    /// Starts one. Must be called on the runtime.
    ///
    /// # Errors
    /// When the address or the folder cannot be used.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        signalbox_service::auth::install_crypto();
        let listener = bind(options.listen).map_err(|source| StartError::Listen(options.listen, source))?;
        let address = listener.local_addr().map_err(|source| StartError::Listen(options.listen, source))?;
        let shutdown = Shutdown::new();
        let (fake, root_token) = Fake::start(options, address, shutdown.clone()).await?;
        let mut serving = ServeOptions::new("fake-gitlab");
        // What is slow or silent here is often so because it was ordered.
        serving.drain = Duration::from_millis(200);
        serving.write_timeout = Duration::from_mins(5);
        serving.header_timeout = Duration::from_mins(1);
        if fake.options.redirects_artifacts {
            storage::open(&fake)?;
        }
        shutdown.spawn("http", serve(listener, api::router(Arc::clone(&fake)), serving, shutdown.clone()));
        Ok(Self { fake, address, root_token })
    }

    /// Where it is reached, without a slash at the end.
    pub fn url(&self) -> String {
        self.fake.url()
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The administrator's token.
    pub const fn root_token(&self) -> &SecretString {
        &self.root_token
    }

    /// What an older runner registers with.
    pub fn registration_token(&self) -> SecretString {
        self.with(|state| state.registration_token.clone())
    }

    /// Has hooks believe the certificates of this authority, in PEM, alone: as an administrator of a GitLab puts one of the
    /// house's own among those that are trusted.
    ///
    /// # Errors
    /// When it is none.
    pub fn believe(&self, authority: &[u8]) -> Result<(), StartError> {
        let authorities = reqwest::Certificate::from_pem_bundle(authority).map_err(StartError::Client)?;
        let http = fake::sender().tls_certs_only(authorities).build().map_err(StartError::Client)?;
        *self.fake.http.lock().unwrap_or_else(PoisonError::into_inner) = http;
        Ok(())
    }

    /// The faults that can be ordered.
    pub fn faults(&self) -> &Faults {
        &self.fake.faults
    }

    /// Looks at what it knows, or changes it: what follows from a change happens as if the API had made it.
    pub fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        self.fake.change(act)
    }

    /// Lets jobs go as this says, without a runner. What it says nothing of waits for a runner.
    pub fn script(&self, script: impl Fn(&Job, &Pipeline) -> Option<Outcome> + Send + Sync + 'static) {
        self.fake.set_script(Arc::new(script));
    }

    /// Makes the pipelines of a project from this plan, whatever its `.gitlab-ci.yml` says.
    pub fn plan(&self, project: &str, plan: Plan) {
        self.with(|state| {
            if let Some(id) = state.project_at(project).map(|project| project.id)
                && let Some(project) = state.projects.get_mut(&id)
            {
                project.plan = Some(plan);
            }
        });
    }

    /// Adds a group, and those that it lies in.
    pub fn create_group(&self, full_path: &str) -> u64 {
        self.with(|state| {
            let (mut parent, mut at) = (None, String::new());
            let root = state.user_named("root").map_or(0, |root| root.id);
            for part in full_path.split('/') {
                at = if at.is_empty() { part.to_owned() } else { format!("{at}/{part}") };
                let found = state.group_at(&at).map(|group| group.id);
                parent = found.or_else(|| state.add_group(parent, part, part, state::project::Visibility::Private, root).ok());
            }
            parent.unwrap_or_default()
        })
    }

    /// Adds a private project, with the groups that it lies in, and answers its id.
    ///
    /// # Errors
    /// When its repository cannot be made.
    pub async fn create_project(&self, full_path: &str) -> Result<u64, GitError> {
        let (group, path) = full_path.rsplit_once('/').unwrap_or(("root", full_path));
        let namespace =
            if group == "root" { self.with(|state| state.group_at("root").map_or(0, |group| group.id)) } else { self.create_group(group) };
        let made = self.with(|state| {
            let creator = state.user_named("root").map_or(0, |root| root.id);
            state.add_project(state::NewProject {
                namespace,
                name: path.to_owned(),
                path: path.to_owned(),
                visibility: state::project::Visibility::Private,
                creator,
                settings: std::collections::BTreeMap::new(),
            })
        });
        match made {
            Ok(id) => self.fake.repository(id).create().await.map(|()| id),
            Err(state::NameTaken) => Ok(self.with(|state| state.project_at(full_path).map_or(0, |project| project.id))),
        }
    }

    /// Adds a person's token with these scopes.
    pub fn create_token(&self, username: &str, scopes: &[&str]) -> SecretString {
        self.with(|state| {
            let known = state.user_named(username).map(|user| user.id);
            let user = known.unwrap_or_else(|| state.add_user(username, username, false));
            let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
            state.add_token(NewToken { name: "test".to_owned(), user, kind: TokenKind::Personal, scopes, expires_at: None }).1
        })
    }

    /// Adds a project's token with this level.
    pub fn create_project_token(&self, project: u64, scopes: &[&str], level: u32) -> SecretString {
        self.with(|state| state.add_project_token(project, "test", scopes, level).1)
    }

    /// Waits until everything that follows from the pushes so far was seen to: hooks are on their way, pipelines are there.
    pub async fn pushes_followed(&self) {
        // The sender lives as long as the fake, so the wait cannot fail.
        let _ = self.fake.unfollowed.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Waits until no delivery to a hook waits or is under way.
    pub async fn deliveries_sent(&self) {
        self.fake.courier.idle().await;
    }

    /// What the other origin that gives out artifacts was sent: the headers of each request.
    pub fn seen_by_storage(&self) -> Vec<http::HeaderMap> {
        self.fake.seen_by_storage.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// A job's identity for an audience, as `id_tokens` gives it to jobs. None when there is no such job.
    pub async fn id_token(&self, job: u64, audience: &str) -> Option<SecretString> {
        let (fake, audience) = (Arc::clone(&self.fake), serde_json::Value::from(audience));
        // A key is made once, and that takes a moment of a processor.
        tokio::task::spawn_blocking(move || fake.identify(job, &audience)).await.ok()?
    }

    /// Ends it, and waits until it has ended.
    pub async fn stop(self) {
        self.fake.shutdown.drained(Duration::from_secs(5)).await;
    }
}

impl Drop for FakeGitlab {
    fn drop(&mut self) {
        self.fake.shutdown.begin();
    }
}
