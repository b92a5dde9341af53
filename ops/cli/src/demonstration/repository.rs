//! The example repository: a commit more each time.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use signalbox_service::git::{Command, Git};

/// The files of the example, as `ops/examples/hello` has them.
const FILES: [(&str, &str); 4] = [
    (".signalbox.yaml", include_str!("../../../examples/hello/.signalbox.yaml")),
    ("README.md", include_str!("../../../examples/hello/README.md")),
    ("build.sh", include_str!("../../../examples/hello/build.sh")),
    ("name", include_str!("../../../examples/hello/name")),
];

/// The example repository.
#[derive(Debug)]
pub(super) struct Example {
    /// Its working tree.
    pub(super) folder: PathBuf,
    /// The newest commit, shortened.
    pub(super) commit: String,
}

impl Example {
    /// Makes the repository `hello` below `repositories`, or adds a commit to it. What was changed there by hand is part
    /// of that commit.
    pub(super) async fn prepare(repositories: &Path) -> Result<Self> {
        let folder = repositories.join("hello");
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let home = repositories.with_file_name("git-home");
        let git = Git::new(&home)?;
        git.version().await?;
        let here = |arguments: &[&str]| command(&git, &folder).args(arguments);
        if !folder.join(".git").exists() {
            here(&["init", "--quiet", "--initial-branch=main", "--template="]).run().await.context("making the example repository")?;
        }
        let commits = match here(&["rev-list", "--count", "HEAD"]).run().await {
            Ok(count) => String::from_utf8_lossy(&count).trim().parse::<u64>().unwrap_or_default(),
            // There is no commit yet.
            Err(_) => 0,
        };
        if commits == 0 {
            for (name, text) in FILES {
                let path = folder.join(name);
                std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
            }
        } else {
            let path = folder.join("name");
            std::fs::write(&path, format!("world, for the {} time\n", ordinal(commits + 1)))
                .with_context(|| format!("writing {}", path.display()))?;
        }
        here(&["add", "--all"]).run().await.context("adding the example's files")?;
        let message = format!("Greet, commit {}", commits + 1);
        here(&["commit", "--quiet", "--allow-empty", "--message", &message]).run().await.context("committing")?;
        let commit = here(&["rev-parse", "--short=10", "HEAD"]).run().await.context("reading the commit")?;
        Ok(Self { folder, commit: String::from_utf8_lossy(&commit).trim().to_owned() })
    }
}

/// Git in the example's working tree. Our own folder is trusted, so its own git folder may be used.
fn command(git: &Git, folder: &Path) -> Command {
    let mut command = git.local(&folder.join(".git")).env("GIT_WORK_TREE", folder).dir(folder);
    for who in ["AUTHOR", "COMMITTER"] {
        command = command.env(&format!("GIT_{who}_NAME"), "Signalbox Example").env(&format!("GIT_{who}_EMAIL"), "example@localhost");
    }
    command
}

fn ordinal(number: u64) -> String {
    let ending = match (number % 10, number % 100) {
        (1, rest) if rest != 11 => "st",
        (2, rest) if rest != 12 => "nd",
        (3, rest) if rest != 13 => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_read_well() {
        let words: Vec<String> = [1, 2, 3, 4, 11, 12, 13, 21, 102, 111].into_iter().map(ordinal).collect();
        assert_eq!(words, ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th"]);
    }

    #[tokio::test]
    async fn each_time_there_is_one_commit_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let repositories = folder.path().join("repositories");
        let first = Example::prepare(&repositories).await.expect("made");
        let second = Example::prepare(&repositories).await.expect("a commit more");
        assert_ne!(first.commit, second.commit);
        let name = std::fs::read_to_string(second.folder.join("name")).expect("readable");
        assert_eq!(name, "world, for the 2nd time\n");
    }
}
