//! What is there, and what is wrong.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use signalbox_adapters::mirror::{Finding, Listed, MirrorError, Target, attempt_of};
use signalbox_contract::api::Page;
use signalbox_contract::api::mirrors::{MAX_REFS, MirrorFinding, MirrorInfo, MirrorRef, Severity};
use signalbox_contract::{AttemptKey, Failure, FailureCode, MirrorName, RepoName};
use signalbox_service::telemetry::causes;
use tokio::time::Instant;

use super::{Place, Places, Spot};

/// How long one place may take to tell.
const PATIENCE: Duration = Duration::from_secs(25);

/// How long all of a page may take: less than whoever asks waits.
const PAGE: Duration = Duration::from_secs(35);

/// How many places are asked at a time.
const AT_ONCE: usize = 4;

impl Places {
    /// A page of the repositories that are at mirrors, in the order of mirrors and names. `after` is the last one of the
    /// page before.
    pub(crate) async fn survey(&self, after: Option<&str>, limit: usize) -> Page<MirrorInfo> {
        let spots: Vec<(Spot, Option<Timestamp>)> =
            self.spots().into_iter().filter(|(spot, _)| after.is_none_or(|after| cursor(spot).as_str() > after)).collect();
        let next = (spots.len() > limit).then(|| spots.get(limit.saturating_sub(1)).map(|(spot, _)| cursor(spot))).flatten();
        let until = Instant::now() + PAGE;
        let told = stream::iter(spots.into_iter().take(limit)).map(|(spot, used_at)| self.tell(spot, used_at, until));
        Page { items: told.buffered(AT_ONCE).collect().await, next }
    }

    /// What was found at each place.
    pub(crate) async fn examine(&self) -> Vec<MirrorFinding> {
        let until = Instant::now() + PAGE;
        let examined: Vec<_> = self.known.iter().map(|(mirror, place)| self.examine_one(mirror.as_ref(), place, until)).collect();
        stream::iter(examined).buffered(AT_ONCE).concat().await
    }

    async fn examine_one(&self, mirror: Option<&MirrorName>, place: &Place, until: Instant) -> Vec<MirrorFinding> {
        let looked = async {
            let addresses = self.addresses(place).await?;
            place.mirror.examine(&addresses).await
        };
        let findings = within(until, looked).await.unwrap_or_else(|error| {
            let failure = error.failure();
            vec![Finding::new(Severity::Error, failure.detail.clone(), failure.hint.clone())]
        });
        let of_mirror = |Finding { severity, detail, hint }| MirrorFinding { mirror: mirror.cloned(), severity, detail, hint };
        findings.into_iter().map(of_mirror).collect()
    }

    async fn tell(&self, (mirror, name): Spot, used_at: Option<Timestamp>, until: Instant) -> MirrorInfo {
        let listed = self.list(mirror.as_ref(), &name, until).await;
        let mut info =
            MirrorInfo { mirror, name, url: None, project: None, size: None, used_at, refs: Vec::new(), more_refs: 0, failure: None };
        match listed {
            Ok(None) => {}
            Ok(Some(listed)) => {
                let mut refs = self.aged(&listed).await;
                info.more_refs = refs.len().saturating_sub(MAX_REFS) as u64;
                refs.truncate(MAX_REFS);
                info.refs = refs;
                info.url = Some(listed.url);
                info.project = listed.project;
                info.size = listed.size;
            }
            Err(error) => info.failure = Some(error.failure().clone()),
        }
        info
    }

    /// What a mirror says of a repository.
    pub(super) async fn list(&self, mirror: Option<&MirrorName>, name: &RepoName, until: Instant) -> Result<Option<Listed>, MirrorError> {
        let place = self.place(mirror)?;
        let looked = async {
            let addresses = self.addresses(place).await?;
            place.mirror.list(&Target { name, copy: &self.notes, addresses: &addresses }).await
        };
        within(until, looked).await
    }

    /// The refs of attempts with their age, oldest first.
    pub(super) async fn aged(&self, listed: &Listed) -> Vec<MirrorRef> {
        let mut refs = Vec::new();
        for (ref_name, sha) in &listed.refs {
            if let Some(attempt) = attempt_of(ref_name) {
                let since = self.shown_since(&attempt).await;
                refs.push(MirrorRef { ref_name: ref_name.clone(), sha: sha.clone(), attempt, since });
            }
        }
        refs.sort_by_key(|shown| shown.since);
        refs
    }

    /// When an attempt's ref was shown. What the ledger has forgotten is as old as its run at least.
    async fn shown_since(&self, attempt: &AttemptKey) -> Timestamp {
        match self.ledger.find(crate::api::PUBLISH, attempt).await {
            Ok(Some(entry)) => entry.since,
            Ok(None) => attempt.run.made_at(),
            Err(error) => {
                tracing::error!(error = %causes(&error), "ledger.not_read");
                // Nothing is removed for want of knowing.
                Timestamp::MAX
            }
        }
    }

    /// Everything that may be at mirrors: of our own, every name; elsewhere, what was ever shown there.
    pub(super) fn spots(&self) -> Vec<(Spot, Option<Timestamp>)> {
        let own = self.names.all().into_iter().map(|binding| ((None, binding.name), None));
        let elsewhere = self.spots.all().into_iter().map(|((mirror, name), used)| ((Some(mirror), name), Some(used)));
        let mut spots: Vec<_> = own.chain(elsewhere).collect();
        spots.sort_by_key(|(spot, _)| cursor(spot));
        spots
    }
}

/// A text for a spot, which sorts as they are told. A mirror's name holds no colon.
fn cursor((mirror, name): &Spot) -> String {
    format!("{}:{name}", mirror.as_ref().map_or("", MirrorName::as_str))
}

/// Looks until `until`, and no longer than one place may take.
async fn within<T>(until: Instant, looked: impl Future<Output = Result<T, MirrorError>>) -> Result<T, MirrorError> {
    let begun = Instant::now();
    tokio::time::timeout_at(until.min(begun + PATIENCE), looked).await.unwrap_or_else(|_| {
        let failure =
            Failure::new(FailureCode::MirrorUnreachable, format!("It did not answer within {} seconds.", begun.elapsed().as_secs()));
        Err(MirrorError::Passing(failure.hint("Look whether the mirror's server is slow.")))
    })
}
