//! The script by itself, where a host that lacks something or has died is easier made than found.

use std::path::{Path, PathBuf};
use std::time::Duration;

use signalbox_deploy_worker::environment::{FileMode, RootFolder};
use signalbox_deploy_worker::release::{End, Fault, MAX_SEQUENCE, Order, Report, Task, parse, script};
use signalbox_service::auth::sha256;
use signalbox_service::clock::{SharedClock, SystemClock};
use signalbox_service::process::{Bounds, Program};

/// Makes the shell believe that there is no such program.
fn without(tool: &str) -> String {
    format!("command() {{ [ \"$2\" != {tool} ]; }}\n")
}

struct Here {
    folder: tempfile::TempDir,
    clock: SharedClock,
}

impl Here {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("root")).expect("a root");
        Self { folder, clock: SystemClock::shared() }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn releases(&self) -> PathBuf {
        self.root().join(".signalbox/releases/hello")
    }

    async fn run(&self, before: &str, task: Task, bytes: &[u8], sequence: u64) -> Report {
        self.run_in(&self.root(), before, task, bytes, sequence).await
    }

    async fn run_in(&self, root: &Path, before: &str, task: Task, bytes: &[u8], sequence: u64) -> Report {
        let (name, root): (_, RootFolder) = ("hello".parse().expect("a name"), root.to_str().expect("UTF-8").parse().expect("a root"));
        let order = Order {
            root: &root,
            name: Some(&name),
            sequence,
            digest: Some(sha256(bytes)),
            run: Some(signalbox_contract::RunId::from_uuid(self.clock.uuid())),
            now: self.clock.now(),
            artifact: "build/hello",
            keep: 2,
            file_mode: FileMode::Runnable,
            nonce: self.clock.uuid().simple().to_string(),
            patience: 2,
        };
        let script = format!("{before}{}", script());
        let program = Program::new("dash").args(["-c", &script, "signalbox"]).args(order.arguments(task)).stdin(bytes.to_vec());
        let output = program.env("PATH", "/usr/bin:/bin").run(Bounds::new(Duration::from_secs(30))).await.expect("it ran");
        parse(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {:?} {:?}", output.stdout.escape_ascii().to_string(), escape(&output.stderr)))
    }
}

fn escape(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

#[tokio::test]
async fn a_host_without_flock_locks_by_a_folder_and_gives_it_back() {
    let here = Here::new();
    let no_flock = without("flock");
    for (sequence, bytes) in (1..).zip([b"one", b"two"]) {
        assert_eq!(here.run(&no_flock, Task::Upload, bytes, sequence).await.end, End::Switched);
        assert!(!here.releases().join("lock.d").exists());
    }
    // A lock whose holder lives is respected; one whose holder has died is taken.
    std::fs::create_dir(here.releases().join("lock.d")).expect("a lock");
    std::fs::write(here.releases().join("lock.d/holder"), format!("{}\n", std::process::id())).expect("held");
    assert_eq!(here.run(&no_flock, Task::Deploy, b"one", 3).await.end, End::Failed(Fault::Locked));
    std::fs::write(here.releases().join("lock.d/holder"), "4194305\n").expect("held by nobody");
    assert_eq!(here.run(&no_flock, Task::Deploy, b"one", 3).await.end, End::Switched);
}

#[tokio::test]
async fn a_program_that_is_missing_is_named() {
    let here = Here::new();
    assert_eq!(here.run(&without("sha256sum"), Task::Upload, b"one", 1).await.end, End::Failed(Fault::Tool("sha256sum".to_owned())));
    assert_eq!(std::fs::read_dir(here.root()).expect("readable").count(), 0);
}

// Threat 47.
#[tokio::test]
async fn a_root_that_is_a_link_or_is_not_there_is_refused() {
    let here = Here::new();
    let link = here.folder.path().join("link");
    std::os::unix::fs::symlink(here.root(), &link).expect("a link");
    assert_eq!(here.run_in(&link, "", Task::Upload, b"one", 1).await.end, End::Failed(Fault::RootIsLink));
    assert_eq!(here.run_in(&here.folder.path().join("none"), "", Task::Upload, b"one", 1).await.end, End::Failed(Fault::NoRoot));
    assert_eq!(std::fs::read_dir(here.root()).expect("readable").count(), 0);
}

// What a power cut can leave: a record of what was about to be shown, half a line, half a release.
#[tokio::test]
async fn what_was_cut_off_in_the_middle_is_taken_up_again() {
    let here = Here::new();
    assert_eq!(here.run("", Task::Upload, b"one", 1).await.end, End::Switched);
    assert_eq!(here.run("", Task::Upload, b"two", 2).await.end, End::Switched);
    let record = here.releases().join("activations");
    // It died after it said what it was about to do, before it did it, in the middle of the next line.
    let line = format!("asked 3 {} 01jd8qk4wmfvt9e3v1n0t2m6xz 2026-01-01T00:00:00Z x\nasked 4 abc", sha256(b"one").hex());
    std::fs::write(&record, std::fs::read_to_string(&record).expect("a record") + &line).expect("written");
    std::fs::create_dir(here.releases().join(format!("9-{}", sha256(b"x").hex()))).expect("half a release");
    assert_eq!(here.run("", Task::Deploy, b"two", 2).await.end, End::Superseded, "what was asked for last counts");
    assert_eq!(here.run("", Task::Deploy, b"two", 3).await.end, End::Failed(Fault::SequenceReused));
    assert_eq!(here.run("", Task::Deploy, b"one", 3).await.end, End::Switched, "the same again goes through");
    assert_eq!(std::fs::read(here.root().join("hello")).expect("shown"), b"one");
    let report = here.run("", Task::State, b"", 0).await;
    assert_eq!(report.names[0].shows.map(|release| release.digest), Some(sha256(b"one")));
    assert_eq!(report.names[0].kept.len(), 2, "half a release was removed: {report:?}");
    // It died after it was switched, before it could say so.
    let whole = std::fs::read_to_string(&record).expect("a record");
    let cut: String = whole.split_inclusive('\n').filter(|line| !line.starts_with("shown 3 ")).collect();
    std::fs::write(&record, cut).expect("written");
    assert_eq!(here.run("", Task::Deploy, b"one", 3).await.end, End::Unchanged);
    assert!(std::fs::read_to_string(&record).expect("a record").contains("\nshown 3 "), "it is said now");
}

#[tokio::test]
async fn the_highest_sequence_is_counted_right() {
    let here = Here::new();
    assert_eq!(here.run("", Task::Upload, b"one", MAX_SEQUENCE - 1).await.end, End::Switched);
    assert_eq!(here.run("", Task::Upload, b"two", MAX_SEQUENCE).await.end, End::Switched);
    assert_eq!(here.run("", Task::Upload, b"one", MAX_SEQUENCE - 1).await.end, End::Superseded);
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let here = Here::new();
    assert_eq!(here.run("", Task::Upload, b"one", 1).await.end, End::Switched);
    // The order says other bytes than those that come.
    let report = here.run("cat() { printf half; }\n", Task::Upload, b"whole", 2).await;
    assert_eq!(report.end, End::Failed(Fault::Digest(sha256(b"half"))));
    let entries = std::fs::read_dir(here.releases()).expect("readable");
    let left: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name()).filter(|name| name.to_string_lossy().starts_with('.')).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(std::fs::read(here.root().join("hello")).expect("shown"), b"one");
}
