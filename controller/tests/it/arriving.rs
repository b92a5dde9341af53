//! How what forges say comes in: by a stream, and when there is no room for it.

use reqwest::{Method, StatusCode};
use serde_json::json;
use signalbox_adapters::forge::Streamed;
use signalbox_contract::Code;
use signalbox_contract::api::Page;
use signalbox_contract::api::delivery::{DeedKind, DeliveryState, DeliverySummary, Via};
use signalbox_contract::api::run::Outcome;

use crate::deliveries::{acted, deliveries, delivers, only, runs, said, setup};
use crate::house::{House, answer, expect};
use crate::stand_ins::forge::SECRET;

fn line(id: &str, kind: &str, change: u64) -> Streamed {
    Streamed::Event(serde_json::to_vec(&said(id, kind, change, 1)).expect("JSON").into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_a_stream_is_written_down_and_acted_on_like_a_webhook() {
    let ssh = "[forges.forge.ssh]\nkey_file = \"key\"\nknown_hosts = \"hosts\"";
    let house = House::with(setup().table(ssh)).await;
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
    assert_eq!((deliveries(&house).await.len(), runs(&house).await.len()), (1, 1));
    house.close().await;
}

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
