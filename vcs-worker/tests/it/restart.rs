//! What is left of a worker that ends, gently or not, is taken up again.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use signalbox_contract::api::Answer;
use signalbox_service::clock::SystemClock;
use signalbox_service::git::testing::Misbehaviour;
use signalbox_service::http::bind;
use signalbox_service::process::Program;
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::Telemetry;
use signalbox_service::testing::eventually;
use signalbox_vcs_worker::{Config, start};
use tokio_util::sync::CancellationToken;

use crate::house::{House, SOON, key};

/// The variable that makes this program a worker instead of a test.
const CONFIG: &str = "SIGNALBOX_TEST_WORKER";

#[tokio::test]
async fn mirrors_names_and_proofs_survive_a_restart_and_locks_do_not() {
    let house = House::open().await;
    let sha = house.mirror(&house.order("main")).await.sha;
    let shown = house.publish(key(), &sha).await;
    let house = house
        .reopen(|data| {
            let copy = std::fs::read_dir(data.join("copies")).expect("a folder").flatten().next().expect("a copy").path();
            for lock in ["packed-refs.lock", "HEAD.lock", "config.lock", "refs/proven/x.lock"] {
                std::fs::write(copy.join(lock), "").expect("written");
            }
            std::fs::write(copy.join("objects/pack/tmp_pack_x"), "half").expect("written");
            std::fs::create_dir(data.join("copies/half.new")).expect("a folder");
            std::fs::write(data.join("names/half.new"), "{").expect("written");
        })
        .await;
    house.publish(key(), &sha).await;
    let second = house.source.commit("refs/heads/main", &[("x", "y")]).await;
    assert_eq!(house.mirror(&house.order("main")).await.sha, second);
    let mut left = Vec::new();
    let mut folders = vec![house.data().join("copies"), house.data().join("names")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if [".lock", ".new"].iter().any(|end| name.ends_with(end)) || name.starts_with("tmp_") {
                left.push(name);
            }
            if entry.path().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    assert_eq!(left, Vec::<String>::new());
    let answer = house
        .http()
        .get(format!("http://{}/mirrors/team/hello.git/info/refs?service=git-upload-pack", house.address))
        .bearer_auth(house.capability("team/hello", &sha));
    assert!(answer.send().await.expect("an answer").status().is_success());
    assert!(shown.url.as_str().ends_with("/mirrors/team/hello.git"));
}

/// Not a test of its own: the worker that another test kills.
#[tokio::test]
#[ignore = "it is the worker that another test starts and kills"]
async fn a_worker_to_be_killed() {
    let Ok(file) = std::env::var(CONFIG) else {
        return;
    };
    let config = Config::load(Path::new(&file)).expect("a configuration");
    let listener = bind(config.common.listen).expect("a free port");
    let shutdown = Shutdown::new();
    start(config, listener, SystemClock::shared(), Telemetry::new("vcs-worker"), shutdown.clone()).await.expect("started");
    shutdown.requested().await;
}

/// Starts this program as a worker on the house's folder, and waits until it answers.
pub(crate) async fn worker(house: &House) -> signalbox_service::process::Running {
    let program = std::env::current_exe().expect("this program");
    let running = Program::new(program)
        .args(["--exact", "restart::a_worker_to_be_killed", "--ignored", "--nocapture"])
        .env(CONFIG, house.folder.path().join("vcs-worker.toml"))
        .env("PATH", "/usr/bin:/bin")
        .start()
        .expect("started");
    eventually("the worker answers", SOON, || async { tokio::net::TcpStream::connect(house.address).await.ok() }).await;
    running
}

fn git_processes(needle: &str) -> usize {
    let entries = std::fs::read_dir("/proc").expect("proc").flatten();
    entries
        .filter(|entry| std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(needle)))
        .count()
}

#[tokio::test]
async fn a_worker_that_is_killed_in_the_middle_of_a_fetch_takes_it_up_again() {
    // Its own worker gives up the folder; processes that can be killed take its place.
    let house = House::open().await.vacate().await;
    let sha = house.source.read("refs/heads/main").await;
    let mut order = house.order("main");
    order["sha"] = json!(sha);
    let attempt = key();
    for how in [Misbehaviour::Hang, Misbehaviour::HangAtObjects] {
        let mut running = worker(&house).await;
        house.server.misbehave(how);
        house.server.forget();
        let asked = tokio::time::timeout(Duration::from_millis(1500), house.post_once::<Value>("/repo", attempt, &order)).await;
        assert!(!matches!(asked, Ok(Ok(Answer::Done { .. }))));
        eventually("git is at it", SOON, || async { (!house.server.seen().is_empty()).then_some(()) }).await;
        kill_alone(&running);
        running.wait_within(SOON, &CancellationToken::new()).await.expect("ended");
    }
    house.server.misbehave(Misbehaviour::None);
    let _running = worker(&house).await;
    let answer: Answer<Value> = house.post("/repo", attempt, &order).await.expect("an answer");
    assert!(matches!(&answer, Answer::Done { result } if result["sha"] == json!(sha)), "{answer:?}");
    // What the killed ones had started is gone too.
    let needle = house.server.address().to_string();
    eventually("no git of theirs is left", SOON, || async { (git_processes(&needle) == 0).then_some(()) }).await;
    house.publish(key(), &sha).await;
}

/// Kills the worker and nothing else, as the kernel would.
pub(crate) fn kill_alone(running: &signalbox_service::process::Running) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(running.id()).expect("a process id")).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
}
