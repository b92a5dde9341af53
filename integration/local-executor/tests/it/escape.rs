//! What a build cannot see, reach or become (threats, SEC-7 and 65).

use std::time::Duration;

use signalbox_adapters::executor::conformance::Script;
use signalbox_adapters::executor::{Anchor, BuildRef, Executor as _, ExecutorError};
use signalbox_contract::build::BuildState;
use signalbox_contract::{FailureCode, Verdict};

use crate::stage::{Stage, processes_with};

/// Runs a script that must pass, and gives what it said.
async fn said(stage: &Stage, script: &str) -> String {
    let (verdict, reason, log) = stage.run(Script::new(script)).await;
    assert_eq!(verdict, Verdict::Success, "{reason}\n{log}");
    log
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_sees_no_process_but_its_own() {
    let stage = Stage::with("").await;
    let log = said(
        &stage,
        "echo processes: $(ls /proc | grep -c '^[0-9]')\n\
         cat /proc/1/environ >/dev/null 2>&1 && echo reads the environment of the first\n\
         kill -9 1 2>/dev/null || true\nkill -9 -1 2>/dev/null || true\n\
         echo still here",
    )
    .await;
    assert!(log.contains("processes: ") && !log.contains("reads the environment"), "{log}");
    let count: u32 =
        log.split("processes: ").nth(1).and_then(|rest| rest.lines().next()).and_then(|count| count.parse().ok()).expect("a number");
    assert!(count <= 6, "{log}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_sees_no_file_of_the_machine_that_is_not_listed() {
    let stage = Stage::with("").await;
    let (data, keys) = (stage.data(), stage.folder.path().join("keys"));
    let script = format!(
        "for path in /etc/shadow /etc/hostname /etc/ssh /etc/ssl/private /root /srv /mnt /sys /boot /var/lib /run/systemd {} {}; do\n\
         if [ -e \"$path\" ]; then echo \"sees $path\"; fi\ndone\n\
         echo root: $(ls /)\necho users: $(cut -d: -f1 /etc/passwd)\n\
         for path in / /usr /etc /dev /run /run/signalbox /proc/sys/kernel; do\n\
         if touch \"$path/x\" 2>/dev/null; then echo \"writes to $path\"; fi\ndone\n\
         echo x 2>/dev/null > /proc/sys/kernel/core_pattern && echo writes settings of the kernel\n\
         head -c 1 /dev/kmsg /dev/mem /dev/sda /dev/vda 2>/dev/null | grep -q . && echo reads devices\n\
         touch /tmp/x /dev/shm/x /build/x \"$HOME/x\"",
        data.display(),
        keys.display(),
    );
    let log = said(&stage, &script).await;
    for bad in ["sees ", "writes ", "reads devices"] {
        assert!(!log.contains(bad), "{bad}: {log}");
    }
    assert!(log.contains("users: root build\n"), "{log}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_has_no_right_to_anything_but_work() {
    let stage = Stage::with("").await;
    let log = said(
        &stage,
        "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status\nid -u\n\
         for command in 'mount -t tmpfs none /tmp' 'unshare -U true' 'unshare -r true' 'unshare -n true' 'chroot / true' 'dmesg' 'nsenter -t 1 -m true' 'mknod /tmp/d b 1 1' 'su -c true'; do\n\
         if $command >/dev/null 2>&1; then echo \"may $command\"; fi\ndone",
    )
    .await;
    for right in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(log.contains(&format!("{right}:\t0000000000000000\n")), "{right}: {log}");
    }
    assert!(log.contains("NoNewPrivs:\t1\n") && log.contains("Seccomp:\t2\n"), "{log}");
    assert!(!log.contains("may "), "{log}");
    assert!(!log.contains("\n0\n"), "nobody is root: {log}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_has_no_network_unless_its_repository_may() {
    let script = |stage: &Stage| {
        format!(
            "for url in http://{} http://{} http://169.254.169.254/ http://[::1]:{}/; do\n\
             code=$(curl -s -o /dev/null -m 3 -w '%{{http_code}}' \"$url\" || true)\necho \"answer: $code\"\ndone",
            stage.store,
            stage.address,
            stage.store.port(),
        )
    };
    let closed = Stage::with("").await;
    let log = said(&closed, &script(&closed)).await;
    assert_eq!(log.matches("answer: 000").count(), 4, "{log}");
    closed.close().await;

    let open = Stage::with("[repositories.\"team/hello\"]\nnetwork = true").await;
    let log = said(&open, &script(&open)).await;
    assert!(log.contains("answer: 404"), "the store answers: {log}");
    open.close().await;
    let other = Stage::with("[repositories.\"team/hell\"]\nnetwork = true").await;
    let log = said(&other, &script(&other)).await;
    assert!(!log.contains("answer: 404"), "{log}");
    other.close().await;
}

// Threat 65.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_capability_is_found_in_the_build_or_on_the_disk() {
    let stage = Stage::with("").await;
    let order = stage.order_of(Script::new(
        "env\ncat /proc/self/environ /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null || true\n\
         grep -r capability- /build /run /tmp /etc 2>/dev/null || true\ncat .git/config\necho waits\nwhile [ ! -e /tmp/never ]; do sleep 0.1; done",
    ));
    let build = stage.start(&order).await;
    build.says("waits").await;
    let log = build.log().await;
    assert!(!log.contains("capability-0"), "{log}");
    assert!(!log.contains("[remote") && !log.contains("http"), "the checkout knows no remote: {log}");
    let searched = grep(&stage.data(), b"-capability-0");
    assert!(searched.is_empty(), "found in {searched:?}");
    // Other tests fetch at the same time, each with its own; git has them in its environment for as long as it fetches.
    assert_eq!(processes_with(&format!("-capability-{}", order.key)), Vec::<String>::new());
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_job_says_of_its_environment_never_reaches_a_program_outside() {
    let stage = Stage::with("").await;
    let mut order = stage.order_of(Script::new("echo path: $PATH\necho told: $TOLD").within(Duration::from_secs(30)));
    // Outside, this would make every program of the chain write there.
    for (name, value) in [
        ("LD_DEBUG", "all".to_owned()),
        ("LD_DEBUG_OUTPUT", stage.folder.path().join("escaped").display().to_string()),
        ("TOLD", "it's $(id) \"data\"".to_owned()),
    ] {
        order.variables.insert(name.parse().expect("valid"), value);
    }
    let build = stage.start(&order).await;
    let (verdict, reason) = build.ended().await;
    let log = build.log().await;
    assert_eq!(verdict, Verdict::Success, "{reason} {log}");
    assert!(log.contains("told: it's $(id) \"data\"\n"), "{log}");
    let escaped: Vec<_> = std::fs::read_dir(stage.folder.path()).expect("there").flatten().map(|entry| entry.file_name()).collect();
    assert!(escaped.iter().all(|name| !name.to_string_lossy().starts_with("escaped")), "{escaped:?}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_builds_at_the_same_time_see_nothing_of_each_other() {
    let stage = Stage::with("").await;
    let first =
        stage.start(&stage.order_of(Script::new("echo mine > /tmp/mine; echo mine > /dev/shm/mine; id -u; echo there; sleep 600"))).await;
    first.says("there").await;
    let (verdict, reason, log) = stage.run(Script::new("ls /tmp /dev/shm /home/build; ls /build; ! pgrep sleep; id -u")).await;
    assert_eq!(verdict, Verdict::Success, "{reason} {log}");
    assert!(!log.contains("mine"), "{log}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_sandbox_builds_are_refused_unless_the_operator_wants_it_so() {
    let stage = Stage::with("bubblewrap = \"/nonexistent/bwrap\"").await;
    let order = stage.order_of(Script::new("true"));
    let refused = stage.executor.start(&order, &Anchor::default()).await;
    let Err(ExecutorError::Refused(failure)) = refused else { panic!("must be refused: {refused:?}") };
    assert_eq!(failure.code, FailureCode::NoSandbox);
    assert!(failure.detail.contains("/nonexistent/bwrap is not there"), "{failure}");
    assert_eq!(stage.known(order.key, BuildRef::default()).observe().await.state, BuildState::Gone);
    stage.close().await;

    let stage = Stage::with("bubblewrap = \"/nonexistent/bwrap\"\nunsandboxed = true").await;
    let script = "cat hello.txt > made; echo $CI; curl -sS --fail --unix-socket \"$SIGNALBOX_SOCKET\" -T made http://x/artifacts/put\nsetsid sleep 868686 &";
    let order = stage.order_of(Script::new(script).keeps("made", "made"));
    let build = stage.start(&order).await;
    let (verdict, reason) = build.ended().await;
    let log = build.log().await;
    assert_eq!(verdict, Verdict::Success, "{reason} {log}");
    assert!(log.starts_with("signalbox: build 1 in no sandbox at all; "), "{log}");
    assert_eq!(stage.grant(&order.key).len(), 2);
    assert_eq!(processes_with("868686"), Vec::<String>::new());
    stage.close().await;
}

/// The files below a folder that hold these bytes.
fn grep(folder: &std::path::Path, wanted: &[u8]) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            found.extend(grep(&entry.path(), wanted));
        } else if kind.is_file()
            && std::fs::read(entry.path()).is_ok_and(|bytes| bytes.windows(wanted.len()).any(|window| window == wanted))
        {
            found.push(entry.path());
        }
    }
    found
}
