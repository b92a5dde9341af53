//! How builds end.

use std::time::Duration;

use signalbox_contract::Verdict;
use signalbox_contract::build::BuildState;

use super::harness::{Harness, Script, must, started};
use crate::executor::Outputs;

/// Exit code 0 is success, and nothing else is needed.
pub async fn a_passing_script_passes(harness: &dyn Harness) {
    let build = started(harness, Script::new("true")).await;
    let (verdict, observation) = build.ended().await;
    assert_eq!(verdict, Verdict::Success, "{observation:?}");
    assert!(!observation.parts.is_empty(), "a build that ran has at least one part");
    assert!(
        observation.parts.iter().all(|part| matches!(part.state, BuildState::Ended { verdict: Verdict::Success, .. })),
        "each part of it passed"
    );
}

/// Any other exit code is a failure of the work, with a reason for people; what comes after a failing command is not run.
pub async fn a_failing_script_fails_and_says_so(harness: &dyn Harness) {
    let build = started(harness, Script::new("(exit 3)\necho \"must not be\" \"reached\"")).await;
    let (verdict, observation) = build.ended().await;
    assert_eq!(verdict, Verdict::Failed, "{observation:?}");
    let BuildState::Ended { reason, .. } = observation.state else { panic!("it has ended") };
    assert!(!reason.is_empty(), "a failure has a reason");
    let log = String::from_utf8_lossy(&build.whole_log().await).into_owned();
    assert!(!log.contains("must not be reached"), "the script ends with its first failure: {log}");
}

/// What a build made arrives, byte for byte, under the names that the job gives; what it does not name does not.
pub async fn artifacts_arrive_as_they_were_made(harness: &dyn Harness) {
    let text = "mkdir -p out\nprintf 'a\\000b\\n' > out/small\nhead -c 3000000 /dev/zero > big\n: > empty\necho x > other";
    let script = Script::new(text).keeps("small.bin", "out/small").keeps("dir/big", "big").keeps("empty", "empty");
    let build = started(harness, script).await;
    let (verdict, observation) = build.ended().await;
    assert_eq!(verdict, Verdict::Success, "{observation:?}");
    let arrived = build.made(harness).await;
    let names: Vec<&str> = arrived.keys().map(AsRef::as_ref).collect();
    assert_eq!(names, ["dir/big", "empty", "small.bin"], "these and no others");
    let bytes: Vec<&[u8]> = arrived.values().map(Vec::as_slice).collect();
    assert_eq!(bytes[0].len(), 3_000_000, "all of a large one");
    assert!(bytes[0].iter().all(|byte| *byte == 0), "its very bytes");
    assert_eq!((bytes[1], bytes[2]), (&b""[..], &b"a\0b\n"[..]));
}

/// A job that declares an artifact and does not make it has not done its work, and the reason names what is missing. An
/// executor that knows nothing of what we want finds nothing of it, and whoever wants it says so.
pub async fn a_declared_artifact_that_is_missing_fails_the_build(harness: &dyn Harness) {
    let build = started(harness, Script::new("true").keeps("never-made", "no/such/file")).await;
    let (verdict, observation) = build.ended().await;
    if build.executor.abilities().outputs == Outputs::Fetched {
        assert_eq!(build.outputs().await, [], "what was not made is left out");
        return;
    }
    assert_eq!(verdict, Verdict::Failed, "{observation:?}");
    let BuildState::Ended { reason, .. } = observation.state else { panic!("it has ended") };
    assert!(reason.contains("never-made"), "the reason names the artifact: {reason}");
}

/// A build that is cancelled while it runs ends soon, and as nothing but aborted.
pub async fn a_cancelled_build_ends_aborted(harness: &dyn Harness) {
    let build = started(harness, Script::new("sleep 600").within(Duration::from_mins(10))).await;
    build.until("the build runs", || async { (build.observe().await.state == BuildState::Running).then_some(()) }).await;
    must("cancel", build.executor.cancel(&build.tracked).await);
    must("cancel again", build.executor.cancel(&build.tracked).await);
    let (verdict, observation) = build.ended().await;
    assert_eq!(verdict, Verdict::Aborted, "{observation:?}");
}

/// A cancellation right after the start may come before the build began; it holds all the same.
pub async fn what_was_cancelled_before_it_began_never_passes(harness: &dyn Harness) {
    let build = started(harness, Script::new("sleep 600").within(Duration::from_mins(10))).await;
    must("cancel", build.executor.cancel(&build.tracked).await);
    let (verdict, observation) = build.ended().await;
    assert_eq!(verdict, Verdict::Aborted, "{observation:?}");
}

/// A cancellation that comes too late is answered well and changes nothing.
pub async fn cancelling_what_has_ended_changes_nothing(harness: &dyn Harness) {
    let build = started(harness, Script::new("true")).await;
    let (_, before) = build.ended().await;
    must("cancel", build.executor.cancel(&build.tracked).await);
    assert_eq!(build.observe().await.state, before.state);
}

/// A build that takes longer than it may is stopped, and told apart from one that failed. Where the controller keeps the
/// deadlines, the case is no case.
pub async fn a_build_that_passes_its_deadline_is_timed_out(harness: &dyn Harness) {
    if !harness.keeps_deadlines() {
        return;
    }
    let build = started(harness, Script::new("sleep 600").within(Duration::from_secs(2))).await;
    let (verdict, observation) = build.ended().await;
    assert_eq!(verdict, Verdict::TimedOut, "{observation:?}");
}
