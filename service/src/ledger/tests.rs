use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::response::IntoResponse as _;
use futures_util::future::join_all;
use signalbox_contract::RunId;
use tokio::sync::Notify;
use uuid::Uuid;

use super::flight::{Boarding, Flights};
use super::*;
use crate::auth::sha256;
use crate::clock::ManualClock;
use crate::testing::eventually;

const SOON: Duration = Duration::from_secs(20);

fn key(attempt: u16) -> AttemptKey {
    AttemptKey { run: RunId::from_uuid(Uuid::from_u128(7)), step: 0, attempt }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new("2026-11-22T12:00:00Z".parse().expect("a time")))
}

async fn open(data: &Path, clock: &Arc<ManualClock>) -> (Ledger, Shutdown) {
    let shutdown = Shutdown::new();
    (Ledger::open(data, clock.clone(), shutdown.clone()).await.expect("a ledger"), shutdown)
}

async fn end(ledger: Ledger, shutdown: Shutdown) {
    assert!(shutdown.drained(SOON).await, "everything has ended");
    ledger.close().await;
}

fn failure(detail: &str) -> Failure {
    Failure::new(FailureCode::SourceUnreachable, detail)
}

/// Asks for work that is done at once, and counts how often it is.
async fn count(ledger: &Ledger, attempt: u16, body: &[u8], counter: &Arc<AtomicU32>) -> crate::http::Result<Answer<u32>> {
    let counter = Arc::clone(counter);
    ledger.ask("POST /repo", &key(attempt), &sha256(body), SOON, async move || Ok(counter.fetch_add(1, Ordering::SeqCst) + 1)).await
}

fn status(refusal: &crate::http::Refusal) -> (u16, Option<u32>) {
    (refusal.0.status, refusal.0.retry_after)
}

#[tokio::test]
async fn what_is_asked_for_twice_is_done_once_also_by_a_later_process() {
    let data = tempfile::tempdir().expect("a folder");
    let clock = clock();
    let counter = Arc::default();
    let (ledger, shutdown) = open(data.path(), &clock).await;
    for _ in 0..3 {
        assert_eq!(count(&ledger, 1, b"a", &counter).await, Ok(Answer::Done { result: 1 }));
    }
    assert_eq!(count(&ledger, 2, b"a", &counter).await, Ok(Answer::Done { result: 2 }), "another attempt is another act");
    end(ledger, shutdown).await;
    let (ledger, shutdown) = open(data.path(), &clock).await;
    assert_eq!(count(&ledger, 1, b"a", &counter).await, Ok(Answer::Done { result: 1 }));
    let refused = count(&ledger, 1, b"b", &counter).await.expect_err("another body");
    assert_eq!((status(&refused).0, refused.0.code), (422, Code::KeyReused));
    assert_eq!(counter.load(Ordering::SeqCst), 2);
    end(ledger, shutdown).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_share_one_run() {
    let data = tempfile::tempdir().expect("a folder");
    let (ledger, shutdown) = open(data.path(), &clock()).await;
    let counter = Arc::default();
    let answers = join_all((0..50).map(|_| count(&ledger, 1, b"a", &counter))).await;
    assert!(answers.iter().all(|answer| *answer == Ok(Answer::Done { result: 1 })), "{answers:?}");
    end(ledger, shutdown).await;
}

#[tokio::test]
async fn the_first_ask_is_written_before_the_work_begins() {
    let data = tempfile::tempdir().expect("a folder");
    let (ledger, shutdown) = open(data.path(), &clock()).await;
    let inside = ledger.clone();
    let answer = ledger
        .ask("POST /repo", &key(1), &sha256(b"a"), SOON, async move || {
            let entry = inside.find("POST /repo", &key(1)).await.expect("readable");
            Ok(entry.is_some_and(|entry| entry.state == StoredState::Working))
        })
        .await;
    assert_eq!(answer, Ok(Answer::Done { result: true }));
    end(ledger, shutdown).await;
}

#[tokio::test]
async fn work_goes_on_when_the_caller_is_gone_and_later_asks_join_it() {
    let data = tempfile::tempdir().expect("a folder");
    let clock = clock();
    let (ledger, shutdown) = open(data.path(), &clock).await;
    let (begun, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let work = {
        let (begun, gate) = (begun.clone(), gate.clone());
        async move || {
            begun.notify_one();
            gate.notified().await;
            Ok(7_u32)
        }
    };
    let caller = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.ask("POST /deploy", &key(1), &sha256(b"a"), SOON, work).await }
    });
    begun.notified().await;
    caller.abort();
    assert!(caller.await.is_err(), "the caller is gone");
    let look =
        async |wait| ledger.ask("POST /deploy", &key(1), &sha256(b"a"), wait, async || -> Result<u32, WorkError> { unreachable!() }).await;
    let since = crate::clock::Clock::now(&*clock);
    assert_eq!(look(Duration::ZERO).await, Ok(Answer::Working { since }));
    assert_eq!(look(Duration::from_millis(50)).await, Ok(Answer::Working { since }));
    let other = ledger.ask("POST /deploy", &key(1), &sha256(b"b"), SOON, async || Ok(0_u32)).await;
    assert_eq!(other.expect_err("another body").0.status, 422);
    assert!(is_working(&ledger, "POST /deploy").await);
    gate.notify_one();
    assert_eq!(look(SOON).await, Ok(Answer::Done { result: 7 }));
    assert!(!is_working(&ledger, "POST /deploy").await);
    end(ledger, shutdown).await;
}

/// Whether it was begun under the first key, and not ended.
async fn is_working(ledger: &Ledger, op: &str) -> bool {
    let entry = ledger.find(op, &key(1)).await.expect("readable");
    entry.is_some_and(|entry| entry.state == StoredState::Working)
}

/// A second ledger on the same file stands for the process that comes after a kill.
#[tokio::test]
async fn what_a_crash_interrupted_is_begun_again_at_the_next_ask() {
    let data = tempfile::tempdir().expect("a folder");
    let clock = clock();
    let (crashed, crashed_shutdown) = open(data.path(), &clock).await;
    let gate = Arc::new(Notify::new());
    let waiting = gate.clone();
    let begun = crashed
        .ask("POST /repo", &key(1), &sha256(b"a"), Duration::ZERO, async move || {
            waiting.notified().await;
            Ok(1_u32)
        })
        .await;
    assert!(matches!(begun, Ok(Answer::Working { .. })));
    clock.advance(Duration::from_mins(1));
    let (ledger, shutdown) = open(data.path(), &clock).await;
    assert!(is_working(&ledger, "POST /repo").await);
    let counter = Arc::default();
    assert_eq!(count(&ledger, 1, b"b", &counter).await.expect_err("another body").0.status, 422);
    assert_eq!(count(&ledger, 1, b"a", &counter).await, Ok(Answer::Done { result: 1 }));
    gate.notify_one();
    assert!(crashed_shutdown.drained(SOON).await);
    shutdown.begin();
}

#[tokio::test]
async fn a_failure_is_told_to_everybody_for_ever() {
    let data = tempfile::tempdir().expect("a folder");
    let (ledger, shutdown) = open(data.path(), &clock()).await;
    for _ in 0..2 {
        let answer =
            ledger.ask::<u32, _, _>("POST /repo", &key(1), &sha256(b"a"), SOON, async || Err(WorkError::Failed(failure("no host")))).await;
        assert_eq!(answer, Ok(Answer::Failed { failure: failure("no host") }));
    }
    assert_eq!(count(&ledger, 1, b"a", &Arc::default()).await, Ok(Answer::Failed { failure: failure("no host") }));
    end(ledger, shutdown).await;
}

#[tokio::test]
async fn what_failed_for_now_is_told_once_and_tried_again() {
    let data = tempfile::tempdir().expect("a folder");
    let (ledger, shutdown) = open(data.path(), &clock()).await;
    let fail = || async || -> Result<u32, WorkError> { Err(WorkError::Again(failure("the host sleeps"))) };
    let refused = ledger.ask("POST /repo", &key(1), &sha256(b"a"), SOON, fail()).await.expect_err("not now");
    assert_eq!(status(&refused), (503, Some(5)));
    assert!(refused.0.detail.contains("the host sleeps"));
    let counter = Arc::default();
    assert_eq!(count(&ledger, 1, b"a", &counter).await, Ok(Answer::Done { result: 1 }));

    // A caller who never waits learns of it at its next ask, and only then is it tried again.
    let gate = Arc::new(Notify::new());
    let waiting = gate.clone();
    let begun = ledger
        .ask("POST /repo", &key(2), &sha256(b"a"), Duration::ZERO, async move || -> Result<u32, WorkError> {
            waiting.notified().await;
            Err(WorkError::Again(failure("the host sleeps")))
        })
        .await;
    assert!(matches!(begun, Ok(Answer::Working { .. })));
    gate.notify_one();
    let counter = Arc::<AtomicU32>::default();
    let refused = eventually("the failure is told", SOON, async || {
        let counter = Arc::clone(&counter);
        let again = async move || Ok(counter.fetch_add(1, Ordering::SeqCst));
        ledger.ask("POST /repo", &key(2), &sha256(b"a"), Duration::ZERO, again).await.err()
    })
    .await;
    assert!(refused.0.detail.contains("the host sleeps"));
    assert_eq!(counter.load(Ordering::SeqCst), 0, "it was not tried again meanwhile");
    assert_eq!(count(&ledger, 2, b"a", &counter).await, Ok(Answer::Done { result: 1 }));
    end(ledger, shutdown).await;
}

#[tokio::test]
async fn work_that_panics_is_a_failure_for_now() {
    let data = tempfile::tempdir().expect("a folder");
    let (ledger, shutdown) = open(data.path(), &clock()).await;
    let refused = ledger
        .ask("POST /repo", &key(1), &sha256(b"a"), SOON, async || -> Result<u32, WorkError> { panic!("a secret detail") })
        .await
        .expect_err("not now");
    assert_eq!(status(&refused), (503, Some(5)));
    assert!(!refused.0.detail.contains("secret"), "{}", refused.0.detail);
    assert_eq!(count(&ledger, 1, b"a", &Arc::default()).await, Ok(Answer::Done { result: 1 }));
    end(ledger, shutdown).await;
}

#[tokio::test]
async fn results_are_kept_for_thirty_days() {
    let data = tempfile::tempdir().expect("a folder");
    let clock = clock();
    let (ledger, shutdown) = open(data.path(), &clock).await;
    let counter = Arc::default();
    for attempt in 1..=5 {
        count(&ledger, attempt, b"a", &counter).await.expect("done");
    }
    clock.advance(Duration::from_secs(30 * 24 * 3600 - 1));
    assert_eq!(ledger.sweep().await.expect("swept"), 0);
    assert_eq!(count(&ledger, 1, b"a", &counter).await, Ok(Answer::Done { result: 1 }));
    clock.advance(Duration::from_secs(1));
    assert_eq!(ledger.sweep().await.expect("swept"), 5);
    assert_eq!(ledger.find("POST /repo", &key(1)).await.expect("readable"), None);
    assert_eq!(count(&ledger, 1, b"a", &counter).await, Ok(Answer::Done { result: 6 }));
    end(ledger, shutdown).await;
}

#[tokio::test]
async fn the_end_keeps_nobody_waiting_and_begins_nothing() {
    let data = tempfile::tempdir().expect("a folder");
    let (ledger, shutdown) = open(data.path(), &clock()).await;
    let gate = Arc::new(Notify::new());
    let waiting = gate.clone();
    let asked = tokio::spawn({
        let ledger = ledger.clone();
        async move {
            ledger
                .ask("POST /repo", &key(1), &sha256(b"a"), SOON, async move || {
                    waiting.notified().await;
                    Ok(1_u32)
                })
                .await
        }
    });
    eventually("it is at work", SOON, async || is_working(&ledger, "POST /repo").await.then_some(())).await;
    shutdown.begin();
    assert!(matches!(asked.await.expect("answered"), Ok(Answer::Working { .. })));
    let refused = count(&ledger, 2, b"a", &Arc::default()).await.expect_err("nothing new");
    assert_eq!(status(&refused), (503, Some(5)));
    gate.notify_one();
    assert!(shutdown.drained(SOON).await);
    let entry = ledger.find("POST /repo", &key(1)).await.expect("readable").expect("there");
    assert_eq!(entry.state, StoredState::Done("1".to_owned()), "what ended in time was written");
    ledger.close().await;
}

#[tokio::test]
async fn an_answer_says_by_its_status_whether_it_is_the_last() {
    let working = Answer::<u32>::Working { since: "2026-11-22T12:00:00Z".parse().expect("a time") };
    assert_eq!(respond(working).status(), 202);
    assert_eq!(respond(Answer::Done { result: 1 }).status(), 200);
    assert_eq!(respond(Answer::<u32>::Failed { failure: failure("no") }).status(), 200);
    assert_eq!(again(&failure("no")).into_response().headers()["retry-after"], "5");
}

// Threat 62.
#[test]
fn what_is_worked_on_at_once_is_bounded() {
    let mut flights = Flights::default();
    let body = sha256(b"a");
    let held: Vec<Boarding> = (1..=1024).map(|attempt| flights.board(("op".to_owned(), key(attempt)), &body)).collect();
    assert!(held.iter().all(|boarding| matches!(boarding, Boarding::Begin(..))));
    assert!(matches!(flights.board(("op".to_owned(), key(2000)), &body), Boarding::Full));
    assert!(matches!(flights.board(("op".to_owned(), key(1)), &body), Boarding::Join(_)));
}
