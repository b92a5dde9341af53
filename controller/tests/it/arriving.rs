//! How what forges say comes in: by a stream, and when there is no room for it.

use std::os::unix::fs::PermissionsExt as _;

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::json;
use signalbox_adapters::forge::Streamed;
use signalbox_contract::Code;
use signalbox_contract::api::Page;
use signalbox_contract::api::delivery::{DeedKind, DeliveryState, DeliverySummary, Via};
use signalbox_contract::api::run::Outcome;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::deliveries::{acted, deliveries, delivers, only, runs, said, setup};
use crate::house::{House, answer, expect};
use crate::stand_ins::forge::SECRET;

fn line(id: &str, kind: &str, change: u64) -> Streamed {
    Streamed::Event(serde_json::to_vec(&said(id, kind, change, 1)).expect("JSON").into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_a_stream_is_written_down_and_acted_on_like_a_webhook() {
    let folder = tempfile::tempdir().expect("a folder");
    let (key, hosts) = (folder.path().join("key"), folder.path().join("hosts"));
    std::fs::write(&key, "-----BEGIN OPENSSH PRIVATE KEY-----\n").expect("a key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    std::fs::write(&hosts, "[127.0.0.1]:29418 ssh-ed25519 AAAA\n").expect("known hosts");
    let ssh = format!("[forges.forge.ssh]\nkey_file = \"{}\"\nknown_hosts = \"{}\"", key.display(), hosts.display());
    let house = House::with(setup().table(&ssh)).await;
    house.sees("somebody listens", async || house.forge.is_heard()).await;
    house.sees("it was looked at", async || house.forge.asked() == 1).await;
    house.forge.streams(Streamed::Connected);
    house.sees("what was said meanwhile is looked for", async || house.forge.asked() == 2).await;
    house.forge.streams(Streamed::Event(bytes::Bytes::from_static(b"no JSON")));
    house.forge.streams(Streamed::Cut { why: "the network".to_owned() });
    house.forge.streams(line("1", "uploaded", 7));
    let run = only(&house).await;
    house.ends(run, Outcome::Passed).await;
    let delivery = acted(&house, "uploaded").await;
    assert_eq!((delivery.via, delivery.state, delivery.deeds[0].what), (Via::Stream, DeliveryState::Done, DeedKind::Started));
    assert_eq!(delivery.deeds[0].run, Some(run));
    // The forge says it again after it was connected anew, and by its webhook too.
    house.forge.streams(line("1", "uploaded", 7));
    delivers(&house, &said("1", "uploaded", 7, 1)).await;
    house.sees("it is the same", async || acted(&house, "uploaded").await.copies == 3).await;
    // What was no JSON is shown, and what it may have said was looked for.
    let odd = acted(&house, "unreadable").await;
    assert_eq!((odd.via, odd.state), (Via::Stream, DeliveryState::Ignored));
    house.sees("it was looked for", async || house.forge.asked() >= 3).await;
    assert_eq!((deliveries(&house).await.len(), runs(&house).await.len()), (2, 1));
    house.close().await;
}

// Threat 62.
#[tokio::test(flavor = "multi_thread")]
async fn where_no_more_may_wait_a_delivery_is_refused_and_what_was_accepted_is_not_lost() {
    let mut house = House::with(setup().top("queue = 1").table("[intake]\nwaiting = 2")).await;
    house.world.sources().script("slow", "wait");
    let slow = house.branch("slow").await;
    house.builds(slow).await;
    for change in [1, 2] {
        delivers(&house, &said(&change.to_string(), "uploaded", change, 1)).await;
    }
    let third = said("3", "uploaded", 3, 1);
    let knock = |house: &House| house.bare(Method::POST, "/webhooks/forge").header("x-secret", SECRET).json(&third);
    for _ in 0..2 {
        let refused = answer(knock(&house), StatusCode::SERVICE_UNAVAILABLE).await;
        assert_eq!(refused.headers()["retry-after"], "30");
        let problem: signalbox_contract::Problem = refused.json().await.expect("a problem");
        assert_eq!(problem.code, Code::QueueFull);
        // What is known already has its place.
        delivers(&house, &said("1", "uploaded", 1, 1)).await;
        // Those that wait are counted again after a crash.
        house.dies();
        house.comes_back().await;
    }
    let why = "The queue of runs is full; it is tried again.";
    house.sees("they wait", async || deliveries(&house).await.iter().all(|one| one.reason == why)).await;
    let waiting: Page<DeliverySummary> = expect(house.get("/deliveries?state=received"), StatusCode::OK).await;
    assert_eq!(waiting.items.iter().map(|one| one.copies).collect::<Vec<_>>(), [1, 3]);
    answer(house.post(&format!("/runs/{slow}/stop"), &json!({})), StatusCode::ACCEPTED).await;
    let passed = async |house: &House| runs(house).await.iter().filter(|run| run.outcome == Some(Outcome::Passed)).count();
    house.sees("both are built", async || passed(&house).await == 2).await;
    answer(knock(&house), StatusCode::NO_CONTENT).await;
    house.sees("the third is built", async || passed(&house).await == 3).await;
    assert!(deliveries(&house).await.iter().all(|one| one.state == DeliveryState::Done));
    house.close().await;
}

/// Begins to send a delivery, and does not go on.
async fn stalls(house: &House, header: &str, length: &str) -> TcpStream {
    let mut stream = TcpStream::connect(house.address).await.expect("a connection");
    let head = format!("POST /webhooks/forge HTTP/1.1\r\nhost: {}\r\n{header}\r\n{length}\r\n\r\n{{", house.address);
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream
}

// Threats 19 and 55.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_never_end_keep_nobody_from_delivering() {
    let house = House::with(setup()).await;
    let mut stalled = Vec::new();
    for length in ["content-length: 27000000", "transfer-encoding: chunked"] {
        for header in ["x-signature: forged", "x-secret: guess", "x-secret: open sesame"] {
            for _ in 0..8 {
                stalled.push(stalls(&house, header, length).await);
            }
        }
    }
    for n in 0..5 {
        delivers(&house, &said(&n.to_string(), "rumour", 0, 0)).await;
    }
    // Who knows no secret is answered before there is a body.
    let mut answer = [0; 12];
    stalls(&house, "x-secret: guess", "content-length: 27000000").await.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 401");
    assert_eq!(deliveries(&house).await.len(), 5);
    drop(stalled);
    house.close().await;
}

// Threat 19.
#[tokio::test(flavor = "multi_thread")]
async fn a_forge_that_has_as_many_waiting_as_may_wait_leaves_the_others_their_own() {
    let other = "[forges.other]\nkind = \"gerrit\"\nurl = \"http://127.0.0.1:9\"\nuser = \"signalbox\"\n";
    let house = House::with(setup().top("queue = 1").table("[intake]\nwaiting = 2").table(other)).await;
    house.world.sources().script("slow", "wait");
    let slow = house.branch("slow").await;
    house.builds(slow).await;
    for change in [1, 2] {
        delivers(&house, &said(&change.to_string(), "uploaded", change, 1)).await;
    }
    let knock = |forge: &str, id: &str| {
        let request = house.bare(Method::POST, &format!("/webhooks/{forge}")).header("x-secret", SECRET);
        request.json(&said(id, "uploaded", 3, 1))
    };
    answer(knock("forge", "3"), StatusCode::SERVICE_UNAVAILABLE).await;
    answer(knock("other", "3"), StatusCode::NO_CONTENT).await;
    // And is acted on, though the first one's wait.
    house.sees("it is acted on", async || deliveries(&house).await.iter().any(|one| one.state == DeliveryState::Ignored)).await;
    house.close().await;
}

// Threat 18.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_larger_than_any_forge_sends_is_refused() {
    let house = House::with(setup()).await;
    let large = vec![b' '; (26 << 20) + 1];
    let request = || house.bare(Method::POST, "/webhooks/forge").header("x-secret", SECRET);
    for body in [
        reqwest::Body::from(large.clone()),
        reqwest::Body::wrap_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(large.clone())])),
    ] {
        // It may be refused so early that the rest cannot be sent any more.
        if let Ok(response) = request().body(body).send().await {
            assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        }
    }
    assert_eq!(deliveries(&house).await, []);
    house.close().await;
}

// Threat 14.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_replays_at_once_make_one_run() {
    let house = House::with(setup()).await;
    delivers(&house, &said("1", "uploaded", 7, 1)).await;
    let run = only(&house).await;
    house.ends(run, Outcome::Passed).await;
    let id = acted(&house, "uploaded").await.id;
    let replay = async |_| house.post(&format!("/deliveries/{id}/replay"), &json!({})).send().await.expect("an answer").status();
    let answers = join_all((0..1000).map(replay)).await;
    // While one waits to be acted on, there is nothing to be replayed.
    assert!(answers.iter().all(|status| matches!(status.as_u16(), 202 | 409)) && answers.contains(&StatusCode::ACCEPTED));
    assert_eq!(acted(&house, "uploaded").await.deeds[0].run, Some(run));
    assert_eq!(only(&house).await, run);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_answered_at_once_though_the_forge_and_the_workers_are_away() {
    let house = House::with(setup()).await;
    house.forge.is_away(true);
    house.world.sources().script("refs/changes/07/7/1", "wait");
    let begun = std::time::Instant::now();
    for n in 1..=10 {
        delivers(&house, &said(&n.to_string(), "uploaded", 7, n)).await;
    }
    // GitLab waits ten seconds for an answer, Gerrit five.
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    house.close().await;
}

// Threat 19.
#[tokio::test(flavor = "multi_thread")]
async fn one_address_leaves_room_to_the_others_and_what_is_turned_away_is_counted() {
    let house = House::with(setup()).await;
    // As much as one body may have, and the end never comes.
    let large = vec![b' '; 20 << 20];
    let mut first = stalls(&house, &format!("x-secret: {SECRET}"), "content-length: 27000000").await;
    first.write_all(&large).await.expect("sent");
    let mut second = stalls(&house, &format!("x-secret: {SECRET}"), "content-length: 27000000").await;
    // The answer may come, and the connection be closed, before all of it is sent.
    let _ = second.write_all(&large).await;
    let mut answered = [0; 12];
    second.read_exact(&mut answered).await.expect("an answer");
    assert_eq!(&answered, b"HTTP/1.1 503");
    let elsewhere = reqwest::Client::builder().local_address(std::net::IpAddr::from([127, 0, 0, 2])).build().expect("a client");
    let padded = format!("{}{}", " ".repeat(14 << 20), said("1", "rumour", 0, 0));
    let url = format!("http://{}/webhooks/forge", house.address);
    let request = elsewhere.post(url).header("x-secret", SECRET).body(padded);
    assert_eq!(request.send().await.expect("an answer").status(), StatusCode::NO_CONTENT);
    // What is small has room also beside the large one.
    delivers(&house, &said("2", "rumour", 0, 0)).await;
    // What the first has sent is given up after a while.
    first.read_exact(&mut answered).await.expect("an answer");
    assert_eq!(&answered, b"HTTP/1.1 408");
    delivers(&house, &said("3", "rumour", 0, 0)).await;
    let metrics = house.metrics();
    for outcome in ["busy", "late"] {
        assert!(metrics.contains(&format!("forge=\"forge\",outcome=\"{outcome}\"}} 1")), "{outcome}: {metrics}");
    }
    house.close().await;
}
