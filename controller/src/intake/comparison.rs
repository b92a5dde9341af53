//! What is at a forge, asked for without any event.
//!
//! What a forge lists is what is open, and where its branches are. From that alone two things cannot be told, and are asked
//! for: how a change is that is not listed and has runs under way; and whether a branch was moved by a merge.

use std::collections::BTreeSet;

use jiff::Timestamp;
use signalbox_adapters::forge::{Forge, ForgeError, Happening, Watched};
use signalbox_contract::ForgeName;
use signalbox_contract::change::ChangeId;
use signalbox_service::telemetry::causes;

use super::Comparison;
use super::calls::Look;
use super::plan::{is_for_merges, named, scope, scopes};
use crate::config::Config;
use crate::store::{HeadState, Store, StoreError};

/// How many changes one look asks for by number.
const CHANGES: usize = 500;

/// How many branches one look asks for the merge that moved them.
const MERGES: usize = 200;

/// Why a forge could not be compared.
#[derive(Debug, thiserror::Error)]
pub(super) enum CompareError {
    /// The forge did not say how things are.
    #[error("the forge does not say how things are")]
    Forge(#[source] ForgeError),
    /// What is known could not be read.
    #[error("what is known could not be read")]
    Store(#[from] StoreError),
}

impl CompareError {
    pub(super) fn words(&self) -> String {
        causes(self)
    }
}

/// One forge, as far as it is compared.
pub(super) struct Compare<'a> {
    pub(super) name: &'a ForgeName,
    pub(super) forge: &'a dyn Forge,
    pub(super) store: &'a Store,
    pub(super) config: &'a Config,
    pub(super) watched: &'a [Watched],
}

impl Comparison {
    /// Where there is nothing to compare.
    pub(super) fn nothing(forge: &ForgeName, asked_at: Timestamp) -> Self {
        Self { forge: forge.clone(), asked_at, scopes: Vec::new(), found: Vec::new(), changes: Vec::new() }
    }
}

impl Compare<'_> {
    /// `last` is the change that was asked for last among those that are not listed: where there are more than one look asks for,
    /// the next one goes on behind it.
    pub(super) async fn look(&self, look: &Look, asked_at: Timestamp, last: &mut Option<ChangeId>) -> Result<Comparison, CompareError> {
        let mut comparison = Comparison::nothing(self.name, asked_at);
        let mut changes = BTreeSet::new();
        if look.all {
            let found = self.forge.heads(self.watched).await.map_err(CompareError::Forge)?;
            comparison.scopes = self.watched.iter().flat_map(scopes).collect();
            let shown: BTreeSet<ChangeId> = found.iter().filter_map(proposed).cloned().collect();
            // What is not listed any more may be closed; its runs would go on, and vote.
            let watched = |change: &ChangeId| self.watched.iter().any(|one| one.project == change.project);
            changes.extend(self.store.reviewed(self.name).await?.into_iter().filter(watched));
            changes.retain(|change| !shown.contains(change));
            comparison.found = self.merges(found).await?;
        }
        let called = look.changes.iter().filter(|change| !changes.contains(change)).cloned().collect::<Vec<_>>();
        for (change, of_all) in
            called.into_iter().map(|change| (change, false)).chain(in_turn(&changes, last.as_ref()).map(|change| (change, true)))
        {
            if of_all {
                // Before it is asked for: one for which there is no answer does not keep those behind it waiting.
                *last = Some(change.clone());
            }
            match self.forge.change(&change).await {
                Ok(found) => comparison.changes.extend(found),
                // One that is not shown to us does not hide the others.
                Err(error @ ForgeError::Refused(_)) => {
                    tracing::warn!(forge = %self.name, project = change.project, number = change.number, error = %causes(&error), "a change cannot be read");
                }
                Err(error) => return Err(CompareError::Forge(error)),
            }
        }
        Ok(comparison)
    }

    /// Says of the branches that a rule for merges is about, and that are elsewhere than was known, whether a merge moved them.
    async fn merges(&self, found: Vec<Happening>) -> Result<Vec<Happening>, CompareError> {
        let before: BTreeSet<String> = self.store.compared(self.name).await?.into_iter().collect();
        let wanted = |happening: &Happening| {
            scope(happening).is_some_and(|scope| before.contains(&scope)) && is_for_merges(self.config, self.name, happening)
        };
        let subjects: Vec<_> = found.iter().filter(|one| wanted(one)).filter_map(named).collect();
        let known = self.store.heads(self.name, &subjects).await?;
        let is_known = |project: &str, subject: &str, sha: &str| {
            known
                .iter()
                .any(|head| head.project == project && head.subject == subject && head.sha == sha && head.standing == HeadState::Handled)
        };
        let mut asked = 0;
        let mut told = Vec::with_capacity(found.len());
        for happening in found {
            let Happening::Moved { project, ref_name, sha: Some(sha), merged: None } = &happening else {
                told.push(happening);
                continue;
            };
            if !wanted(&happening) || is_known(project, ref_name.as_str(), sha.as_str()) {
                told.push(happening);
                continue;
            }
            // The rest is left to the next look.
            asked += 1;
            if asked > MERGES {
                continue;
            }
            match self.forge.merged_as(project, ref_name, sha).await {
                Ok(merged) => {
                    let (project, ref_name, sha) = (project.clone(), ref_name.clone(), Some(sha.clone()));
                    told.push(Happening::Moved { project, ref_name, sha, merged });
                }
                Err(error @ ForgeError::Refused(_)) => {
                    tracing::warn!(forge = %self.name, project, branch = %ref_name, error = %causes(&error), "how a branch moved cannot be read");
                }
                Err(error) => return Err(CompareError::Forge(error)),
            }
        }
        Ok(told)
    }
}

/// Those that one look asks for: from behind the last one on, and from the beginning again.
fn in_turn<'a>(changes: &'a BTreeSet<ChangeId>, last: Option<&ChangeId>) -> impl Iterator<Item = ChangeId> + use<'a> {
    let behind = changes.iter().filter({
        let last = last.cloned();
        move |change| last.as_ref().is_none_or(|last| *change > last)
    });
    let last = last.cloned();
    let before = changes.iter().filter(move |change| last.as_ref().is_some_and(|last| *change <= last));
    behind.chain(before).take(CHANGES).cloned()
}

const fn proposed(happening: &Happening) -> Option<&ChangeId> {
    match happening {
        Happening::Proposed { head, .. } => Some(&head.change),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_more_changes_than_one_look_asks_for_each_has_its_turn() {
        let change = |number| ChangeId { forge: "forge".parse().expect("a name"), project: "team/hello".to_owned(), number };
        let mut changes: BTreeSet<ChangeId> = (0..1200).map(change).collect();
        let (mut last, mut seen) = (None, BTreeSet::new());
        for _ in 0..3 {
            let asked: Vec<ChangeId> = in_turn(&changes, last.as_ref()).collect();
            assert_eq!(asked.len(), CHANGES);
            last = asked.last().cloned();
            seen.extend(asked);
        }
        assert_eq!(seen, changes);
        // The one that was last may be gone by then, and they may have become few.
        changes.retain(|change| change.number < 3);
        assert_eq!(in_turn(&changes, last.as_ref()).count(), 3);
    }
}
