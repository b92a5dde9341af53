//! A GitLab that answers each call with what was put there, and an executor that asks it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_contract::api::vcs::Naming;
use signalbox_contract::build::Observation;
use signalbox_contract::job::Variables;
use signalbox_contract::{AttemptKey, RunId};
use signalbox_service::clock::{ManualClock, SharedClock};
use url::Url;

use super::super::GitLabExecutor;
use crate::executor::{Anchor, Definition, Executor as _, ExecutorError, NativeBuild, Order, ProvenSource, Scope, Started, Tracked};
use crate::gitlab::tests::server::{Server, answer, target};

pub(super) const SHA: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub(super) const OTHER_SHA: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// The executor's clock, and the moment of which the stories' times are.
pub(super) const NOW: &str = "2026-05-05T12:00:00Z";

type Routes = Arc<Mutex<BTreeMap<String, Vec<Vec<u8>>>>>;

pub(super) struct World {
    pub(super) server: Server,
    pub(super) executor: GitLabExecutor,
    pub(super) clock: Arc<ManualClock>,
    routes: Routes,
    key: AttemptKey,
}

impl World {
    /// A GitLab with the project 7, `builds/team/hello`, and nothing in it.
    pub(super) async fn new() -> Self {
        let routes = Routes::default();
        let answers = Arc::clone(&routes);
        let server = Server::new(move |head| {
            let method = head.split(' ').next().unwrap_or_default();
            let path = target(head).split('?').next().unwrap_or_default().trim_start_matches("/api/v4/");
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            match answers.get_mut(&format!("{method} {path}")) {
                Some(queue) if queue.len() > 1 => queue.remove(0),
                Some(queue) => queue[0].clone(),
                None => answer("404 Not Found", "", r#"{"message":"404 Not Found"}"#),
            }
        })
        .await;
        let manual = Arc::new(ManualClock::new(NOW.parse::<Timestamp>().expect("a time")));
        let clock: SharedClock = Arc::clone(&manual) as SharedClock;
        let key = AttemptKey { run: RunId::from_uuid(clock.uuid()), step: 1, attempt: 1 };
        let executor = GitLabExecutor::new(server.client(), "builds", clock);
        let world = Self { server, executor, clock: manual, routes, key };
        let project = json!({ "id": 7, "path_with_namespace": "builds/team/hello", "builds_access_level": "enabled" });
        world.put("GET projects/builds%2Fteam%2Fhello", &project);
        world.put("GET projects/7", &project);
        world.put("GET groups/builds", &json!({ "id": 1, "full_path": "builds" }));
        world.put("GET projects/7/pipelines", &json!([]));
        world
    }

    /// Answers this from now on.
    pub(super) fn put(&self, call: &str, body: &Value) {
        self.put_raw(call, answer("200 OK", "", body.to_string()));
    }

    /// Answers this refusal from now on.
    pub(super) fn refuse(&self, call: &str, status: &str, body: &Value) {
        self.put_raw(call, answer(status, "", body.to_string()));
    }

    pub(super) fn put_raw(&self, call: &str, answer: Vec<u8>) {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).insert(call.to_owned(), vec![answer]);
    }

    /// Answers this once what is to be answered before has been.
    pub(super) fn then(&self, call: &str, status: &str, body: &Value) {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.entry(call.to_owned()).or_default().push(answer(status, "", body.to_string()));
    }

    /// How often this was called.
    pub(super) fn calls(&self, call: &str) -> usize {
        let (method, path) = call.split_once(' ').expect("a method and a path");
        let is_it = |head: &&String| head.starts_with(method) && target(head).split('?').next() == Some(&format!("/api/v4/{path}"));
        self.server.seen().iter().filter(is_it).count()
    }

    /// The JSON with which this was called last.
    pub(super) fn body(&self, call: &str) -> Value {
        let (method, path) = call.split_once(' ').expect("a method and a path");
        let is_it = |head: &str| head.starts_with(method) && target(head).split('?').next() == Some(&format!("/api/v4/{path}"));
        let sent = self.server.sent();
        let (_, body) = sent.iter().rfind(|(head, _)| is_it(head)).expect("a call");
        serde_json::from_slice(body).expect("JSON")
    }

    pub(super) fn branch(&self) -> String {
        format!("cd/{}", self.key)
    }

    pub(super) fn order(&self, naming: Naming, moved: bool) -> Order {
        let ref_name = match naming {
            Naming::Run => format!("refs/heads/{}", self.branch()),
            Naming::Same => "refs/heads/main".to_owned(),
            Naming::Replace => "refs/heads/master".to_owned(),
        };
        let variable = |name: &str, value: String| (name.parse().expect("a name"), value);
        let variables: Variables = [
            variable("SIGNALBOX_RUN", self.key.run.to_string()),
            variable("SIGNALBOX_STEP", self.key.step.to_string()),
            variable("SIGNALBOX_ATTEMPT", self.key.attempt.to_string()),
        ]
        .into_iter()
        .collect();
        let nowhere = Url::parse("http://127.0.0.1:9/").expect("a URL");
        Order {
            key: self.key,
            repo: "team/hello".parse().expect("valid"),
            source: ProvenSource {
                url: nowhere.clone(),
                ref_name: ref_name.parse().expect("valid"),
                sha: SHA.parse().expect("valid"),
                branch: "main".parse().expect("valid"),
                naming,
                project: Some("7".to_owned()),
                moved,
            },
            definition: Definition::Native(NativeBuild::default()),
            variables,
            deadline: Timestamp::MAX,
            read: "read".into(),
            put: "put".into(),
            store: nowhere,
        }
    }

    pub(super) async fn anchor(&self, order: &Order) -> Anchor {
        self.executor.prepare(&order.intent()).await.expect("prepared")
    }

    pub(super) async fn start(&self, order: &Order) -> Result<Started, ExecutorError> {
        let anchor = self.anchor(order).await;
        self.executor.start(order, &anchor).await
    }

    pub(super) fn tracked(&self, build: &str) -> Tracked {
        Tracked { key: self.key, build: build.parse().expect("a name"), scope: Scope::default() }
    }

    /// Shows the pipeline 70 with these jobs, and gives what is seen of it.
    pub(super) async fn shown(&self, pipeline: Value, jobs: Value) -> Observation {
        self.show(pipeline, &jobs);
        self.look().await
    }

    pub(super) fn show(&self, mut pipeline: Value, jobs: &Value) {
        let fields = pipeline.as_object_mut().expect("an object");
        fields.entry("id").or_insert(json!(70));
        fields.entry("sha").or_insert(json!(SHA));
        self.put("GET projects/7/pipelines/70", &pipeline);
        self.put("GET projects/7/pipelines/70/jobs", jobs);
        if self.calls("GET projects/7/pipelines/70/bridges") == 0 {
            let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
            routes.entry("GET projects/7/pipelines/70/bridges".to_owned()).or_insert_with(|| vec![answer("200 OK", "", "[]")]);
        }
    }

    pub(super) async fn look(&self) -> Observation {
        let tracked = self.tracked("7/70");
        let seen = self.executor.observe(&Scope::default(), &[tracked]).await.expect("observed");
        seen.into_iter().next().expect("one")
    }
}
