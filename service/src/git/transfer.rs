//! Speaking with another repository: asking for refs, and fetching them.

use std::path::Path;
use std::time::Duration;

use signalbox_contract::{CommitSha, RefName};
use tokio_util::sync::CancellationToken;

use super::{Fault, Git, GitError, Remote};

/// The longest list of refs that is read from a server, in bytes: about a million refs.
const MOST_REFS: usize = 128 * 1024 * 1024;

/// What every line has in which git traces its protocol.
const TRACED: &[u8] = b" packet: ";

/// A ref as a server shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The ref's full name.
    pub name: RefName,
    /// The commit that it points to, through an annotated tag where it is one.
    pub sha: CommitSha,
    /// What it points to itself: the tag where it is an annotated one, else the commit. A lease is on this.
    pub object: CommitSha,
}

/// What is to be fetched.
#[derive(Debug, Clone)]
pub struct Fetch<'a> {
    /// From where.
    pub remote: &'a Remote,
    /// The full names of refs there, and the refs here that are to point to the same.
    pub refs: &'a [(&'a str, &'a str)],
    /// How long it may take.
    pub deadline: Duration,
    /// How many bytes may come.
    pub max_bytes: u64,
    /// Ends it early.
    pub cancel: CancellationToken,
}

/// How often the growth of a repository is looked at while it is fetched into. The kernel bounds each file meanwhile.
const WATCH: Duration = Duration::from_millis(250);

/// What lies in a bare repository's object store.
struct Packs {
    bytes: u64,
    loose: bool,
}

impl Packs {
    fn of(folder: &Path) -> Result<Self, GitError> {
        let unreadable = |error: std::io::Error| GitError::new(Fault::Local, format!("{} cannot be read: {error}", folder.display()));
        let objects = folder.join("objects");
        let names = std::fs::read_dir(&objects).map_err(unreadable)?;
        let loose = names.flatten().any(|entry| entry.file_name().len() == 2);
        let packs = std::fs::read_dir(objects.join("pack")).map_err(unreadable)?;
        // A file that goes away meanwhile has no size any more.
        let bytes = packs.flatten().map(|entry| entry.metadata().map_or(0, |file| file.len())).sum();
        Ok(Self { bytes, loose })
    }

    /// Every fetch is one pack, and we make no other objects. Loose ones come from a server that does not speak git's
    /// protocol: there git walks the files one by one, with no bound on how many they are.
    fn within(&self, most: u64) -> Result<(), GitError> {
        if self.loose {
            return Err(GitError::new(Fault::NotGit, "the server only has git's files, it does not speak its protocol"));
        }
        if self.bytes > most.saturating_add(most / 4) {
            return Err(GitError::new(Fault::TooLarge, "the repository grows beyond what is allowed"));
        }
        Ok(())
    }
}

/// An id in a server's list of refs.
fn commit(text: &str) -> Result<CommitSha, GitError> {
    text.parse().map_err(|_| GitError::new(Fault::NotGit, "the server's list of refs makes no sense"))
}

impl Git {
    /// Asks a server what these refs (full names) point to. Those that are not there are left out.
    ///
    /// # Errors
    /// When the server does not tell.
    pub async fn ls_remote(&self, remote: &Remote, refs: &[RefName], deadline: Duration) -> Result<Vec<Shown>, GitError> {
        let url = remote.url().as_str();
        // A pattern takes every ref that ends in it, and for a tag, the commit behind it is wanted too.
        let patterns: Vec<String> = refs.iter().flat_map(|name| [name.to_string(), format!("{name}^{{}}")]).collect();
        let said = self
            .toward_from_nowhere(remote)
            .args(["ls-remote", "--quiet"])
            .operands(std::iter::once(url).chain(patterns.iter().map(String::as_str)))
            .deadline(deadline)
            .stdout(MOST_REFS)
            .run()
            .await?;
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<(&str, &str)> = said.lines().filter_map(|line| line.split_once('\t')).collect();
        let find = |wanted: &str| lines.iter().find(|(_, name)| *name == wanted).map(|(sha, _)| *sha);
        let mut shown = Vec::new();
        for name in refs {
            let Some(object) = find(name.as_str()) else {
                continue;
            };
            let sha = commit(find(&format!("{name}^{{}}")).unwrap_or(object))?;
            shown.push(Shown { name: name.clone(), sha, object: commit(object)? });
        }
        Ok(shown)
    }

    /// Makes sure that a server which showed none of the refs it was asked for is a git server. Over HTTP, git takes
    /// whatever does not speak its protocol for a folder of plain files, and a page of one line, as proxies and sign-in
    /// forms answer, for a list of no refs.
    ///
    /// # Errors
    /// When it is none, or does not answer.
    pub async fn confirm_server(&self, remote: &Remote, deadline: Duration) -> Result<(), GitError> {
        if !matches!(remote.url().scheme(), "http" | "https") {
            return Ok(());
        }
        // Only git's own protocol has packets, so only with it is there one to be traced.
        let traced = self
            .toward_from_nowhere(remote)
            .env("GIT_TRACE_PACKET", "1")
            .args(["ls-remote", "--quiet"])
            .operands([remote.url().as_str(), "refs/heads/signalbox-asks-who-is-there"])
            .deadline(deadline)
            .stdout(MOST_REFS)
            .listen()
            .await?;
        if traced.windows(TRACED.len()).any(|window| window == TRACED) {
            return Ok(());
        }
        Err(GitError::new(Fault::NotGit, "the URL answers a web page or plain files, not git's protocol"))
    }

    /// Asks a server for its branches below `prefix` (`refs/heads/cd/`, a full name that ends in a slash), `most` of them at
    /// most. Those whose names are none of ours are left out.
    ///
    /// # Errors
    /// When the server does not tell.
    pub async fn ls_remote_below(&self, remote: &Remote, prefix: &str, most: usize, deadline: Duration) -> Result<Vec<Shown>, GitError> {
        let said = self
            .toward_from_nowhere(remote)
            .args(["ls-remote", "--quiet", "--heads"])
            .operands([remote.url().as_str(), &format!("{prefix}*")])
            .deadline(deadline)
            .stdout(MOST_REFS)
            .run()
            .await?;
        let said = String::from_utf8_lossy(&said);
        let named = said.lines().filter_map(|line| line.split_once('\t')).filter(|(_, name)| name.starts_with(prefix));
        let named = named.filter_map(|(sha, name)| Some((sha, name.parse::<RefName>().ok()?))).take(most);
        named.map(|(sha, name)| Ok(Shown { name, sha: commit(sha)?, object: commit(sha)? })).collect()
    }

    /// Fetches refs into the bare repository `folder`. No tag comes that was not asked for, and nothing else is written.
    ///
    /// # Errors
    /// When they cannot be fetched. What came of it so far is left in `folder`.
    pub async fn fetch(&self, folder: &Path, order: Fetch<'_>) -> Result<(), GitError> {
        let refs = order.refs.iter().map(|(there, here)| format!("+{there}:{here}"));
        let before = Packs::of(folder)?.bytes;
        let fetch = self
            .toward(folder, order.remote)
            .args(["fetch", "--quiet", "--prune", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"])
            .args(["--no-auto-maintenance", "--no-show-forced-updates", "--refmap="])
            .operands(std::iter::once(order.remote.url().as_str().to_owned()).chain(refs))
            .deadline(order.deadline)
            .at_most(order.max_bytes)
            .cancelled_by(order.cancel)
            .run();
        let watch = async {
            loop {
                tokio::time::sleep(WATCH).await;
                Packs::of(folder)?.within(before.saturating_add(order.max_bytes))?;
            }
        };
        // Whichever ends first drops the other; git dies with its future.
        tokio::select! {
            fetched = fetch => fetched.map(drop)?,
            excess = watch => return excess,
        }
        Packs::of(folder)?.within(before.saturating_add(order.max_bytes))
    }
}
