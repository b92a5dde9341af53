//! Reading back what is in a copy: by one `git cat-file` that is asked as often as needed.
//!
//! Invariant: nothing is answered to a caller that was not read from our own copy after it was fetched; and whatever the
//! repository holds, what is read of it is bounded.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use signalbox_contract::CommitSha;
use signalbox_contract::api::vcs::{FileContent, MAX_FILE};
use signalbox_contract::git::RepoPath;
use signalbox_service::git::{Fault, Git, GitError};
use signalbox_service::process::Running;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The largest folder that is looked through for a file, in bytes of git's own form: a few hundred thousand entries.
const MAX_TREE: u64 = 16 * 1024 * 1024;

/// The longest line that is read; names of objects and paths are far shorter.
const MAX_LINE: u64 = 4096;

/// Where proven commits are remembered: a ref each, written by the very fetch that brought it. Nobody is shown them.
pub(crate) const PROVEN: &str = "refs/proven/";

/// Something in the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Object {
    id: String,
    kind: String,
    size: u64,
}

/// A conversation with git about what is in a copy.
pub(crate) struct Inspector {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// Ends with this value.
    _running: Running,
}

impl Inspector {
    /// Begins one. Git starts while the caller does something else.
    pub(crate) fn begin(git: &Git, copy: &Path) -> Result<Self, GitError> {
        let mut running = git.local(copy).args(["cat-file", "--batch-command"]).start()?;
        match (running.stdin.take(), running.stdout.take()) {
            (Some(stdin), Some(stdout)) => Ok(Self { stdin, stdout: BufReader::new(stdout), _running: running }),
            _ => Err(GitError::new(Fault::Local, "git has no streams")),
        }
    }

    /// The commit that a ref points to, through a tag where it is one. None if there is no such ref, or no commit behind it.
    pub(crate) async fn commit(&mut self, ref_name: &str) -> Result<Option<CommitSha>, GitError> {
        let found = self.info(&format!("{ref_name}^{{commit}}")).await?;
        Ok(found.filter(|object| object.kind == "commit").and_then(|object| object.id.parse().ok()))
    }

    /// Whether a commit was proven before.
    pub(crate) async fn proven(&mut self, sha: &CommitSha) -> Result<bool, GitError> {
        Ok(self.commit(&format!("{PROVEN}{sha}")).await?.as_ref() == Some(sha))
    }

    /// The files at a commit.
    pub(crate) async fn files(&mut self, sha: &CommitSha, paths: &[RepoPath]) -> Result<BTreeMap<RepoPath, FileContent>, GitError> {
        let mut files = BTreeMap::new();
        for path in paths {
            let content = self.file(sha, path.as_str()).await?;
            files.insert(path.clone(), content);
        }
        Ok(files)
    }

    async fn file(&mut self, sha: &CommitSha, path: &str) -> Result<FileContent, GitError> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Some(tree) = self.info(&format!("{sha}:{folder}")).await?.filter(|object| object.kind == "tree") else {
            return Ok(FileContent::Missing);
        };
        if tree.size > MAX_TREE {
            return Err(GitError::new(Fault::TooLarge, format!("the folder of {path} has too many entries to be read")));
        }
        let entries = self.contents(&tree).await?;
        let Some(id) = plain_file(&entries, name, sha.as_str().len() / 2) else {
            return Ok(FileContent::Missing);
        };
        let Some(blob) = self.info(&id).await?.filter(|object| object.kind == "blob") else {
            return Ok(FileContent::Missing);
        };
        if blob.size > MAX_FILE {
            return Ok(FileContent::TooLarge { size: blob.size });
        }
        Ok(FileContent::of(self.contents(&blob).await?))
    }

    async fn info(&mut self, what: &str) -> Result<Option<Object>, GitError> {
        let line = self.ask("info", what).await?;
        Ok(parse(&line))
    }

    /// The bytes of an object whose size was found small enough.
    async fn contents(&mut self, object: &Object) -> Result<Vec<u8>, GitError> {
        let line = self.ask("contents", &object.id).await?;
        if parse(&line).as_ref() != Some(object) {
            return Err(broken());
        }
        let read = async {
            let mut bytes = Vec::new();
            (&mut self.stdout).take(object.size).read_to_end(&mut bytes).await?;
            self.stdout.read_u8().await.map(|_| bytes)
        };
        within(read).await
    }

    async fn ask(&mut self, command: &str, what: &str) -> Result<String, GitError> {
        let question = format!("{command} {what}\n");
        let answer = async {
            self.stdin.write_all(question.as_bytes()).await?;
            let mut line = Vec::new();
            (&mut self.stdout).take(MAX_LINE).read_until(b'\n', &mut line).await?;
            Ok(line)
        };
        let line = within(answer).await?;
        line.strip_suffix(b"\n").map(|line| String::from_utf8_lossy(line).into_owned()).ok_or_else(broken)
    }
}

async fn within<T>(talk: impl Future<Output = std::io::Result<T>>) -> Result<T, GitError> {
    match tokio::time::timeout(PATIENCE, talk).await {
        Ok(Ok(said)) => Ok(said),
        Ok(Err(_)) => Err(broken()),
        Err(_) => Err(GitError::new(Fault::Timeout, "reading from our copy took too long")),
    }
}

fn broken() -> GitError {
    GitError::new(Fault::Local, "git stopped reading from our copy")
}

/// `ID KIND SIZE`; anything else says that it is not there.
fn parse(line: &str) -> Option<Object> {
    let mut words = line.split(' ');
    let (id, kind, size) = (words.next()?, words.next()?, words.next()?);
    let plain = matches!(id.len(), 40 | 64) && id.bytes().all(|byte| byte.is_ascii_hexdigit()) && words.next().is_none();
    plain.then_some(())?;
    Some(Object { id: id.to_owned(), kind: kind.to_owned(), size: size.parse().ok()? })
}

/// The id of the plain file `name` in a tree: `MODE NAME\0ID`, again and again. A link is no plain file.
fn plain_file(mut tree: &[u8], name: &str, id_len: usize) -> Option<String> {
    use std::fmt::Write as _;
    while !tree.is_empty() {
        let space = tree.iter().position(|byte| *byte == b' ')?;
        let zero = space + tree[space..].iter().position(|byte| *byte == 0)?;
        let id = tree.get(zero + 1..zero + 1 + id_len)?;
        if &tree[space + 1..zero] == name.as_bytes() {
            let plain = matches!(&tree[..space], b"100644" | b"100755" | b"100664");
            return plain.then(|| {
                id.iter().fold(String::with_capacity(id_len * 2), |mut text, byte| {
                    // Writing to a string cannot fail.
                    let _ = write!(text, "{byte:02x}");
                    text
                })
            });
        }
        tree = &tree[zero + 1 + id_len..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_read_without_believing_it() {
        let id = [0xab; 20];
        let tree = [b"100644 a\0".as_slice(), &id, b"120000 link\0", &id, b"40000 dir\0", &id].concat();
        assert_eq!(plain_file(&tree, "a", 20), Some("ab".repeat(20)));
        for name in ["link", "dir", "b", ""] {
            assert_eq!(plain_file(&tree, name, 20), None, "{name}");
        }
        for cut in 0..tree.len() {
            let _ = plain_file(&tree[..cut], "dir", 20);
        }
    }

    #[test]
    fn only_a_found_object_is_an_object() {
        let id = "a".repeat(40);
        assert_eq!(parse(&format!("{id} blob 12")), Some(Object { id: id.clone(), kind: "blob".into(), size: 12 }));
        for line in [format!("{id}:x missing"), format!("{id} missing"), format!("{id} blob x"), format!("{id} blob 1 2"), String::new()] {
            assert_eq!(parse(&line), None, "{line}");
        }
    }
}
