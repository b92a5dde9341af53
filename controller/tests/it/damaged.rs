//! Rows that cannot be read: a bit has flipped, or a newer version wrote them.

use std::path::Path;

use reqwest::{Method, StatusCode};
use serde_json::json;
use signalbox_contract::api::run::{Outcome, Status};
use signalbox_contract::grant::Action;
use signalbox_contract::{Code, Verdict};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Row as _};

use crate::house::{House, Setup, answer, expect, on_repos, phase, refused};
use crate::stand_ins::{At, Mood};

/// The controller's memory, while it is not there.
async fn memory(house: &House) -> SqliteConnection {
    let file = house.folder.path().join(Path::new("data/controller.db"));
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file)).await.expect("its memory")
}

/// Changes rows; answers how many.
async fn change(house: &House, sql: &'static str, bound: &[&str]) -> u64 {
    let mut memory = memory(house).await;
    let mut query = sqlx::query(sql);
    for value in bound {
        query = query.bind((*value).to_owned());
    }
    let changed = query.execute(&mut memory).await.expect("it is changed").rows_affected();
    memory.close().await.expect("it is closed");
    changed
}

// Threat 64.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_be_read_is_set_aside_and_the_others_go_on() {
    let mut house = House::with(Setup::default().capacity(1)).await;
    house.world.sources().script("slow", "wait");
    let damaged = house.branch("slow").await;
    house.builds(damaged).await;
    let waiting = house.branch("main").await;
    house.until("it waits", waiting, |view| phase(view) == "waiting").await;
    house.stops().await;

    let id = damaged.to_string();
    let mut file = memory(&house).await;
    let row = sqlx::query("SELECT body FROM run WHERE id = $1").bind(&id).fetch_one(&mut file).await.expect("the run");
    let before: String = row.get(0);
    file.close().await.expect("it is closed");
    // Not even text any more.
    assert_eq!(change(&house, "UPDATE run SET body = CAST(x'7bff00' AS TEXT) WHERE id = $1", &[&id]).await, 1);
    house.comes_back().await;

    house.ends(waiting, Outcome::Passed).await;
    let problem = refused(house.get(&format!("/runs/{damaged}")), 500).await;
    assert_eq!(problem.code, Code::Unreadable);
    let stranger = house.token_of("stranger", vec![on_repos(&[Action::Read], &["team/*"])]);
    refused(house.by(&stranger, Method::GET, &format!("/runs/{damaged}")), 404).await;
    assert_eq!(refused(house.post(&format!("/runs/{damaged}/stop"), &json!({})), 500).await.code, Code::Unreadable);
    let status: Status = expect(house.get("/status"), StatusCode::OK).await;
    assert_eq!(status.building, [damaged], "it is shown");
    assert!(status.builds[&damaged].unreadable && !status.builds[&damaged].reason.is_empty());
    assert!(!status.builds[&waiting].unreadable);
    let page = answer(house.get("/"), StatusCode::OK).await.text().await.expect("a page");
    assert!(page.contains("unreadable"), "{page}");
    let next = house.branch("main").await;
    house.ends(next, Outcome::Passed).await;

    // What lists show may be damaged as well.
    house.stops().await;
    assert_eq!(change(&house, "UPDATE run SET summary = 'x' WHERE id = $1", &[&id]).await, 1);
    house.comes_back().await;
    let status: Status = expect(house.get("/status"), StatusCode::OK).await;
    assert!(status.builds[&damaged].unreadable);
    assert_eq!(status.builds[&damaged].repo.as_ref().map(AsRef::as_ref), Some("hello"));

    // With its record as it was, it goes on.
    house.stops().await;
    assert_eq!(change(&house, "UPDATE run SET body = $1 WHERE id = $2", &[&before, &id]).await, 1);
    house.comes_back().await;
    house.builds(damaged).await;
    house.world.build_ends(damaged, Verdict::Success);
    house.ended(damaged).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_run_that_cannot_be_read_fails_no_batch() {
    let mut house = House::open().await;
    let damaged = house.branch("main").await;
    house.ends(damaged, Outcome::Passed).await;
    house.stops().await;
    assert_eq!(change(&house, "UPDATE run SET body = '{}' WHERE id = $1", &[&damaged.to_string()]).await, 1);
    house.comes_back().await;
    assert_eq!(refused(house.post(&format!("/runs/{damaged}/rerun"), &json!({})), 500).await.code, Code::Unreadable);
    let run = house.branch("main").await;
    house.ends(run, Outcome::Passed).await;
    house.close().await;
}

// Threat 64.
#[tokio::test(flavor = "multi_thread")]
async fn an_effect_that_cannot_be_read_is_marked_and_left_alone() {
    let mut house = House::open().await;
    house.world.is(At::Vcs, Mood::Hanging);
    let damaged = house.branch("main").await;
    house.sees("it is asked", async || house.world.calls(At::Vcs) > 0).await;
    house.stops().await;
    house.world.is(At::Vcs, Mood::Well);
    let changed = change(&house, "UPDATE effect SET payload = '{\"v\": 99}' WHERE kind = 'fetch'", &[]).await;
    assert_eq!(changed, 1);
    house.comes_back().await;
    let run = house.branch("main").await;
    house.ends(run, Outcome::Passed).await;
    house.stops().await;
    let mut file = memory(&house).await;
    let query = "SELECT effect.error, effect.tries, aside.run FROM effect JOIN aside ON aside.id = CAST(effect.id AS TEXT) AND aside.kind = 'effect'";
    let rows = sqlx::query(query).fetch_all(&mut file).await.expect("rows");
    let row = rows.first().expect("it is marked");
    assert_eq!((row.get::<String, _>(0).as_str(), row.get::<String, _>(2)), ("It cannot be read.", damaged.to_string()));
    assert!(row.get::<i64, _>(1) <= 2, "it is not taken again and again");
    file.close().await.expect("it is closed");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_or_a_resource_that_cannot_be_read_holds_nobody_up() {
    let mut house = House::with(Setup::default().capacity(1)).await;
    let before = house.branch("main").await;
    house.ends(before, Outcome::Passed).await;
    house.world.sources().script("slow", "wait");
    let damaged = house.branch("slow").await;
    house.builds(damaged).await;
    house.stops().await;
    assert_eq!(change(&house, "UPDATE claim SET body = '[]'", &[]).await, 1);
    assert_eq!(change(&house, "UPDATE resource SET body = ''", &[]).await, 2);
    house.comes_back().await;
    let run = house.branch("main").await;
    house.ends(run, Outcome::Passed).await;
    let past = house.world.hosts().past("test", "hello").to_vec();
    assert!(past.is_sorted_by(|a, b| a.1 < b.1), "hosts never see a lower number: {past:?}");
    assert_eq!(past.len(), 2);
    assert_eq!(refused(house.get(&format!("/runs/{damaged}")), 500).await.code, Code::Unreadable);
    house.close().await;
}
