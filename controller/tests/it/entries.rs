//! The entries of a run's event log.

use std::collections::BTreeMap;

use reqwest::StatusCode;
use serde_json::{Value, json};
use signalbox_contract::RunId;
use signalbox_contract::api::Page;
use signalbox_contract::api::run::{EventView, Outcome};
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::house::{House, expect};

async fn log(house: &House, run: RunId) -> Vec<EventView> {
    let page: Page<EventView> = expect(house.get(&format!("/runs/{run}/events?limit=200")), StatusCode::OK).await;
    page.items
}

/// What an entry of this kind says.
fn said<'e>(log: &'e [EventView], kind: &str) -> &'e Value {
    &log.iter().find(|event| event.kind == kind).unwrap_or_else(|| panic!("an entry {kind}")).body
}

/// Names that begin with a capital are those of our own types; nobody else knows them.
fn debris(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.keys().filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase())).cloned());
            members.values().for_each(|value| debris(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| debris(value, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_say_what_came_of_something_in_words_and_those_of_old_do_too() {
    let mut house = House::open().await;
    house.world.sources().commit("broken", "version: 1\njobs: 7\n");
    let passed = house.cd(&json!({ "repo": "hello", "ref": "main", "artifact": "site/hello" })).await;
    house.ends(passed, Outcome::Passed).await;
    let failed = house.branch("broken").await;
    house.ends(failed, Outcome::Failed).await;
    let (went_well, went_wrong) = (log(&house, passed).await, log(&house, failed).await);

    let plan = &said(&went_well, "fetched")["plan"];
    assert_eq!(
        (&plan["outcome"], &plan["steps"][0]["name"], &plan["steps"][1]["name"]),
        (&json!("planned"), &json!("build"), &json!("deploy"))
    );
    let deploy = &said(&went_well, "accepted")["request"]["deploy"];
    assert_eq!(deploy["artifact"], "site/hello");
    assert!(deploy["target"]["environment"].is_string() && deploy["target"]["name"] == "hello", "{deploy}");
    assert_eq!(said(&went_well, "deployed")["hosts"][0]["outcome"]["outcome"], "switched");
    let plan = &said(&went_wrong, "fetched")["plan"];
    assert_eq!((&plan["outcome"], plan["failure"]["code"].is_string()), (&json!("refused"), true), "{plan}");
    for event in went_well.iter().chain(&went_wrong) {
        let mut found = Vec::new();
        debris(&event.body, &mut found);
        assert!(found.is_empty() && event.body.get("event").is_none(), "{event:?}");
    }

    // As it was written once.
    house.stops().await;
    let file = house.folder.path().join("data/controller.db");
    let mut memory = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file)).await.expect("its memory");
    for written in [
        "UPDATE event SET body = json_set(body, '$.event', kind) WHERE kind NOT IN ('accepted', 'attempt_ended', 'finished')",
        "UPDATE event SET body = json_set(body, '$.plan', json_object('Ok', json_extract(body, '$.plan.steps')))
         WHERE json_extract(body, '$.plan.outcome') = 'planned'",
        "UPDATE event SET body = json_set(body, '$.plan', json_object('Err', json_extract(body, '$.plan.failure')))
         WHERE json_extract(body, '$.plan.outcome') = 'refused'",
        "UPDATE event SET body = json_set(body, '$.request.deploy',
           json_array(json_extract(body, '$.request.deploy.artifact'), json_extract(body, '$.request.deploy.target')))
         WHERE json_extract(body, '$.request.deploy.artifact') IS NOT NULL",
    ] {
        assert!(sqlx::query(written).execute(&mut memory).await.expect("it is written").rows_affected() > 0, "{written}");
    }
    memory.close().await.expect("it is closed");
    house.comes_back().await;
    let now = BTreeMap::from([(passed, log(&house, passed).await), (failed, log(&house, failed).await)]);
    assert_eq!(now, BTreeMap::from([(passed, went_well), (failed, went_wrong)]));
    house.close().await;
}
