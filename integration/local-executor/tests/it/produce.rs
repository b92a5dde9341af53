//! What a build begins with, and what comes of it.

use signalbox_adapters::executor::conformance::Script;
use signalbox_contract::Verdict;
use signalbox_service::git::testing::Misbehaviour;

use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_begins_with_the_commit_on_its_branch_and_nothing_else() {
    let stage = Stage::with("").await;
    let script = "pwd; ls -A; cat hello.txt dir/other; git status --short; echo branch: $(git branch --show-current)\n\
                  echo head: $(git rev-parse HEAD); git describe --always; git remote; echo home: $(ls -A \"$HOME\" | wc -l); test \"$CI\" = true";
    let (verdict, reason, log) = stage.run(Script::new(script)).await;
    assert_eq!(verdict, Verdict::Success, "{reason} {log}");
    assert!(log.contains("\n/build\n.git\ndir\nhello.txt\nhello\nother\nbranch: main\n"), "{log}");
    assert!(log.contains(&format!("head: {}\n", stage.commit)) && log.contains("home: 0\n"), "{log}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workspace_is_clean_each_time() {
    let stage = Stage::with("").await;
    for _ in 0..2 {
        let (verdict, reason, log) =
            stage.run(Script::new("test ! -e left -a ! -e /tmp/left -a ! -e ~/left; touch left /tmp/left ~/left; rm hello.txt")).await;
        assert_eq!(verdict, Verdict::Success, "{reason} {log}");
        stage.nothing_is_left();
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artifact_that_leads_out_of_the_workspace_is_refused() {
    let stage = Stage::with("").await;
    for (script, path) in [
        ("ln -s /etc/passwd out", "out"),
        ("ln -s ../control/script out", "out"),
        ("ln -s .. up", "up/control/script"),
        ("mkfifo out", "out"),
        ("mkdir out", "out"),
        ("ln -s /proc/self/environ out", "out"),
    ] {
        let order = stage.order_of(Script::new(script).keeps("result", path));
        let build = stage.start(&order).await;
        let (verdict, reason) = build.ended().await;
        assert_eq!(verdict, Verdict::Failed, "{script}: {reason}");
        assert!(reason.contains("result"), "{reason}");
        assert!(stage.grant(&order.key).is_empty(), "{script}");
    }
    let order = stage.order_of(Script::new("echo made > real; ln -s real latest").keeps("result", "latest"));
    assert_eq!(stage.start(&order).await.ended().await.0, Verdict::Success, "a link inside is followed");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_puts_artifacts_through_its_socket_without_a_credential() {
    let stage = Stage::with("").await;
    let put = |name: &str| format!("curl -sS --fail --unix-socket \"$SIGNALBOX_SOCKET\" -T hello.txt http://x/artifacts/{name}\n");
    let script = format!("{}{}! {}", put("by/socket"), put("declared"), put("..%2f..%2fx"));
    let order = stage.order_of(Script::new(script).keeps("declared", "no/such/file"));
    let build = stage.start(&order).await;
    let (verdict, reason) = build.ended().await;
    let log = build.log().await;
    assert_eq!(verdict, Verdict::Success, "{reason} {log}");
    let grant = stage.grant(&order.key);
    let names: Vec<&str> = grant.keys().map(AsRef::as_ref).collect();
    assert_eq!(names, ["by/socket", "declared"], "{log}");
    assert!(grant.values().all(|bytes| &bytes[..] == b"hello\n"));
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_commit_than_the_one_that_was_proven_is_not_built() {
    let stage = Stage::with("").await;
    let mut order = stage.order_of(Script::new("echo built"));
    order.source.sha = "1234567890123456789012345678901234567890".parse().expect("valid");
    let build = stage.start(&order).await;
    let (verdict, reason) = build.ended().await;
    assert_eq!(verdict, Verdict::Failed, "{reason}");
    assert!(reason.contains("could not be checked out"), "{reason}");
    assert!(!build.log().await.contains("built\n"));
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_is_away_for_a_while_is_waited_for_and_the_log_says_so() {
    let stage = Stage::with("").await;
    stage.mirror.misbehave(Misbehaviour::Status(503));
    let build = stage.start(&stage.order_of(Script::new("cat hello.txt"))).await;
    build.says("it is asked again").await;
    stage.mirror.misbehave(Misbehaviour::None);
    let (verdict, reason) = build.ended().await;
    assert_eq!(verdict, Verdict::Success, "{reason}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_says_what_the_build_was_run_with() {
    let stage = Stage::with("").await;
    let (_, _, log) = stage.run(Script::new("echo words")).await;
    let first = log.lines().next().expect("a line");
    assert!(first.starts_with("signalbox: build 1 in bubblewrap"), "{first}");
    for words in ["2 GiB of memory and 512 processes by ", "4 GiB of disk", "64 MiB of output", "no network"] {
        assert!(first.contains(words), "{first}");
    }
    assert!(log.ends_with("words\nsignalbox: success\n"), "{log}");
    stage.close().await;
}
