//! The bounds of a program, each with a program that breaks it.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::testing::eventually;

const SOON: Duration = Duration::from_secs(10);

fn shell(script: &str) -> Program {
    Program::new("/bin/sh").env("PATH", "/usr/bin:/bin").args(["-c", script])
}

/// Whether a process is there and is not just waiting to be reaped.
fn lives(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").starts_with(" Z"))
}

/// The process id that a script wrote to a file.
async fn written_pid(path: &Path) -> String {
    eventually("the script writes its child's id", SOON, || async {
        std::fs::read_to_string(path).ok().and_then(|text| text.strip_suffix('\n').map(str::to_owned))
    })
    .await
}

async fn gone(pid: &str) {
    eventually("the grandchild is gone", SOON, || async { (!lives(pid)).then_some(()) }).await;
}

#[tokio::test]
async fn a_program_gets_its_own_environment_and_nothing_of_ours() {
    let output = Program::new("/usr/bin/env").env("ONLY", "this").run(Bounds::new(SOON)).await.expect("runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ONLY=this\n");
}

#[tokio::test]
async fn what_is_given_on_standard_input_arrives() {
    let sent = vec![b'x'; 300_000];
    let output = Program::new("/bin/cat").stdin(sent.clone()).run(Bounds::new(SOON)).await.expect("runs");
    assert!(output.status.success());
    assert_eq!(output.stdout, sent);
}

#[tokio::test]
async fn the_deadline_kills_the_whole_group() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
    let begun = Instant::now();
    let error = shell(&script).run(Bounds::new(Duration::from_millis(700))).await.expect_err("too slow");
    assert!(matches!(error, ProcessError::Deadline { .. }), "{error}");
    assert!(begun.elapsed() < SOON);
    gone(&written_pid(&file).await).await;
}

#[tokio::test]
async fn a_cancelled_token_and_a_dropped_future_kill_the_whole_group() {
    let folder = tempfile::tempdir().expect("a folder");
    for way in ["token", "drop"] {
        let file = folder.path().join(way);
        let token = CancellationToken::new();
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let running = tokio::spawn(shell(&script).run(Bounds::new(SOON).cancelled_by(token.clone())));
        let pid = written_pid(&file).await;
        if way == "token" {
            token.cancel();
            let error = running.await.expect("no panic").expect_err("cancelled");
            assert!(matches!(error, ProcessError::Cancelled { .. }), "{error}");
        } else {
            running.abort();
        }
        gone(&pid).await;
    }
}

#[tokio::test]
async fn what_a_program_leaves_behind_in_its_group_ends_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pid");
    // The one left behind holds our streams open; it must not hold us up.
    let script = format!("sleep 1000 & echo $! > {}", file.display());
    let output = shell(&script).run(Bounds::new(SOON)).await.expect("ends by itself");
    assert!(output.status.success());
    gone(&written_pid(&file).await).await;
}

#[tokio::test]
async fn output_without_end_is_stopped_and_complaints_are_cut_at_the_front() {
    let error = shell("yes").run(Bounds::new(SOON).stdout(1000)).await.expect_err("too much");
    assert!(matches!(error, ProcessError::TooMuchOutput { limit: 1000, .. }), "{error}");
    let output = shell("seq 100000 >&2; echo last >&2").run(Bounds::new(SOON)).await.expect("runs");
    assert_eq!(output.stderr.len(), 16 * 1024);
    assert!(output.stderr.ends_with(b"100000\nlast\n"));
}

#[tokio::test]
async fn a_limit_holds_for_what_the_program_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = "read go; head -c 100000 /dev/zero > file; true";
    let mut running = shell(script).dir(folder.path()).limit(Resource::Fsize, 5000).start().expect("starts");
    {
        use tokio::io::AsyncWriteExt as _;
        running.stdin.take().expect("open").write_all(b"go\n").await.expect("written");
    }
    running.wait_within(SOON, &CancellationToken::new()).await.expect("ends");
    assert_eq!(folder.path().join("file").metadata().expect("there").len(), 5000);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_said_so() {
    let error = Program::new("/nonexistent/x").run(Bounds::new(SOON)).await.expect_err("not there");
    assert!(matches!(error, ProcessError::Start { .. }), "{error}");
}

#[tokio::test]
async fn what_an_earlier_process_left_running_is_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let theirs = Program::new("/bin/sleep").env("WORKS_IN", folder.path().join("x")).arg("1000").start().expect("starts");
    let others = Program::new("/bin/sleep").env("WORKS_IN", "/elsewhere/x").arg("1000").start().expect("starts");
    assert_eq!(end_orphans("WORKS_IN", folder.path()), 1);
    gone(&theirs.id().to_string()).await;
    assert!(lives(&others.id().to_string()));
}
