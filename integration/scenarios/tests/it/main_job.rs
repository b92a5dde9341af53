//! The main job: a commit becomes a file on a host.

use serde_json::json;
use signalbox_contract::Code;
use signalbox_contract::api::deploy::{EnvironmentInfo, HostOutcome};
use signalbox_contract::api::run::{Outcome, RunState, Status};
use signalbox_scenarios::{World, WorldOptions, job_file};

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_becomes_a_file_on_every_host_and_goes_back_again() {
    let world = World::new().await;
    let script = "echo building $CICD_GIT_BRANCH for $SIGNALBOX_RUN\ncp greeting hello";
    world.commit(&[(".signalbox.yaml", &job_file(script, &["hello"])), ("greeting", "hello, world\n")]).await;

    let first = world.deploy_hello().await;
    let view = world.ends(first, Outcome::Passed).await;
    assert_eq!(view.steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), ["mirror", "build", "deploy"]);
    let log = world.step_log(first, "build").await;
    assert!(log.contains(&format!("building main for {first}")), "{log}");
    for host in 0..2 {
        assert_eq!(world.shown(host, "hello").as_deref(), Some("hello, world\n"));
    }

    // The page says how to get what was made: no address could hold a token.
    let made = &view.steps[1].attempts[0].artifacts[0];
    let page = world.text(&format!("/view/runs/{first}")).await;
    assert!(page.contains(&format!("signalbox blobs get {} --output hello", made.digest)), "{page}");

    // The same again moves no bytes.
    let again = world.deploy_hello().await;
    let view = world.ends(again, Outcome::Passed).await;
    let hosts = &view.steps[2].attempts[0].hosts;
    assert!(hosts.iter().all(|host| host.outcome == HostOutcome::Unchanged && host.bytes == 0), "{hosts:?}");

    // A second commit is an upgrade; then back to the first.
    world.commit(&[(".signalbox.yaml", &job_file(script, &["hello"])), ("greeting", "hello, moon\n")]).await;
    let second = world.deploy_hello().await;
    world.ends(second, Outcome::Passed).await;
    assert_eq!(world.shown(1, "hello").as_deref(), Some("hello, moon\n"));
    let rollback =
        world.post::<signalbox_contract::api::run::Accepted>("/environments/test/rollback", &json!({ "published_name": "hello" })).await;
    world.ends(rollback.run, Outcome::Passed).await;
    for host in 0..2 {
        assert_eq!(world.shown(host, "hello").as_deref(), Some("hello, world\n"));
    }
    let environment: EnvironmentInfo = world.get("/environments/test").await;
    assert!(environment.shown.iter().all(|host| host.releases[0].run == rollback.run), "{environment:?}");

    // What is in the store already can be deployed under another name, without a build.
    let body = json!({ "artifact_id": "hello", "published_name": "hello-2" });
    let deploy = world.post::<signalbox_contract::api::run::Accepted>("/environments/test/deploy", &body).await;
    world.ends(deploy.run, Outcome::Passed).await;
    assert_eq!(world.shown(0, "hello-2").as_deref(), Some("hello, moon\n"));

    let status: Status = world.get("/status").await;
    assert_eq!(status.finished, [deploy.run, rollback.run, second, again, first]);
    assert!(status.queued.is_empty() && status.building.is_empty());
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_said_in_words_and_nothing_is_deployed() {
    let world = World::new().await;
    let cases = [
        ("version: 1\njobs: {cd: {script: 'exit 3', artifacts: {hello: hello}}}", "3"),
        ("version: 1\njobs: {cd: {script: 'true', artifacts: {hello: hello}}}", "hello"),
        ("version: 1\njobs: {cd: {script: 'true', artefacts: {}}}", "artefacts"),
        ("version: 1\njobs: {cd: {script: 'true'}}", "does not declare an artifact hello"),
        ("version: 1\njobs: {a: {script: 'true'}, b: {script: 'true'}}", "several jobs"),
    ];
    for (definition, words) in cases {
        world.commit(&[(".signalbox.yaml", definition)]).await;
        let run = world.deploy_hello().await;
        let view = world.ends(run, Outcome::Failed).await;
        assert!(view.summary.reason.contains(words), "{definition}: {}", view.summary.reason);
    }
    world.commit(&[("README", "no definition")]).await;
    let run = world.deploy_hello().await;
    let view = world.ends(run, Outcome::Failed).await;
    assert!(view.summary.reason.contains("no .signalbox.yaml"), "{}", view.summary.reason);
    let run = world.cd(&json!({ "repo": "hello", "ref": "no-such-branch" })).await;
    let view = world.ends(run, Outcome::Failed).await;
    assert!(view.summary.reason.contains("no-such-branch"), "{}", view.summary.reason);
    assert_eq!(world.shown(0, "hello"), None);
    let refused = world.refused("/cd", &json!({ "repo": "elsewhere", "ref": "main" })).await;
    assert_eq!((refused.code, refused.errors[0].field.as_str()), (Code::NotConfigured, "repo"));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_build_is_never_deployed() {
    let world = World::new().await;
    world.commit(&[(".signalbox.yaml", &job_file("echo begun\nsleep 600\ntouch hello", &["hello"]))]).await;
    let run = world.deploy_hello().await;
    world.until_log(run, "build", "begun").await;
    world.post::<serde_json::Value>(&format!("/runs/{run}/stop"), &json!({})).await;
    let view = world.ends(run, Outcome::Stopped).await;
    assert_eq!(view.steps[2].attempts.len(), 0, "{view:#?}");
    assert_eq!(world.shown(0, "hello"), None);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_at_any_moment_leaves_nothing_behind() {
    let world = World::with(WorldOptions { hosts: 1, ..WorldOptions::default() }).await;
    world.commit(&[(".signalbox.yaml", &job_file("echo x > hello", &["hello"]))]).await;
    for looks in 0..20 {
        let run = world.deploy_hello().await;
        // Each run gets a little further than the one before.
        for _ in 0..looks {
            world.run(run).await;
        }
        // It may have ended by itself.
        let _ = world.ask::<serde_json::Value>(http::Method::POST, &format!("/runs/{run}/stop"), Some(&json!({}))).await;
        world.until(run, "the run is over", |view| view.summary.state == RunState::Finished).await;
    }
    // The world looks for what is left when it is closed.
    world.close().await;
}
