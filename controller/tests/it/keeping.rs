//! How long things are kept, and what happens when there is no room.

use std::path::Path;

use reqwest::StatusCode;
use serde_json::json;
use signalbox_contract::api::Page;
use signalbox_contract::api::run::{Accepted, Outcome, RunSummary};
use signalbox_contract::{RunId, Verdict};
use signalbox_controller::Config;
use signalbox_service::config::Reader;
use signalbox_service::testing::SmallDisk;

use crate::house::{House, Setup, answer, expect, refused};
use crate::stand_ins::At;

async fn is_gone(house: &House, run: RunId) -> bool {
    house.get(&format!("/runs/{run}")).send().await.expect("an answer").status() == StatusCode::NOT_FOUND
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_goes_with_all_that_belongs_to_it() {
    let mut house = House::open().await;
    house.world.builds().says = b"words\n".to_vec();
    let run = house.branch("main").await;
    house.ends(run, Outcome::Passed).await;
    house.world.sources().script("slow", "wait");
    let active = house.branch("slow").await;
    house.builds(active).await;
    assert!(house.world.blobs().pinned.contains(&run));
    house.stops().await;
    house.set_up(Setup::default().table("[retention]\nage = \"1ms\""));
    house.comes_back().await;
    house.sees("the run is removed", async || is_gone(&house, run).await).await;
    for what in ["/events", "/live", "/steps/build/log"] {
        refused(house.get(&format!("/runs/{run}{what}")), 404).await;
    }
    assert!(!house.world.blobs().pinned.contains(&run), "the store may let go of what it kept for it");
    assert!(!is_gone(&house, active).await, "what goes on is not old");
    house.world.build_ends(active, Verdict::Success);
    house.ends(active, Outcome::Passed).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_are_kept() {
    let mut house = House::open().await;
    let mut runs = Vec::new();
    for _ in 0..5 {
        let run = house.branch("main").await;
        house.ends(run, Outcome::Passed).await;
        runs.push(run);
    }
    house.stops().await;
    house.set_up(Setup::default().table("[retention]\ncount = 2"));
    house.comes_back().await;
    house.sees("the older ones are removed", async || is_gone(&house, runs[2]).await).await;
    let kept: Page<RunSummary> = expect(house.get("/runs"), StatusCode::OK).await;
    assert_eq!(kept.items.iter().map(|run| run.id).collect::<Vec<_>>(), [runs[4], runs[3]]);
    let next = house.branch("main").await;
    assert_eq!(house.ends(next, Outcome::Passed).await.summary.number, 6, "numbers are not given twice");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_kept_until_the_store_has_let_go_of_its_bytes() {
    let mut house = House::open().await;
    let run = house.branch("main").await;
    house.ends(run, Outcome::Passed).await;
    house.stops().await;
    house.world.goes_away(At::Store).await;
    house.set_up(Setup::default().table("[retention]\nage = \"1ms\""));
    house.comes_back().await;
    assert!(!is_gone(&house, run).await);
    house.stops().await;
    assert!(house.world.blobs().pinned.contains(&run));
    house.world.comes_back(At::Store);
    house.comes_back().await;
    house.sees("the run is removed", async || is_gone(&house, run).await).await;
    assert!(house.world.blobs().pinned.is_empty());
    house.close().await;
}

/// Takes all the room that is left below a folder.
fn fill(folder: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(folder.join("filler")).expect("a file");
    while file.write_all(&[0; 4096]).is_ok() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_nothing_and_is_got_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(_small) = SmallDisk::mount(folder.path(), "size=2m") else { return };
    let house = House::with(Setup::default().data(&folder.path().join("data"))).await;
    house.world.sources().script("slow", "wait");
    let working = house.branch("slow").await;
    house.builds(working).await;
    fill(folder.path());
    let mut accepted = vec![working];
    let body = json!({ "repo": "hello", "ref": "main", "inputs": { "A": "x".repeat(4000) } });
    let refusal = loop {
        let response = house.post("/cd", &body).send().await.expect("an answer");
        if response.status() != StatusCode::ACCEPTED {
            break response.status();
        }
        accepted.push(response.json::<Accepted>().await.expect("JSON").run);
        assert!(accepted.len() < 500, "the disk is never full");
    };
    assert!([StatusCode::SERVICE_UNAVAILABLE, StatusCode::INTERNAL_SERVER_ERROR].contains(&refusal), "{refusal}");
    // It goes on to answer what needs no room.
    answer(house.get(&format!("/runs/{working}")), StatusCode::OK).await;
    house.world.build_ends(working, Verdict::Success);
    let calls = house.world.builds().looks;
    house.sees("it goes on trying", async || house.world.builds().looks > calls + 2).await;
    refused(house.post("/cd", &body), refusal.as_u16()).await;

    std::fs::remove_file(folder.path().join("filler")).expect("it is there");
    for run in &accepted {
        house.ends(*run, Outcome::Passed).await;
    }
    let run = house.branch("main").await;
    house.ends(run, Outcome::Passed).await;
    let list: Page<RunSummary> = expect(house.get("/runs?limit=200"), StatusCode::OK).await;
    assert_eq!(list.items.len(), accepted.len() + 1, "what was refused is not there");
    house.close().await;
}

#[test]
fn to_keep_nothing_is_refused() {
    let text = "[retention]\nage = \"0s\"\ncount = 0\n";
    let mut reader = Reader::parse("controller.toml", text).expect("TOML");
    assert!(Config::read(&mut reader).is_none(), "the rest is missing as well");
    let said = reader.finish().expect_err("it is refused").to_string();
    for line in ["retention.age", "retention.count"] {
        assert!(said.lines().any(|said| said.contains(line) && said.contains("more than nothing")), "{said}");
    }
}
