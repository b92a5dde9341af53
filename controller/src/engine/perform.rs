//! Performing effects: calls to the workers and the executors, and what their answers mean to a run.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use signalbox_adapters::executor::{
    Anchor, BuildRef, Definition, Executor, ExecutorError, Found, Intent, NativeBuild, Order, ProvenSource, Scope, Started, Tracked,
};
use signalbox_contract::api::Answer;
use signalbox_contract::api::deploy::DeployResult;
use signalbox_contract::api::run::ArtifactView;
use signalbox_contract::api::store::{BlobInfo, CloseRequest, CloseResult, ResolveRequest};
use signalbox_contract::api::vcs::{RefsResult, RepoResult};
use signalbox_contract::build::Observation;
use signalbox_contract::job::Variables;
use signalbox_contract::token::{Capability, Service};
use signalbox_contract::{AttemptKey, Code, ExecutorName, Failure, FailureCode, Origin, Problem};
use signalbox_controller_core::attempt::Published;
use signalbox_controller_core::effect::{AtExecutor, BuildOrder};
use signalbox_controller_core::plan::{CdOrder, Definition as Planned, Pick};
use signalbox_controller_core::{Act, Effect, Event, Work};
use signalbox_service::auth::SignError;
use signalbox_service::client::{Call, CallError, Client};
use signalbox_service::telemetry::causes;

use super::{Executors, Fault, Look, Observe, Perform, Reporter, Workers, resolve};
use crate::log::{Collector, Reading};

/// How long a worker is asked to wait for the end of what it does before it answers that it is at it.
const WAIT: Duration = Duration::from_secs(20);

/// The outside world.
pub struct Outside {
    /// The workers.
    pub workers: Workers,
    /// The executors.
    pub executors: Executors,
    /// The logs.
    pub collector: Arc<Collector>,
    /// What tells forges.
    pub reporter: Reporter,
    /// How many bytes the artifacts of one attempt may have together.
    pub max_artifacts: u64,
}

impl Perform for Outside {
    fn perform<'a>(&'a self, effect: &'a Effect) -> BoxFuture<'a, Result<Option<Event>, Fault>> {
        self.act(effect).boxed()
    }
}

impl Observe for Outside {
    fn observe<'a>(&'a self, look: &'a Look) -> BoxFuture<'a, Option<Vec<Observation>>> {
        async move {
            let executor = self.executors.get(&look.executor)?;
            let tracked: Vec<Tracked> = look.live.iter().filter_map(|live| tracked(live.key, live.build.as_deref()?).ok()).collect();
            match executor.observe(&Scope::default(), &tracked).await {
                Ok(seen) => Some(seen),
                Err(error) => {
                    tracing::warn!(executor = %look.executor, error = %causes(&error), "an executor could not be looked at");
                    None
                }
            }
        }
        .boxed()
    }
}

impl Outside {
    async fn act(&self, effect: &Effect) -> Result<Option<Event>, Fault> {
        let key = effect.key;
        Ok(match &effect.act {
            Act::Fetch { request, order } => {
                let done: RepoResult = self.ask(&self.workers.vcs, Service::VcsWorker, "/repo", key, request).await?;
                let RepoResult { sha, ref_name, files, transferred, timings } = done;
                let plan = self.able(order).and_then(|()| resolve::resolve(order, &ref_name, &files));
                Some(Event::Fetched { key, sha, ref_name, plan, transferred, timings })
            }
            Act::Publish(request) => {
                let done: RefsResult = self.ask(&self.workers.vcs, Service::VcsWorker, "/refs", key, request).await?;
                if done.sha != request.sha {
                    let detail = "What the mirror shows is not the commit that was proven.";
                    return Err(Fault::Failed(Failure::new(FailureCode::ProofFailed, detail)));
                }
                let RefsResult { url, ref_name, project, moved, .. } = done;
                Some(Event::Published { key, at: Published { url, ref_name, project, moved } })
            }
            Act::Unpublish(request) => {
                let _: RefsResult = self.ask(&self.workers.vcs, Service::VcsWorker, "/refs", key, request).await?;
                None
            }
            Act::Prepare(intent) => {
                let (repo, sha, branch) = (intent.repo.clone(), intent.sha.clone(), intent.branch.clone());
                let asked = Intent { key, repo, sha, branch, naming: intent.naming };
                let anchor = self.executor(&intent.executor)?.prepare(&asked).await.map_err(fault)?;
                Some(Event::Prepared { key, anchor: anchor.into() })
            }
            Act::Start(order) => Some(self.start(key, order).await?),
            Act::Find(at) => Some(self.find(key, at).await?),
            Act::Cancel(at) => {
                if let Some(build) = &at.build {
                    self.executor(&at.executor)?.cancel(&tracked(key, build)?).await.map_err(fault)?;
                }
                None
            }
            Act::Fence(at) => {
                let executor = self.executor(&at.executor)?;
                executor.fence(&key, &anchor(at)?).await.map_err(fault)?;
                // It may have started before the fence stood, perhaps more than once; then all of it is stopped.
                let mut begun = match executor.find(&key, &anchor(at)?).await.map_err(fault)? {
                    Found::One(build) => vec![build],
                    Found::Many { counts, surplus } => [vec![counts], surplus].concat(),
                    Found::NotYet | Found::Never => Vec::new(),
                };
                if let Some(known) = at.build.as_deref().map(word::<BuildRef>).transpose()?.filter(|known| !begun.contains(known)) {
                    begun.push(known);
                }
                for build in &begun {
                    executor.cancel(&tracked(key, build.as_str())?).await.map_err(fault)?;
                }
                Some(Event::Fenced { key })
            }
            Act::Forget(at) => {
                let swept = self.sweep(key, at).await?;
                self.executor(&at.executor)?.forget(&key, &anchor(at)?).await.map_err(fault)?;
                swept
            }
            Act::Sweep(at) => self.sweep(key, at).await?,
            Act::Seal { at, publish, line, picks, parts } => {
                self.collector.finish(&Reading { key, executor: &at.executor, build: at.build.as_deref(), parts }).await.map_err(
                    |error| Fault::Again {
                        after: None,
                        why: Failure::new(FailureCode::WorkerUnavailable, format!("The log could not be collected: {error}.")),
                    },
                )?;
                self.fetch_outputs(key, at, picks, effect.give_up).await?;
                let request = CloseRequest { publish: *publish, line: *line, pin: key.run };
                let path = format!("/grants/{key}/close");
                let done: CloseResult = self.ask(&self.workers.store, Service::ArtifactStore, &path, key, &request).await?;
                let missing = picks.iter().filter(|pick| !done.artifacts.iter().any(|put| put.name == pick.name));
                let words = |pick: &Pick| format!("The artifact {} was not there: it was looked for as {}.", pick.name, pick.place());
                let remarks = missing.map(words).collect();
                let artifacts = done.artifacts.into_iter().map(|put| ArtifactView { name: put.name, digest: put.digest, size: put.size });
                Some(Event::Sealed { key, artifacts: artifacts.collect(), remarks })
            }
            Act::Resolve { artifact } => {
                let request = ResolveRequest { name: artifact.clone(), pin: key.run };
                let done: BlobInfo = self.ask(&self.workers.store, Service::ArtifactStore, "/resolve", key, &request).await?;
                Some(Event::Resolved { key, digest: done.digest })
            }
            Act::Deploy(request) => {
                // The capability ends with the attempt.
                let cap = Capability::ReadDigest { digest: request.digest };
                let capability =
                    self.workers.capability(Service::ArtifactStore, key, cap, effect.give_up).map_err(|error| unsigned(&error))?;
                let call = Call::post(Service::DeployWorker, "/deploy", key).wait(WAIT).capability(Some(&capability));
                let done: DeployResult =
                    answered(Service::DeployWorker, self.workers.deploy.ask(&self.workers.signer, &call, request).await)?;
                Some(Event::Deployed { key, hosts: done.hosts })
            }
            Act::Activate(request) => {
                let done: DeployResult = self.ask(&self.workers.deploy, Service::DeployWorker, "/activate", key, request).await?;
                Some(Event::Deployed { key, hosts: done.hosts })
            }
            Act::Deadline => Some(Event::DeadlinePassed { key }),
            Act::Report { serial } => self.reporter.tell(key, *serial).await?,
        })
    }

    async fn start(&self, key: AttemptKey, order: &BuildOrder) -> Result<Event, Fault> {
        let executor = self.executor(&order.executor)?;
        let anchor = word::<Anchor>(order.anchor.as_deref().unwrap_or_default())?;
        let keyed = executor.abilities().keyed;
        match executor.start(&self.order(key, order)?, &anchor).await {
            Ok(Started::Build(build) | Started::Queued(build)) => Ok(Event::Started { key, build: Some(build.into()) }),
            Ok(Started::Offered) => Ok(Event::Started { key, build: None }),
            // An executor that takes keys may be asked again as it is; of another nobody knows whether it has begun.
            Err(ExecutorError::Unknown(_)) if !keyed => Ok(Event::StartUnclear { key }),
            Err(error) => Err(fault(error)),
        }
    }

    async fn find(&self, key: AttemptKey, at: &AtExecutor) -> Result<Event, Fault> {
        let executor = self.executor(&at.executor)?;
        match executor.find(&key, &anchor(at)?).await.map_err(fault)? {
            Found::One(build) => Ok(Event::Found { key, build: Some(build.into()), surplus: Vec::new() }),
            Found::Many { counts, surplus } => {
                // A race made several. One counts; the others are stopped before anybody is told, so that none is forgotten.
                for build in &surplus {
                    tracing::warn!(%key, %build, "a surplus build is stopped");
                    executor.cancel(&tracked(key, build.as_str())?).await.map_err(fault)?;
                }
                Ok(Event::Found { key, build: Some(counts.into()), surplus: surplus.into_iter().map(Into::into).collect() })
            }
            Found::NotYet => Err(Fault::NotYet("The executor does not show the build yet.")),
            Found::Never => Ok(Event::Found { key, build: None, surplus: Vec::new() }),
        }
    }

    /// Stops what still goes on of an attempt that is over. What its end has to do with the build that counted is done by then.
    async fn sweep(&self, key: AttemptKey, at: &AtExecutor) -> Result<Option<Event>, Fault> {
        let executor = self.executor(&at.executor)?;
        let counted = at.build.as_deref().map(word::<BuildRef>).transpose()?;
        let surplus = executor.surplus(&key, &anchor(at)?, counted.as_ref()).await.map_err(fault)?;
        for build in &surplus {
            tracing::warn!(%key, %build, "a surplus build of an attempt that is over is stopped");
            executor.cancel(&tracked(key, build.as_str())?).await.map_err(fault)?;
        }
        let surplus: Vec<String> = surplus.into_iter().map(Into::into).collect();
        Ok((!surplus.is_empty()).then_some(Event::Swept { key, surplus }))
    }

    /// Whether the executor can build what is asked of it. What it cannot is refused before anything is built.
    fn able(&self, order: &CdOrder) -> Result<(), Failure> {
        let name = &order.executor;
        let Some(executor) = self.executors.get(name) else { return Err(unconfigured(name)) };
        let abilities = executor.abilities();
        let (able, what) = match &order.route.native {
            None => (abilities.jobs, "jobs of .signalbox.yaml"),
            Some(_) => (abilities.native, "definitions of its own"),
        };
        if able {
            return Ok(());
        }
        Err(Failure::new(FailureCode::ExecutorRefused, format!("The executor {name} does not run {what}."))
            .hint("Choose another executor for the repository."))
    }

    pub(super) fn executor(&self, name: &ExecutorName) -> Result<&Arc<dyn Executor>, Fault> {
        self.executors.get(name).ok_or_else(|| Fault::Failed(unconfigured(name)))
    }

    /// The order with its capabilities, made at the moment of the call and never stored.
    fn order(&self, key: AttemptKey, order: &BuildOrder) -> Result<Order, Fault> {
        let Work::Build { repo, definition, naming, inputs, .. } = &order.work else {
            return Err(Fault::Failed(Failure::new(FailureCode::Internal, "The step is no build.")));
        };
        let read = Capability::ReadRepo { repo: repo.clone(), sha: order.sha.clone() };
        let put = Capability::PutGrant { names: definition.artifacts().into_iter().cloned().collect(), max_bytes: self.max_artifacts };
        Ok(Order {
            key,
            repo: repo.clone(),
            source: ProvenSource {
                naming: *naming,
                project: order.published.project.clone(),
                moved: order.published.moved,
                url: order.published.url.clone(),
                ref_name: order.published.ref_name.clone(),
                sha: order.sha.clone(),
                branch: order.branch.clone(),
            },
            variables: variables(key, order, inputs),
            definition: match definition {
                Planned::Job { spec, .. } => Definition::Job(spec.clone()),
                Planned::Native { .. } => Definition::Native(NativeBuild { name: None, inputs: inputs.clone() }),
            },
            deadline: order.deadline,
            read: self.workers.capability(Service::VcsWorker, key, read, order.deadline).map_err(|error| unsigned(&error))?,
            put: self.workers.capability(Service::ArtifactStore, key, put, order.deadline).map_err(|error| unsigned(&error))?,
            store: self.workers.store_url.clone(),
        })
    }

    /// A keyed call to a worker, as far as it gets.
    async fn ask<B, R>(&self, client: &Client, aud: Service, path: &str, key: AttemptKey, body: &B) -> Result<R, Fault>
    where
        B: serde::Serialize + Sync,
        R: serde::de::DeserializeOwned,
    {
        answered(aud, client.ask(&self.workers.signer, &Call::post(aud, path, key).wait(WAIT), body).await)
    }
}

fn unconfigured(name: &ExecutorName) -> Failure {
    Failure::new(FailureCode::ExecutorRefused, format!("The executor {name} is not configured any more."))
        .hint("Put it back into the controller's configuration, or rerun with another.")
}

/// The variables of the Rancher plan, and our own.
fn variables(key: AttemptKey, order: &BuildOrder, inputs: &Variables) -> Variables {
    let Work::Build { repo, definition, .. } = &order.work else { return Variables::new() };
    let pipeline = definition.job().map_or_else(|| repo.to_string(), ToString::to_string);
    let ours = [
        ("CICD_GIT_COMMIT", order.sha.to_string()),
        ("CICD_GIT_BRANCH", order.branch.to_string()),
        ("CICD_GIT_URL", order.source.to_string()),
        ("CICD_PIPELINE_NAME", pipeline),
        ("CICD_PIPELINE_ID", repo.to_string()),
        ("CICD_TRIGGER_TYPE", order.origin.trigger().to_owned()),
        ("CICD_NODE_NAME", order.executor.to_string()),
        ("CICD_ACTIVITY_ID", key.run.to_string()),
        ("CICD_ACTIVITY_SEQUENCE", order.number.to_string()),
        ("SIGNALBOX_RUN", key.run.to_string()),
        ("SIGNALBOX_STEP", key.step.to_string()),
        ("SIGNALBOX_ATTEMPT", key.attempt.to_string()),
    ];
    // Ours last: an input cannot pretend to be one of them.
    let ours = ours.into_iter().chain(review_variables(&order.origin)).filter_map(|(name, value)| Some((name.parse().ok()?, value)));
    inputs.clone().into_iter().chain(ours).collect()
}

/// What a build of a change under review learns of it.
fn review_variables(origin: &Origin) -> Vec<(&'static str, String)> {
    let Some(head) = origin.review() else { return Vec::new() };
    [
        ("SIGNALBOX_CHANGE", Some(head.change.number.to_string())),
        ("SIGNALBOX_PATCHSET", head.patch_set.map(|number| number.to_string())),
        ("SIGNALBOX_TOPIC", head.topic.clone()),
        ("SIGNALBOX_TARGET_BRANCH", Some(head.branch.short().to_owned())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

fn word<T: std::str::FromStr>(text: &str) -> Result<T, Fault> {
    text.parse().map_err(|_| Fault::Failed(Failure::new(FailureCode::Internal, "What the executor said cannot be read back.")))
}

fn anchor(at: &AtExecutor) -> Result<Anchor, Fault> {
    word(at.anchor.as_deref().unwrap_or_default())
}

pub(super) fn tracked(key: AttemptKey, build: &str) -> Result<Tracked, Fault> {
    Ok(Tracked { key, build: word::<BuildRef>(build)?, scope: Scope::default() })
}

pub(super) fn unsigned(error: &SignError) -> Fault {
    tracing::error!(error = %causes(error), "a capability could not be signed");
    Fault::Again {
        after: None,
        why: Failure::new(FailureCode::Internal, "A capability could not be signed.").hint("The controller's log has more."),
    }
}

/// What a worker's answer means.
fn answered<R>(of: Service, answer: Result<Answer<R>, CallError>) -> Result<R, Fault> {
    match answer {
        Ok(Answer::Done { result }) => Ok(result),
        Ok(Answer::Working { .. }) => Err(Fault::Working),
        Ok(Answer::Failed { failure }) => Err(Fault::Failed(failure)),
        Err(error) => Err(called(of, &error)),
    }
}

pub(super) fn called(of: Service, error: &CallError) -> Fault {
    tracing::warn!(error = %causes(error), "a worker did not do what was asked");
    match error {
        // What it will not even try, in its own words.
        CallError::Refused(Problem { failure: Some(failure), status, .. }) if *status < 500 => Fault::Failed(Failure::clone(failure)),
        // A worker that has not read the new keys yet refuses our token for a moment.
        CallError::Refused(problem) if problem.status < 500 && problem.code != Code::Unauthenticated => Fault::Failed(
            Failure::new(
                FailureCode::Internal,
                format!("The {of} refused the call ({}, {}): {problem}", problem.status, problem.code.as_str()),
            )
            .hint("The worker's configuration and the controller's do not fit together; both logs have more."),
        ),
        // What the worker tried in vain, in its own words, is what the user has to know if it stays so.
        CallError::Retry { after, problem: Some(Problem { failure: Some(failure), .. }), .. } => {
            Fault::Again { after: *after, why: Failure::clone(failure) }
        }
        CallError::Retry { after, problem: Some(problem), .. } if !problem.detail.is_empty() => {
            Fault::Again { after: *after, why: Failure::new(FailureCode::WorkerUnavailable, &*problem.detail) }
        }
        CallError::Retry { after, .. } => Fault::Again { after: *after, why: unwell(of, error) },
        CallError::NotSent { .. } | CallError::Unknown { .. } | CallError::Refused(_) => {
            Fault::Again { after: None, why: unwell(of, error) }
        }
    }
}

/// What is said of a worker that says nothing itself.
fn unwell(of: Service, error: &CallError) -> Failure {
    Failure::new(FailureCode::WorkerUnavailable, format!("The {of} did not do what was asked: {error}."))
        .hint("See whether it runs and can be reached; its log and the controller's have more.")
}

fn silent(error: &ExecutorError) -> Failure {
    Failure::new(FailureCode::ExecutorUnreachable, format!("The executor did not do what was asked: {error}."))
        .hint("See whether it runs and can be reached; the controller's log has more.")
}

pub(super) fn fault(error: ExecutorError) -> Fault {
    match error {
        ExecutorError::Refused(failure) => Fault::Failed(failure),
        ExecutorError::Retry { after, .. } => Fault::Again { after, why: silent(&error) },
        ExecutorError::NotSent(_) | ExecutorError::Unknown(_) => {
            tracing::warn!(error = %causes(&error), "an executor did not answer");
            Fault::Again { after: None, why: silent(&error) }
        }
    }
}
