//! What is there, and what is wrong.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use signalbox_adapters::mirror::{Finding, Listed, MirrorError, Target, attempt_of};
use signalbox_contract::api::Page;
use signalbox_contract::api::mirrors::{MAX_REFS, MirrorFinding, MirrorInfo, MirrorRef, Severity};
use signalbox_contract::{AttemptKey, Failure, FailureCode, MirrorName, RepoName};
use signalbox_service::telemetry::causes;

use super::{Places, Spot};

/// How long one place may take to tell.
const PATIENCE: Duration = Duration::from_secs(40);

/// How many places are asked at a time.
const AT_ONCE: usize = 4;

impl Places {
    /// A page of the repositories that are at mirrors, in the order of mirrors and names. `after` is the last one of the
    /// page before.
    pub(crate) async fn survey(&self, after: Option<&str>, limit: usize) -> Page<MirrorInfo> {
        let spots: Vec<(Spot, Option<Timestamp>)> =
            self.spots().into_iter().filter(|(spot, _)| after.is_none_or(|after| cursor(spot).as_str() > after)).collect();
        let next = (spots.len() > limit).then(|| spots.get(limit.saturating_sub(1)).map(|(spot, _)| cursor(spot))).flatten();
        let told = stream::iter(spots.into_iter().take(limit)).map(|(spot, used_at)| self.tell(spot, used_at));
        Page { items: told.buffered(AT_ONCE).collect().await, next }
    }

    /// What was found at each place.
    pub(crate) async fn examine(&self) -> Vec<MirrorFinding> {
        let mut examined = Vec::new();
        for (mirror, place) in &self.known {
            let looked = async {
                let addresses = self.addresses(place).await?;
                place.mirror.examine(&addresses).await
            };
            let findings = within(looked).await.unwrap_or_else(|error| {
                let failure = error.failure();
                vec![Finding::new(Severity::Error, failure.detail.clone(), failure.hint.clone())]
            });
            examined.extend(findings.into_iter().map(|found| MirrorFinding {
                mirror: mirror.clone(),
                severity: found.severity,
                detail: found.detail,
                hint: found.hint,
            }));
        }
        examined
    }

    async fn tell(&self, (mirror, name): Spot, used_at: Option<Timestamp>) -> MirrorInfo {
        let listed = self.list(mirror.as_ref(), &name).await;
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
    pub(super) async fn list(&self, mirror: Option<&MirrorName>, name: &RepoName) -> Result<Option<Listed>, MirrorError> {
        let place = self.place(mirror)?;
        let looked = async {
            let addresses = self.addresses(place).await?;
            place.mirror.list(&Target { name, copy: &self.notes, addresses: &addresses }).await
        };
        within(looked).await
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

async fn within<T>(looked: impl Future<Output = Result<T, MirrorError>>) -> Result<T, MirrorError> {
    tokio::time::timeout(PATIENCE, looked).await.unwrap_or_else(|_| {
        let failure = Failure::new(FailureCode::MirrorUnreachable, format!("It did not answer within {} seconds.", PATIENCE.as_secs()));
        Err(MirrorError::Passing(failure.hint("Look whether the mirror's server is slow.")))
    })
}
