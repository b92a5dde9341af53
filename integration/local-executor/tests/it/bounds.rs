//! What a build cannot use up.

use std::time::Duration;

use signalbox_adapters::executor::Executor as _;
use signalbox_adapters::executor::conformance::Script;
use signalbox_contract::Verdict;
use signalbox_contract::build::BuildState;

use crate::stage::{Stage, processes_with, wait_until_gone};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_bomb_is_bounded_and_gone_with_its_build() {
    let stage = Stage::with("processes = 40").await;
    let script = Script::new("bomb() { sleep 31337 & bomb & bomb; }\nbomb 2>/dev/null || true\nsleep 600").within(Duration::from_secs(4));
    let build = stage.start(&stage.order_of(script)).await;
    build.says("checked out").await;
    let mut most = 0;
    while matches!(build.observe().await.state, BuildState::Running) {
        most = most.max(processes_with("31337").len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(most <= 40, "{most} at the same time");
    let (verdict, reason) = build.ended().await;
    assert!(matches!(verdict, Verdict::TimedOut | Verdict::Failed), "{verdict:?} {reason}");
    wait_until_gone("31337");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_too_much_memory_fails_and_is_told_so() {
    let stage = Stage::with("memory = \"64MiB\"").await;
    let (verdict, reason, log) = stage.run(Script::new("head -c 300000000 /dev/zero | tail -n 1 > /dev/null")).await;
    assert_eq!(verdict, Verdict::Failed, "{reason} {log}");
    if log.contains("by cgroup") {
        assert!(reason.contains("more memory than the 64 MiB"), "{reason}");
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn temporary_files_are_memory_and_bounded_too() {
    let stage = Stage::with("memory = \"64MiB\"").await;
    let (verdict, _, log) = stage.run(Script::new("head -c 300000000 /dev/zero > /tmp/large || { echo too large; exit 0; }")).await;
    assert!(verdict == Verdict::Failed || log.contains("too large"), "{verdict:?} {log}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_output_is_cut_and_the_build_goes_on() {
    let stage = Stage::with("output = \"100KiB\"").await;
    let script = "yes 'a line that is said again and again' | head -c 30000000\necho lost > made";
    let order = stage.order_of(Script::new(script).keeps("made", "made"));
    let build = stage.start(&order).await;
    let (verdict, reason) = build.ended().await;
    assert_eq!(verdict, Verdict::Success, "{reason}");
    let log = build.log().await;
    assert!(log.len() < 105 * 1024, "{}", log.len());
    assert!(log.contains("\nsignalbox: the log is full") && log.ends_with("signalbox: success\n"), "{}", &log[log.len() - 400..]);
    assert_eq!(&stage.grant(&order.key)[&"made".parse().expect("valid")][..], b"lost\n");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_too_much_disk_is_stopped() {
    let stage = Stage::with("disk = \"8MiB\"").await;
    let many = "while :; do head -c 1000000 /dev/zero > file$((n = n + 1)); done";
    let (verdict, reason, _) = stage.run(Script::new(many)).await;
    assert_eq!((verdict, reason.as_str()), (Verdict::Failed, "The build used more than the 8 MiB of disk that it may have."));
    let (verdict, reason, _) = stage.run(Script::new("head -c 100000000 /dev/zero > one")).await;
    assert_eq!(verdict, Verdict::Failed, "one file is bounded at once: {reason}");
    let (verdict, reason, _) = stage.run(Script::new("while :; do mkdir d; cd d; done 2>/dev/null; sleep 600")).await;
    assert_eq!(verdict, Verdict::Failed, "{reason}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_in_the_background_does_not_outlive_its_build() {
    let stage = Stage::with("").await;
    let script = "setsid sleep 424242 > /dev/null 2>&1 < /dev/null &\n(setsid sh -c 'trap \"\" TERM HUP; sleep 424242; sleep 424242' &)\nsleep 424242 & echo started";
    let (verdict, reason, _) = stage.run(Script::new(script)).await;
    assert_eq!(verdict, Verdict::Success, "{reason}");
    // The end was told, so they are gone already.
    assert_eq!(processes_with("424242"), Vec::<String>::new());
    stage.nothing_is_left();
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jobs_own_timeout_counts_from_the_scripts_beginning() {
    let stage = Stage::with("").await;
    let mut order = stage.order_of(Script::new("sleep 600"));
    let signalbox_adapters::executor::Definition::Job(job) = &mut order.definition else { panic!("a job") };
    job.timeout = Some("1s".to_owned().try_into().expect("valid"));
    let build = stage.start(&order).await;
    let (verdict, reason) = build.ended().await;
    assert_eq!((verdict, reason.as_str()), (Verdict::TimedOut, "The script took longer than its timeout of 1 s."));
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_builds_than_places_wait_and_more_than_may_wait_are_refused() {
    let stage = Stage::bare().await;
    let file = stage.write_config("queue = 1");
    let text = std::fs::read_to_string(&file).expect("there").replace("capacity = 4", "capacity = 1");
    stage.begin_with(&text).await;
    let first = stage.start(&stage.order_of(Script::new("echo at work; sleep 600"))).await;
    first.says("at work").await;
    let second = stage.start(&stage.order_of(Script::new("true"))).await;
    assert!(matches!(second.observe().await.state, BuildState::Waiting { .. }));
    let third = stage.executor.start(&stage.order_of(Script::new("true")), &signalbox_adapters::executor::Anchor::default()).await;
    assert!(matches!(third, Err(signalbox_adapters::executor::ExecutorError::Retry { after: Some(_), .. })), "{third:?}");
    stage.executor.cancel(&first.tracked).await.expect("cancelled");
    assert_eq!(first.ended().await.0, Verdict::Aborted);
    assert_eq!(second.ended().await.0, Verdict::Success);
    stage.close().await;
}
