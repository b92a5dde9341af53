//! Every line of the hardening, against the real git and a real server behind it.

mod faults;
mod fetching;
mod hardening;
mod hostile;
mod ssh;
mod surroundings;
mod tls;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::testing::{Fixture, GitServer};
use super::*;

const SOON: Duration = Duration::from_secs(20);
const CANARY: &str = "c4nary-Token/with+marks";

/// A server with one repository `hello` in it that has one commit, and an empty bare repository of ours.
struct World {
    folder: TempDir,
    git: Git,
    server: GitServer,
    source: Fixture,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("server");
        let source = Fixture::new(&root, "hello").await;
        source.commit("refs/heads/main", &[("README", "hello\n")]).await;
        let server = GitServer::start(&root).await;
        let git = Git::for_tests(folder.path());
        let world = Self { folder, git, server, source };
        world.git.init_bare(&world.copy(), 40).await.expect("a repository");
        world
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn copy(&self) -> PathBuf {
        self.folder.path().join("copy")
    }

    fn remote(&self) -> Remote {
        Remote::new(&self.server.url("hello")).expect("a plain URL")
    }

    async fn fetch(&self, remote: &Remote, ref_name: &str) -> Result<(), GitError> {
        self.fetch_within(remote, ref_name, SOON, 1024 * 1024).await
    }

    async fn fetch_within(&self, remote: &Remote, ref_name: &str, deadline: Duration, max_bytes: u64) -> Result<(), GitError> {
        let cancel = CancellationToken::new();
        self.git.fetch(&self.copy(), Fetch { remote, refs: &[(ref_name, "refs/source/x")], deadline, max_bytes, cancel }).await
    }
}

/// The command lines of all processes that name `needle`, our own excepted.
fn processes_naming(needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("proc").flatten() {
        if entry.file_name() == *std::process::id().to_string() {
            continue;
        }
        // A process may end while it is looked at.
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(needle) {
            found.push(line);
        }
    }
    found
}
