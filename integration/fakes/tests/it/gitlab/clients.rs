//! Clients that know nothing of us use the fake unmodified, for all that it models.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::ExposeSecret as _;
use signalbox_fakes::gitlab::Outcome;
use signalbox_service::process::{Bounds, Program};
use signalbox_service::testing::not_run;

use super::world::{Receiver, World};

/// How long fetching and compiling a client may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// Where clients are kept between runs: below the target folder.
fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/gitlab/clients")
}

fn with_environment(program: Program) -> Program {
    // Clients are fetched by their own package managers, which are configured by the environment.
    std::env::vars_os().fold(program, |program, (key, value)| program.env(key, value))
}

async fn run(program: Program) -> Result<String, String> {
    let output = with_environment(program).run(Bounds::new(PATIENCE)).await.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

async fn world() -> (World, Receiver) {
    let world = World::new().await;
    world.gitlab.script(|_, _| {
        let report = "<testsuite><testcase classname='a' name='b'/></testsuite>";
        Some(Outcome::success().saying("hello from the script\n").leaving("out/hello", "hello").reporting(report))
    });
    (world, Receiver::start())
}

fn told(program: Program, world: &World, receiver: &Receiver) -> Program {
    program
        .env("GITLAB_URL", world.gitlab.url())
        .env("GITLAB_TOKEN", world.gitlab.root_token().expose_secret())
        .env("HOOK_URL", &receiver.url)
}

#[tokio::test]
async fn python_gitlab_tells_its_story() {
    let venv = kept("python-gitlab-8.6");
    let python = venv.join("bin/python");
    let there = run(Program::new(&python).args(["-c", "import gitlab"])).await.is_ok();
    if !there {
        if let Err(why) = run(Program::new("python3").args(["-m", "venv", "--clear"]).arg(&venv)).await {
            return not_run(&format!("python3-venv ({why})"));
        }
        if let Err(why) = run(Program::new(&python).args(["-m", "pip", "install", "--quiet", "python-gitlab==8.6.0"])).await {
            return not_run(&format!("the package python-gitlab ({why})"));
        }
    }
    let (world, receiver) = world().await;
    let story = Program::new(&python).arg(sources().join("story.py"));
    // The script's own variables come last, so that none of the caller's hides them.
    let said = run_story(story, &world, &receiver).await;
    assert!(said.contains("all of it came true"), "{said}");
    receiver.until("a pipeline is told", |one| one.body["object_kind"] == "pipeline").await;
}

#[tokio::test]
async fn the_client_for_go_tells_its_story() {
    if let Err(why) = run(Program::new("go").arg("version")).await {
        return not_run(&format!("go ({why})"));
    }
    let folder = kept("go-client");
    std::fs::create_dir_all(&folder).expect("a folder");
    for name in ["go.mod", "main.go"] {
        std::fs::copy(sources().join("go").join(name), folder.join(name)).expect("a copy");
    }
    let built = async {
        run(Program::new("go").args(["mod", "tidy"]).dir(&folder)).await?;
        run(Program::new("go").args(["build", "-o", "story", "."]).dir(&folder)).await
    };
    if let Err(why) = built.await {
        return not_run(&format!("the module gitlab.com/gitlab-org/api/client-go ({why})"));
    }
    let (world, receiver) = world().await;
    let said = run_story(Program::new(folder.join("story")), &world, &receiver).await;
    assert!(said.contains("all of it came true"), "{said}");
    receiver.until("a job is told", |one| one.body["object_kind"] == "build").await;
}

async fn run_story(program: Program, world: &World, receiver: &Receiver) -> String {
    let output = told(with_environment(program), world, receiver).run(Bounds::new(PATIENCE)).await.expect("it runs");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
