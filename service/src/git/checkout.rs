//! A commit as files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use signalbox_contract::CommitSha;
use tokio_util::sync::CancellationToken;

use super::{Fault, Git, GitError, Remote, object_format};

/// What is to be checked out, from where and to where.
#[derive(Debug, Clone)]
pub struct Checkout<'a> {
    /// The repository.
    pub remote: &'a Remote,
    /// The full name of the ref that is fetched.
    pub ref_name: &'a str,
    /// The commit that it must point to.
    pub sha: &'a CommitSha,
    /// The folder, which is empty.
    pub into: &'a Path,
    /// How much history is fetched; all of it when absent.
    pub depth: Option<u32>,
    /// How long fetching may take, and writing the files again.
    pub deadline: Duration,
    /// How many bytes may be fetched.
    pub max_bytes: u64,
    /// Ends it early.
    pub cancel: CancellationToken,
}

impl Git {
    /// Fetches a ref, makes sure that it is the commit that is wanted, and writes its files, with a repository beside them
    /// (`.git`) that knows no remote and no credential. Submodules and filters are left alone, so nothing of the
    /// repository's is run.
    ///
    /// # Errors
    /// When it cannot be fetched, is another commit ([`Fault::NoSuchObject`]), or cannot be written.
    pub async fn checkout(&self, order: Checkout<'_>) -> Result<(), GitError> {
        let git_dir: PathBuf = order.into.join(".git");
        let init = self.local(&git_dir).args(["init", "--quiet", "--template=", object_format(order.sha.as_str().len())]);
        init.env("GIT_WORK_TREE", order.into).run().await?;
        let depth = order.depth.map(|depth| format!("--depth={depth}"));
        self.toward(&git_dir, order.remote)
            .args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--no-auto-maintenance"])
            .args(depth)
            .deadline(order.deadline)
            .at_most(order.max_bytes)
            .cancelled_by(order.cancel.clone())
            .operands([order.remote.url().as_str(), &format!("+{}:{}", order.ref_name, order.ref_name)])
            .run()
            .await?;
        let question = format!("{}^{{commit}}\n", order.ref_name);
        let fetched = self.local(&git_dir).args(["cat-file", "--batch-check=%(objectname)"]).stdin(question).run().await?;
        if String::from_utf8_lossy(&fetched).trim() != order.sha.as_str() {
            return Err(GitError::new(Fault::NoSuchObject, format!("{} is not {} there", order.ref_name, order.sha)));
        }
        // A commit id is hexadecimal: it needs no protection, and `checkout` would take what follows a marker as a path.
        self.local(&git_dir)
            .args(["checkout", "--quiet", "--detach", "--force", order.sha.as_str()])
            .env("GIT_WORK_TREE", order.into)
            .dir(order.into)
            .deadline(order.deadline)
            .cancelled_by(order.cancel)
            .run()
            .await
            .map(drop)
    }
}
