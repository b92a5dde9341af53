//! A developer at work: a clone of a project, and changes that are proposed from it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signalbox_contract::CommitSha;
use signalbox_service::process::{Bounds, Program};
use tempfile::TempDir;

use crate::gerrit::Account;

/// A change as it was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its number.
    pub number: u64,
    /// The commit that was pushed.
    pub sha: CommitSha,
}

/// A clone of a project in a folder of its own.
#[derive(Debug)]
pub struct Workspace {
    folder: TempDir,
    account: Account,
    changes: u32,
    project: String,
}

impl Workspace {
    /// Clones a project.
    ///
    /// # Panics
    /// When it cannot be cloned.
    #[expect(clippy::expect_used, reason = "a test without its clone cannot go on")]
    pub(crate) async fn clone(source: &str, project: &str, account: Account) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let workspace = Self { folder, account, changes: 0, project: project.to_owned() };
        workspace.git(&["clone", "--quiet", source, "."]).await;
        workspace
    }

    /// Where the files are.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes files.
    ///
    /// # Panics
    /// When they cannot be written.
    #[expect(clippy::expect_used, reason = "a test without its files cannot go on")]
    pub fn write(&self, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path: PathBuf = self.path().join(name);
            fs::create_dir_all(path.parent().unwrap_or(self.path())).expect("a folder");
            fs::write(path, text).expect("written");
        }
    }

    /// Commits all that is there upon `master` and proposes it: a change of its own. `options` stand behind the branch, as
    /// `%topic=x`.
    pub async fn propose(&mut self, message: &str, options: &str) -> Change {
        self.changes += 1;
        self.git(&["add", "--all", "--force", "."]).await;
        // Any forty digits will do, as long as no other change has them.
        let seed = format!("{}-{}-{}", self.path().display(), self.project, self.changes);
        let id = self.git_with(&["hash-object", "--stdin"], seed.as_bytes()).await;
        let message = format!("{message}\n\nChange-Id: I{}\n", id.trim());
        self.git(&["commit", "--quiet", "--allow-empty", "--message", &message]).await;
        self.push(options).await
    }

    /// Commits all that is there into the change that was proposed last: a new patch set of it.
    pub async fn amend(&mut self, options: &str) -> Change {
        self.git(&["add", "--all", "--force", "."]).await;
        self.git(&["commit", "--quiet", "--amend", "--no-edit", "--reset-author", "--allow-empty"]).await;
        self.push(options).await
    }

    /// Makes the clone what `master` is now, so that the next change stands alone.
    pub async fn refresh(&self) {
        self.git(&["fetch", "--quiet", "origin", "master"]).await;
        self.git(&["reset", "--quiet", "--hard", "FETCH_HEAD"]).await;
        self.git(&["clean", "-qfdx"]).await;
    }

    /// Pushes the commit for review, and reads the change's number in what Gerrit says.
    #[expect(clippy::expect_used, reason = "a test whose change is not taken cannot go on")]
    async fn push(&self, options: &str) -> Change {
        let target = format!("HEAD:refs/for/master{options}");
        let said = self.git(&["push", "origin", &target]).await;
        let sha = self.git(&["rev-parse", "HEAD"]).await.trim().parse().expect("a commit");
        let numbers = said.split("/+/").skip(1).filter_map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        });
        let number = numbers.last().unwrap_or_else(|| panic!("Gerrit names no change: {said}"));
        Change { number, sha }
    }

    async fn git(&self, args: &[&str]) -> String {
        self.git_with(args, b"").await
    }

    /// Runs git, and answers what it prints; for a push, what the server says.
    #[expect(clippy::expect_used, reason = "a test needs git")]
    async fn git_with(&self, args: &[&str], input: &[u8]) -> String {
        let (name, password) = self.account.login();
        let email = format!("{name}@example.com");
        let who = if self.account == Account::Developer { "Dev Eloper" } else { name };
        let login = format!("Authorization: Basic {}", STANDARD.encode(format!("{name}:{password}")));
        let output = Program::new("git")
            .args(args)
            .dir(self.path())
            .stdin(input)
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", "/nonexistent")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "http.extraHeader")
            .env("GIT_CONFIG_VALUE_0", &login)
            .env("GIT_AUTHOR_NAME", who)
            .env("GIT_AUTHOR_EMAIL", &email)
            .env("GIT_COMMITTER_NAME", who)
            .env("GIT_COMMITTER_EMAIL", &email)
            .run(Bounds::new(Duration::from_mins(2)))
            .await
            .expect("git ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {args:?}: {said}");
        let printed = String::from_utf8_lossy(&output.stdout);
        if printed.is_empty() { said.into_owned() } else { printed.into_owned() }
    }
}
