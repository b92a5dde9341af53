//! What is known of each attempt, in the executor's database. Every change is synced before anybody is told of it, and
//! raises the attempt's stamp.

use signalbox_contract::build::{BuildState, Observation, PartState, Stamp};
use signalbox_contract::{AttemptKey, Digest};
use signalbox_service::clock::SharedClock;
use signalbox_service::sqlite::Database;

use crate::build::{Ended, PART};

/// The tables' shapes.
pub(crate) static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// How far an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// It waits for a place.
    Waiting,
    /// It is at work.
    Running,
    /// It is over.
    Ended,
    /// It never came, and will not be taken any more.
    Fenced,
    /// It is over, and what was kept of it is thrown away.
    Forgotten,
}

impl Phase {
    /// Whether it is not over yet.
    pub(crate) const fn live(self) -> bool {
        matches!(self, Self::Waiting | Self::Running)
    }
}

/// An attempt's row.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Row {
    pub(crate) number: i64,
    key: String,
    pub(crate) digest: Option<String>,
    pub(crate) phase: Phase,
    verdict: Option<String>,
    class: Option<String>,
    reason: String,
    stamp: i64,
}

/// What came of asking for a row that may be new.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) row: Row,
    /// Whether it was made just now.
    pub(crate) new: bool,
}

/// The attempts' rows.
#[derive(Clone)]
pub(crate) struct Store {
    database: Database,
    clock: SharedClock,
}

impl Store {
    pub(crate) const fn new(database: Database, clock: SharedClock) -> Self {
        Self { database, clock }
    }

    fn now(&self) -> i64 {
        self.clock.now().as_millisecond()
    }

    /// Takes an attempt, unless it was taken, fenced or forgotten before.
    pub(crate) async fn take(&self, key: &AttemptKey, digest: &Digest) -> Result<Claimed, sqlx::Error> {
        self.claim(key, Phase::Waiting, Some(digest)).await
    }

    /// Closes an attempt that never came.
    pub(crate) async fn fence(&self, key: &AttemptKey) -> Result<Claimed, sqlx::Error> {
        self.claim(key, Phase::Fenced, None).await
    }

    async fn claim(&self, key: &AttemptKey, phase: Phase, digest: Option<&Digest>) -> Result<Claimed, sqlx::Error> {
        let mut write = self.database.writer.begin_with(Database::BEGIN).await?;
        let made = sqlx::query(
            "INSERT INTO build (key, digest, phase, stamp, accepted_at) VALUES (?1, ?2, ?3, 1, ?4) ON CONFLICT (key) DO NOTHING",
        )
        .bind(key.to_string())
        .bind(digest.map(Digest::to_string))
        .bind(phase)
        .bind(self.now())
        .execute(&mut *write)
        .await?;
        let row = sqlx::query_as("SELECT number, key, digest, phase, verdict, class, reason, stamp FROM build WHERE key = ?1")
            .bind(key.to_string())
            .fetch_one(&mut *write)
            .await?;
        write.commit().await?;
        Ok(Claimed { row, new: made.rows_affected() == 1 })
    }

    /// An attempt runs from now on.
    pub(crate) async fn begin(&self, key: &AttemptKey) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE build SET phase = 'running', started_at = ?2, stamp = stamp + 1 WHERE key = ?1 AND phase = 'waiting'")
            .bind(key.to_string())
            .bind(self.now())
            .execute(&self.database.writer)
            .await
            .map(drop)
    }

    /// An attempt is over. One that is over already stays as it is.
    pub(crate) async fn end(&self, key: &AttemptKey, ended: &Ended) -> Result<(), sqlx::Error> {
        sqlx::query(
            "UPDATE build SET phase = 'ended', verdict = ?1, class = ?2, reason = ?3, ended_at = ?4, stamp = stamp + 1 \
             WHERE key = ?5 AND phase IN ('waiting', 'running')",
        )
        .bind(word(&ended.verdict))
        .bind(ended.class.as_ref().map(word))
        .bind(&ended.reason)
        .bind(self.now())
        .bind(key.to_string())
        .execute(&self.database.writer)
        .await
        .map(drop)
    }

    /// Every attempt that is not over is, from now on. For the start: whoever worked on them is gone.
    pub(crate) async fn end_all(&self, ended: &Ended) -> Result<u64, sqlx::Error> {
        let done = sqlx::query(
            "UPDATE build SET phase = 'ended', verdict = ?1, class = ?2, reason = ?3, ended_at = ?4, stamp = stamp + 1 \
             WHERE phase IN ('waiting', 'running')",
        )
        .bind(word(&ended.verdict))
        .bind(ended.class.as_ref().map(word))
        .bind(&ended.reason)
        .bind(self.now())
        .execute(&self.database.writer)
        .await?;
        Ok(done.rows_affected())
    }

    /// Throws away what is kept of an attempt that is over, or never was. `false` if it is not over yet.
    pub(crate) async fn forget(&self, key: &AttemptKey) -> Result<bool, sqlx::Error> {
        let claimed = self.claim(key, Phase::Forgotten, None).await?;
        if claimed.row.phase.live() {
            return Ok(false);
        }
        sqlx::query("UPDATE build SET phase = 'forgotten', stamp = stamp + 1 WHERE key = ?1 AND phase = 'ended'")
            .bind(key.to_string())
            .execute(&self.database.writer)
            .await?;
        Ok(true)
    }

    /// What is known of an attempt.
    pub(crate) async fn find(&self, key: &AttemptKey) -> Result<Option<Row>, sqlx::Error> {
        Ok(self.find_all(std::slice::from_ref(key)).await?.pop())
    }

    /// What is known of these attempts; of those that never came, nothing.
    pub(crate) async fn find_all(&self, keys: &[AttemptKey]) -> Result<Vec<Row>, sqlx::Error> {
        let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
        sqlx::query_as(
            "SELECT number, key, digest, phase, verdict, class, reason, stamp FROM build \
             WHERE key IN (SELECT value FROM json_each(?1))",
        )
        .bind(sqlx::types::Json(keys))
        .fetch_all(&self.database.readers)
        .await
    }

    /// Removes some of the rows that were over before `before` (milliseconds), and answers their keys.
    pub(crate) async fn expire(&self, before: i64) -> Result<Vec<AttemptKey>, sqlx::Error> {
        let keys: Vec<String> = sqlx::query_scalar(
            "DELETE FROM build WHERE number IN (SELECT number FROM build WHERE phase IN ('ended', 'fenced', 'forgotten') \
             AND coalesce(ended_at, accepted_at) < ?1 LIMIT 500) RETURNING key",
        )
        .bind(before)
        .fetch_all(&self.database.writer)
        .await?;
        Ok(keys.iter().filter_map(|key| key.parse().ok()).collect())
    }
}

impl Row {
    /// The attempt.
    pub(crate) fn key(&self) -> Option<AttemptKey> {
        self.key.parse().ok()
    }

    /// The executor's own name for the build.
    pub(crate) fn build(&self) -> String {
        self.number.to_string()
    }

    /// What the row says, as the API tells it.
    pub(crate) fn observe(&self, key: AttemptKey) -> Observation {
        let state = match self.phase {
            Phase::Waiting => BuildState::Waiting { why: "It waits for a build before it to end.".to_owned() },
            Phase::Running => BuildState::Running,
            Phase::Ended => BuildState::Ended {
                verdict: self.verdict.as_deref().and_then(parse).unwrap_or(signalbox_contract::Verdict::Lost),
                class: self.class.as_deref().and_then(parse),
                reason: self.reason.clone(),
            },
            Phase::Fenced | Phase::Forgotten => BuildState::Gone,
        };
        let stamp = Stamp(u64::try_from(self.stamp).unwrap_or_default());
        if state == BuildState::Gone {
            return Observation::new(key, "", stamp, state);
        }
        let part = PartState::new(PART, PART, state.clone());
        Observation { parts: vec![part], ..Observation::new(key, self.build(), stamp, state) }
    }
}

/// An enum's word, as it stands in JSON.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn parse<T: serde::de::DeserializeOwned>(word: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(word.to_owned())).ok()
}
