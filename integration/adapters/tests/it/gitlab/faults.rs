//! A GitLab that misbehaves in the middle.

use std::time::Duration;

use http::Method;
use signalbox_adapters::executor::conformance::Script;
use signalbox_adapters::executor::{Executor as _, ExecutorError, Found, Scope, Started, Tracked};
use signalbox_contract::build::BuildState;
use signalbox_fakes::gitlab::fault::AnswerFault;
use signalbox_service::testing::eventually;

use super::stage::Stage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_was_done_and_whose_answer_was_lost_is_found_and_not_repeated() {
    let stage = Stage::new().await;
    let order = stage.order_of(Script::new("true")).await;
    let anchor = stage.executor.prepare(&order.intent()).await.expect("prepared");
    stage.fake.faults().answer(Some(Method::POST), "/pipeline", AnswerFault::Lost, 1);
    let lost = stage.executor.start(&order, &anchor).await;
    assert!(matches!(lost, Err(ExecutorError::Unknown(_))), "{lost:?}");
    let found = eventually("it is found", Duration::from_secs(20), || async {
        match stage.executor.find(&order.key, &anchor).await.expect("searched") {
            Found::One(found) => Some(found),
            _ => None,
        }
    })
    .await;
    assert_eq!(stage.executor.start(&order, &anchor).await.expect("found"), Started::Build(found));
    assert_eq!(stage.count(&order.key), 1);
    stage.close().await;
}

// Threat 68.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_answers_of_any_kind_end_as_errors_and_the_next_good_one_counts() {
    let stage = Stage::new().await;
    let order = stage.order_of(Script::new("true")).await;
    let anchor = stage.executor.prepare(&order.intent()).await.expect("prepared");
    let Started::Build(build) = stage.executor.start(&order, &anchor).await.expect("started") else { panic!("a build") };
    let tracked = [Tracked { key: order.key, build, scope: Scope::default() }];
    for fault in [
        AnswerFault::Html,
        AnswerFault::WrongType,
        AnswerFault::Cut,
        AnswerFault::Huge(64 << 20),
        AnswerFault::Status(500),
        AnswerFault::Redirect(302, "http://127.0.0.1:9/".to_owned()),
        AnswerFault::Redirect(302, "http://169.254.169.254/".to_owned()),
    ] {
        stage.fake.faults().answer(Some(Method::GET), "/pipelines/", fault.clone(), 1);
        let seen = stage.executor.observe(&Scope::default(), &tracked).await;
        assert!(seen.is_err(), "{fault:?}: {seen:?}");
    }
    let seen = stage.executor.observe(&Scope::default(), &tracked).await.expect("observed");
    assert!(!matches!(seen[0].state, BuildState::Gone), "{seen:?}");
    stage.close().await;
}
