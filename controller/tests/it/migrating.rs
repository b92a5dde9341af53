//! Data of earlier versions: after each migration in turn the tables get rows, the later migrations are applied by a start,
//! and everything is still there, to be read from the public border.

use std::collections::BTreeMap;
use std::path::Path;

use reqwest::{RequestBuilder, StatusCode};
use serde_json::json;
use signalbox_contract::api::Page;
use signalbox_contract::api::delivery::DeliverySummary;
use signalbox_contract::api::run::{Accepted, EventView, Outcome, RunSummary, Status};
use signalbox_contract::api::token::{TokenCreated, TokenInfo};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{AssertSqlSafe, Connection as _};

use crate::deliveries::{acted, delivers, said, setup};
use crate::house::{House, expect};

async fn opened(file: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
    SqliteConnection::connect_with(&options).await.expect("a database")
}

/// The tables that are ours, with their columns.
async fn tables(database: &mut SqliteConnection) -> BTreeMap<String, Vec<String>> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c
         WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name NOT LIKE '_sqlx_%' ORDER BY m.name, c.cid",
    )
    .fetch_all(&mut *database)
    .await
    .expect("its tables");
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (table, column) in rows {
        tables.entry(table).or_default().push(column);
    }
    tables
}

/// Makes a database as it was after the first `version` migrations, with what the tables of that time can hold of what is in
/// `full`. Answers how many rows each table has.
async fn as_it_was(file: &Path, full: &Path, migrations: &Migrator, version: i64) -> BTreeMap<String, i64> {
    let mut database = opened(file).await;
    migrations.run_to(version, &mut database).await.expect("it is migrated so far");
    sqlx::query("ATTACH $1 AS whole").bind(full.display().to_string()).execute(&mut database).await.expect("attached");
    let mut counts = BTreeMap::new();
    for (table, columns) in tables(&mut database).await {
        let columns = columns.iter().map(|column| format!("\"{column}\"")).collect::<Vec<_>>().join(", ");
        let copy = format!("INSERT INTO main.\"{table}\" ({columns}) SELECT {columns} FROM whole.\"{table}\"");
        sqlx::query(AssertSqlSafe(copy)).execute(&mut database).await.expect("the rows fit");
        counts.insert(table.clone(), count(&mut database, &table).await);
    }
    database.close().await.expect("it is closed");
    counts
}

fn keyed(house: &House) -> RequestBuilder {
    house.post("/cd", &json!({ "repo": "hello", "ref": "main" })).header("idempotency-key", "k")
}

async fn count(database: &mut SqliteConnection, table: &str) -> i64 {
    let count = format!("SELECT count(*) FROM main.\"{table}\"");
    sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(database).await.expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_before_each_migration_is_there_after_the_later_ones() {
    let mut house = House::with(setup()).await;
    let done = house.cd(&json!({ "repo": "hello", "ref": "main" })).await;
    house.ends(done, Outcome::Passed).await;
    house.world.sources().script("slow", "wait");
    let slow = house.branch("slow").await;
    house.builds(slow).await;
    delivers(&house, &said("1", "uploaded", 7, 2)).await;
    let delivered = acted(&house, "uploaded").await;
    let kept: Accepted = expect(keyed(&house), StatusCode::ACCEPTED).await;
    house.ends(kept.run, Outcome::Passed).await;
    let token = json!({ "principal": "reader", "audience": "controller", "lifetime": 3600, "grants": [{ "actions": ["read"] }] });
    let token: TokenCreated = expect(house.post("/tokens", &token), StatusCode::CREATED).await;
    for run in delivered.deeds.iter().filter_map(|deed| deed.run) {
        house.ended(run).await;
    }
    let before = house.run(done).await;
    let events: Page<EventView> = expect(house.get(&format!("/runs/{done}/events")), StatusCode::OK).await;
    house.stops().await;

    let data = house.folder.path().join("data");
    let (file, full) = (data.join("controller.db"), house.folder.path().join("full.db"));
    let mut database = opened(&file).await;
    sqlx::query("VACUUM INTO $1").bind(full.display().to_string()).execute(&mut database).await.expect("a copy");
    let newest = tables(&mut database).await;
    database.close().await.expect("it is closed");
    let migrations = Migrator::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations")).await.expect("the migrations");
    let versions: Vec<i64> = migrations.iter().map(|migration| migration.version).collect();
    for version in &versions {
        for old in ["controller.db", "controller.db-wal", "controller.db-shm"] {
            let _ = std::fs::remove_file(data.join(old));
        }
        let counts = as_it_was(&file, &full, &migrations, *version).await;
        let known: Vec<&str> = counts.iter().filter(|(_, rows)| **rows > 0).map(|(table, _)| table.as_str()).collect();
        for table in ["claim", "event", "idempotency", "live", "repository", "resource", "run", "sequence", "token"] {
            assert!(known.contains(&table), "after {version} there is something in {table}: {counts:?}");
        }
        house.comes_back().await;

        assert_eq!(house.run(done).await, before, "after {version}");
        let read: Page<EventView> = expect(house.get(&format!("/runs/{done}/events")), StatusCode::OK).await;
        assert_eq!(read, events, "after {version}");
        house.builds(slow).await;
        let runs: Page<RunSummary> = expect(house.get("/runs"), StatusCode::OK).await;
        assert_eq!(i64::try_from(runs.items.len()).ok(), counts.get("run").copied());
        assert!(runs.items.iter().all(|run| !run.unreadable), "after {version}: {runs:?}");
        let again: Accepted = expect(keyed(&house), StatusCode::ACCEPTED).await;
        assert_eq!(again.run, kept.run, "after {version} the key still counts");
        let tokens: Page<TokenInfo> = expect(house.get("/tokens"), StatusCode::OK).await;
        assert!(tokens.items.contains(&token.info), "after {version}");
        let deliveries: Page<DeliverySummary> = expect(house.get("/deliveries"), StatusCode::OK).await;
        let expected = counts.get("delivery").copied().unwrap_or_default();
        assert_eq!(i64::try_from(deliveries.items.len()).ok(), Some(expected), "after {version}");
        let status: Status = expect(house.get("/status"), StatusCode::OK).await;
        assert_eq!(status.building, [slow], "after {version}");
        house.stops().await;

        let mut database = opened(&file).await;
        assert_eq!(tables(&mut database).await, newest, "after {version} it became what is there today");
        assert_eq!(count(&mut database, "aside").await, 0, "after {version} nothing had to be set aside");
        for table in ["delivery", "event", "repository", "run", "token"] {
            let rows = count(&mut database, table).await;
            assert!(rows >= counts.get(table).copied().unwrap_or_default(), "after {version}: {table} has {rows} rows, had {counts:?}");
        }
        database.close().await.expect("it is closed");
    }
    house.comes_back().await;
    house.builds(slow).await;
    house.world.build_ends(slow, signalbox_contract::Verdict::Success);
    house.ends(slow, Outcome::Passed).await;
    house.close().await;
}
