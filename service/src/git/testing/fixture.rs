//! A repository with commits that a test makes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use signalbox_contract::CommitSha;

use crate::git::Git;
use crate::process::{Bounds, Program};

/// A bare repository in a temporary folder of the test's.
#[derive(Debug, Clone)]
pub struct Fixture {
    path: PathBuf,
}

impl Fixture {
    /// An empty repository `name` below `root`. A name with slashes makes folders.
    ///
    /// # Panics
    /// When it cannot be made.
    #[expect(clippy::expect_used, reason = "a test that cannot make its repository cannot go on")]
    pub async fn new(root: &Path, name: &str) -> Self {
        let path = root.join(name);
        std::fs::create_dir_all(&path).expect("a folder for the repository");
        let fixture = Self { path };
        fixture.git(&["init", "--quiet", "--bare", "--initial-branch=main", "."], "").await;
        fixture
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a commit to a ref (full name), with these files and nothing else, and answers it.
    ///
    /// # Panics
    /// When git does not take it.
    pub async fn commit(&self, ref_name: &str, files: &[(&str, &str)]) -> CommitSha {
        use std::fmt::Write as _;
        // Each commit says how many there were, so that two with the same files differ.
        let count = self.git(&["rev-list", "--all", "--count"], "").await;
        let mut stream = format!(
            "commit {ref_name}\ncommitter Tester <tester@example.org> 1700000000 +0000\ndata <<EOM\nCommit {}\nEOM\n",
            count.trim()
        );
        if self.try_git(&["rev-parse", "--verify", "--quiet", ref_name], "").await.is_some() {
            let _ = writeln!(stream, "from {ref_name}^0");
        }
        stream.push_str("deleteall\n");
        for (path, content) in files {
            let _ = writeln!(stream, "M 100644 inline {path}\ndata {}\n{content}", content.len());
        }
        self.git(&["fast-import", "--quiet", "--force"], &stream).await;
        self.read(ref_name).await
    }

    /// What a ref points to.
    ///
    /// # Panics
    /// When it does not exist.
    #[expect(clippy::expect_used, reason = "a test asks for what it made")]
    pub async fn read(&self, ref_name: &str) -> CommitSha {
        self.git(&["rev-parse", "--verify", ref_name], "").await.trim().parse().expect("a commit")
    }

    /// Runs git in it, with `input`, and answers what it printed.
    ///
    /// # Panics
    /// When git fails.
    #[expect(clippy::panic, reason = "a test that cannot make its repository cannot go on")]
    pub async fn git(&self, args: &[&str], input: &str) -> String {
        match self.try_git(args, input).await {
            Some(text) => text,
            None => panic!("git {args:?} failed in {}", self.path.display()),
        }
    }

    #[expect(clippy::expect_used, reason = "a test needs git")]
    async fn try_git(&self, args: &[&str], input: &str) -> Option<String> {
        let mut program = Program::new("git").args(args).dir(&self.path).stdin(input);
        for (key, value) in [
            ("PATH", "/usr/bin:/bin"),
            ("HOME", "/nonexistent"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_AUTHOR_NAME", "Tester"),
            ("GIT_AUTHOR_EMAIL", "tester@example.org"),
            ("GIT_COMMITTER_NAME", "Tester"),
            ("GIT_COMMITTER_EMAIL", "tester@example.org"),
        ] {
            program = program.env(key, value);
        }
        let output = program.run(Bounds::new(Duration::from_mins(1)).stdout(64 * 1024 * 1024)).await.expect("git runs");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Git {
    /// Git with an empty home below `root`.
    ///
    /// # Panics
    /// When the home cannot be made.
    #[expect(clippy::expect_used, reason = "a test that cannot make its folders cannot go on")]
    pub fn for_tests(root: &Path) -> Self {
        Self::new(&root.join("empty-home")).expect("an empty home")
    }
}
