//! Following a run as it happens.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use signalbox_contract::api::Page;
use signalbox_contract::api::run::{EventView, Outcome};
use signalbox_contract::api::token::TokenCreated;
use signalbox_contract::grant::Action;
use signalbox_contract::{Code, RunId, Verdict};

use crate::house::{House, LONG, answer, expect, on_repos, refused};

/// Reads a stream until there are `count` events, or its end.
async fn read(house: &House, token: &str, run: RunId, after: Option<u64>, count: usize) -> (Vec<u64>, bool) {
    let mut request = house.by(token, Method::GET, &format!("/runs/{run}/live"));
    if let Some(after) = after {
        request = request.header("last-event-id", after);
    }
    let mut response = answer(request, StatusCode::OK).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    let ids = |text: &str| text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect::<Vec<u64>>();
    let whole = |text: &str| text.rfind("\n\n").map_or("", |end| &text[..end]).to_owned();
    while ids(&whole(&text)).len() < count {
        let Some(chunk) = tokio::time::timeout(LONG, response.chunk()).await.expect("in time").expect("a stream") else { break };
        text.push_str(std::str::from_utf8(&chunk).expect("text"));
    }
    (ids(&whole(&text)), text.contains("event: end"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_goes_on_without_gap_or_repetition() {
    let house = House::open().await;
    house.world.sources().script("slow", "wait");
    let run = house.branch("slow").await;
    let (mut seen, _) = read(&house, house.token(), run, None, 3).await;
    house.builds(run).await;
    let (more, _) = read(&house, house.token(), run, seen.last().copied(), 2).await;
    seen.extend(more);
    let last = seen.last().copied();
    let rest = async { read(&house, house.token(), run, last, usize::MAX).await };
    let end = async { house.world.build_ends(run, Verdict::Success) };
    let ((rest, ended), ()) = tokio::join!(rest, end);
    assert!(ended, "the end of the run is the end of the stream");
    seen.extend(rest);
    house.ends(run, Outcome::Passed).await;
    let events: Page<EventView> = expect(house.get(&format!("/runs/{run}/events?limit=200")), StatusCode::OK).await;
    assert_eq!(seen, events.items.iter().map(|event| event.n).collect::<Vec<_>>());
    let (nothing, ended) = read(&house, house.token(), run, seen.last().copied(), usize::MAX).await;
    assert!(nothing.is_empty() && ended);
    house.close().await;
}

// Threat 9.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_its_token_is_revoked_or_over() {
    let house = House::open().await;
    house.world.sources().script("slow", "wait");
    let run = house.branch("slow").await;
    house.builds(run).await;
    let make = |lifetime: u32| json!({ "principal": "reader", "audience": "controller", "lifetime": lifetime, "grants": [on_repos(&[Action::Read], &["hello"])] });
    let long: TokenCreated = expect(house.post("/tokens", &make(3600)), StatusCode::CREATED).await;
    let short: TokenCreated = expect(house.post("/tokens", &make(1)), StatusCode::CREATED).await;
    let revoked = read(&house, &long.token, run, None, usize::MAX);
    let over = read(&house, &short.token, run, None, usize::MAX);
    let revoke = async {
        answer(house.by(house.token(), Method::DELETE, &format!("/tokens/{}", long.info.jti)), StatusCode::OK).await;
    };
    let (revoked, over, ()) = tokio::time::timeout(LONG, async { tokio::join!(revoked, over, revoke) }).await.expect("they end");
    assert!(!revoked.1 && !over.1, "without the event that says that the run is over");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_does_not_hold_up_the_end_of_the_controller() {
    let mut house = House::open().await;
    house.world.sources().script("slow", "wait");
    let run = house.branch("slow").await;
    house.builds(run).await;
    let mut stream = answer(house.get(&format!("/runs/{run}/live")), StatusCode::OK).await;
    let begun = std::time::Instant::now();
    house.stops().await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    while let Ok(Some(_)) = stream.chunk().await {}
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_paged() {
    let house = House::open().await;
    let run = house.branch("main").await;
    house.ends(run, Outcome::Passed).await;
    let mut seen = Vec::new();
    let mut after = 0;
    loop {
        let page: Page<EventView> = expect(house.get(&format!("/runs/{run}/events?after={after}&limit=3")), StatusCode::OK).await;
        seen.extend(page.items.iter().map(|event| event.n));
        let Some(next) = page.next else { break };
        after = next.parse().expect("a number");
    }
    assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>());
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_principal_has_so_many_streams_and_leaves_room_for_others() {
    let house = House::open().await;
    house.world.sources().script("slow", "wait");
    let run = house.branch("slow").await;
    house.builds(run).await;
    let path = format!("/runs/{run}/live");
    let mut streams = Vec::new();
    for _ in 0..32 {
        streams.push(answer(house.get(&path), StatusCode::OK).await);
    }
    let problem = refused(house.get(&path), 429).await;
    assert_eq!(problem.code, Code::TooManyRequests);
    assert!(problem.retry_after.is_some(), "{problem:?}");
    let other = house.token_of("other", vec![on_repos(&[Action::Read], &["hello"])]);
    answer(house.by(&other, Method::GET, &path), StatusCode::OK).await;
    streams.pop();
    house.sees("one that ends makes room", async || house.get(&path).send().await.expect("an answer").status() == StatusCode::OK).await;
    house.close().await;
}
