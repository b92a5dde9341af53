//! Reading a repository.

use std::path::{Path, PathBuf};

use signalbox_service::git::{Command, Git, GitError};

use super::NOTHING;
use crate::gitlab::hook::{Brought, LISTED};
use crate::gitlab::state::commit::Commit;

/// How a commit is asked for: fields between bytes that no message holds.
const FORMAT: &str = "--format=%H%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%B%x01";

/// The most that is read of a file, and of a listing.
const LARGEST: usize = 64 * 1024 * 1024;

/// A repository on disk.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    pub(super) git: Git,
    pub(super) folder: PathBuf,
}

/// A branch or a tag.
#[derive(Debug, Clone)]
pub(crate) struct Ref {
    /// The whole name.
    pub(crate) name: String,
    /// What it points at: for a tag with words of its own, that tag.
    pub(crate) target: String,
    /// The commit.
    pub(crate) commit: String,
}

impl Repository {
    /// The one in this folder.
    pub(crate) fn new(git: &Git, folder: &Path) -> Self {
        Self { git: git.clone(), folder: folder.to_owned() }
    }

    /// Where it is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn command(&self) -> Command {
        self.git.local(&self.folder).stdout(LARGEST)
    }

    /// Makes it, empty.
    pub(crate) async fn create(&self) -> Result<(), GitError> {
        self.git.init_bare(&self.folder, 40).await
    }

    /// What a name stands for, as a commit. What cannot be a name stands for nothing.
    pub(crate) async fn resolve(&self, name: &str) -> Option<String> {
        self.verify(&format!("{name}^{{commit}}")).await
    }

    /// What a name stands for, whatever that is.
    pub(crate) async fn verify(&self, name: &str) -> Option<String> {
        if name.is_empty() || name.starts_with('-') || name.contains(['\0', '\n']) {
            return None;
        }
        let said = self.command().args(["rev-parse", "--verify", "--quiet"]).operands([name]).run().await.ok()?;
        Some(String::from_utf8_lossy(&said).trim().to_owned()).filter(|sha| !sha.is_empty())
    }

    /// What a short name of a branch or tag, or the beginning of a commit's id, stands for.
    pub(crate) async fn find(&self, name: &str) -> Option<String> {
        for full in [format!("refs/heads/{name}"), format!("refs/tags/{name}"), name.to_owned()] {
            if let Some(sha) = self.resolve(&full).await {
                return Some(sha);
            }
        }
        None
    }

    /// The words of a tag that has some.
    pub(crate) async fn tag_message(&self, tag: &str) -> Option<String> {
        let said = self.command().args(["cat-file", "tag", tag]).run().await.ok()?;
        let said = String::from_utf8_lossy(&said).into_owned();
        said.split_once("\n\n").map(|(_, message)| message.trim_end().to_owned())
    }

    /// The commit with this id.
    pub(crate) async fn commit(&self, sha: &str) -> Option<Commit> {
        self.log(&["-1", "--no-walk"], &[sha]).await.into_iter().next()
    }

    /// Commits, newest first.
    pub(crate) async fn log(&self, options: &[&str], range: &[&str]) -> Vec<Commit> {
        let command = self.command().args(["log", "--no-show-signature", FORMAT]).args(options).operands(range);
        let Ok(said) = command.run().await else {
            return Vec::new();
        };
        let text = String::from_utf8_lossy(&said);
        text.split('\u{1}').filter_map(|record| parse(record.trim_start_matches('\n'))).collect()
    }

    /// How many commits a range has.
    pub(crate) async fn count(&self, range: &[&str]) -> usize {
        let said = self.command().args(["rev-list", "--count"]).operands(range).run().await.unwrap_or_default();
        String::from_utf8_lossy(&said).trim().parse().unwrap_or_default()
    }

    /// All refs below a prefix.
    pub(crate) async fn refs(&self, prefix: &str) -> Vec<Ref> {
        let format = "--format=%(refname) %(objectname) %(*objectname)";
        let said = self.command().args(["for-each-ref", format, prefix]).run().await.unwrap_or_default();
        let text = String::from_utf8_lossy(&said);
        text.lines()
            .filter_map(|line| {
                let mut words = line.split(' ');
                let (name, target) = (words.next()?.to_owned(), words.next()?.to_owned());
                let commit = words.next().filter(|peeled| !peeled.is_empty()).map_or_else(|| target.clone(), str::to_owned);
                Some(Ref { name, target, commit })
            })
            .collect()
    }

    /// A file of a commit.
    pub(crate) async fn file(&self, sha: &str, path: &str) -> Option<Vec<u8>> {
        self.command().args(["cat-file", "blob"]).operands([format!("{sha}:{path}")]).run().await.ok()
    }

    /// The id of a file of a commit.
    pub(crate) async fn blob(&self, sha: &str, path: &str) -> Option<String> {
        self.verify(&format!("{sha}:{path}")).await
    }

    /// The paths of a commit's files.
    pub(crate) async fn files(&self, sha: &str) -> Vec<String> {
        let said = self.command().args(["ls-tree", "-r", "-z", "--name-only"]).operands([sha]).run().await.unwrap_or_default();
        split(&said)
    }

    /// A folder of a commit: mode, kind, id and path of each entry.
    pub(crate) async fn tree(&self, sha: &str, path: &str, recursive: bool) -> Vec<(String, String, String, String)> {
        let mut command = self.command().args(["ls-tree", "-z", "--full-tree"]);
        if recursive {
            command = command.args(["-r", "-t"]);
        }
        let place = if path.is_empty() { sha.to_owned() } else { format!("{sha}:{path}") };
        let said = command.operands([place]).run().await.unwrap_or_default();
        let prefix = if path.is_empty() { String::new() } else { format!("{}/", path.trim_end_matches('/')) };
        split(&said)
            .into_iter()
            .filter_map(|line| {
                let (head, name) = line.split_once('\t')?;
                let mut words = head.split(' ').map(str::to_owned);
                Some((words.next()?, words.next()?, words.next()?, format!("{prefix}{name}")))
            })
            .collect()
    }

    /// The paths that differ between two commits; between nothing and a commit, all of its own changes.
    pub(crate) async fn changed(&self, before: &str, after: &str) -> Vec<String> {
        let range = if before == NOTHING { vec![after.to_owned()] } else { vec![before.to_owned(), after.to_owned()] };
        let command = self.command().args(["diff-tree", "-r", "-z", "--root", "--no-commit-id", "--name-only"]).operands(range);
        split(&command.run().await.unwrap_or_default())
    }

    /// The difference between two commits: each file's state and path, and the words of the difference.
    pub(crate) async fn difference(&self, before: &str, after: &str) -> Vec<(String, String, String)> {
        let command = self.command().args(["diff-tree", "-r", "-z", "--no-renames", "--name-status"]).operands([before, after]);
        let listed = split(&command.run().await.unwrap_or_default());
        let mut found = Vec::new();
        for pair in listed.chunks_exact(2).take(300) {
            let command = self.command().args(["diff-tree", "-p", "--no-renames"]).operands([before, after]).args(["--", &pair[1]]);
            let words = String::from_utf8_lossy(&command.run().await.unwrap_or_default()).into_owned();
            let hunk = words.find("\n@@").map(|at| words[at + 1..].to_owned()).unwrap_or_default();
            found.push((pair[0].clone(), pair[1].clone(), hunk));
        }
        found
    }

    /// The newest commits that a change of a branch brought, oldest first, with the files that they changed; and how many
    /// there were in all. Of a new branch, what is `known` is left out.
    pub(crate) async fn brought(&self, before: &str, after: &str, known: Option<&str>) -> (Vec<Brought>, usize) {
        let known = if before == NOTHING { known } else { Some(before) };
        let range: Vec<String> = std::iter::once(after.to_owned()).chain(known.map(|known| format!("^{known}"))).collect();
        let range: Vec<&str> = range.iter().map(String::as_str).collect();
        let most = format!("-{LISTED}");
        let mut brought = Vec::new();
        for commit in self.log(&[&most], &range).await {
            let command = self.command().args(["diff-tree", "-r", "-z", "--root", "--no-commit-id", "--no-renames", "--name-status"]);
            let listed = split(&command.operands([&commit.id]).run().await.unwrap_or_default());
            let mut one = Brought { commit, ..Brought::default() };
            for pair in listed.chunks_exact(2) {
                match pair[0].as_str() {
                    "A" => one.added.push(pair[1].clone()),
                    "D" => one.removed.push(pair[1].clone()),
                    _ => one.modified.push(pair[1].clone()),
                }
            }
            brought.push(one);
        }
        brought.reverse();
        let total = self.count(&range).await;
        (brought, total)
    }

    /// Points a ref at something, if it still points where it did. None takes the ref away.
    pub(crate) async fn point(&self, name: &str, to: Option<&str>, from: Option<&str>) -> Result<(), GitError> {
        let command = match (to, from) {
            (Some(to), Some(from)) => self.command().arg("update-ref").operands([name, to, from]),
            // Whatever was there is replaced when nothing is said of it.
            (Some(to), None) => self.command().arg("update-ref").operands([name, to]),
            (None, _) => self.command().args(["update-ref", "-d"]).operands([name]),
        };
        command.run().await.map(drop)
    }

    /// Lets clones begin with this branch.
    pub(crate) async fn set_head(&self, branch: &str) -> Result<(), GitError> {
        let branch = format!("refs/heads/{branch}");
        self.command().args(["symbolic-ref", "HEAD", &branch]).run().await.map(drop)
    }

    /// Whether the first is among the second's ancestors.
    pub(crate) async fn is_ancestor(&self, older: &str, newer: &str) -> bool {
        self.command().args(["merge-base", "--is-ancestor", older, newer]).run().await.is_ok()
    }

    /// The common ancestor.
    pub(crate) async fn merge_base(&self, one: &str, other: &str) -> Option<String> {
        let said = self.command().args(["merge-base", one, other]).run().await.ok()?;
        Some(String::from_utf8_lossy(&said).trim().to_owned())
    }
}

fn split(said: &[u8]) -> Vec<String> {
    said.split(|byte| *byte == 0).filter(|part| !part.is_empty()).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

fn parse(record: &str) -> Option<Commit> {
    let fields: Vec<&str> = record.split('\0').collect();
    let [id, parents, author_name, author_email, authored, committer_name, committer_email, committed, message] = fields[..] else {
        return None;
    };
    Some(Commit {
        id: id.to_owned(),
        parents: parents.split_whitespace().map(str::to_owned).collect(),
        message: message.to_owned(),
        author_name: author_name.to_owned(),
        author_email: author_email.to_owned(),
        authored: authored.to_owned(),
        committer_name: committer_name.to_owned(),
        committer_email: committer_email.to_owned(),
        committed: committed.to_owned(),
    })
}
