//! What nobody needs any more: refs of attempts that ended long ago, and copies that nobody has used for long.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use signalbox_adapters::mirror::{MirrorError, Note, Target};
use signalbox_contract::api::mirrors::{CollectFailure, CollectResult, CollectedCopy, CollectedRef, MirrorRef};
use signalbox_contract::{CommitSha, MirrorName, RefName, RepoName};
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::causes;
use tokio::time::Instant;

use super::Places;

/// How many refs are removed at a time.
const MOST: usize = 200;

/// How long one place may take to tell what is there.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often old things are looked for.
const EVERY: Duration = Duration::from_hours(6);

/// How long things are kept that nobody needs.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Refs of attempts, from when they were shown.
    pub run_refs: Duration,
    /// Copies of sources, from when they were last used.
    pub copies: Duration,
}

impl Places {
    /// Removes what is older than the retention allows, or tells what it would be. After `round`, no further place is begun
    /// with. None while that is being done already.
    pub(crate) async fn collect(&self, dry_run: bool, round: Duration) -> Option<CollectResult> {
        let _turn = self.collecting.try_lock().ok()?;
        let (now, begun) = (self.clock.now(), Instant::now());
        let mut result = CollectResult { dry_run, ..CollectResult::default() };
        for ((mirror, name), _) in self.spots() {
            // A mirror that is not configured any more is nobody's to clean.
            if self.place(mirror.as_ref()).is_err() {
                continue;
            }
            if begun.elapsed() > round {
                result.more = true;
            } else if let Err(error) = self.collect_refs(mirror.as_ref(), &name, now, &mut result).await {
                result.failures.push(CollectFailure { mirror, name, failure: error.failure().clone() });
            }
            if result.more {
                return Some(result);
            }
        }
        self.collect_copies(now, &mut result).await;
        Some(result)
    }

    async fn collect_refs(
        &self,
        mirror: Option<&MirrorName>,
        name: &RepoName,
        now: Timestamp,
        result: &mut CollectResult,
    ) -> Result<(), MirrorError> {
        let Some(listed) = self.list(mirror, name, Instant::now() + PATIENCE).await? else { return Ok(()) };
        let before = before(now, self.retention.run_refs);
        let mut old: Vec<MirrorRef> = self.aged(&listed).await.into_iter().filter(|shown| shown.since < before).collect();
        let room = MOST.saturating_sub(result.refs.len());
        result.more |= old.len() > room;
        old.truncate(room);
        if old.is_empty() {
            return Ok(());
        }
        if !result.dry_run {
            let place = self.place(mirror)?;
            let copy = match self.copy(name) {
                Some(copy) => copy.path().to_owned(),
                None => self.scratch(old.first().map_or(40, |shown| shown.sha.as_str().len())).await?,
            };
            let _turn = self.turn(&(mirror.cloned(), name.clone())).await;
            let addresses = self.addresses(place).await?;
            let refs: Vec<(RefName, CommitSha)> = old.iter().map(|shown| (shown.ref_name.clone(), shown.sha.clone())).collect();
            place.mirror.clear(&Target { name, copy: &copy, addresses: &addresses }, &refs).await?;
            for shown in &old {
                if let Err(error) = Note::new(self.notes.join(format!("{}.json", shown.attempt))).discard() {
                    tracing::warn!(error = %causes(&error), "mirror.note_kept");
                }
            }
            tracing::info!(repo = %name, mirror = mirror.map(MirrorName::as_str), refs = old.len(), "mirror.refs_collected");
        }
        let collected =
            |shown: MirrorRef| CollectedRef { mirror: mirror.cloned(), name: name.clone(), ref_name: shown.ref_name, since: shown.since };
        result.refs.extend(old.into_iter().map(collected));
        Ok(())
    }

    async fn collect_copies(&self, now: Timestamp, result: &mut CollectResult) {
        let before = before(now, self.retention.copies);
        let bindings = self.names.all();
        for copy in self.cache.all() {
            let Some(used_at) = copy.used_at().filter(|used| *used < before) else {
                // One from before such times were written is used now.
                copy.note_use(now);
                continue;
            };
            // While it shows something, somebody may read it.
            if copy.attempts().await.map_or(true, |shown| !shown.is_empty()) {
                continue;
            }
            let names = bindings.iter().filter(|binding| self.cache.copy(&binding.copy).path() == copy.path());
            let names = names.map(|binding| binding.name.clone()).collect();
            let size = copy.size();
            if !result.dry_run && !copy.remove_unused(before).await {
                continue;
            }
            result.copies.push(CollectedCopy { names, size, used_at });
        }
    }

    /// Collects now and then, for as long as the service runs.
    pub(crate) async fn collect_for_ever(&self, shutdown: Shutdown) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first tick comes at once, and a start has other things to do.
        ticks.tick().await;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.requested() => return,
            }
            let collected = tokio::select! {
                collected = self.collect(false, EVERY) => collected,
                () = shutdown.requested() => return,
            };
            for failed in collected.into_iter().flat_map(|collected| collected.failures) {
                tracing::warn!(repo = %failed.name, mirror = failed.mirror.as_ref().map(MirrorName::as_str), failure = %failed.failure, "mirror.not_collected");
            }
        }
    }
}

fn before(now: Timestamp, age: Duration) -> Timestamp {
    SignedDuration::try_from(age).ok().and_then(|age| now.checked_sub(age).ok()).unwrap_or(Timestamp::MIN)
}
