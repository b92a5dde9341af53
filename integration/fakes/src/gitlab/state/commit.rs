//! A commit, as far as the API and hooks tell of it.

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Commit {
    /// Its id.
    pub id: String,
    /// Its parents' ids.
    pub parents: Vec<String>,
    /// The whole message.
    pub message: String,
    /// Who wrote it.
    pub author_name: String,
    /// Where mail reaches them.
    pub author_email: String,
    /// When, as RFC 3339.
    pub authored: String,
    /// Who committed it.
    pub committer_name: String,
    /// Where mail reaches them.
    pub committer_email: String,
    /// When, as RFC 3339.
    pub committed: String,
}

impl Commit {
    /// The message's first line.
    pub fn title(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }

    /// Its id, shortened.
    pub fn short(&self) -> &str {
        self.id.get(..8).unwrap_or(&self.id)
    }

    /// Whether the message asks for no pipeline.
    pub fn skips_ci(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        ["[ci skip]", "[skip ci]", "[ci-skip]", "[skip-ci]"].iter().any(|mark| message.contains(mark))
    }
}
