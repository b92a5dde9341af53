//! Deliveries in the store: written down through the one writer before they are answered, read, replayed and forgotten.

use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::api::Page;
use signalbox_contract::api::delivery::{DeedView, DeliveryState, DeliverySummary, DeliveryView, Via};
use signalbox_contract::{Digest, ForgeName, RepoName};
use sqlx::{QueryBuilder, Sqlite};

use super::command::Command;
use super::rows::{from_json, millis, moment, to_json};
use super::{Store, StoreError};

/// How many bytes of bodies one statement writes.
const CHUNK: usize = 8 << 20;

/// A delivery that came.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// The forge.
    pub source: ForgeName,
    /// The way that it came.
    pub via: Via,
    /// What tells it from others of its source.
    pub key: String,
    /// Its kind, in the forge's word.
    pub kind: String,
    /// The headers that are kept.
    pub headers: Vec<(String, String)>,
    /// What is kept of its body; none if nothing is.
    pub body: Option<String>,
    /// How many bytes it had.
    pub size: u64,
    /// The digest of its bytes as they came.
    pub digest: Digest,
    /// Why nothing is to be done about it, where that is known.
    pub settled: Option<String>,
}

impl NewDelivery {
    /// One that is genuine, and of which nothing can be kept: it is no JSON object, or too large a one.
    pub fn unreadable(source: &ForgeName, via: Via, digest: Digest, size: u64) -> Self {
        Self {
            source: source.clone(),
            via,
            key: format!("unreadable {digest}"),
            kind: "unreadable".to_owned(),
            headers: Vec::new(),
            body: None,
            size,
            digest,
            settled: Some("It is no JSON object. What is there is compared with what is known.".to_owned()),
        }
    }
}

/// What came of writing a delivery down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Its number.
    pub id: u64,
    /// Whether it had not come before.
    pub fresh: bool,
}

/// A delivery that waits to be acted on.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Its number.
    pub id: u64,
    /// The forge.
    pub source: ForgeName,
    /// Its kind.
    pub kind: String,
    /// Its body.
    pub body: String,
    /// When it came.
    pub received_at: Timestamp,
}

/// Which deliveries are asked for.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    /// From this forge.
    pub source: Option<ForgeName>,
    /// In this state.
    pub state: Option<DeliveryState>,
    /// Older than this one.
    pub before: Option<u64>,
    /// Of these repositories alone; none stands for all, and for those of no repository.
    pub repos: Option<Vec<RepoName>>,
}

pub(super) const fn word(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Received => "received",
        DeliveryState::Done => "done",
        DeliveryState::Ignored => "ignored",
        DeliveryState::Failed => "failed",
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    source: String,
    via: String,
    kind: String,
    state: String,
    received_at: i64,
    copies: i64,
    size: i64,
    raw_digest: String,
    acted_at: Option<i64>,
    repo: Option<String>,
    words: String,
    deeds: String,
}

const COLUMNS: &str = "id, source, via, kind, state, received_at, copies, size, raw_digest, acted_at, repo, words, deeds";

impl Row {
    /// What cannot be read of a row any more is left out of the list.
    fn summary(self) -> Option<DeliverySummary> {
        let quoted = |word: &str| format!("\"{word}\"");
        Some(DeliverySummary {
            id: u64::try_from(self.id).ok()?,
            source: self.source.parse().ok()?,
            via: from_json("delivery", &quoted(&self.via)).ok()?,
            kind: self.kind,
            state: from_json("delivery", &quoted(&self.state)).ok()?,
            received_at: moment(self.received_at),
            copies: u64::try_from(self.copies).unwrap_or_default(),
            size: u64::try_from(self.size).unwrap_or_default(),
            digest: self.raw_digest.parse().ok()?,
            acted_at: self.acted_at.map(moment),
            repo: self.repo.and_then(|repo| repo.parse().ok()),
            reason: self.words,
            deeds: from_json::<Vec<DeedView>>("delivery", &self.deeds).unwrap_or_default(),
        })
    }
}

impl Store {
    /// Writes a delivery down. When this answers, it is durable.
    ///
    /// # Errors
    /// When too many wait already, or it could not be written.
    pub async fn receive(&self, delivery: NewDelivery) -> Result<Receipt, StoreError> {
        let receipt = self.ask(|reply| Command::Receive { delivery: Box::new(delivery), reply }).await??;
        if receipt.fresh {
            self.arrivals.notify_one();
        }
        Ok(receipt)
    }

    /// Waits until a delivery has come.
    pub async fn arrived(&self) {
        self.arrivals.notified().await;
    }

    /// Deliveries that are to be acted on now, in the order in which they came; some of each forge, where several have some.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn waiting(&self, limit: u32) -> Result<Vec<Waiting>, StoreError> {
        let rows: Vec<(i64, String, String, String, i64)> = sqlx::query_as(
            "SELECT id, source, kind, coalesce(body, ''), received_at FROM delivery WHERE id IN (
                 SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY source ORDER BY id) AS place FROM delivery
                                 WHERE state = 'received' AND due <= $1) ORDER BY place, id LIMIT $2) ORDER BY id",
        )
        .bind(millis(self.now()))
        .bind(i64::from(limit))
        .fetch_all(&self.db.readers)
        .await?;
        Ok(rows
            .into_iter()
            .filter_map(|(id, source, kind, body, at)| {
                Some(Waiting { id: u64::try_from(id).ok()?, source: source.parse().ok()?, kind, body, received_at: moment(at) })
            })
            .collect())
    }

    /// Has a delivery acted on again. `false` if there is nothing that could be: it was not kept, or waits already.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn replay(&self, id: u64) -> Result<bool, StoreError> {
        let found = self.ask(|reply| Command::Replay { id, reply }).await??;
        self.arrivals.notify_one();
        Ok(found)
    }

    /// A page of deliveries, newest first.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn deliveries(&self, filter: &DeliveryFilter, limit: u32) -> Result<Page<DeliverySummary>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(format!("SELECT {COLUMNS} FROM delivery WHERE true"));
        if let Some(source) = &filter.source {
            query.push(" AND source = ").push_bind(source.as_str().to_owned());
        }
        if let Some(state) = filter.state {
            query.push(" AND state = ").push_bind(word(state));
        }
        if let Some(before) = filter.before {
            query.push(" AND id < ").push_bind(i64::try_from(before).unwrap_or(i64::MAX));
        }
        if let Some(repos) = &filter.repos {
            query.push(" AND repo IN (SELECT value FROM json_each(").push_bind(to_json("delivery", repos)?).push("))");
        }
        query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit) + 1);
        let mut rows: Vec<Row> = query.build_query_as().fetch_all(&self.db.readers).await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|last| last.id.to_string());
        Ok(Page { items: rows.into_iter().filter_map(Row::summary).collect(), next })
    }

    /// A delivery, whole.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn delivery(&self, id: u64) -> Result<Option<DeliveryView>, StoreError> {
        let id = i64::try_from(id).unwrap_or(i64::MAX);
        let row: Option<Row> = sqlx::query_as(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM delivery WHERE id = $1")))
            .bind(id)
            .fetch_optional(&self.db.readers)
            .await?;
        let kept: Option<(String, Option<String>)> =
            sqlx::query_as("SELECT headers, body FROM delivery WHERE id = $1").bind(id).fetch_optional(&self.db.readers).await?;
        let Some((summary, (headers, body))) = row.and_then(Row::summary).zip(kept) else { return Ok(None) };
        let body = body.and_then(|body| from_json("delivery", &body).ok());
        Ok(Some(DeliveryView { summary, headers: from_json("delivery", &headers)?, body }))
    }

    /// Forgets deliveries that were acted on and need not be kept, and closed changes of which nothing was heard for as long.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn forget_deliveries(&self, age: Duration, count: u64) -> Result<(), StoreError> {
        let oldest = millis(self.now().saturating_sub(age).unwrap_or(Timestamp::MIN));
        sqlx::query(
            "DELETE FROM delivery WHERE id IN (SELECT id FROM delivery WHERE state <> 'received' AND (received_at <= $1 OR id <=
                 coalesce((SELECT id FROM delivery ORDER BY id DESC LIMIT 1 OFFSET $2), -1)) LIMIT 1000)",
        )
        .bind(oldest)
        .bind(i64::try_from(count).unwrap_or(i64::MAX))
        .execute(&self.db.writer)
        .await?;
        sqlx::query("DELETE FROM head WHERE closed = 1 AND at <= $1").bind(oldest).execute(&self.db.writer).await?;
        Ok(())
    }
}

/// Writes deliveries down, all at once; those that came before are counted.
pub(super) async fn receive(
    writer: &mut sqlx::SqliteConnection,
    memory: &mut super::memory::Memory,
    deliveries: &[NewDelivery],
    bound: u64,
    now: Timestamp,
) -> Result<Vec<Result<Receipt, StoreError>>, StoreError> {
    let keys: Vec<(&ForgeName, &String)> = deliveries.iter().map(|delivery| (&delivery.source, &delivery.key)).collect();
    let rows: Vec<(i64, String, String)> =
        sqlx::query_as("SELECT id, source, key FROM delivery WHERE (source, key) IN (SELECT value->>0, value->>1 FROM json_each($1))")
            .bind(to_json("delivery", &keys)?)
            .fetch_all(&mut *writer)
            .await?;
    let mut known: std::collections::HashMap<(String, String), i64> =
        rows.into_iter().map(|(id, source, key)| ((source, key), id)).collect();
    let mut receipts = Vec::with_capacity(deliveries.len());
    let (mut fresh, mut size, mut again) = (Vec::new(), 0, Vec::new());
    for delivery in deliveries {
        let place = (delivery.source.to_string(), delivery.key.clone());
        if let Some(id) = known.get(&place) {
            again.push(*id);
            receipts.push(Ok(Receipt { id: u64::try_from(*id).unwrap_or_default(), fresh: false }));
            continue;
        }
        // One forge's flood leaves the others their own.
        let waiting = memory.waiting.entry(place.0.clone()).or_default();
        if delivery.settled.is_none() && *waiting >= bound {
            receipts.push(Err(StoreError::DeliveriesFull));
            continue;
        }
        *waiting += u64::from(delivery.settled.is_none());
        let id = memory.next_number(writer, "/deliveries").await?;
        let row = i64::try_from(id).unwrap_or(i64::MAX);
        known.insert(place, row);
        let state = if delivery.settled.is_none() { DeliveryState::Received } else { DeliveryState::Ignored };
        size += delivery.body.as_ref().map_or(0, String::len);
        fresh.push(serde_json::json!([
            row,
            delivery.source,
            delivery.via,
            delivery.key,
            delivery.kind,
            millis(now),
            delivery.size,
            delivery.digest,
            to_json("delivery", &delivery.headers)?,
            delivery.body,
            word(state),
            delivery.settled.as_deref().unwrap_or_default()
        ]));
        if size > CHUNK {
            insert(writer, &std::mem::take(&mut fresh)).await?;
            size = 0;
        }
        receipts.push(Ok(Receipt { id, fresh: true }));
    }
    insert(writer, &fresh).await?;
    if !again.is_empty() {
        sqlx::query(
            "UPDATE delivery SET copies = copies + came.n FROM (SELECT value AS id, count(*) AS n FROM json_each($1) GROUP BY value) AS came
             WHERE delivery.id = came.id",
        )
        .bind(to_json("delivery", &again)?)
        .execute(&mut *writer)
        .await?;
    }
    if let Some(last) = memory.sequences.get("/deliveries") {
        sqlx::query("INSERT INTO sequence (scope, last) VALUES ('/deliveries', $1) ON CONFLICT (scope) DO UPDATE SET last = excluded.last")
            .bind(i64::try_from(*last).unwrap_or(i64::MAX))
            .execute(&mut *writer)
            .await?;
    }
    Ok(receipts)
}

async fn insert(writer: &mut sqlx::SqliteConnection, rows: &[serde_json::Value]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO delivery (id, source, via, key, kind, received_at, size, raw_digest, headers, body, state, words, due)
         SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8, value->>9, value->>10,
                value->>11, value->>5 FROM json_each($1)",
    )
    .bind(to_json("delivery", &rows)?)
    .execute(writer)
    .await?;
    Ok(())
}

/// Has a delivery acted on later.
pub(super) async fn postpone(writer: &mut sqlx::SqliteConnection, id: u64, due: Timestamp, reason: &str) -> Result<(), StoreError> {
    sqlx::query("UPDATE delivery SET due = $1, tries = tries + 1, words = $2 WHERE id = $3 AND state = 'received'")
        .bind(millis(due))
        .bind(reason)
        .bind(i64::try_from(id).unwrap_or(i64::MAX))
        .execute(writer)
        .await?;
    Ok(())
}

/// Has a delivery acted on again, if it was acted on and its body is kept.
pub(super) async fn replay(
    writer: &mut sqlx::SqliteConnection,
    memory: &mut super::memory::Memory,
    id: u64,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let done: Option<(String,)> = sqlx::query_as(
        "UPDATE delivery SET state = 'received', due = $1, tries = 0, words = ''
         WHERE id = $2 AND state <> 'received' AND body IS NOT NULL RETURNING source",
    )
    .bind(millis(now))
    .bind(i64::try_from(id).unwrap_or(i64::MAX))
    .fetch_optional(writer)
    .await?;
    let Some((source,)) = done else { return Ok(false) };
    *memory.waiting.entry(source).or_default() += 1;
    Ok(true)
}
