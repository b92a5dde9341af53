//! What is left when the executor dies, and when it is told to end.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use signalbox_adapters::executor::conformance::Script;
use signalbox_adapters::executor::{Anchor, Executor as _};
use signalbox_contract::build::BuildState;
use signalbox_contract::{FailureClass, Verdict};
use signalbox_service::git::testing::{Misbehaviour, Seen};
use signalbox_service::process::{Program, Running};
use signalbox_service::shutdown::Shutdown;
use signalbox_service::testing::eventually;

use crate::stage::{Build, SOON, Stage, begin, processes_with, wait_until_gone};

const CONFIG: &str = "SIGNALBOX_TEST_EXECUTOR";

/// A user of the machine's that is nobody.
const NOBODY: u32 = 65_534;

/// No test: it is the executor as a process of its own, which the tests below start and kill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the tests that kill it"]
async fn the_executor_as_a_process() {
    let Some(file) = std::env::var_os(CONFIG) else { return };
    let services = Shutdown::new();
    begin(Path::new(&file), &services).await;
    Shutdown::asked_by_the_system().await;
    assert!(services.drained(Duration::from_secs(30)).await, "everything ends");
}

/// Starts the executor as a process of its own, under another user if one is given, and waits until it answers.
async fn process(stage: &Stage, more: &str, user: Option<u32>) -> Running {
    let file = stage.write_config(more);
    let this = std::env::current_exe().expect("a program");
    let program = match user {
        Some(user) => {
            let user = user.to_string();
            Program::new("/usr/bin/setpriv").args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"]).arg(this)
        }
        None => Program::new(this),
    };
    let program = program.args(["--exact", "crash::the_executor_as_a_process", "--ignored", "--nocapture"]);
    let mut running = program.env(CONFIG, file).env("PATH", "/usr/bin:/bin").start().expect("it starts");
    // Its words are of no interest, but somebody must take them.
    let (stdout, stderr) = (running.stdout.take().expect("open"), running.stderr.take().expect("open"));
    tokio::spawn(async move { tokio::io::copy(&mut { stdout }, &mut tokio::io::sink()).await });
    tokio::spawn(async move { tokio::io::copy(&mut { stderr }, &mut tokio::io::sink()).await });
    let never = stage.order_of(Script::new("true")).key;
    eventually("the executor answers", SOON, || async { stage.executor.find(&never, &Anchor::default()).await.ok() }).await;
    running
}

fn signal(running: &Running, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(running.id()).expect("small")).expect("not zero");
    kill_process(pid, signal).expect("it is there");
}

async fn busy(stage: &Stage, mark: &str) -> Build {
    let script = format!("setsid sleep {mark} &\necho at work; mkdir -p deep/er; sleep {mark}");
    let build = stage.start(&stage.order_of(Script::new(script).within(Duration::from_mins(10)))).await;
    build.says("at work").await;
    build
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_nothing_is_left_and_the_build_is_lost() {
    let stage = Stage::bare().await;
    let mut executor = process(&stage, "", None).await;
    let done = stage.start(&stage.order_of(Script::new("echo done"))).await;
    assert_eq!(done.ended().await.0, Verdict::Success);
    let build = busy(&stage, "535353").await;
    assert!(!processes_with("535353").is_empty());
    signal(&executor, Signal::KILL);
    executor.wait().await.expect("it ended");
    // The sandbox ends with the executor, not only when that comes back.
    wait_until_gone("535353");

    let executor = process(&stage, "", None).await;
    stage.nothing_is_left();
    let observation = build.observe().await;
    let BuildState::Ended { verdict, class, .. } = observation.state else { panic!("it is over: {observation:?}") };
    assert_eq!((verdict, class), (Verdict::Lost, Some(FailureClass::Infrastructure)));
    assert!(build.log().await.contains("at work"), "what it said is kept");
    assert_eq!(done.observe().await.state, done.observe().await.state);
    assert_eq!(done.ended().await.0, Verdict::Success, "what was over stays as it was");
    let (verdict, reason, _) = stage.run(Script::new("true")).await;
    assert_eq!(verdict, Verdict::Success, "and it builds on: {reason}");
    signal(&executor, Signal::TERM);
    drop(executor);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_in_the_middle_of_a_checkout_leaves_nothing_either() {
    let stage = Stage::bare().await;
    let mut executor = process(&stage, "", None).await;
    stage.mirror.misbehave(Misbehaviour::HangAtObjects);
    let build = stage.start(&stage.order_of(Script::new("true"))).await;
    eventually("git asks for objects", SOON, || async { stage.mirror.seen().iter().any(Seen::fetches).then_some(()) }).await;
    signal(&executor, Signal::KILL);
    executor.wait().await.expect("it ended");
    let executor = process(&stage, "", None).await;
    stage.nothing_is_left();
    assert_eq!(build.ended().await.0, Verdict::Lost);
    drop(executor);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkout_that_hangs_is_cancelled_like_anything_else() {
    let stage = Stage::with("").await;
    stage.mirror.misbehave(Misbehaviour::HangAtObjects);
    let build = stage.start(&stage.order_of(Script::new("true"))).await;
    eventually("git asks for objects", SOON, || async { stage.mirror.seen().iter().any(Seen::fetches).then_some(()) }).await;
    stage.executor.cancel(&build.tracked).await.expect("cancelled");
    assert_eq!(build.ended().await.0, Verdict::Aborted);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_that_is_told_to_end_tells_that_its_builds_are_lost() {
    let stage = Stage::bare().await;
    let mut executor = process(&stage, "", None).await;
    let build = busy(&stage, "646464").await;
    signal(&executor, Signal::TERM);
    assert!(executor.wait().await.expect("it ended").success(), "it ends well");
    assert_eq!(processes_with("646464"), Vec::<String>::new());
    stage.nothing_is_left();
    let executor = process(&stage, "", None).await;
    assert_eq!(build.ended().await, (Verdict::Lost, "The executor was stopped.".to_owned()));
    let BuildState::Ended { class, .. } = build.observe().await.state else { panic!("it is over") };
    assert_eq!(class, Some(FailureClass::Interrupted), "nothing is wrong with it");
    drop(executor);
    stage.close().await;
}

/// As an ordinary user there are neither users to choose from nor, here, control groups.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_without_rights_isolates_and_clears_away_as_well() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let stage = Stage::bare().await;
    std::fs::create_dir_all(stage.data()).expect("made");
    for folder in [stage.folder.path().join("data"), stage.data()] {
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).expect("closed");
        chown(folder, Some(NOBODY), Some(NOBODY)).expect("given");
    }
    // The folder with the private key is closed to everybody else.
    std::fs::copy(stage.folder.path().join("keys/public.json"), stage.folder.path().join("public.json")).expect("copied");
    let config = "memory = \"256MiB\"\npublic_keys = \"public.json\"";
    let mut executor = process(&stage, config, Some(NOBODY)).await;
    let script = "id -u; ! ls /root; grep CapEff /proc/self/status; grep Seccomp: /proc/self/status; unshare -U true && echo may unshare; echo kept > kept";
    let order = stage.order_of(Script::new(format!("{script}; true")).keeps("kept", "kept"));
    let build = stage.start(&order).await;
    let (verdict, reason) = build.ended().await;
    let log = build.log().await;
    assert_eq!(verdict, Verdict::Success, "{reason} {log}");
    assert!(log.contains("in a user namespace; 256 MiB of memory and 512 processes by limits of each process"), "{log}");
    assert!(log.contains("\n1000\n") && log.contains("CapEff:\t0000000000000000") && log.contains("Seccomp:\t2"), "{log}");
    assert!(!log.contains("may unshare"), "{log}");
    assert_eq!(stage.grant(&order.key).len(), 1);
    let (verdict, reason, _) =
        stage.run(Script::new("mkdir -p locked/in; chmod 0 locked/in locked; head -c 600000000 /dev/zero | tail -n 1 > /dev/null")).await;
    assert_eq!(verdict, Verdict::Failed, "memory is bounded: {reason}");
    stage.nothing_is_left();
    let build = busy(&stage, "757575").await;
    signal(&executor, Signal::KILL);
    executor.wait().await.expect("it ended");
    wait_until_gone("757575");
    let executor = process(&stage, config, Some(NOBODY)).await;
    stage.nothing_is_left();
    assert_eq!(build.ended().await.0, Verdict::Lost);
    drop(executor);
    stage.close().await;
}

// Threat 64.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_executor_on_the_same_folder_does_not_start() {
    let stage = Stage::with("").await;
    let file = stage.write_config("");
    let text = std::fs::read_to_string(&file).expect("there").replace(&stage.address.to_string(), "127.0.0.1:0");
    let mut reader = signalbox_service::config::Reader::parse(&file.display().to_string(), &text).expect("TOML");
    let mut config = signalbox_local_executor::Config::read(&mut reader).expect("all there");
    config.common.data = stage.data();
    let listener = signalbox_service::http::bind(config.common.listen).expect("a port");
    let clock = signalbox_service::clock::SystemClock::shared();
    let telemetry = signalbox_service::telemetry::Telemetry::new("local-executor");
    let refused = signalbox_local_executor::start(config, listener, clock, telemetry, Shutdown::new()).await;
    assert!(matches!(refused, Err(signalbox_local_executor::StartError::Folder(_))), "{refused:?}");
    stage.close().await;
}
