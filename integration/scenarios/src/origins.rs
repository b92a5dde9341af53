//! Runs that a forge made begin.

use signalbox_contract::CommitSha;
use signalbox_contract::api::Page;
use signalbox_contract::api::run::{Outcome, RunState, RunSummary, RunView};
use signalbox_contract::change::Origin;
use signalbox_contract::token::Service;
use signalbox_service::testing::eventually;

use crate::gerrit::Gerrit;
use crate::review::Change;
use crate::world::{PATIENCE, World};

impl World {
    /// Waits until a service has written these words to its log so many times.
    ///
    /// # Panics
    /// When it does not.
    pub async fn says(&self, service: Service, words: &str, times: usize) {
        let said = || async { (self.services.log(service).matches(words).count() >= times).then_some(()) };
        self.patiently(&format!("the {service} says {words:?}"), said).await;
    }

    /// The runs of a repository, the oldest first.
    ///
    /// # Panics
    /// When the controller does not answer.
    pub async fn runs(&self, repo: &str) -> Vec<RunSummary> {
        let page: Page<RunSummary> = self.get(&format!("/runs?repo={repo}&limit=200")).await;
        let mut runs = page.items;
        runs.reverse();
        runs
    }

    /// The runs of a repository that were made by this patch set.
    pub async fn runs_for(&self, repo: &str, sha: &CommitSha) -> Vec<RunSummary> {
        let ours = |run: &RunSummary| matches!(&run.origin, Origin::Review(head) if head.sha == *sha);
        self.runs(repo).await.into_iter().filter(ours).collect()
    }

    /// Waits for the only run of a patch set.
    ///
    /// # Panics
    /// When it does not come, or there are several.
    pub async fn run_for(&self, repo: &str, change: &Change) -> RunSummary {
        let found = || async {
            let runs = self.runs_for(repo, &change.sha).await;
            assert!(runs.len() < 2, "one patch set has one run: {runs:#?}");
            runs.into_iter().next()
        };
        self.patiently(&format!("a run of {}", change.sha), found).await
    }

    /// Waits for the newest run of a branch of a repository, which has to be of this commit.
    ///
    /// # Panics
    /// When it does not come, or there are several.
    pub async fn run_at(&self, repo: &str, sha: &str) -> RunSummary {
        let found = || async {
            let moved = |run: &RunSummary| matches!(&run.origin, Origin::Moved { sha: at, .. } if at.to_string() == sha);
            let runs: Vec<RunSummary> = self.runs(repo).await.into_iter().filter(moved).collect();
            assert!(runs.len() < 2, "one commit of a branch has one run: {runs:#?}");
            runs.into_iter().next()
        };
        self.patiently(&format!("a run of the branch at {sha}"), found).await
    }

    /// Waits for a patch set's run, its end, and the vote that says it, which is our only one on it.
    ///
    /// # Panics
    /// When it ends otherwise.
    pub async fn judged(&self, gerrit: &Gerrit, repo: &str, change: &Change, patch_set: u64, outcome: Outcome) -> RunView {
        let run = self.run_for(repo, change).await;
        let view = self.ends(run.id, outcome).await;
        let vote = if outcome == Outcome::Passed { 1 } else { -1 };
        gerrit.until_vote(change.number, patch_set, vote).await;
        let votes = gerrit.votes(change.number).await;
        assert_eq!(votes.get(&patch_set).map(Vec::as_slice), Some(&[vote][..]), "one vote a patch set: {votes:?}");
        view
    }

    /// Waits until every run of a repository is over.
    ///
    /// # Panics
    /// When one does not end.
    pub async fn idle(&self, repo: &str) {
        let over = || async { self.runs(repo).await.iter().all(|run| run.state == RunState::Finished).then_some(()) };
        self.patiently("all runs are over", over).await;
    }

    /// Waits for something, and shows the logs when it does not come.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn patiently<T, F: Future<Output = Option<T>>>(&self, what: &str, ask: impl FnMut() -> F) -> T {
        let Ok(found) = tokio::time::timeout(PATIENCE, eventually(what, PATIENCE * 2, ask)).await else {
            panic!("still waiting for {what}\n{}", self.logs())
        };
        found
    }
}
