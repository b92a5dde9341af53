//! The one writer. It takes whatever commands wait, decides them one after the other, and writes them in one transaction.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use signalbox_contract::api::delivery::{DeedKind, DeedView};
use signalbox_contract::{Digest, ExecutorName, RunId};
use signalbox_controller_core::decide::Acceptance;
use signalbox_controller_core::{Effect, Lane};
use signalbox_service::clock::SharedClock;
use signalbox_service::shutdown::Shutdown;
use signalbox_service::sqlite::Database;
use signalbox_service::telemetry::causes;
use sqlx::{SqliteConnection, SqlitePool};
use tokio::sync::{Notify, mpsc};

use super::aside::{Table, set_aside};
use super::batch::Batch;
use super::changes::Changes;
use super::command::Command;
use super::deed::{self, Startable};
use super::delivery;
use super::memory::Memory;
use super::rows::{Raw, from_bytes, millis, text, to_json};
use super::{Deed, Doing, Lease, Leased, NewRun, StoreError, StoreSettings};

/// Longer than any wait between two tries of an effect, in milliseconds.
const LONGEST_WAIT_MS: i64 = 60_000;

/// What the service needs to be ready: that it can write.
const WRITING: &str = "store";

/// How many commands one transaction takes.
const BATCH: usize = 256;

pub(super) struct Writer {
    pool: SqlitePool,
    memory: Memory,
    settings: StoreSettings,
    owner: Arc<str>,
    clock: SharedClock,
    changes: Arc<Changes>,
    nudge: Arc<Notify>,
    /// The last batch could not be written, so the memory may be ahead of the file.
    doubtful: bool,
    /// The capacities were just read from the configuration, so there may be free places that somebody waits for.
    resized: bool,
}

/// What is sent once the batch is durable.
type Answer = Box<dyn FnOnce(bool) + Send>;

/// Whoever asked may be gone; then nobody is to be told.
fn answer<T: Send + 'static>(reply: tokio::sync::oneshot::Sender<Result<T, StoreError>>, result: Result<T, StoreError>) -> Answer {
    Box::new(move |written| {
        let _ = reply.send(if written { result } else { Err(StoreError::NotWritten) });
    })
}

impl Writer {
    pub(super) fn new(
        pool: SqlitePool,
        memory: Memory,
        settings: StoreSettings,
        owner: Arc<str>,
        clock: SharedClock,
        changes: Arc<Changes>,
        nudge: Arc<Notify>,
    ) -> Self {
        Self { pool, memory, settings, owner, clock, changes, nudge, doubtful: false, resized: true }
    }

    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Command>, shutdown: Shutdown) {
        let mut commands = Vec::with_capacity(BATCH);
        if let Err((error, _)) = self.commit(Vec::new()).await {
            tracing::error!(error = %causes(&error), "the free places could not be given");
            self.doubtful = true;
        }
        loop {
            tokio::select! {
                biased;
                count = queue.recv_many(&mut commands, BATCH) => {
                    if count == 0 {
                        break;
                    }
                }
                // What waits is still written; what comes later finds the channel closed.
                () = shutdown.requested(), if !queue.is_closed() => {
                    queue.close();
                    continue;
                }
            }
            let (written, answers, nudges) = match self.commit(std::mem::take(&mut commands)).await {
                Ok((answers, nudges)) => (true, answers, nudges),
                Err((error, answers)) => {
                    tracing::error!(error = %causes(&error), "a batch could not be written");
                    self.doubtful = true;
                    self.settings.readiness.missing(WRITING, "what happens cannot be written down");
                    (false, answers, false)
                }
            };
            if written {
                self.settings.readiness.met(WRITING);
            }
            for answer in answers {
                answer(written);
            }
            if nudges {
                self.nudge.notify_one();
            }
        }
    }

    async fn commit(&mut self, commands: Vec<Command>) -> Result<(Vec<Answer>, bool), (StoreError, Vec<Answer>)> {
        let mut answers = Vec::with_capacity(commands.len());
        match self.write(commands, &mut answers).await {
            Ok(nudges) => Ok((answers, nudges)),
            Err(error) => Err((error, answers)),
        }
    }

    async fn write(&mut self, commands: Vec<Command>, answers: &mut Vec<Answer>) -> Result<bool, StoreError> {
        if self.doubtful {
            self.memory = Memory::load(&self.pool, &self.settings, &self.owner, self.clock.now()).await?;
            self.doubtful = false;
            self.resized = true;
        }
        let now = self.clock.now();
        let mut transaction = self.pool.begin_with(Database::BEGIN).await?;
        let mut batch = Batch::new(&mut self.memory, now, self.settings.limits, self.settings.queue);
        if std::mem::take(&mut self.resized) {
            batch.grant_free();
        }
        let asked = commands.iter().filter_map(|command| match command {
            Command::Happened { run, .. } => Some(*run),
            _ => None,
        });
        batch.load(&mut transaction, asked.collect::<Vec<_>>().into_iter()).await?;
        let mut known = known_keys(&mut transaction, &commands, now).await?;
        // Leases are given last, so that what this batch has just caused is among them.
        let mut leases = Vec::new();
        let mut hurried = false;
        let mut received = (Vec::new(), Vec::new());
        for command in commands {
            match command {
                Command::Accept { run, reply } => {
                    let accepted = accept(&mut batch, &mut transaction, *run, &mut known, &self.clock).await?;
                    answers.push(answer(reply, accepted));
                }
                Command::Happened { run, event, done, reply } => {
                    // What was done for a run that cannot be told stays to be done: nothing is lost when it can be.
                    if let Some(lease) = done.filter(|_| !batch.is_aside(&run)) {
                        batch.finish_effect(lease);
                    }
                    let changed = batch.happened(run, &event);
                    answers.push(answer(reply, changed));
                }
                Command::Receive { delivery, reply } => {
                    received.0.push(*delivery);
                    received.1.push(reply);
                }
                Command::Act { doing, reply } => {
                    let done = act(&mut batch, &mut transaction, *doing, &mut known, &self.clock).await?;
                    answers.push(answer(reply, done));
                }
                Command::Postpone { id, due, reason, reply } => {
                    delivery::postpone(&mut transaction, id, due, &reason).await?;
                    answers.push(answer(reply, Ok(())));
                }
                Command::Replay { id, reply } => {
                    let replayed = delivery::replay(&mut transaction, batch.memory, id, now).await?;
                    answers.push(answer(reply, Ok(replayed)));
                }
                Command::Done { lease, reply } => {
                    batch.finish_effect(lease);
                    answers.push(answer(reply, Ok(())));
                }
                Command::Later { lease, due, error, reply } => {
                    later(&mut transaction, lease, due, &error).await?;
                    answers.push(answer(reply, Ok(())));
                }
                Command::Hurry { executor, reply } => {
                    hurried |= hurry(&mut transaction, &executor, now).await?;
                    answers.push(answer(reply, Ok(())));
                }
                Command::Renew { leases, until, reply } => {
                    renew(&mut transaction, &leases, until).await?;
                    answers.push(answer(reply, Ok(())));
                }
                Command::Lease { room, owner, until, reply } => leases.push((room, owner, until, reply)),
            }
        }
        if !received.0.is_empty() {
            let receipts = delivery::receive(&mut transaction, batch.memory, &received.0, self.settings.deliveries, now).await?;
            answers.extend(received.1.into_iter().zip(receipts).map(|(reply, receipt)| answer(reply, receipt)));
        }
        batch.write(&mut transaction).await?;
        let mut nudges = batch.nudges() || hurried;
        for (room, owner, until, reply) in leases {
            let mut leased = Vec::new();
            for (lane, limit) in room {
                leased.extend(lease(&mut transaction, lane, limit, &owner, until, now).await?);
            }
            // They see what this batch caused; there is no need to call them again.
            nudges = false;
            answers.push(answer(reply, Ok(leased)));
        }
        let changed = batch.changed_runs();
        transaction.commit().await?;
        self.changes.tell(changed.iter());
        Ok(nudges)
    }
}

type KnownKeys = HashMap<(String, String), (Digest, RunId)>;

/// Which of the batch's idempotency keys were used before.
async fn known_keys(writer: &mut SqliteConnection, commands: &[Command], now: Timestamp) -> Result<KnownKeys, StoreError> {
    let asked: Vec<(&String, &String)> = commands
        .iter()
        .filter_map(|command| match command {
            Command::Accept { run, .. } => run.idempotency.as_ref().map(|(key, _)| (&run.principal, key)),
            _ => None,
        })
        .collect();
    if asked.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(String, String, String, String)> = sqlx::query_as(
        "SELECT principal, key, body_digest, run FROM idempotency
         WHERE (principal, key) IN (SELECT value->>0, value->>1 FROM json_each($1)) AND expires_at > $2",
    )
    .bind(to_json("idempotency", &asked)?)
    .bind(millis(now))
    .fetch_all(writer)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(principal, key, digest, run)| Some(((principal, key), (digest.parse().ok()?, run.parse().ok()?))))
        .collect())
}

async fn accept(
    batch: &mut Batch<'_>,
    writer: &mut SqliteConnection,
    new: NewRun,
    known: &mut KnownKeys,
    clock: &SharedClock,
) -> Result<Result<RunId, StoreError>, StoreError> {
    let NewRun { principal, request, idempotency } = new;
    if let Some((key, digest)) = &idempotency
        && let Some((before, run)) = known.get(&(principal.clone(), key.clone()))
    {
        return Ok(if before == digest { Ok(*run) } else { Err(StoreError::KeyReused) });
    }
    if !batch.has_room(1) {
        return Ok(Err(StoreError::QueueFull));
    }
    if let signalbox_controller_core::plan::Request::Cd(order) = &request
        && let Some(conflict) = batch.memory.conflict(order)
    {
        return Ok(Err(Box::new(conflict).into()));
    }
    let scope = request.repo().map_or_else(|| "/environments".to_owned(), ToString::to_string);
    let number = batch.memory.next_number(writer, &scope).await?;
    // Later runs have greater ids, whatever the clock does: what is deployed is compared by them.
    let id = RunId::from_uuid(clock.uuid()).max(batch.memory.last_run.map_or(RunId::FIRST, RunId::successor));
    batch.memory.last_run = Some(id);
    if let Some((key, digest)) = idempotency {
        known.insert((principal.clone(), key.clone()), (digest, id));
        batch.keys.push((principal.clone(), key, digest, id));
    }
    batch.accept(Acceptance { id, number, principal, request }, scope);
    Ok(Ok(id))
}

/// Does what is to be done about a delivery: all of it, or, where the queue has no room, nothing.
async fn act(
    batch: &mut Batch<'_>,
    writer: &mut SqliteConnection,
    mut doing: Doing,
    known: &mut KnownKeys,
    clock: &SharedClock,
) -> Result<Result<Vec<DeedView>, StoreError>, StoreError> {
    let starts = doing.deeds.iter().filter(|deed| matches!(deed, Deed::Start { .. })).count();
    if starts > 0 && !batch.has_room(starts) {
        return Ok(Err(StoreError::QueueFull));
    }
    let mut done = Vec::new();
    for todo in std::mem::take(&mut doing.deeds) {
        match todo {
            Deed::Start { run, trigger } => done.push(match deed::startable(batch, writer, &trigger).await? {
                Startable::No(run, reason) => DeedView { what: DeedKind::Known, run: Some(run), reason: reason.to_owned() },
                Startable::Yes(mark) => match accept(batch, writer, *run, known, clock).await? {
                    Ok(run) => {
                        deed::remember(writer, &trigger, &mark, run).await?;
                        DeedView { what: DeedKind::Started, run: Some(run), reason: String::new() }
                    }
                    Err(error) => DeedView { what: DeedKind::Refused, run: None, reason: error.to_string() },
                },
            }),
            Deed::Stop { change, but, by, reason } => done.extend(deed::stop(batch, &change, but.as_ref(), &by, &reason)?),
        }
    }
    deed::note(batch, writer, &doing, &done).await?;
    Ok(Ok(done))
}

/// Id, run, payload, epoch and tries.
type EffectRow = (i64, Raw, Raw, i64, i64);

async fn lease(
    writer: &mut SqliteConnection,
    lane: Lane,
    limit: u32,
    owner: &str,
    until: Timestamp,
    now: Timestamp,
) -> Result<Vec<Leased>, StoreError> {
    let rows: Vec<EffectRow> = sqlx::query_as(
        "UPDATE effect SET owner = $1, epoch = epoch + 1, until = $2, tries = tries + 1
         WHERE id IN (SELECT id FROM effect WHERE lane = $3 AND (until IS NULL OR until <= $4)
                 AND (due <= $4 OR ($7 AND (tries = 0 OR due > $4 + $6)))
                 AND run NOT IN (SELECT id FROM aside WHERE kind = 'run')
                 AND CAST(id AS TEXT) NOT IN (SELECT id FROM aside WHERE kind = 'effect') ORDER BY due, id LIMIT $5)
         RETURNING id, run, payload, epoch, tries",
    )
    .bind(owner)
    .bind(millis(until))
    .bind(lane.word())
    .bind(millis(now))
    .bind(i64::from(limit))
    // But for what keeps its time, what was never tried is due, and no try is put off for longer than this: if one is, the clock was set
    // back, and nobody waits until it has caught up.
    .bind(LONGEST_WAIT_MS)
    .bind(!lane.keeps_time())
    .fetch_all(&mut *writer)
    .await?;
    let mut leased = Vec::with_capacity(rows.len());
    for (id, run, payload, epoch, tries) in rows {
        let run: Option<RunId> = text(run).parse().ok();
        match (run, from_bytes::<Effect>("effect", &payload)) {
            (Some(run), Ok(effect)) if effect.key.run == run => {
                let tries = u32::try_from(tries - 1).unwrap_or_default();
                leased.push(Leased { lease: Lease { id, epoch }, run, tries, effect });
            }
            (run, read) => {
                let foreign =
                    || StoreError::Row { table: "effect", source: serde::de::Error::custom("it is not of the run that it names") };
                let error = read.err().unwrap_or_else(foreign);
                set_aside(writer, Table::Effect, &id.to_string(), run, now, &error).await?;
                sqlx::query("UPDATE effect SET owner = NULL, until = NULL, error = $1 WHERE id = $2")
                    .bind("It cannot be read.")
                    .bind(id)
                    .execute(&mut *writer)
                    .await?;
            }
        }
    }
    Ok(leased)
}

async fn later(writer: &mut SqliteConnection, lease: Lease, due: Timestamp, error: &str) -> Result<(), StoreError> {
    sqlx::query("UPDATE effect SET owner = NULL, until = NULL, due = $1, error = $2 WHERE id = $3 AND epoch = $4")
        .bind(millis(due))
        .bind(error)
        .bind(lease.id)
        .bind(lease.epoch)
        .execute(writer)
        .await?;
    Ok(())
}

/// Makes the searches at an executor that wait for their next try due. `true` if there were any.
async fn hurry(writer: &mut SqliteConnection, executor: &ExecutorName, now: Timestamp) -> Result<bool, StoreError> {
    let changed = sqlx::query(
        "UPDATE effect SET due = $1 WHERE lane = 'executor' AND kind = 'find' AND until IS NULL AND due > $1
                AND payload->'act'->>'executor' = $2",
    )
    .bind(millis(now))
    .bind(executor.as_str())
    .execute(writer)
    .await?;
    Ok(changed.rows_affected() > 0)
}

async fn renew(writer: &mut SqliteConnection, leases: &[Lease], until: Timestamp) -> Result<(), StoreError> {
    let rows: Vec<(i64, i64)> = leases.iter().map(|lease| (lease.id, lease.epoch)).collect();
    sqlx::query("UPDATE effect SET until = $1 WHERE (id, epoch) IN (SELECT value->>0, value->>1 FROM json_each($2))")
        .bind(millis(until))
        .bind(to_json("effect", &rows)?)
        .execute(writer)
        .await?;
    Ok(())
}
