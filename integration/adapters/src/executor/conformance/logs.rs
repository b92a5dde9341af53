//! What a build says.

use std::time::Duration;

use signalbox_contract::build::BuildState;

use super::harness::{Harness, Script, must, started};
use crate::executor::LogCursor;

/// What a build prints can be read while it runs, and is all there after its end.
pub async fn a_log_streams_while_the_build_runs(harness: &dyn Harness) {
    let script = Script::new("echo first words\nsleep 600\necho last words").within(Duration::from_mins(10));
    let build = started(harness, script).await;
    let cursor = tokio::sync::Mutex::new((LogCursor::default(), Vec::new()));
    let so_far = &cursor;
    build
        .until("the first words can be read", || async {
            let mut so_far = so_far.lock().await;
            let (more, complete) = build.read_log(&mut so_far.0).await;
            so_far.1.extend(more);
            assert!(!complete, "the log of a build that runs is not complete");
            holds(&so_far.1, b"first words").then_some(())
        })
        .await;
    assert_eq!(build.observe().await.state, BuildState::Running);
    must("cancel", build.executor.cancel(&build.tracked).await);
    build.ended().await;
    let log = build.whole_log().await;
    assert!(holds(&log, b"first words") && !holds(&log, b"last words"));
}

/// Terminal codes, NUL, broken UTF-8, lines without end and both streams are data.
pub async fn a_log_is_data_byte_for_byte(harness: &dyn Harness) {
    let text =
        "printf 'raw:\\033[31mred\\033[0m\\000\\377\\376:raw'\nprintf 'on the other stream' >&2\nhead -c 300000 /dev/zero | tr '\\000' x";
    let build = started(harness, Script::new(text)).await;
    build.ended().await;
    let log = build.whole_log().await;
    assert!(holds(&log, b"raw:\x1b[31mred\x1b[0m\0\xff\xfe:raw"), "the very bytes");
    assert!(holds(&log, b"on the other stream"), "both streams");
    assert!(holds(&log, &vec![b'x'; 300_000]), "a line of any length, unbroken");
}

/// A cursor that was answered leads back to the same place, whenever it is used.
pub async fn a_log_can_be_read_from_any_cursor(harness: &dyn Harness) {
    let build = started(harness, Script::new("seq 1 2000")).await;
    build.ended().await;
    let whole = build.whole_log().await;
    let mut cursor = LogCursor::default();
    build.read_log(&mut cursor).await;
    let (nothing, complete) = build.read_log(&mut cursor).await;
    assert!(nothing.is_empty() && complete, "after the end nothing comes, and that is said");
    assert_eq!(build.whole_log().await, whole, "read again, it is the same");
    assert!(holds(&whole, b"\n1999\n2000\n"));
}

fn holds(log: &[u8], words: &[u8]) -> bool {
    log.windows(words.len()).any(|window| window == words)
}
