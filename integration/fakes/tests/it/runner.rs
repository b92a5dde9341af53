//! The real GitLab Runner at the fake: it registers, builds, hands in what it made, and stops when it is told to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::ExposeSecret as _;
use signalbox_fakes::gitlab::state::project::Variable;
use signalbox_fakes::gitlab::state::status::Status;
use signalbox_fakes::gitlab::{FakeGitlab, Options};
use signalbox_service::process::{Bounds, Program, Running};
use signalbox_service::testing::not_run;

use crate::yard::{Yard, surroundings};

/// The runner's program, built once and kept. `None` where it cannot be built; where `CI` is set that is a failure.
async fn runner_program() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/real/gitlab-runner-build");
    let built = surroundings(Program::new(script)).run(Bounds::new(Duration::from_mins(10))).await;
    match built {
        Ok(output) if output.status.success() => {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            said.lines().last().map(|line| PathBuf::from(line.trim()))
        }
        other => {
            not_run(&format!("go, and Go's module proxy once, for the real GitLab Runner ({other:?})"));
            None
        }
    }
}

/// A real runner that works for a fake GitLab until the end of the test.
struct World {
    yard: Yard,
    _runner: Running,
}

impl World {
    async fn new(change: impl FnOnce(&mut Options)) -> Option<Self> {
        let program = runner_program().await?;
        let yard = Yard::new(change).await;
        let runner = start_runner(&program, yard.folder.path(), &yard.gitlab).await;
        Some(Self { yard, _runner: runner })
    }
}

async fn start_runner(program: &Path, folder: &Path, gitlab: &FakeGitlab) -> Running {
    let (config, work) = (folder.join("config.toml"), folder.join("work"));
    std::fs::create_dir_all(&work).unwrap();
    let home = |program: Program| surroundings(program).env("HOME", folder);
    let token = gitlab.registration_token();
    let register = home(Program::new(program))
        .args(["register", "--non-interactive", "--executor", "shell", "--name", "real", "--registration-token", token.expose_secret()])
        .args(["--url", &format!("{}/", gitlab.url())])
        .arg("--config")
        .arg(&config);
    let output = register.run(Bounds::new(Duration::from_secs(30))).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("check_interval = 0", "check_interval = 1")).unwrap();
    let run = home(Program::new(program)).arg("run").arg("--config").arg(&config).arg("--working-directory").arg(&work);
    run.start().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_runner_builds_a_project_of_several_stages() {
    let Some(World { yard: world, _runner }) = World::new(|_| ()).await else { return };
    world.gitlab.with(|state| {
        state.projects.get_mut(&world.project).unwrap().variables.push(Variable {
            key: "SECRET_WORD".to_owned(),
            value: "sesame-open-now".to_owned(),
            file: false,
            protected: false,
            masked: true,
            hidden: false,
            raw: false,
            scope: "*".to_owned(),
            description: None,
        });
    });
    world
        .push(
            "
stages: [build, test, deploy]
variables: {GREETING: hello}
compile:
  stage: build
  before_script: [echo first things first]
  script:
    - mkdir out
    - echo \"$GREETING from $CI_COMMIT_REF_NAME\" > out/greeting
    - echo \"the word is $SECRET_WORD\"
  after_script: [echo last things last]
  artifacts: {paths: [out/], expire_in: 1 day}
lint: {stage: test, script: ['echo not tidy', exit 3], allow_failure: true}
check:
  stage: test
  script:
    - grep -q 'hello from main' out/greeting
    - git clone -q \"$CI_REPOSITORY_URL\" again
    - test \"$(git -C again rev-parse HEAD)\" = \"$CI_COMMIT_SHA\"
    - echo all is well
empty: {stage: deploy, script: ['test ! -e out'], dependencies: []}
ship: {stage: deploy, script: ['cat out/greeting'], needs: [compile, check]}
mourn: {stage: deploy, script: [echo no], when: on_failure}
ask: {stage: deploy, script: [echo asked], when: manual}
",
        )
        .await;
    world.wait("the pipeline's end", |world| world.pipeline().is_some_and(|(_, status, _)| status.complete())).await;
    let (_, status, warnings) = world.pipeline().unwrap();
    assert_eq!((status, warnings), (Status::Success, true), "{}", world.log("check"));

    let compile = world.log("compile");
    assert!(compile.contains("first things first") && compile.contains("last things last"), "{compile}");
    assert!(compile.contains("the word is [MASKED]") && !compile.contains("sesame"), "{compile}");
    let job = world.job("compile").unwrap();
    assert!(job.runner.is_some() && job.artifacts_expire_at.is_some());
    assert!(!compile.contains(job.token.expose_secret()));
    let (code, file) = world.get(&format!("/projects/{}/jobs/{}/artifacts/out/greeting", world.project, job.id)).await;
    assert_eq!((code, file.as_slice()), (200, &b"hello from main\n"[..]));

    let lint = world.job("lint").unwrap();
    assert_eq!((lint.status, lint.failure_reason.as_deref()), (Status::Failed, Some("script_failure")));
    assert!(world.log("check").contains("all is well"));
    assert!(world.log("ship").contains("hello from main"));
    assert_eq!(world.job("empty").unwrap().status, Status::Success);
    assert_eq!(world.job("mourn").unwrap().status, Status::Skipped);
    assert_eq!(world.job("ask").unwrap().status, Status::Manual);

    let ended = reqwest::Client::new().get(format!("{}/api/v4/jobs/{}/artifacts", world.gitlab.url(), job.id));
    let refused = ended.header("job-token", job.token.expose_secret()).send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 403, "a job's token ends with the job");
    world.gitlab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_stops_at_the_real_runner_which_then_takes_the_next() {
    let Some(World { yard: world, _runner }) = World::new(|_| ()).await else { return };
    world.push("long: {script: ['echo it has begun', 'while true; do echo more; sleep 1; done']}\n").await;
    world.wait("the job's beginning", |world| world.log("long").contains("it has begun")).await;
    let (cancelled, ..) = world.pipeline().unwrap();
    world.gitlab.with(|state| state.cancel_pipeline(cancelled));
    assert_eq!(world.pipeline().unwrap().1, Status::Canceled);
    // The runner does one job at a time, so it is free for this one only when it has let go of the other.
    world.push("next: {script: [echo next]}\n").await;
    world
        .wait("the next pipeline's end", |world| {
            world.pipeline().is_some_and(|(id, status, _)| id != cancelled && status == Status::Success)
        })
        .await;
    let before = world.gitlab.with(|state| state.pipelines.get(&cancelled).map(|pipeline| pipeline.status));
    assert_eq!(before, Some(Status::Canceled), "what the runner says afterwards changes nothing");
    world.gitlab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_runner_was_killed_fails_after_a_while_and_is_tried_again() {
    let started = World::new(|options| options.runner_patience = Duration::from_secs(8)).await;
    let Some(World { yard, _runner: mut runner }) = started else { return };
    // Once nobody reads what it says, it ends by itself: it outlives its runner by a second.
    yard.push(
        "long: {script: [echo it has begun, 'while true; do echo more; sleep 1; done'], retry: {max: 1, when: stuck_or_timeout_failure}}\n",
    )
    .await;
    yard.wait("the job's beginning", |yard| yard.log("long").contains("it has begun")).await;
    let first = yard.job("long").unwrap().id;
    runner.kill().await;
    yard.wait("another attempt", |yard| yard.job("long").is_some_and(|job| job.id != first)).await;
    let reason = yard.gitlab.with(|state| state.jobs.get(&first).and_then(|job| job.failure_reason.clone()));
    assert_eq!(reason.as_deref(), Some("stuck_or_timeout_failure"));
    assert_eq!(yard.job("long").unwrap().status, Status::Pending);
    yard.gitlab.stop().await;
}
