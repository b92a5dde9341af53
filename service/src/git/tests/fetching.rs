//! What a fetch writes, and what it leaves alone.

use super::*;

impl World {
    async fn fetch_to(&self, there: &str, here: &str) -> Result<(), GitError> {
        let (remote, cancel) = (self.remote(), CancellationToken::new());
        let order = Fetch { remote: &remote, refs: &[(there, here)], deadline: SOON, max_bytes: 1024 * 1024, cancel };
        self.git.fetch(&self.copy(), order).await
    }

    /// The names of the refs in the copy.
    async fn refs(&self) -> Vec<String> {
        let said = self.git.local(&self.copy()).args(["for-each-ref", "--format=%(refname)"]).run().await.expect("listed");
        String::from_utf8_lossy(&said).lines().map(str::to_owned).collect()
    }

    /// The names of the files that lie in the copy itself, in order.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.copy()).expect("a folder");
        let mut names: Vec<String> = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn packs(&self) -> usize {
        let entries = std::fs::read_dir(self.copy().join("objects/pack")).expect("a folder");
        entries.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().extension().is_some_and(|ending| ending == "pack"))).count()
    }
}

#[tokio::test]
async fn a_fetch_leaves_no_file_behind_and_brings_no_tag_that_was_not_asked_for() {
    let world = World::new().await;
    world.source.git(&["tag", "-a", "-m", "x", "v1", "refs/heads/main"], "").await;
    world.source.git(&["tag", "v2", "refs/heads/main"], "").await;
    let before = world.files();
    world.fetch_to("refs/heads/main", "refs/source/main").await.expect("fetched");
    assert_eq!(world.refs().await, ["refs/source/main"]);
    assert_eq!(world.files(), before, "no FETCH_HEAD, and nothing else");
    world.fetch_to("refs/tags/v1", "refs/source/v1").await.expect("fetched");
    assert_eq!(world.refs().await, ["refs/source/main", "refs/source/v1"]);
    assert_eq!(world.files(), before);
}

#[tokio::test]
async fn what_is_gone_from_the_source_goes_here_too_and_what_is_ours_stays() {
    let world = World::new().await;
    world.source.git(&["update-ref", "refs/heads/gone", "refs/heads/main"], "").await;
    world.fetch_to("refs/heads/*", "refs/source/*").await.expect("fetched");
    world.git.local(&world.copy()).args(["update-ref", "refs/ours/kept", "refs/source/main"]).run().await.expect("written");
    assert_eq!(world.refs().await, ["refs/ours/kept", "refs/source/gone", "refs/source/main"]);
    world.source.git(&["update-ref", "-d", "refs/heads/gone"], "").await;
    world.fetch_to("refs/heads/*", "refs/source/*").await.expect("fetched");
    assert_eq!(world.refs().await, ["refs/ours/kept", "refs/source/main"]);
}

// Collecting garbage beside other work would take away what that work is about to use; it has a time of its own.
#[tokio::test]
async fn a_fetch_never_collects_garbage_whatever_the_repository_configures() {
    let world = World::new().await;
    for (key, value) in [
        ("gc.auto", "1"),
        ("gc.autoPackLimit", "1"),
        ("gc.autoDetach", "false"),
        ("maintenance.auto", "true"),
        ("maintenance.autoDetach", "false"),
    ] {
        world.git.local(&world.copy()).args(["config", key, value]).run().await.expect("configured");
    }
    for round in 1..=4 {
        world.source.commit("refs/heads/main", &[("round", &round.to_string())]).await;
        world.fetch_to("refs/heads/main", "refs/source/main").await.expect("fetched");
        assert_eq!(world.packs(), round, "each fetch is a pack, and they lie side by side");
    }
    assert!(!world.copy().join("gc.log").exists() && !world.copy().join("gc.pid").exists());
}

// Threat 21.
#[tokio::test]
async fn neither_a_fetch_nor_a_push_takes_an_operand_for_an_option() {
    let world = World::new().await;
    world.fetch_to("refs/heads/main", "refs/source/main").await.expect("fetched");
    let proof = world.path().join("proof");
    let path = world.source.path().display().to_string();
    for option in ["--upload-pack", "--receive-pack", "--exec"].map(|option| format!("{option}=touch {}", proof.display())) {
        for command in ["fetch", "push"] {
            for operands in [[option.as_str(), path.as_str()], [path.as_str(), option.as_str()]] {
                let command = world.git.local(&world.copy()).env("GIT_ALLOW_PROTOCOL", "file").arg(command);
                command.operands(operands).run().await.expect_err("neither a repository nor a ref");
            }
        }
    }
    // The same by the front door: names that no ref has, and a server that is asked for them.
    for hostile in ["--upload-pack=touch x", "--output=x", "-u", "main --exec=x", "main:refs/heads/evil"] {
        world.fetch_to(hostile, "refs/source/x").await.expect_err(hostile);
        let sha = world.source.read("refs/heads/main").await;
        let remote = world.remote();
        let updates = &[Update { ref_name: hostile, sha: Some(&sha), lease: None }];
        world.git.push(&world.copy(), Push { remote: &remote, updates, options: &[], deadline: SOON }).await.expect_err(hostile);
    }
    assert!(!proof.exists());
    assert_eq!(world.refs().await, ["refs/source/main"]);
    assert_eq!(world.source.git(&["for-each-ref", "--format=%(refname)"], "").await.trim(), "refs/heads/main");
}
