//! What is at a forge, asked for without any event.
//!
//! What a forge lists is what is open, and where its branches are. From that alone two things cannot be told, and are asked
//! for: how a change is that is not listed and has runs under way; and whether a branch was moved by a merge.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use signalbox_adapters::forge::{Forge, ForgeError, Happening, Watched};
use signalbox_contract::ForgeName;
use signalbox_contract::change::ChangeId;
use signalbox_service::telemetry::causes;
use tokio::time::{Instant, timeout};

use super::Comparison;
use super::calls::Look;
use super::plan::{is_for_merges, named, scope, scopes};
use crate::config::Config;
use crate::store::{HeadState, Store, StoreError};

/// How many changes one look asks for by number.
const CHANGES: usize = 500;

/// How many branches one look asks for the merge that moved them.
const MERGES: usize = 200;

/// How long a look may take. What was not reached then is looked at by the next one.
const LONGEST: Duration = Duration::from_mins(5);

/// How long one question to a forge may take, with all the pages of its answer.
const ONE: Duration = Duration::from_mins(1);

/// After how many questions in a row without an answer a forge is taken to be away, and asked nothing more by this look.
const IN_A_ROW: u32 = 3;

/// One forge, as far as it is compared.
pub(super) struct Compare<'a> {
    pub(super) name: &'a ForgeName,
    pub(super) forge: &'a dyn Forge,
    pub(super) store: &'a Store,
    pub(super) config: &'a Config,
    /// The projects that are compared by this look, where it is one at everything.
    pub(super) watched: &'a [Watched],
}

/// What a look came to.
pub(super) struct Looked {
    pub(super) comparison: Comparison,
    /// The projects that could not be read, or not whole. They do not hide the others, and are to be looked at again.
    pub(super) behind: BTreeSet<String>,
}

/// One look's questions to a forge, which may answer some of them and others not.
struct Asking<'a> {
    forge: &'a ForgeName,
    until: Instant,
    unanswered: u32,
    behind: BTreeSet<String>,
}

/// Why there is no answer.
enum Unanswered {
    /// It will be the same the next time.
    Refused,
    /// It may be otherwise the next time.
    Yet,
}

impl<'a> Asking<'a> {
    fn new(forge: &'a ForgeName) -> Self {
        Self { forge, until: Instant::now() + LONGEST, unanswered: 0, behind: BTreeSet::new() }
    }

    /// Asks something about a project. It is behind where that brings no answer now.
    async fn ask<T>(&mut self, project: &str, question: BoxFuture<'_, Result<T, ForgeError>>) -> Result<T, Unanswered> {
        let now = Instant::now();
        if self.unanswered >= IN_A_ROW || now >= self.until {
            self.behind.insert(project.to_owned());
            return Err(Unanswered::Yet);
        }
        let error = match timeout(ONE.min(self.until - now), question).await {
            Ok(Ok(answer)) => {
                self.unanswered = 0;
                return Ok(answer);
            }
            Ok(Err(error)) => error,
            Err(elapsed) => ForgeError::Unreachable(elapsed.into()),
        };
        tracing::warn!(forge = %self.forge, project, error = %causes(&error), "a forge does not say how something is");
        if matches!(error, ForgeError::Refused(_)) {
            // Whoever refuses is there.
            self.unanswered = 0;
            return Err(Unanswered::Refused);
        }
        self.unanswered += 1;
        self.behind.insert(project.to_owned());
        Err(Unanswered::Yet)
    }
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
    ///
    /// # Errors
    /// When what is known could not be read.
    pub(super) async fn look(&self, look: &Look, asked_at: Timestamp, last: &mut Option<ChangeId>) -> Result<Looked, StoreError> {
        let mut comparison = Comparison::nothing(self.name, asked_at);
        let mut asking = Asking::new(self.name);
        let mut changes = BTreeSet::new();
        if look.all {
            let (mut found, mut read, mut refused) = (Vec::new(), BTreeSet::new(), Vec::new());
            for watched in self.watched {
                match asking.ask(&watched.project, self.forge.heads(std::slice::from_ref(watched))).await {
                    Ok(some) => {
                        found.extend(some);
                        read.insert(watched.project.as_str());
                        comparison.scopes.extend(scopes(watched));
                    }
                    Err(Unanswered::Refused) => refused.push(watched.project.clone()),
                    Err(Unanswered::Yet) => {}
                }
            }
            // A project that we may not see is its own fault. Where none may be seen, it is a password, say, which may be put right soon.
            if read.is_empty() {
                asking.behind.extend(refused);
            }
            let shown: BTreeSet<ChangeId> = found.iter().filter_map(proposed).cloned().collect();
            // What is not listed any more may be closed; its runs would go on, and vote.
            changes.extend(self.store.reviewed(self.name).await?.into_iter().filter(|change| read.contains(change.project.as_str())));
            changes.retain(|change| !shown.contains(change));
            comparison.found = self.merges(found, &mut asking).await?;
        }
        let called = look.changes.iter().filter(|change| !changes.contains(change)).cloned().collect::<Vec<_>>();
        for (change, of_all) in
            called.into_iter().map(|change| (change, false)).chain(in_turn(&changes, last.as_ref()).map(|change| (change, true)))
        {
            if of_all {
                // Before it is asked for: one for which there is no answer does not keep those behind it waiting.
                *last = Some(change.clone());
            }
            if let Ok(found) = asking.ask(&change.project, self.forge.change(&change)).await {
                comparison.changes.extend(found);
            }
        }
        Ok(Looked { comparison, behind: asking.behind })
    }

    /// Says of the branches that a rule for merges is about, and that are elsewhere than was known, whether a merge moved them.
    async fn merges(&self, found: Vec<Happening>, asking: &mut Asking<'_>) -> Result<Vec<Happening>, StoreError> {
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
            // Where that is not said, nothing is told of the branch: it is found again.
            if let Ok(merged) = asking.ask(project, self.forge.merged_as(project, ref_name, sha)).await {
                let (project, ref_name, sha) = (project.clone(), ref_name.clone(), Some(sha.clone()));
                told.push(Happening::Moved { project, ref_name, sha, merged });
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
