//! Builds in a GitLab by the repository's own `.gitlab-ci.yml`, whose jobs go as the scenario says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use serde_json::json;
use signalbox_contract::RunId;
use signalbox_contract::api::run::Outcome as Ended;
use signalbox_contract::token::Service;
use signalbox_fakes::gitlab::fault::{AnswerFault, PipelineFault};
use signalbox_fakes::gitlab::state::status::Status;
use signalbox_fakes::gitlab::{Faults, Outcome};
use signalbox_scenarios::{Gitlab, World, WorldOptions};
use signalbox_service::process::{Bounds, Program};
use signalbox_service::secret::ExposeSecret as _;

const DEFINITION: &str = "\
stages: [build, test]
compile: {stage: build, script: [make], artifacts: {paths: [out/]}}
check: {stage: test, script: [make check]}
";

/// How a fault is ordered.
type Order = fn(&Faults);

/// A GitLab whose jobs leave what the commit is, and a world that builds `hello` there.
async fn world() -> (Gitlab, World) {
    let gitlab = Gitlab::start().await;
    gitlab.fake.script(|job, pipeline| {
        let outcome = Outcome::success().saying(format!("{} of {}\n", job.plan.name, pipeline.sha));
        Some(if job.plan.name == "compile" { outcome.leaving("out/hello", pipeline.sha.as_bytes()) } else { outcome })
    });
    let picks = "[repositories.hello.artifacts]\nhello = { part = \"compile\", path = \"out/hello\" }\n";
    let options = WorldOptions::default().with_gitlab(&gitlab).with(Service::Controller, picks);
    (gitlab, World::with(options).await)
}

/// `POST /cd` for `hello` at a ref, built in GitLab.
async fn start(world: &World, ref_name: &str) -> RunId {
    world.cd(&json!({ "repo": "hello", "ref": ref_name, "artifact": "hello", "executor": "gitlab" })).await
}

async fn close(gitlab: Gitlab, world: World) {
    world.close().await;
    gitlab.close(&["hello"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_untouched_definition_is_built_in_gitlab_and_what_it_made_is_deployed() {
    let (gitlab, world) = world().await;
    let sha = world.repository.commit("refs/heads/main", &[(".gitlab-ci.yml", DEFINITION)]).await.to_string();
    let run = start(&world, "main").await;
    let view = world.ends(run, Ended::Passed).await;
    let build = view.steps.iter().find(|step| step.name == "build").expect("a step");
    let parts: Vec<&str> = build.attempts[0].parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(parts, ["compile", "check"]);
    for part in parts {
        world.until_part_log(run, part, &format!("{part} of {sha}")).await;
    }
    for host in 0..2 {
        assert_eq!(world.shown(host, "hello"), Some(sha.clone()));
    }
    let pipelines = gitlab.pipelines("hello");
    assert_eq!(pipelines.len(), 1, "{pipelines:#?}");
    assert_eq!((pipelines[0].ref_name.as_str(), pipelines[0].sha.as_str()), ("main", sha.as_str()));

    // The same commit again is built again, though nothing moves at the mirror.
    let again = start(&world, "main").await;
    world.ends(again, Ended::Passed).await;
    assert_eq!(gitlab.pipelines("hello").len(), 2);
    close(gitlab, world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_gitlab_answers_one_pipeline_counts_and_the_run_ends_right() {
    let (gitlab, world) = world().await;
    let orders: [(&str, Order); 7] = [
        ("the start's answer is lost", |faults| faults.answer(Some(Method::POST), "/pipeline", AnswerFault::Lost, 1)),
        ("the start is answered 502", |faults| faults.answer(Some(Method::POST), "/pipeline", AnswerFault::Status(502), 2)),
        ("the start is one of too many", |faults| {
            faults.answer(Some(Method::POST), "/pipeline", AnswerFault::TooMany(Duration::from_secs(1)), 1);
        }),
        ("the pipeline of the push is late", |faults| faults.pipelines(PipelineFault::Late(Duration::from_secs(3)))),
        ("a fifth of all answers is 503", |faults| faults.answer_some(None, "/api/", AnswerFault::Status(503), 0.2)),
        ("a tenth of all answers is 500, git's too", |faults| faults.answer_some(None, "/", AnswerFault::Status(500), 0.1)),
        ("a tenth of all answers is cut", |faults| faults.answer_some(None, "/api/", AnswerFault::Cut, 0.1)),
    ];
    for (number, (what, order)) in orders.into_iter().enumerate() {
        // Every other one is built under a name of its own, where we start the pipeline ourselves.
        let kept = number % 2 == 1 || what.contains("push");
        let ref_name = if kept { "refs/heads/main".to_owned() } else { format!("refs/changes/0{number}/{number}/1") };
        let text = format!("{what}\n");
        let sha = world.repository.commit(&ref_name, &[(".gitlab-ci.yml", DEFINITION), ("text", &text)]).await.to_string();
        order(gitlab.fake.faults());
        let run = start(&world, &ref_name).await;
        let view = world.ends(run, Ended::Passed).await;
        gitlab.up();
        assert_eq!(world.shown(0, "hello"), Some(sha.clone()), "{what}: {view:#?}");
        let attempts = view.steps.iter().find(|step| step.name == "build").map_or(0, |step| step.attempts.len());
        let pipelines: Vec<_> = gitlab.pipelines("hello").into_iter().filter(|pipeline| pipeline.sha == sha).collect();
        let counted = pipelines.iter().filter(|pipeline| pipeline.status == Status::Success);
        assert_eq!(counted.count(), attempts, "{what}: {pipelines:#?}");
    }
    close(gitlab, world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gitlab_build_survives_the_death_of_any_service_and_of_gitlab_for_a_while() {
    let (gitlab, mut world) = world().await;
    let open = Arc::new(AtomicBool::new(false));
    for killed in [Some(Service::Controller), Some(Service::VcsWorker), Some(Service::ArtifactStore), Some(Service::DeployWorker), None] {
        let gate = Arc::clone(&open);
        gate.store(false, Ordering::SeqCst);
        // While the gate is shut, jobs wait for a runner.
        let script = move |job: &signalbox_fakes::gitlab::state::job::Job,
                           pipeline: &signalbox_fakes::gitlab::state::pipeline::Pipeline| {
            let passed = Outcome::success().leaving("out/hello", pipeline.sha.as_bytes());
            (gate.load(Ordering::SeqCst) || job.plan.name != "compile").then_some(passed)
        };
        gitlab.fake.script(script.clone());
        let text = format!("{killed:?}\n");
        let sha = world.repository.commit("refs/heads/main", &[(".gitlab-ci.yml", DEFINITION), ("text", &text)]).await.to_string();
        let run = start(&world, "main").await;
        gitlab.until("hello", "a pipeline of it", |pipeline| pipeline.sha == sha).await;
        match killed {
            Some(service) => world.services.crash(service).await,
            // It is asked in vain a few times before it comes back.
            None => gitlab.fake.faults().answer(None, "/api/", AnswerFault::Refused, 5),
        }
        open.store(true, Ordering::SeqCst);
        gitlab.fake.script(script);
        world.ends(run, Ended::Passed).await;
        assert_eq!(world.shown(1, "hello"), Some(sha.clone()), "{killed:?}");
        let pipelines: Vec<_> = gitlab.pipelines("hello").into_iter().filter(|pipeline| pipeline.sha == sha).collect();
        assert_eq!(pipelines.len(), 1, "{killed:?}: {pipelines:#?}");
    }
    close(gitlab, world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_never_comes_or_never_moves_is_told_and_left_behind_by_nobody() {
    let gitlab = Gitlab::start().await;
    gitlab.fake.script(|_, _| Some(Outcome::success()));
    let options = WorldOptions::default().with_gitlab(&gitlab).with(Service::Controller, "[limits]\nappear = \"6s\"\n");
    let world = World::with(options).await;
    world.repository.commit("refs/heads/main", &[(".gitlab-ci.yml", DEFINITION)]).await;
    gitlab.fake.faults().pipelines(PipelineFault::Never);
    let run = world.cd(&json!({ "repo": "hello", "ref": "main", "executor": "gitlab" })).await;
    let view = world.ends(run, Ended::Failed).await;
    assert!(view.summary.reason.contains("within 6 seconds"), "{}", view.summary.reason);
    assert!(gitlab.pipelines("hello").is_empty());

    let sha = world.repository.commit("refs/heads/main", &[(".gitlab-ci.yml", DEFINITION), ("text", "2\n")]).await.to_string();
    gitlab.fake.faults().pipelines(PipelineFault::Hung);
    let run = world.cd(&json!({ "repo": "hello", "ref": "main", "executor": "gitlab" })).await;
    gitlab.until("hello", "a pipeline of it", |pipeline| pipeline.sha == sha).await;
    world.until_step(run, "build", "queued").await;
    world.post::<serde_json::Value>(&format!("/runs/{run}/stop"), &json!({})).await;
    world.ends(run, Ended::Stopped).await;
    gitlab.until("hello", "it is cancelled", |pipeline| pipeline.sha == sha && pipeline.status == Status::Canceled).await;

    // After both, the same commit is built as if nothing had been.
    gitlab.up();
    let run = world.cd(&json!({ "repo": "hello", "ref": "main", "executor": "gitlab" })).await;
    world.ends(run, Ended::Passed).await;
    close(gitlab, world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_stops_its_pipeline_and_a_failing_job_deploys_nothing() {
    let (gitlab, world) = world().await;
    gitlab.fake.script(|_, _| Some(Outcome::hangs()));
    let sha = world.repository.commit("refs/heads/main", &[(".gitlab-ci.yml", DEFINITION)]).await.to_string();
    let run = start(&world, "main").await;
    world.until_step(run, "build", "running").await;
    world.post::<serde_json::Value>(&format!("/runs/{run}/stop"), &json!({})).await;
    world.ends(run, Ended::Stopped).await;
    let stopped = |status| status == Status::Canceled;
    gitlab.until("hello", "it is cancelled", |pipeline| pipeline.sha == sha && stopped(pipeline.status)).await;

    gitlab.fake.script(|_, _| Some(Outcome::failure("script_failure").saying("make: *** no rule\n")));
    world.repository.commit("refs/heads/main", &[(".gitlab-ci.yml", DEFINITION), ("text", "2\n")]).await;
    let run = start(&world, "main").await;
    let view = world.ends(run, Ended::Failed).await;
    assert!(view.summary.reason.contains("compile"), "{}", view.summary.reason);
    world.repository.commit("refs/heads/main", &[(".gitlab-ci.yml", "compile: [nonsense\n")]).await;
    let run = start(&world, "main").await;
    world.ends(run, Ended::Failed).await;
    assert_eq!(world.shown(0, "hello"), None);
    close(gitlab, world).await;
}

/// What a job does to upload, as docs/executors/gitlab.md tells it.
const UPLOAD: &str = r#"
set -eu
umask 077
printf %s "$SIGNALBOX_IDENTITY" | curl -sS --fail-with-body --retry 10 -o given.json \
  -d grant_type=urn:ietf:params:oauth:grant-type:token-exchange \
  -d subject_token_type=urn:ietf:params:oauth:token-type:id_token \
  --data-urlencode subject_token@- "$SIGNALBOX/token"
sed -n 's/.*"access_token":"\([^"]*\)".*/Authorization: Bearer \1/p' given.json > header
curl -sS --fail-with-body --retry 5 -T out/hello -H @header "$(sed -n 's/.*"upload":"\([^"]*\)".*/\1/p' given.json)hello"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_job_uploads_by_its_identity_and_what_it_uploaded_is_deployed() {
    const AUDIENCE: &str = "https://signalbox.example.org";
    let gitlab = Gitlab::start().await;
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let script = move |job: &signalbox_fakes::gitlab::state::job::Job, _: &signalbox_fakes::gitlab::state::pipeline::Pipeline| {
        let passed = Outcome::success().leaving("out/hello", b"what GitLab keeps");
        (gate.load(Ordering::SeqCst) || job.plan.name != "compile").then_some(passed)
    };
    gitlab.fake.script(script.clone());
    let more = format!("[executors.gitlab.identity]\naudience = \"{AUDIENCE}\"\n");
    let options = WorldOptions::default().with_gitlab(&gitlab).with(Service::Controller, &more);
    let world = World::with(options).await;
    let sha = world.repository.commit("refs/heads/main", &[(".gitlab-ci.yml", DEFINITION)]).await.to_string();
    let run = start(&world, "main").await;
    let pipeline = gitlab.until("hello", "a pipeline of it", |pipeline| pipeline.sha == sha).await.id;
    let job = gitlab.fake.with(|state| {
        let jobs = state.newest_jobs(pipeline);
        jobs.iter().find(|job| job.plan.name == "compile").map(|job| job.id).expect("a job")
    });
    let identity = gitlab.fake.id_token(job, AUDIENCE).await.expect("an identity");

    // The job, on its own machine.
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("out")).expect("a folder");
    std::fs::write(folder.path().join("out/hello"), &sha).expect("written");
    let upload = || {
        Program::new("/bin/sh")
            .args(["-c", UPLOAD])
            .dir(folder.path())
            .env("PATH", "/usr/bin:/bin")
            .env("CURL_CA_BUNDLE", world.site().join("ca.pem"))
            .env("SIGNALBOX", world.url(Service::Controller))
            .env("SIGNALBOX_IDENTITY", identity.expose_secret())
            .run(Bounds::new(Duration::from_mins(1)))
    };
    let uploaded = upload().await.expect("it ends");
    assert!(uploaded.status.success(), "{}", String::from_utf8_lossy(&uploaded.stderr));

    open.store(true, Ordering::SeqCst);
    gitlab.fake.script(script);
    world.ends(run, Ended::Passed).await;
    for host in 0..2 {
        assert_eq!(world.shown(host, "hello"), Some(sha.clone()));
    }
    let late = upload().await.expect("it ends");
    assert!(!late.status.success(), "the attempt is over");
    close(gitlab, world).await;
}
