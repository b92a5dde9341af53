//! What all logs together say of one attempt.

use signalbox_contract::api::run::{Outcome, RunView};
use signalbox_contract::token::Service;
use signalbox_scenarios::{World, job_file};

/// Whether a service has written a line that says both.
fn says(world: &World, service: Service, what: &str, about: &str) -> bool {
    world.services.log(service).lines().any(|line| line.contains(what) && line.contains(about))
}

fn key(view: &RunView, step: usize) -> String {
    view.steps[step].attempts[0].key.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_an_attempt_leads_through_the_logs_of_all_services() {
    let world = World::new().await;
    world.commit(&[(".signalbox.yaml", &job_file("echo hello >hello", &["hello"]))]).await;
    let run = world.deploy_hello().await;
    let view = world.ends(run, Outcome::Passed).await;
    let (mirror, build, deploy) = (key(&view, 0), key(&view, 1), key(&view, 2));
    let ways = [
        (&mirror, Service::Controller, "effect.performed", "fetch"),
        (&mirror, Service::VcsWorker, "POST", "fetch"),
        (&build, Service::Controller, "effect.performed", "publish"),
        (&build, Service::VcsWorker, "POST", "publish"),
        (&build, Service::Controller, "effect.performed", "start"),
        (&build, Service::LocalExecutor, "build.accepted", "start"),
        (&build, Service::LocalExecutor, "build.ended", "start"),
        (&build, Service::ArtifactStore, "PUT", "start"),
        (&build, Service::ArtifactStore, "POST", "seal"),
        (&deploy, Service::Controller, "effect.performed", "deploy"),
        (&deploy, Service::DeployWorker, "deploy.ended", "deploy"),
        (&deploy, Service::ArtifactStore, "GET", "deploy"),
    ];
    for (key, service, what, act) in ways {
        assert!(says(&world, service, what, &format!("\"key\":\"{key}\"")), "{service}: {what} for {key}\n{}", world.services.log(service));
        assert!(says(&world, service, what, &format!("\"id\":\"{key}.{act}\"")), "{service}: {what} by {act} of {key}");
    }
    // Git asks by itself, with no more than the attempt's token.
    assert!(says(&world, Service::VcsWorker, "mirror.read", &format!("\"key\":\"{build}\"")), "who fetched it for the build");
    world.close().await;
}
