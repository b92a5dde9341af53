//! Pushing: few refs at a time, each with a lease.
//!
//! Never a whole mirror: servers keep refs to themselves (merge requests, for one), and a single one of those fails the
//! push. And never many: of a push with more than three branches GitLab sends no hook, and starts pipelines for four at most.

use std::path::Path;
use std::time::Duration;

use signalbox_contract::CommitSha;

use super::{Fault, Git, GitError, Remote};

/// How many refs one push may change.
pub const MOST_UPDATES: usize = 3;

/// What is to become of one ref.
#[derive(Debug, Clone, Copy)]
pub struct Update<'a> {
    /// The full name of the ref there.
    pub ref_name: &'a str,
    /// The commit that it is to point to; none takes the ref away.
    pub sha: Option<&'a CommitSha>,
    /// What it must point to until then; none if it must not be there. What somebody else wrote is never overwritten.
    pub lease: Option<&'a CommitSha>,
}

/// What is to be pushed: all of it, or none.
#[derive(Debug, Clone, Copy)]
pub struct Push<'a> {
    /// To where.
    pub remote: &'a Remote,
    /// The refs, [`MOST_UPDATES`] at most.
    pub updates: &'a [Update<'a>],
    /// Words for the server (`git push -o`), which it must know what to do with.
    pub options: &'a [&'a str],
    /// How long it may take.
    pub deadline: Duration,
}

impl Git {
    /// Pushes refs from the bare repository `folder`, or takes them away, if each still is what it is believed to be.
    ///
    /// # Errors
    /// [`Fault::NonFastForward`] when one is something else by now; else when the server does not take it. What the server
    /// says about it (`remote:` lines) is in [`GitError::said`].
    pub async fn push(&self, folder: &Path, order: Push<'_>) -> Result<(), GitError> {
        let refuse = |why: &str| Err(GitError::new(Fault::Local, why));
        if order.updates.is_empty() || order.updates.len() > MOST_UPDATES {
            return refuse("a push changes one to three refs");
        }
        if !order.options.iter().all(|option| option.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')) {
            return refuse("an option of a push is a plain line");
        }
        let mut push = self.toward(folder, order.remote).args([
            "push",
            "--quiet",
            "--porcelain",
            "--no-verify",
            "--no-follow-tags",
            "--recurse-submodules=no",
        ]);
        // A server that knows no such pushes can still take one ref.
        if order.updates.len() > 1 {
            push = push.arg("--atomic");
        }
        for option in order.options {
            push = push.arg(format!("--push-option={option}"));
        }
        let text = |sha: Option<&CommitSha>| sha.map(CommitSha::as_str).unwrap_or_default().to_owned();
        for update in order.updates {
            push = push.arg(format!("--force-with-lease={}:{}", update.ref_name, text(update.lease)));
        }
        let specs = order.updates.iter().map(|update| format!("{}:{}", text(update.sha), update.ref_name));
        push.operands(std::iter::once(order.remote.url().as_str().to_owned()).chain(specs)).deadline(order.deadline).run().await.map(drop)
    }
}
