//! Where builds are asked for and asked after.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use signalbox_contract::api::executor::{BuildAccepted, BuildRequest, BuildSource, FenceResult};
use signalbox_contract::build::{BuildState, Observation, Stamp};
use signalbox_contract::git::RepoPath;
use signalbox_contract::job::{Timeout, Variables};
use signalbox_contract::{ArtifactName, AttemptKey, Digest, RepoName};
use signalbox_service::auth::sha256;
use signalbox_service::clock::SharedClock;
use signalbox_service::git::Git;
use signalbox_service::secret::SecretString;
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::{causes, request_id};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::Metrics;
use super::slot::Slots;
use crate::config::Config;
use crate::limits::Cgroups;
use crate::log::{Chunk, Logs};
use crate::sandbox::Sandbox;
use crate::store::{Phase, Row, Store};

/// How often rows and logs that are too old are searched for.
const SWEEP: Duration = Duration::from_hours(1);

/// Why a build was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcceptError {
    /// Builds cannot be isolated here, and may not run otherwise.
    #[error("builds cannot be isolated here: {0}")]
    NoSandbox(String),
    /// The attempt was fenced, or forgotten.
    #[error("the attempt is closed")]
    Closed,
    /// The attempt came before with another request.
    #[error("the attempt came before with another request")]
    Reused,
    /// No more builds may wait.
    #[error("no more builds may wait")]
    Full,
    /// The service ends.
    #[error("the service ends")]
    Ending,
    /// The database failed.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
}

/// What the desk is made of.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) store: Store,
    /// How builds are isolated, or why they cannot be.
    pub(crate) sandbox: Result<Sandbox, String>,
    pub(crate) cgroups: Option<Cgroups>,
    /// The name by which this executor's processes are told from another's.
    pub(crate) instance: String,
    /// The folder of the workspaces.
    pub(crate) work: PathBuf,
    pub(crate) logs: Logs,
    pub(crate) git: Git,
    pub(crate) clock: SharedClock,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: Shutdown,
}

/// Where builds are asked for and asked after.
pub(crate) struct Desk {
    pub(super) parts: Parts,
    pub(super) slots: Slots,
    /// What ends each build early that is not over.
    live: Mutex<HashMap<AttemptKey, CancellationToken>>,
    /// Held while a build is taken or cancelled.
    turn: tokio::sync::Mutex<()>,
}

/// A build that was taken. Its capabilities live here, in memory, and nowhere else.
pub(super) struct Order {
    pub(super) key: AttemptKey,
    pub(super) number: i64,
    pub(super) repo: RepoName,
    pub(super) source: BuildSource,
    pub(super) script: String,
    pub(super) variables: Variables,
    pub(super) artifacts: std::collections::BTreeMap<ArtifactName, RepoPath>,
    pub(super) deadline: jiff::Timestamp,
    pub(super) timeout: Option<Timeout>,
    pub(super) store: Url,
    pub(super) read: SecretString,
    pub(super) put: SecretString,
}

impl Desk {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let slots = Slots::new(parts.config.capacity);
        Arc::new(Self { parts, slots, live: Mutex::default(), turn: tokio::sync::Mutex::default() })
    }

    /// Takes a build: once it is answered, it is written down and under way. Taken again, it is the same build.
    pub(crate) async fn accept(self: &Arc<Self>, key: AttemptKey, request: BuildRequest) -> Result<BuildAccepted, AcceptError> {
        if self.parts.shutdown.begun() {
            return Err(AcceptError::Ending);
        }
        let (answer, answered) = oneshot::channel();
        let desk = Arc::clone(self);
        // A caller that goes away between the row and the work must not leave the row alone.
        let taking = async move {
            // Nobody may be there to hear it.
            let _ = answer.send(desk.take(key, request).await);
        };
        self.parts.shutdown.spawn("accept", request_id::inherit(taking));
        answered.await.map_err(|_| AcceptError::Ending)?
    }

    async fn take(self: Arc<Self>, key: AttemptKey, request: BuildRequest) -> Result<BuildAccepted, AcceptError> {
        let digest = digest(&request);
        // One at a time, so that whoever sees the row of a build that is not over finds its token too.
        let turn = self.turn.lock().await;
        if let Some(row) = self.parts.store.find(&key).await.map_err(AcceptError::Database)? {
            return taken_before(&row, &digest);
        }
        // Only what is new needs a sandbox and a place.
        if let Err(reason) = &self.parts.sandbox {
            return Err(AcceptError::NoSandbox(reason.clone()));
        }
        if self.live().len() >= (self.parts.config.capacity + self.parts.config.queue) as usize {
            return Err(AcceptError::Full);
        }
        let claimed = self.parts.store.take(&key, &digest).await.map_err(AcceptError::Database)?;
        if !claimed.new {
            // A fence came in between.
            return taken_before(&claimed.row, &digest);
        }
        let cancel = CancellationToken::new();
        self.live().insert(key, cancel.clone());
        self.parts.metrics.live.inc();
        drop(turn);
        let build = claimed.row.build();
        let order = Order {
            key,
            number: claimed.row.number,
            repo: request.repo,
            source: request.source,
            script: request.script,
            variables: request.env,
            artifacts: request.artifacts,
            deadline: request.deadline,
            timeout: request.timeout,
            store: request.store,
            read: request.read.into(),
            put: request.put.into(),
        };
        tracing::info!(%key, repo = %order.repo, build = order.number, "build.accepted");
        let desk = Arc::clone(&self);
        let work = async move {
            desk.work(order, cancel).await;
            desk.live().remove(&key);
            desk.parts.metrics.live.dec();
        };
        self.parts.shutdown.spawn("build", request_id::inherit(work));
        Ok(BuildAccepted { build })
    }

    /// What is known of these attempts, in that order.
    pub(crate) async fn observe(&self, keys: &[AttemptKey]) -> Result<Vec<Observation>, sqlx::Error> {
        let rows = self.parts.store.find_all(keys).await?;
        let rows: HashMap<AttemptKey, Row> = rows.into_iter().filter_map(|row| Some((row.key()?, row))).collect();
        let unknown = |key| Observation::new(key, "", Stamp::default(), BuildState::Gone);
        Ok(keys.iter().map(|key| rows.get(key).map_or_else(|| unknown(*key), |row| row.observe(*key))).collect())
    }

    /// Asks a build to end. `false` if there never was one.
    pub(crate) async fn cancel(&self, key: &AttemptKey) -> Result<bool, sqlx::Error> {
        let _turn = self.turn.lock().await;
        let known = self.parts.store.find(key).await?.is_some();
        if let Some(token) = self.live().get(key).filter(|_| known) {
            token.cancel();
        }
        Ok(known)
    }

    /// Makes sure that an attempt does not start from now on.
    pub(crate) async fn fence(&self, key: &AttemptKey) -> Result<FenceResult, sqlx::Error> {
        let claimed = self.parts.store.fence(key).await?;
        Ok(FenceResult { had_started: claimed.row.phase != Phase::Fenced && claimed.row.digest.is_some() })
    }

    /// Throws away what is kept of an attempt. `false` if it is not over.
    pub(crate) async fn forget(&self, key: &AttemptKey) -> Result<bool, ForgetError> {
        if !self.parts.store.forget(key).await.map_err(ForgetError::Database)? {
            return Ok(false);
        }
        self.parts.logs.remove(key).await.map_err(ForgetError::Log)?;
        Ok(true)
    }

    /// Some of a build's log, and whether nothing more will come after it. `None` if there is no such build (any more).
    pub(crate) async fn log(&self, key: &AttemptKey, from: u64) -> Result<Option<(Chunk, bool)>, LogError> {
        // The row first: what is read of a log after its build's end is all there is.
        let Some(row) = self.parts.store.find(key).await.map_err(LogError::Database)? else { return Ok(None) };
        if matches!(row.phase, Phase::Fenced | Phase::Forgotten) {
            return Ok(None);
        }
        let chunk = self.parts.logs.read(key, from).await.map_err(LogError::Log)?;
        let complete = row.phase == Phase::Ended && chunk.to_the_end;
        Ok(Some((chunk, complete)))
    }

    /// Removes what is too old, now and then, until the end.
    pub(crate) async fn sweep(&self) {
        let keep = i64::try_from(self.parts.config.keep.as_millis()).unwrap_or(i64::MAX);
        loop {
            match self.parts.store.expire(self.parts.clock.now().as_millisecond().saturating_sub(keep)).await {
                Ok(keys) => {
                    for key in &keys {
                        if let Err(error) = self.parts.logs.remove(key).await {
                            tracing::warn!(%key, error = %causes(&error), "log.not_removed");
                        }
                    }
                    if !keys.is_empty() {
                        continue;
                    }
                }
                Err(error) => tracing::warn!(error = %causes(&error), "build.sweep_failed"),
            }
            tokio::select! {
                () = tokio::time::sleep(SWEEP) => {}
                () = self.parts.shutdown.requested() => return,
            }
        }
    }

    fn live(&self) -> std::sync::MutexGuard<'_, HashMap<AttemptKey, CancellationToken>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a log could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// The database failed.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
    /// The file failed.
    #[error("the log's file failed")]
    Log(#[source] std::io::Error),
}

/// Why an attempt could not be forgotten.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForgetError {
    /// The database failed.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
    /// The log could not be removed.
    #[error("the log could not be removed")]
    Log(#[source] std::io::Error),
}

fn taken_before(row: &Row, digest: &Digest) -> Result<BuildAccepted, AcceptError> {
    if matches!(row.phase, Phase::Fenced | Phase::Forgotten) {
        return Err(AcceptError::Closed);
    }
    if row.digest.as_deref() != Some(digest.to_string().as_str()) {
        return Err(AcceptError::Reused);
    }
    Ok(BuildAccepted { build: row.build() })
}

/// What a request is, without its capabilities: they are minted anew for each call.
fn digest(request: &BuildRequest) -> Digest {
    let plain = BuildRequest { read: String::new(), put: String::new(), ..request.clone() };
    // Plain data is always written; were it not, no two requests would be taken for one.
    sha256(&serde_json::to_vec(&plain).unwrap_or_default())
}
