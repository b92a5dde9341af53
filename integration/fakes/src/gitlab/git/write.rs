//! Writing a repository without a client: commits made by the API.

use signalbox_service::git::{Fault, GitError};

use super::{NOTHING, Repository};

/// A change of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Edit {
    /// The file is there, with these bytes.
    Put(String, Vec<u8>),
    /// The file is gone.
    Delete(String),
    /// The file is elsewhere, with these bytes if they change.
    Move(String, String, Option<Vec<u8>>),
    /// Whether the file is a program.
    Mode(String, bool),
}

/// A commit that is to be made.
#[derive(Debug, Clone)]
pub(crate) struct NewCommit {
    pub(crate) branch: String,
    /// What it is built upon; none makes the first commit.
    pub(crate) parent: Option<String>,
    /// What the branch shows now; none if it is new.
    pub(crate) replaces: Option<String>,
    pub(crate) message: String,
    pub(crate) author: (String, String),
    pub(crate) edits: Vec<Edit>,
    /// Seconds since 1970.
    pub(crate) at: i64,
}

impl Repository {
    /// Makes a commit and moves its branch. Answers its id.
    pub(crate) async fn make_commit(&self, new: &NewCommit, scratch: &str) -> Result<String, GitError> {
        let index = self.folder.join(format!("fake-index-{scratch}"));
        let made = self.make_with(new, &index).await;
        // It is only a scratch file; one that was never made need not be removed.
        let _ = tokio::fs::remove_file(&index).await;
        let sha = made?;
        let name = format!("refs/heads/{}", new.branch);
        self.point(&name, Some(&sha), Some(new.replaces.as_deref().unwrap_or(NOTHING))).await?;
        Ok(sha)
    }

    async fn make_with(&self, new: &NewCommit, index: &std::path::Path) -> Result<String, GitError> {
        match &new.parent {
            Some(parent) => self.command().env("GIT_INDEX_FILE", index).args(["read-tree", parent]).run().await?,
            None => self.command().env("GIT_INDEX_FILE", index).args(["read-tree", "--empty"]).run().await?,
        };
        let mut lines = String::new();
        for edit in &new.edits {
            self.stage(new.parent.as_deref(), edit, &mut lines).await?;
        }
        self.command().env("GIT_INDEX_FILE", index).args(["update-index", "--index-info"]).stdin(lines).run().await?;
        let tree = said(&self.command().env("GIT_INDEX_FILE", index).arg("write-tree").run().await?);
        let mut command = self.command().args(["commit-tree", &tree]);
        if let Some(parent) = &new.parent {
            command = command.args(["-p", parent]);
        }
        let when = format!("{} +0000", new.at);
        for who in ["AUTHOR", "COMMITTER"] {
            command = command
                .env(&format!("GIT_{who}_NAME"), &new.author.0)
                .env(&format!("GIT_{who}_EMAIL"), &new.author.1)
                .env(&format!("GIT_{who}_DATE"), &when);
        }
        Ok(said(&command.stdin(new.message.clone()).run().await?))
    }

    /// Writes what the index is to be told of an edit.
    async fn stage(&self, parent: Option<&str>, edit: &Edit, lines: &mut String) -> Result<(), GitError> {
        use std::fmt::Write as _;
        let zeros = NOTHING;
        match edit {
            Edit::Put(path, bytes) => {
                let (mode, blob) = (self.mode(parent, path).await, self.hash(bytes).await?);
                let _ = writeln!(lines, "{mode} {blob}\t{}", plain(path)?);
            }
            Edit::Delete(path) => {
                let _ = writeln!(lines, "0 {zeros}\t{}", plain(path)?);
            }
            Edit::Move(from, to, bytes) => {
                let blob = match bytes {
                    Some(bytes) => Some(self.hash(bytes).await?),
                    None => self.blob(parent.unwrap_or_default(), from).await,
                };
                let mode = self.mode(parent, from).await;
                let _ = writeln!(lines, "0 {zeros}\t{}", plain(from)?);
                if let Some(blob) = blob {
                    let _ = writeln!(lines, "{mode} {blob}\t{}", plain(to)?);
                }
            }
            Edit::Mode(path, program) => {
                if let Some(blob) = self.blob(parent.unwrap_or_default(), path).await {
                    let mode = if *program { "100755" } else { "100644" };
                    let _ = writeln!(lines, "{mode} {blob}\t{}", plain(path)?);
                }
            }
        }
        Ok(())
    }

    async fn hash(&self, bytes: &[u8]) -> Result<String, GitError> {
        let command = self.command().args(["hash-object", "-w", "--stdin"]).stdin(bytes.to_vec());
        Ok(said(&command.run().await?))
    }

    async fn mode(&self, parent: Option<&str>, path: &str) -> String {
        let Some(parent) = parent else {
            return "100644".to_owned();
        };
        let listed = self.command().args(["ls-tree", parent, "--", path]).run().await.unwrap_or_default();
        String::from_utf8_lossy(&listed).split(' ').next().filter(|mode| mode.starts_with("100")).unwrap_or("100644").to_owned()
    }

    /// Makes a tag with words of its own. Answers its id.
    pub(crate) async fn make_tag(&self, name: &str, target: &str, message: &str, who: (&str, &str), at: i64) -> Result<String, GitError> {
        let text = format!("object {target}\ntype commit\ntag {name}\ntagger {} <{}> {at} +0000\n\n{message}\n", who.0, who.1);
        Ok(said(&self.command().arg("mktag").stdin(text).run().await?))
    }
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// A path that the index's language can hold as it stands.
fn plain(path: &str) -> Result<&str, GitError> {
    if path.is_empty() || path.contains(['\n', '\t', '"', '\0']) || path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(GitError::new(Fault::Local, "that path cannot be written by this interface"));
    }
    Ok(path)
}
