//! Whatever dies while a run is at work: when it is back, the run goes on by itself, and nothing is done twice.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use signalbox_contract::api::run::{Outcome, RunView};
use signalbox_contract::token::Service;
use signalbox_contract::{RunId, Verdict};
use signalbox_scenarios::{World, WorldOptions, job_file};
use signalbox_service::git::testing::Misbehaviour;
use tempfile::TempDir;

const SERVICES: [Service; 5] =
    [Service::ArtifactStore, Service::VcsWorker, Service::DeployWorker, Service::LocalExecutor, Service::Controller];

/// The services in the order in which they are killed: each four times in each of the three phases (so twelve times in all), or as often as
/// `SIGNALBOX_ROUNDS` says. Kills at moments that nobody chose are the campaign's (`ops/prove crash`).
fn victims() -> impl Iterator<Item = Service> {
    let rounds = std::env::var("SIGNALBOX_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    (0..rounds).flat_map(|_| SERVICES)
}

/// A world whose hosts wait while a gate is shut.
struct Gated {
    world: World,
    gate: PathBuf,
    _folder: TempDir,
}

impl Gated {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("passable");
        let (gate, program) = (folder.path().join("gate"), folder.path().join("wait"));
        let script =
            format!("#!/bin/sh\nwhile [ -e {} ]; do sleep 0.05; done\nexec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"\n", gate.display());
        std::fs::write(&program, script).expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("runnable");
        let options = WorldOptions { force_command: Some(program), ..WorldOptions::default() };
        Self { world: World::with(options).await, gate, _folder: folder }
    }

    fn shut(&self) {
        std::fs::write(&self.gate, "").expect("shut");
    }

    fn open(&self) {
        std::fs::remove_file(&self.gate).expect("open");
    }
}

/// Each step passed with one attempt that counts; a build may have been lost, and was then tried again.
fn assert_as_undisturbed(view: &RunView, killed: Service) {
    for step in &view.steps {
        let lost = step.attempts.iter().filter(|attempt| attempt.verdict == Some(Verdict::Lost)).count();
        assert_eq!(step.attempts.len() - lost, 1, "{killed} was killed: {view:#?}");
        assert!(lost == 0 || killed == Service::LocalExecutor, "{killed} was killed: {view:#?}");
    }
}

async fn deployed(world: &World, run: RunId, killed: Service, expected: &str) {
    let view = world.ends(run, Outcome::Passed).await;
    assert_as_undisturbed(&view, killed);
    for host in 0..2 {
        assert_eq!(world.shown(host, "hello").as_deref(), Some(expected), "after {killed} was killed");
    }
    assert_counted_once(world, &view, killed).await;
}

/// What those did who were asked: the executor began each attempt's build once, and each host was switched once.
async fn assert_counted_once(world: &World, view: &RunView, killed: Service) {
    let run = view.summary.id;
    let build = view.steps.iter().find(|step| step.name == "build").expect("a build");
    let attempts: Vec<String> = build.attempts.iter().map(|attempt| attempt.key.to_string()).collect();
    assert_eq!(world.builds_begun(run), attempts, "{killed} was killed: each attempt is one build, and nothing else is");
    let log = world.step_log(run, "build").await;
    assert_eq!(log.matches("signalbox: checked out").count(), 1, "{killed} was killed: the build that counts began once\n{log}");
    for host in 0..2 {
        let lines = world.activations(host, "hello");
        let of_run: Vec<&str> = lines.iter().filter(|line| line.get(3) == Some(&run.to_string())).map(|line| line[0].as_str()).collect();
        assert_eq!(of_run.iter().filter(|word| **word == "shown").count(), 1, "{killed} was killed: {lines:?}");
        assert!(of_run.iter().all(|word| ["asked", "shown"].contains(word)), "{killed} was killed: {lines:?}");
        let numbers: Vec<u64> = lines.iter().filter(|line| line[0] == "shown").filter_map(|line| line[1].parse().ok()).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{killed} was killed: {lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_survives_the_death_of_any_service_while_it_is_mirrored() {
    let mut world = World::new().await;
    for (round, killed) in victims().enumerate() {
        let text = format!("mirrored past {killed} {round}\n");
        world.commit(&[(".signalbox.yaml", &job_file("cp text hello", &["hello"])), ("text", &text)]).await;
        world.git.forget();
        world.git.misbehave(Misbehaviour::Hang);
        let run = world.deploy_hello().await;
        signalbox_service::testing::eventually("the source is asked", std::time::Duration::from_secs(30), || async {
            (!world.git.seen().is_empty()).then_some(())
        })
        .await;
        world.services.crash(killed).await;
        world.git.misbehave(Misbehaviour::None);
        deployed(&world, run, killed, &text).await;
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_survives_the_death_of_any_service_while_it_is_built() {
    let mut world = World::new().await;
    for (round, killed) in victims().enumerate() {
        let text = format!("built past {killed} {round}\n");
        world.commit(&[(".signalbox.yaml", &job_file("echo begun\nsleep 2\ncp text hello", &["hello"])), ("text", &text)]).await;
        let run = world.deploy_hello().await;
        world.until_step(run, "build", "running").await;
        world.services.crash(killed).await;
        deployed(&world, run, killed, &text).await;
        assert!(world.step_log(run, "build").await.contains("begun"), "the log is there after {killed} was killed");
    }
    world.close().await;
}

// Threat 52.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_survives_the_death_of_any_service_while_it_is_deployed() {
    let mut gated = Gated::new().await;
    for (round, killed) in victims().enumerate() {
        let text = format!("deployed past {killed} {round}\n");
        gated.world.commit(&[(".signalbox.yaml", &job_file("cp text hello", &["hello"])), ("text", &text)]).await;
        gated.shut();
        let run = gated.world.deploy_hello().await;
        gated.world.until_step(run, "deploy", "deploying").await;
        gated.world.services.crash(killed).await;
        gated.open();
        deployed(&gated.world, run, killed, &text).await;
    }
    gated.world.close().await;
}
