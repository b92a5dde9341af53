//! A batch, written: a statement a table.

use signalbox_contract::RunId;
use sqlx::SqliteConnection;

use super::super::memory::record_row;
use super::super::rows::{RunRow, millis, to_json};
use super::super::{StoreError, binding};
use super::Batch;

impl Batch<'_> {
    /// Writes everything, a statement a table.
    pub(in crate::store) async fn write(&self, writer: &mut SqliteConnection) -> Result<(), StoreError> {
        self.write_runs(writer).await?;
        binding::write(writer, &self.bound).await?;
        self.write_effects(writer).await?;
        self.write_resources(writer).await
    }

    async fn write_runs(&self, writer: &mut SqliteConnection) -> Result<(), StoreError> {
        if self.changed.is_empty() {
            return Ok(());
        }
        self.compare_versions(writer).await?;
        let mut rows = Vec::with_capacity(self.changed.len());
        let mut live = Vec::new();
        for id in self.changed.keys() {
            let Some(run) = self.run(id) else { continue };
            rows.push(RunRow::of(run)?);
            live.extend(run.at_executors().map(|(key, executor, attempt)| {
                (key, *id, executor.clone(), attempt.anchor.clone(), attempt.build.clone(), attempt.logs())
            }));
        }
        sqlx::query(
            "INSERT INTO run (id, repo, environment, name, ref, number, state, outcome, accepted_at, finished_at, version, summary, body)
             SELECT value->>'id', value->>'repo', value->>'environment', value->>'name', value->>'ref', value->>'number', value->>'state', value->>'outcome',
                    value->>'accepted_at', value->>'finished_at', value->>'version', value->>'summary', value->>'body'
             FROM json_each($1) WHERE true
             ON CONFLICT (id) DO UPDATE SET ref = excluded.ref, state = excluded.state, outcome = excluded.outcome,
                    finished_at = excluded.finished_at, version = excluded.version, summary = excluded.summary, body = excluded.body",
        )
        .bind(to_json("run", &rows)?)
        .execute(&mut *writer)
        .await?;
        let events: Vec<_> = self
            .events
            .iter()
            .map(|(run, n, entry)| (run, n, millis(self.now), entry.kind, &entry.principal, entry.body.to_string()))
            .collect();
        sqlx::query(
            "INSERT INTO event (run, n, at, kind, v, principal, body)
             SELECT value->>0, value->>1, value->>2, value->>3, 1, value->>4, value->>5 FROM json_each($1)",
        )
        .bind(to_json("event", &events)?)
        .execute(&mut *writer)
        .await?;
        let changed: Vec<&RunId> = self.changed.keys().collect();
        sqlx::query("DELETE FROM live WHERE run IN (SELECT value FROM json_each($1))")
            .bind(to_json("live", &changed)?)
            .execute(&mut *writer)
            .await?;
        if !live.is_empty() {
            sqlx::query(
                "INSERT INTO live (key, run, executor, anchor, build, parts)
                 SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5 FROM json_each($1)",
            )
            .bind(to_json("live", &live)?)
            .execute(&mut *writer)
            .await?;
        }
        self.write_acceptance(writer).await
    }

    /// A run whose row has another version than was read was changed by somebody else: then nothing of this batch may stand.
    async fn compare_versions(&self, writer: &mut SqliteConnection) -> Result<(), StoreError> {
        let read: Vec<(&RunId, u64)> = self.changed.iter().filter_map(|(id, before)| Some((id, (*before)?))).collect();
        let same: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM json_each($1) AS read JOIN run ON run.id = read.value->>0 WHERE run.version = read.value->>1",
        )
        .bind(to_json("run", &read)?)
        .fetch_one(writer)
        .await?;
        if usize::try_from(same) == Ok(read.len()) { Ok(()) } else { Err(StoreError::NotWritten) }
    }

    /// What only new runs bring: numbers, and the keys under which they were asked for.
    async fn write_acceptance(&self, writer: &mut SqliteConnection) -> Result<(), StoreError> {
        if !self.scopes.is_empty() {
            let sequences: Vec<(&String, u64)> =
                self.scopes.iter().map(|scope| (scope, self.memory.sequences.get(scope).copied().unwrap_or_default())).collect();
            sqlx::query(
                "INSERT INTO sequence (scope, last) SELECT value->>0, value->>1 FROM json_each($1) WHERE true
                 ON CONFLICT (scope) DO UPDATE SET last = excluded.last",
            )
            .bind(to_json("sequence", &sequences)?)
            .execute(&mut *writer)
            .await?;
        }
        if !self.keys.is_empty() {
            let expires = millis(self.now).saturating_add(24 * 3600 * 1000);
            let rows: Vec<_> = self.keys.iter().map(|(principal, key, digest, run)| (principal, key, digest, run, expires)).collect();
            sqlx::query(
                "INSERT INTO idempotency (principal, key, body_digest, run, expires_at)
                 SELECT value->>0, value->>1, value->>2, value->>3, value->>4 FROM json_each($1) WHERE true
                 ON CONFLICT (principal, key) DO UPDATE SET body_digest = excluded.body_digest, run = excluded.run,
                        expires_at = excluded.expires_at",
            )
            .bind(to_json("idempotency", &rows)?)
            .execute(&mut *writer)
            .await?;
        }
        Ok(())
    }

    async fn write_effects(&self, writer: &mut SqliteConnection) -> Result<(), StoreError> {
        if !self.done.is_empty() {
            let done: Vec<(i64, i64)> = self.done.iter().map(|lease| (lease.id, lease.epoch)).collect();
            sqlx::query("DELETE FROM effect WHERE (id, epoch) IN (SELECT value->>0, value->>1 FROM json_each($1))")
                .bind(to_json("effect", &done)?)
                .execute(&mut *writer)
                .await?;
        }
        let withdrawn: Vec<&String> = self.effects.iter().filter(|(_, effect)| effect.is_none()).map(|(id, _)| id).collect();
        if !withdrawn.is_empty() {
            sqlx::query("DELETE FROM effect WHERE key IN (SELECT value FROM json_each($1))")
                .bind(to_json("effect", &withdrawn)?)
                .execute(&mut *writer)
                .await?;
        }
        let mut rows = Vec::new();
        for (id, effect) in &self.effects {
            let Some(effect) = effect else { continue };
            let (kind, lane) = (effect.act.kind().word(), effect.act.lane().word());
            let payload = to_json("effect", effect)?;
            rows.push((id, effect.key.run, kind, lane, payload, millis(effect.due), millis(effect.give_up)));
        }
        if rows.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO effect (key, run, kind, lane, v, payload, due, give_up)
             SELECT value->>0, value->>1, value->>2, value->>3, 1, value->>4, value->>5, value->>6 FROM json_each($1) WHERE true
             ON CONFLICT (key) DO UPDATE SET payload = excluded.payload, due = excluded.due, give_up = excluded.give_up,
                    lane = excluded.lane, tries = 0, owner = NULL, until = NULL, epoch = epoch + 1, error = NULL",
        )
        .bind(to_json("effect", &rows)?)
        .execute(&mut *writer)
        .await?;
        Ok(())
    }

    async fn write_resources(&self, writer: &mut SqliteConnection) -> Result<(), StoreError> {
        if self.resources.is_empty() {
            return Ok(());
        }
        let mut records = Vec::new();
        let mut claims = Vec::new();
        let mut gone = Vec::new();
        let mut left = Vec::new();
        for key in &self.resources {
            match self.memory.resources.get(key) {
                Some(resource) => records.push(record_row(resource)?),
                None => left.push(key.to_string()),
            }
        }
        for (key, holder) in &self.touched {
            match self.memory.resources.get(key).and_then(|resource| resource.claim(holder)) {
                Some(claim) => claims.push((key.to_string(), holder, to_json("claim", claim)?)),
                None => gone.push((key.to_string(), holder)),
            }
        }
        sqlx::query(
            "INSERT INTO resource (key, version, body) SELECT value->>0, 1, value->>1 FROM json_each($1) WHERE true
             ON CONFLICT (key) DO UPDATE SET version = version + 1, body = excluded.body",
        )
        .bind(to_json("resource", &records)?)
        .execute(&mut *writer)
        .await?;
        if !left.is_empty() {
            sqlx::query("DELETE FROM resource WHERE key IN (SELECT value FROM json_each($1))")
                .bind(to_json("resource", &left)?)
                .execute(&mut *writer)
                .await?;
        }
        if !gone.is_empty() {
            sqlx::query("DELETE FROM claim WHERE (resource, holder) IN (SELECT value->>0, value->>1 FROM json_each($1))")
                .bind(to_json("claim", &gone)?)
                .execute(&mut *writer)
                .await?;
        }
        if !claims.is_empty() {
            sqlx::query(
                "INSERT INTO claim (resource, holder, body) SELECT value->>0, value->>1, value->>2 FROM json_each($1) WHERE true
                 ON CONFLICT (resource, holder) DO UPDATE SET body = excluded.body",
            )
            .bind(to_json("claim", &claims)?)
            .execute(&mut *writer)
            .await?;
        }
        Ok(())
    }
}
