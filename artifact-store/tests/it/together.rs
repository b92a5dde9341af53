//! Many at once.

use std::sync::Arc;

use reqwest::{Method, StatusCode};
use signalbox_service::auth::sha256;

use crate::house::{House, noise};

// Threat 36.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_gets_what_somebody_wrote_whole() {
    let house = Arc::new(House::with("keep_versions = 2").await);
    // Every body says in its first bytes which one it is; sizes on both sides of what is kept in the catalog.
    let bodies: Arc<Vec<Vec<u8>>> = Arc::new((0..64).map(|n| noise(n, 1000 + 20_000 * usize::try_from(n % 16).expect("small"))).collect());
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..64 {
        let shared = (Arc::clone(&house), Arc::clone(&bodies));
        tasks.spawn(async move {
            let (house, bodies) = shared;
            for round in 0..6 {
                if writer == 0 {
                    let status = house.request(Method::DELETE, "/blobs/one").send().await.expect("an answer").status();
                    assert!(matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_FOUND), "{status}");
                }
                let body = bodies[(writer + round) % bodies.len()].clone();
                let status = house.put("one", body).await.status();
                assert!(status.is_success(), "{status}");
            }
        });
        let (house, bodies) = (Arc::clone(&house), Arc::clone(&bodies));
        tasks.spawn(async move {
            for _ in 0..12 {
                let response = house.get("/blobs/one").await;
                if response.status() == StatusCode::NOT_FOUND {
                    continue;
                }
                assert_eq!(response.status(), StatusCode::OK);
                let tag = response.headers()["etag"].to_str().expect("text").to_owned();
                let bytes = response.bytes().await.expect("whole");
                assert!(bodies.iter().any(|body| body == &bytes), "a body that nobody wrote");
                assert_eq!(tag, format!("\"{}\"", sha256(&bytes)));
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no panic");
    }
    let house = Arc::into_inner(house).expect("the last");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_want_to_be_first_one_is() {
    let house = Arc::new(House::open().await);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..24 {
        let house = Arc::clone(&house);
        tasks.spawn(async move {
            let request = house.request(Method::PUT, "/blobs/first").header("if-none-match", "*");
            request.body(format!("{n}")).send().await.expect("an answer").status().as_u16()
        });
    }
    let mut answers = Vec::new();
    while let Some(done) = tasks.join_next().await {
        answers.push(done.expect("no panic"));
    }
    answers.sort_unstable();
    assert_eq!(answers[0], 201);
    assert!(answers[1..].iter().all(|status| *status == 412), "{answers:?}");
    Arc::into_inner(house).expect("the last").close().await;
}
