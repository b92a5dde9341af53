//! Somebody who proposes changes, amends them before and after they are judged, and waits for the vote.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use signalbox_contract::api::run::Outcome;
use signalbox_scenarios::{Gerrit, Workspace, job_file};

use crate::asker::Asker;
use crate::dice::Dice;

/// How many patch sets a change has at most.
const PATCH_SETS: u64 = 3;

/// Between two looks at Gerrit.
const LOOK: Duration = Duration::from_millis(500);

/// Who proposes.
pub(super) struct Author {
    gerrit: Arc<Gerrit>,
    workspace: Workspace,
    project: &'static str,
    here: bool,
    dice: Dice,
    count: u64,
}

/// A change after its last patch set was judged, or ought to have been.
#[derive(Debug)]
pub(super) struct Judged {
    number: u64,
    /// The vote that each patch set deserves.
    pub(super) wanted: BTreeMap<u64, i64>,
    /// Whether the last run was given up, which is said, and says nothing about the change.
    pub(super) given_up: bool,
    fault: Option<String>,
}

impl Judged {
    pub(super) const fn lost(fault: String) -> Self {
        Self { number: 0, wanted: BTreeMap::new(), given_up: false, fault: Some(fault) }
    }

    /// Looks at the votes of all its patch sets, says what is wrong with them, and answers how many there are.
    pub(super) async fn count(&self, gerrit: &Gerrit, findings: &mut Vec<String>) -> u64 {
        findings.extend(self.fault.iter().map(|fault| format!("lost: {fault}")));
        if self.fault.is_some() {
            return 0;
        }
        let (given, now) = (gerrit.votes(self.number).await, gerrit.vote(self.number).await);
        let wrong = self.judge(&given, now);
        if !wrong.is_empty() {
            findings.extend(wrong);
            let said: Vec<_> = gerrit.said(self.number).await.into_iter().map(|said| (said.patch_set, said.words)).collect();
            findings.push(format!("on change {} we said, in this order: {said:?}", self.number));
        }
        given.values().map(|votes| votes.len() as u64).sum()
    }

    /// What is wrong with the votes that were given, in order, by patch set, and with the one that is shown.
    fn judge(&self, given: &BTreeMap<u64, Vec<i64>>, now: i64) -> Vec<String> {
        let (change, mut wrong) = (self.number, Vec::new());
        let last = self.wanted.keys().next_back().copied().unwrap_or_default();
        for (patch_set, wanted) in &self.wanted {
            let votes = given.get(patch_set).map(Vec::as_slice).unwrap_or_default();
            let must = *patch_set == last && !self.given_up;
            let right = if must { votes == [*wanted] } else { votes.is_empty() || votes == [*wanted] };
            if !right {
                let what = if votes.len() > 1 { "doubled" } else { "wrong" };
                wrong.push(format!("{what}: change {change} has {votes:?} on patch set {patch_set} of {last}, which deserves {wanted}"));
            }
        }
        for (patch_set, votes) in given.iter().filter(|(patch_set, _)| !self.wanted.contains_key(patch_set)) {
            wrong.push(format!("wrong: change {change} has {votes:?} on patch set {patch_set}, which nobody has proposed"));
        }
        if !self.given_up && Some(&now) != self.wanted.get(&last) {
            wrong.push(format!("wrong: change {change} shows {now} in the end, and deserves {:?}", self.wanted.get(&last)));
        }
        wrong
    }
}

impl Author {
    pub(super) const fn new(gerrit: Arc<Gerrit>, workspace: Workspace, project: &'static str, here: bool, dice: Dice) -> Self {
        Self { gerrit, workspace, project, here, dice, count: 0 }
    }

    /// Proposes a change, amends it some times, and waits until its last patch set has a vote.
    pub(super) async fn propose(&mut self, asker: &Asker) -> Judged {
        self.count += 1;
        self.workspace.refresh().await;
        let patch_sets = 1 + self.dice.below(PATCH_SETS);
        let mut wanted = BTreeMap::new();
        let (mut number, mut sha) = (0, String::new());
        for patch_set in 1..=patch_sets {
            let right = self.dice.percent(75);
            self.write(patch_set, right);
            let change = if patch_set == 1 {
                self.workspace.propose(&format!("Change {}", self.count), "").await
            } else {
                self.workspace.amend("").await
            };
            (number, sha) = (change.number, change.sha.to_string());
            wanted.insert(patch_set, if right { 1 } else { -1 });
            if patch_set < patch_sets {
                tokio::time::sleep(self.dice.millis(0..3000)).await;
            }
        }
        let judged = self.judged(asker, number, patch_sets, &sha).await;
        let (given_up, fault) = match judged {
            Ok(given_up) => (given_up, None),
            Err(fault) => (false, Some(fault)),
        };
        Judged { number, wanted, given_up, fault }
    }

    fn write(&mut self, patch_set: u64, right: bool) {
        let text = format!("{} {} {patch_set}\n", self.project, self.count);
        let script = format!("sleep 0.{}\n{}", self.dice.below(10), if right { "true" } else { "false" });
        let here = job_file(&script, &[]);
        let there = format!("{}: {{script: [make]}}\n", if right { "right" } else { "wrong" });
        let definition = if self.here { (".signalbox.yaml", here.as_str()) } else { (".gitlab-ci.yml", there.as_str()) };
        self.workspace.write(&[definition, ("text", &text)]);
    }

    /// Waits for a vote on a patch set; true where the run was given up instead.
    async fn judged(&self, asker: &Asker, change: u64, patch_set: u64, sha: &str) -> Result<bool, String> {
        let begun = Instant::now();
        loop {
            if self.gerrit.votes(change).await.get(&patch_set).is_some_and(|votes| !votes.is_empty()) {
                return Ok(false);
            }
            let runs = asker.runs_at(self.project, sha).await?;
            if runs.iter().any(|run| run.outcome == Some(Outcome::Lost)) {
                return Ok(true);
            }
            if begun.elapsed() > asker.patience() {
                let runs: Vec<_> = runs.iter().map(|run| (run.id, run.state, run.outcome, &run.reason)).collect();
                return Err(format!("patch set {patch_set} of change {change} of {} got no vote; its runs: {runs:?}", self.project));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Votes = BTreeMap<u64, Vec<i64>>;

    /// A change whose first patch set deserves -1, and whose second one +1.
    fn change(given_up: bool) -> Judged {
        Judged { number: 7, wanted: [(1, -1), (2, 1)].into(), given_up, fault: None }
    }

    #[test]
    fn a_history_that_is_right_is_told_from_each_that_is_not() {
        for right in [[(2, vec![1])].into(), [(1, vec![-1]), (2, vec![1])].into()] {
            assert_eq!(change(false).judge(&right, 1), Vec::<String>::new());
        }
        assert_eq!(change(true).judge(&BTreeMap::new(), 0), Vec::<String>::new(), "what is given up says nothing");
        let planted: [(&str, Votes, i64); 9] = [
            ("the last vote is lost", [(1, vec![-1])].into(), 0),
            ("the last vote is doubled", [(2, vec![1, 1])].into(), 1),
            ("the last vote was another before", [(2, vec![-1, 1])].into(), 1),
            ("the last vote was withdrawn", [(2, vec![1, 0])].into(), 0),
            ("the last vote is wrong", [(2, vec![-1])].into(), -1),
            ("an older vote is doubled", [(1, vec![-1, -1]), (2, vec![1])].into(), 1),
            ("an older vote is that of the last", [(1, vec![1]), (2, vec![1])].into(), 1),
            ("the vote is on what nobody proposed", [(2, vec![1]), (3, vec![1])].into(), 1),
            ("another vote is shown", [(2, vec![1])].into(), -1),
        ];
        for (what, given, now) in planted {
            assert!(!change(false).judge(&given, now).is_empty(), "{what}");
        }
    }
}
