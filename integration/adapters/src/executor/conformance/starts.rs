//! How builds begin: once, or not at all.

use futures_util::future::BoxFuture;
use signalbox_contract::Verdict;
use signalbox_contract::build::BuildState;

use super::harness::{Harness, Script, must, prepared, started};
use crate::executor::{Executor, ExecutorError, Fenced, Found, Order, Started};

/// A start that is repeated with the same key is one build, where the executor takes keys. Where it takes none, nobody
/// repeats a start without a search: what was started is found, as one build, and stays it.
pub async fn two_starts_make_one_build(harness: &dyn Harness) {
    if !harness.executor().abilities().keyed {
        let build = started(harness, Script::new("true")).await;
        for _ in 0..2 {
            let found = must("find", build.executor.find(&build.order.key, &build.anchor).await);
            assert_eq!(found, Found::One(build.tracked.build.clone()), "what was started is what is found");
            build.ended().await;
        }
        assert_eq!(harness.begun(&build.order.key).await, 1, "one build began");
        return;
    }
    let build = prepared(harness, Script::new("true")).await;
    // At the same time, as two controllers could do it, and then once more.
    let (one, other) = futures_util::join!(build.start(), build.start());
    assert_eq!(one, other, "both starts name the same build");
    let (verdict, observation) = build.ended().await;
    assert_eq!(verdict, Verdict::Success, "{observation:?}");
    assert_eq!(build.start().await, one, "even after its end");
    assert_eq!(build.observe().await.state, observation.state, "which it did not change");
    assert_eq!(harness.begun(&build.order.key).await, 1, "one build began");
}

/// A start whose answer never came back is found by its key, as one build.
pub async fn a_start_whose_answer_was_lost_is_found(harness: &dyn Harness) {
    let mut build = prepared(harness, Script::new("true")).await;
    let lost = start_and_lose_the_answer(build.executor.as_ref(), &build.order, &build.anchor).await;
    assert!(matches!(lost, Err(ExecutorError::Unknown(_))));
    let found = build
        .until("the build is found", || async {
            match must("find", build.executor.find(&build.order.key, &build.anchor).await) {
                Found::One(found) => Some(found),
                Found::NotYet => None,
                other => panic!("a build that was started once is found once, not {other:?}"),
            }
        })
        .await;
    build.tracked.build = found.clone();
    let (verdict, observation) = build.ended().await;
    assert_eq!(verdict, Verdict::Success, "{observation:?}");
    assert_eq!(observation.build, found.as_str(), "what was found is what is observed");
    assert_eq!(harness.begun(&build.order.key).await, 1, "one build began");
}

fn start_and_lose_the_answer<'a>(
    executor: &'a dyn Executor,
    order: &'a Order,
    anchor: &'a crate::executor::Anchor,
) -> BoxFuture<'a, Result<Started, ExecutorError>> {
    Box::pin(async move {
        executor.start(order, anchor).await?;
        Err(ExecutorError::Unknown("the connection ended before the answer".into()))
    })
}

/// After a fence a start that comes late is refused, and nothing runs.
pub async fn a_fenced_attempt_never_starts(harness: &dyn Harness) {
    let build = prepared(harness, Script::new("true")).await;
    let fenced = must("fence", build.executor.fence(&build.order.key, &build.anchor).await);
    assert_eq!(fenced, Fenced::Never);
    let again = must("fence again", build.executor.fence(&build.order.key, &build.anchor).await);
    assert_eq!(again, Fenced::Never, "a fence may be repeated");
    let late = build.executor.start(&build.order, &build.anchor).await;
    assert!(matches!(late, Err(ExecutorError::Refused(_))), "a late start is refused: {late:?}");
    assert_eq!(must("find", build.executor.find(&build.order.key, &build.anchor).await), Found::Never);
    assert_eq!(harness.begun(&build.order.key).await, 0, "nothing ran");
}

/// A fence that comes after the start says so; what runs, runs on.
pub async fn a_fence_after_the_start_says_so(harness: &dyn Harness) {
    let build = started(harness, Script::new("true")).await;
    let fenced = must("fence", build.executor.fence(&build.order.key, &build.anchor).await);
    assert_eq!(fenced, Fenced::HadStarted);
    let (verdict, observation) = build.ended().await;
    assert_eq!(verdict, Verdict::Success, "{observation:?}");
}

/// Of an attempt that never came the executor says that it is gone, and neither invents nor refuses anything.
pub async fn an_unknown_attempt_is_gone(harness: &dyn Harness) {
    let build = prepared(harness, Script::new("true")).await;
    assert_eq!(build.observe().await.state, BuildState::Gone);
    let found = must("find", build.executor.find(&build.order.key, &build.anchor).await);
    assert!(matches!(found, Found::NotYet | Found::Never), "{found:?}");
    must("cancel", build.executor.cancel(&build.tracked).await);
}

/// Forgetting may be repeated, also of what never was; what was forgotten is gone, or kept as it ended where that is not
/// ours to throw away, and does not start again.
pub async fn forgetting_twice_is_as_good_as_once(harness: &dyn Harness) {
    let build = started(harness, Script::new("true")).await;
    let (_, ended) = build.ended().await;
    must("forget", build.executor.forget(&build.order.key, &build.anchor).await);
    must("forget again", build.executor.forget(&build.order.key, &build.anchor).await);
    let state = build.observe().await.state;
    assert!(state == BuildState::Gone || state == ended.state, "gone, or as it ended: {state:?}");
    if build.executor.abilities().keyed {
        let late = build.executor.start(&build.order, &build.anchor).await;
        assert!(matches!(late, Err(ExecutorError::Refused(_))), "a start that comes after all is refused: {late:?}");
    }
    assert_eq!(harness.begun(&build.order.key).await, 1, "one build began");
    let never = prepared(harness, Script::new("true")).await;
    must("forget what never was", never.executor.forget(&never.order.key, &never.anchor).await);
}
