//! What is done about a delivery, in one transaction: runs started and stopped, heads noted, and how the delivery came out.

use jiff::Timestamp;
use signalbox_contract::api::delivery::{DeedKind, DeedView, DeliveryState};
use signalbox_contract::api::run::Outcome;
use signalbox_contract::change::ChangeId;
use signalbox_contract::{CommitSha, ForgeName, Origin, RepoName, RunId};
use signalbox_controller_core::Event;
use sqlx::SqliteConnection;

use super::batch::Batch;
use super::command::Command;
use super::delivery::word;
use super::rows::{from_json, millis, moment, to_json};
use super::{NewRun, Store, StoreError};

/// One thing that is to be done.
#[derive(Debug, Clone)]
pub enum Deed {
    /// Start a run, unless there is one for the same.
    Start {
        /// The run.
        run: Box<NewRun>,
        /// What it is for.
        trigger: Trigger,
    },
    /// Stop the runs of a change.
    Stop {
        /// Which change.
        change: ChangeId,
        /// All but those of this commit, if one is named.
        but: Option<CommitSha>,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
}

/// What a run is started for. For each there is one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// The change or the branch.
    pub subject: String,
    /// Its commit.
    pub sha: CommitSha,
    /// Which rule asks for it.
    pub purpose: String,
    /// Whether it may be done again.
    pub again: Again,
}

/// Whether a run is started for what a run was started for before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Again {
    /// Once is enough.
    Never,
    /// If what was started was stopped since.
    AfterStop,
    /// Once for each such mark, unless one is under way.
    Asked {
        /// What tells this asking from others.
        mark: String,
    },
}

/// What is known of a change or a branch at a forge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The forge.
    pub forge: ForgeName,
    /// The project there.
    pub project: String,
    /// The change's number, or the full ref.
    pub subject: String,
    /// Its newest commit.
    pub sha: String,
    /// The patch set's number, where the forge counts them.
    pub patch_set: Option<u32>,
    /// What was done about it.
    pub standing: HeadState,
    /// When it was heard of last.
    pub at: Timestamp,
}

/// What was done about a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadState {
    /// What is configured.
    Handled,
    /// It is closed, or gone.
    Closed,
    /// Nothing yet: its author says that it is not ready.
    Held,
}

impl HeadState {
    const fn number(self) -> i64 {
        match self {
            Self::Handled => 0,
            Self::Closed => 1,
            Self::Held => 2,
        }
    }
}

/// All that is to be done at once.
#[derive(Debug, Clone, Default)]
pub struct Doing {
    /// The delivery that it is about, and how that comes out.
    pub delivery: Option<Settling>,
    /// What is done.
    pub deeds: Vec<Deed>,
    /// What is known from now on.
    pub heads: Vec<Head>,
    /// Projects that were compared for the first time.
    pub compared: Vec<(ForgeName, String)>,
}

/// How a delivery comes out.
#[derive(Debug, Clone)]
pub struct Settling {
    /// Its number.
    pub id: u64,
    /// Its forge.
    pub source: ForgeName,
    /// Its state. What was done makes it done.
    pub state: DeliveryState,
    /// The repository that it is about.
    pub repo: Option<RepoName>,
    /// Why nothing was done.
    pub reason: String,
}

impl Store {
    /// Does all of it in one transaction, in the order in which it is called.
    pub fn act(&self, doing: Doing) -> impl Future<Output = Result<Vec<DeedView>, StoreError>> + use<> {
        // Handed over here and not when the answer is waited for: their order is that of the calls.
        let (reply, answer) = tokio::sync::oneshot::channel();
        let sent = self.commands.try_send(Command::Act { doing: Box::new(doing), reply });
        async move {
            sent.map_err(|_| StoreError::Busy)?;
            answer.await.map_err(|_| StoreError::NotWritten)?
        }
    }

    /// Has a delivery acted on later.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn postpone(&self, id: u64, due: Timestamp, reason: String) -> Result<(), StoreError> {
        self.ask(|reply| Command::Postpone { id, due, reason, reply }).await?
    }

    /// What is known of these changes and branches of one forge, each named by its project and subject.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn heads(&self, forge: &ForgeName, named: &[(String, String)]) -> Result<Vec<Head>, StoreError> {
        let rows: Vec<(String, String, String, Option<i64>, i64, i64)> = sqlx::query_as(
            "SELECT project, subject, sha, patch_set, closed, at FROM head
             WHERE forge = $1 AND (project, subject) IN (SELECT value->>0, value->>1 FROM json_each($2))",
        )
        .bind(forge.as_str())
        .bind(to_json("head", &named)?)
        .fetch_all(&self.db.readers)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(project, subject, sha, patch_set, closed, at)| Head {
                forge: forge.clone(),
                project,
                subject,
                sha,
                patch_set: patch_set.and_then(|number| u32::try_from(number).ok()),
                standing: match closed {
                    0 => HeadState::Handled,
                    1 => HeadState::Closed,
                    _ => HeadState::Held,
                },
                at: moment(at),
            })
            .collect())
    }

    /// The changes at a forge that have runs under way.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn reviewed(&self, forge: &ForgeName) -> Result<Vec<ChangeId>, StoreError> {
        let origins: Vec<(String,)> = sqlx::query_as("SELECT json_extract(summary, '$.origin') FROM run WHERE state <> 'finished' AND json_extract(summary, '$.origin.change.forge') = $1 ORDER BY id")
            .bind(forge.as_str())
            .fetch_all(&self.db.readers)
            .await?;
        let changes = origins.iter().filter_map(|(origin,)| Some(from_json::<Origin>("run", origin).ok()?.review()?.change.clone()));
        Ok(changes.collect::<std::collections::BTreeSet<_>>().into_iter().collect())
    }

    /// Which projects of a forge were compared before.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn compared(&self, forge: &ForgeName) -> Result<Vec<String>, StoreError> {
        let rows: Vec<(String,)> =
            sqlx::query_as("SELECT project FROM compared WHERE forge = $1").bind(forge.as_str()).fetch_all(&self.db.readers).await?;
        Ok(rows.into_iter().map(|(project,)| project).collect())
    }
}

/// What starting a run came to, as the writer tells.
pub(super) enum Startable {
    /// Under this mark.
    Yes(String),
    /// There is this one.
    No(RunId, &'static str),
}

/// Whether a run is to be started for a trigger, and under which mark.
pub(super) async fn startable(batch: &mut Batch<'_>, writer: &mut SqliteConnection, trigger: &Trigger) -> Result<Startable, StoreError> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT mark, run FROM trigger WHERE subject = $1 AND sha = $2 AND purpose = $3 ORDER BY run")
            .bind(&trigger.subject)
            .bind(trigger.sha.as_str())
            .bind(&trigger.purpose)
            .fetch_all(&mut *writer)
            .await?;
    let before: Vec<(String, RunId)> = rows.into_iter().filter_map(|(mark, run)| Some((mark, run.parse().ok()?))).collect();
    let Some((_, newest)) = before.last() else {
        return Ok(Startable::Yes(if let Again::Asked { mark } = &trigger.again { mark.clone() } else { String::new() }));
    };
    batch.load(writer, std::iter::once(*newest)).await?;
    let last = batch.known(newest);
    Ok(match &trigger.again {
        Again::Never => Startable::No(*newest, "a run was started for it before"),
        // One that retention has removed was over.
        Again::AfterStop => match last {
            Some(run) if run.stopped_by.is_none() && run.outcome != Some(Outcome::Stopped) => {
                Startable::No(*newest, "a run was started for it before")
            }
            _ => Startable::Yes(format!("after {newest}")),
        },
        Again::Asked { mark } => match before.iter().find(|(known, _)| known == mark) {
            Some((_, run)) => Startable::No(*run, "it was asked for before"),
            None if last.is_some_and(|run| run.outcome.is_none()) => Startable::No(*newest, "a run of it is under way"),
            None => Startable::Yes(mark.clone()),
        },
    })
}

/// Remembers what a run was started for.
pub(super) async fn remember(writer: &mut SqliteConnection, trigger: &Trigger, mark: &str, run: RunId) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO trigger (subject, sha, purpose, mark, run) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING")
        .bind(&trigger.subject)
        .bind(trigger.sha.as_str())
        .bind(&trigger.purpose)
        .bind(mark)
        .bind(run.to_string())
        .execute(writer)
        .await?;
    Ok(())
}

/// Stops the runs of a change.
pub(super) fn stop(
    batch: &mut Batch<'_>,
    change: &ChangeId,
    but: Option<&CommitSha>,
    by: &str,
    reason: &str,
) -> Result<Vec<DeedView>, StoreError> {
    let mut stopped = Vec::new();
    for run in batch.reviewing(change, but) {
        let event = Event::StopRequested { by: by.to_owned(), reason: Some(reason.to_owned()) };
        match batch.happened(run, &event) {
            Ok(_) => stopped.push(DeedView { what: DeedKind::Stopped, run: Some(run), reason: reason.to_owned() }),
            // It is being stopped already, or cannot be read.
            Err(StoreError::Refused(_) | StoreError::NoSuchRun) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(stopped)
}

/// Writes what is known from now on, and how the delivery came out.
pub(super) async fn note(
    batch: &mut Batch<'_>,
    writer: &mut SqliteConnection,
    doing: &Doing,
    deeds: &[DeedView],
) -> Result<(), StoreError> {
    let now = millis(batch.now);
    let rows: Vec<_> = doing
        .heads
        .iter()
        .map(|head| (&head.forge, &head.project, &head.subject, &head.sha, head.patch_set, head.standing.number(), now))
        .collect();
    if !rows.is_empty() {
        sqlx::query(
            "INSERT INTO head (forge, project, subject, sha, patch_set, closed, at)
             SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6 FROM json_each($1) WHERE true
             ON CONFLICT (forge, project, subject) DO UPDATE SET sha = excluded.sha, patch_set = excluded.patch_set,
                    closed = excluded.closed, at = excluded.at",
        )
        .bind(to_json("head", &rows)?)
        .execute(&mut *writer)
        .await?;
    }
    for (forge, project) in &doing.compared {
        sqlx::query("INSERT INTO compared (forge, project, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(forge.as_str())
            .bind(project)
            .bind(now)
            .execute(&mut *writer)
            .await?;
    }
    let Some(settling) = &doing.delivery else { return Ok(()) };
    let state = match deeds {
        [] => settling.state,
        deeds if deeds.iter().all(|deed| deed.what == DeedKind::Refused) => DeliveryState::Failed,
        _ => DeliveryState::Done,
    };
    let written = sqlx::query(
        "UPDATE delivery SET state = $1, acted_at = $2, repo = $3, words = $4, deeds = $5 WHERE id = $6 AND state = 'received'",
    )
    .bind(word(state))
    .bind(now)
    .bind(settling.repo.as_ref().map(ToString::to_string))
    .bind(&settling.reason)
    .bind(to_json("delivery", &deeds)?)
    .bind(i64::try_from(settling.id).unwrap_or(i64::MAX))
    .execute(writer)
    .await?;
    if let Some(waiting) = batch.memory.waiting.get_mut(settling.source.as_str()) {
        *waiting = waiting.saturating_sub(written.rows_affected());
    }
    Ok(())
}
