//! The controller's memory: SQLite, one writer that commits whatever waits in one transaction with one sync, and readers.
//!
//! Architecture invariant: a state change, its event-log rows and the effects that it causes are written together, or not
//! at all; and nobody is told of it before it is written.

mod aside;
mod batch;
mod binding;
mod changes;
mod command;
mod deed;
mod delivery;
mod list;
mod memory;
mod read;
mod restored;
mod retention;
mod rows;
mod tokens;
mod triggers;
mod writer;

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use signalbox_contract::api::run::Accepted;
use signalbox_contract::{Code, Digest, ExecutorName, Problem, RunId, SourceConflict};
use signalbox_controller_core::decide::Limits;
use signalbox_controller_core::plan::Request;
use signalbox_controller_core::{Event, Lane, Refusal, ResourceKey};
use signalbox_service::clock::SharedClock;
use signalbox_service::http::Readiness;
use signalbox_service::shutdown::Shutdown;
use signalbox_service::sqlite::{Database, DatabaseError};
use tokio::sync::{Notify, mpsc, oneshot};

pub use aside::Place;
pub use changes::Following;
pub use deed::{Again, Deed, Doing, Head, HeadState, Settling, Trigger};
pub use delivery::{DeliveryFilter, NewDelivery, Receipt, Waiting};
pub use list::{RepoFilter, RunFilter, Visible};

pub use retention::Retention;
pub use signalbox_controller_core::lease::{Lease, Leased, Live};
pub use tokens::{NewToken, UNLISTED};

use changes::Changes;
use command::Command;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// How many commands may wait for the writer. Beyond that, callers are told to come back.
const WAITING: usize = 4096;

/// Why something could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// It could not be opened.
    #[error("the database could not be opened")]
    Open(#[from] DatabaseError),
    /// A row is not what this version understands.
    #[error("a row in {table} cannot be read")]
    Row {
        /// The table.
        table: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The run's record cannot be read. It was set aside.
    #[error("the record of the run {0} cannot be read")]
    Unreadable(RunId),
    /// The batch that it was in could not be written; nothing of it was.
    #[error("it could not be written")]
    NotWritten,
    /// The writer has ended, or has more to do than it can.
    #[error("the writer cannot take more")]
    Busy,
    /// There is no such run.
    #[error("there is no such run")]
    NoSuchRun,
    /// The run's state does not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The queue is full.
    #[error("the queue is full")]
    QueueFull,
    /// As many deliveries wait as may.
    #[error("too many deliveries wait to be acted on")]
    DeliveriesFull,
    /// The idempotency key was used with another body.
    #[error("the idempotency key was used with another body")]
    KeyReused,
    /// The repository's name belongs to another source.
    #[error(transparent)]
    SourceConflict(#[from] Box<SourceConflict>),
}

impl StoreError {
    /// What the caller is told, where it is the caller's business; the rest is the service's own fault.
    pub fn problem(&self) -> Option<Problem> {
        Some(match self {
            Self::NoSuchRun => Problem::not_found(),
            Self::Refused(refusal) => Problem::from(refusal.clone()),
            Self::Unreadable(_) => Problem::new(Code::Unreadable)
                .detail("The record of this run is damaged, or from another version; it is left as it is. The operator's guide says what can be done."),
            Self::QueueFull => {
                Problem::new(Code::QueueFull).detail("As many runs are queued as may be; nothing was accepted.").retry_after(30)
            }
            Self::DeliveriesFull => {
                Problem::new(Code::QueueFull).detail("As many deliveries wait as may; nothing was recorded.").retry_after(30)
            }
            Self::KeyReused => {
                Problem::new(Code::KeyReused).field("Idempotency-Key", "was used for another request; take a new key, or none")
            }
            Self::SourceConflict(conflict) => Problem::new(Code::SourceConflict)
                .failure(&conflict.failure())
                .field("repo", "belongs to another source"),
            Self::Busy | Self::NotWritten => Problem::new(Code::Unavailable).detail("Nothing was written; try again.").retry_after(1),
            Self::Database(_) | Self::Open(_) | Self::Row { .. } => return None,
        })
    }
}

/// A run that is asked for.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Who asks.
    pub principal: String,
    /// What is asked.
    pub request: Request,
    /// The key under which the caller asks, and the digest of what was asked.
    pub idempotency: Option<(String, Digest)>,
}

/// How the store is set up.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// How long things may take.
    pub limits: Limits,
    /// How many runs may be active at a time.
    pub queue: usize,
    /// How many deliveries may wait to be acted on.
    pub deliveries: u64,
    /// What is shared, and by how many.
    pub resources: Vec<(ResourceKey, u32)>,
    /// How many connections read.
    pub readers: u32,
    /// Where it is told whether the store can write.
    pub readiness: Readiness,
}

/// The store. Clones are handles on the same one.
#[derive(Debug, Clone)]
pub struct Store {
    db: Database,
    commands: mpsc::Sender<Command>,
    /// Who follows which run.
    changes: Arc<Changes>,
    /// Something is to be done now.
    nudge: Arc<Notify>,
    /// A delivery has come.
    arrivals: Arc<Notify>,
    clock: SharedClockDebug,
    owner: Arc<str>,
}

/// The clock, in a type that can stand in a `Debug` struct.
#[derive(Clone)]
struct SharedClockDebug(SharedClock);

impl std::fmt::Debug for SharedClockDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("clock")
    }
}

impl Store {
    /// Opens the store in the file `path`, takes up what was going on, and starts the writer.
    ///
    /// # Errors
    /// When the database cannot be opened or read.
    pub async fn open(path: &Path, settings: StoreSettings, clock: SharedClock, shutdown: &Shutdown) -> Result<Self, StoreError> {
        let db = Database::open(path, &MIGRATIONS, settings.readers).await?;
        let nudge = Arc::new(Notify::new());
        let owner: Arc<str> = clock.uuid().to_string().into();
        restored::take_note(&db.writer, path, clock.now()).await?;
        let memory = memory::Memory::load(&db.writer, &settings, &owner, clock.now()).await?;
        let (commands, queue) = mpsc::channel(WAITING);
        let changes = Arc::<Changes>::default();
        let writer = writer::Writer::new(
            db.writer.clone(),
            memory,
            settings,
            Arc::clone(&owner),
            Arc::clone(&clock),
            Arc::clone(&changes),
            Arc::clone(&nudge),
        );
        shutdown.spawn("store", writer.run(queue, shutdown.clone()));
        Ok(Self { db, commands, changes, nudge, arrivals: Arc::default(), clock: SharedClockDebug(clock), owner })
    }

    /// Accepts a run. When this answers, the run is durable.
    ///
    /// # Errors
    /// When the queue is full, the key was used otherwise, or the repository's name belongs to another source.
    pub async fn accept(&self, run: NewRun) -> Result<Accepted, StoreError> {
        self.ask(|reply| Command::Accept { run: Box::new(run), reply }).await?.map(|run| Accepted { run, url: format!("/runs/{run}") })
    }

    /// Tells a run what happened. `true` if it changed by it. With a lease, the effect that was performed is done with.
    ///
    /// # Errors
    /// When there is no such run, the event is a command that its state does not allow, or the run would go on and the queue
    /// is full.
    pub async fn happened(&self, run: RunId, event: Event, done: Option<Lease>) -> Result<bool, StoreError> {
        self.ask(|reply| Command::Happened { run, event: Box::new(event), done, reply }).await?
    }

    /// An effect is done, and there is nothing to tell.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn done(&self, lease: Lease) -> Result<(), StoreError> {
        self.ask(|reply| Command::Done { lease, reply }).await?
    }

    /// An effect is to be performed again, at `due`.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn later(&self, lease: Lease, due: Timestamp, error: String) -> Result<(), StoreError> {
        self.ask(|reply| Command::Later { lease, due, error, reply }).await?
    }

    /// Leases effects that are due: at most so many of each lane, until `until`.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn lease(&self, room: Vec<(Lane, u32)>, until: Timestamp) -> Result<Vec<Leased>, StoreError> {
        let owner = Arc::clone(&self.owner);
        self.ask(|reply| Command::Lease { room, owner, until, reply }).await?
    }

    /// Has the searches at an executor tried again at once: something is new there.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn hurry(&self, executor: ExecutorName) -> Result<(), StoreError> {
        self.ask(|reply| Command::Hurry { executor, reply }).await?
    }

    /// Keeps leases until `until`.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn renew(&self, leases: Vec<Lease>, until: Timestamp) -> Result<(), StoreError> {
        self.ask(|reply| Command::Renew { leases, until, reply }).await?
    }

    /// For those who wait for a change of this run, and care for no other.
    pub fn follow(&self, run: RunId) -> Following {
        self.changes.follow(run)
    }

    /// Waits until something is to be done at once.
    pub async fn nudged(&self) {
        self.nudge.notified().await;
    }

    fn now(&self) -> Timestamp {
        self.clock.0.now()
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.commands.try_send(command(reply)).map_err(|_| StoreError::Busy)?;
        answer.await.map_err(|_| StoreError::NotWritten)
    }
}
