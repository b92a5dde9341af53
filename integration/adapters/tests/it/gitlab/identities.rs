//! Jobs that show who they are, in a GitLab that gives them identities as the real one does.

use signalbox_adapters::executor::conformance::Script;
use signalbox_adapters::executor::gitlab::{GitLabExecutor, Keyring};
use signalbox_adapters::executor::{Executor as _, Started, Unidentified};
use signalbox_service::clock::SystemClock;
use signalbox_service::shutdown::Shutdown;

use super::stage::Stage;

const AUDIENCE: &str = "https://signalbox.example.org";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_identity_of_a_job_leads_to_its_pipeline() {
    let stage = Stage::new().await;
    let order = stage.order_of(Script::new("true")).await;
    let anchor = stage.executor.prepare(&order.intent()).await.expect("prepared");
    let Started::Build(build) = stage.executor.start(&order, &anchor).await.expect("started") else { panic!("a build") };
    let pipeline: u64 = build.as_str().rsplit_once('/').and_then(|(_, pipeline)| pipeline.parse().ok()).expect("a pipeline");
    let job = stage.fake.with(|state| state.newest_jobs(pipeline)[0].id);

    let keyring = Keyring::new(stage.gitlab.clone(), SystemClock::shared(), Shutdown::new());
    let executor = GitLabExecutor::new(stage.gitlab.clone(), "builds", SystemClock::shared()).identifying(AUDIENCE, &keyring);
    let token = stage.fake.id_token(job, AUDIENCE).await.expect("a token");
    let identity = executor.identify(&token).await.expect("identified");
    assert_eq!((identity.build, identity.part), (build, job.to_string()));
    assert_eq!((identity.repo, identity.ref_name, identity.sha), (order.repo, order.source.ref_name, order.source.sha));

    let elsewhere = stage.fake.id_token(job, "https://vault.example.org").await.expect("a token");
    assert_eq!(executor.identify(&elsewhere).await, Err(Unidentified::Elsewhere));
    let others = GitLabExecutor::new(stage.gitlab.clone(), "others", SystemClock::shared()).identifying(AUDIENCE, &keyring);
    assert!(matches!(others.identify(&token).await, Err(Unidentified::Unfit(_))));
    stage.close().await;
}
