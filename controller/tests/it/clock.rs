//! The machine's clock is set back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::RunId;
use signalbox_controller::engine::Reconciler;
use signalbox_controller::store::{Leased, Live, NewRun, Store, StoreSettings};
use signalbox_controller_core::decide::Limits;
use signalbox_controller_core::plan::{CdOrder, Request};
use signalbox_controller_core::{Lane, ResourceKey};
use signalbox_service::clock::ManualClock;
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::Telemetry;

use crate::house::{LONG, SOURCE, globs};

const DAY: Duration = Duration::from_hours(24);

pub(crate) fn start() -> Timestamp {
    Timestamp::from_second(1_900_000_000).expect("a time")
}

fn before(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_sub(by).expect("a time")
}

pub(crate) fn after(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_add(by).expect("a time")
}

pub(crate) async fn open(folder: &Path, clock: &Arc<ManualClock>) -> (Store, Shutdown) {
    let shutdown = Shutdown::new();
    let settings = StoreSettings {
        limits: Limits::default(),
        queue: 100,
        resources: vec![(ResourceKey::Executor("local".parse().expect("a name")), 1)],
        deliveries: 100,
        readers: 1,
        readiness: Telemetry::new("controller").readiness(),
    };
    let store = Store::open(&folder.join("controller.db"), settings, clock.clone(), &shutdown).await.expect("a store");
    (store, shutdown)
}

pub(crate) async fn accept(store: &Store) -> RunId {
    let order = CdOrder {
        repo: "hello".parse().expect("a name"),
        source: SOURCE.parse().expect("a URL"),
        ref_name: "main".parse().expect("a ref"),
        job: None,
        executor: "local".parse().expect("a name"),
        inputs: std::collections::BTreeMap::new(),
        artifacts: globs(&["*"]),
        deploy: None,
        origin: signalbox_contract::Origin::Api,
        publish: true,
        vote: false,
        route: signalbox_controller_core::plan::Route::default(),
    };
    let run = NewRun { principal: "tester".to_owned(), request: Request::Cd(Box::new(order)), idempotency: None };
    store.accept(run).await.expect("it is accepted").run
}

pub(crate) async fn lease(store: &Store, lane: Lane, now: Timestamp) -> Vec<Leased> {
    store.lease(vec![(lane, 10)], after(now, Duration::from_secs(1))).await.expect("leases")
}

// Threat 63.
#[tokio::test]
async fn what_was_to_be_done_is_done_though_the_clock_was_set_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(start()));
    let (store, shutdown) = open(folder.path(), &clock).await;
    accept(&store).await;
    // What was never tried is due, whatever the clock shows.
    let earlier = before(start(), DAY);
    clock.set(earlier);
    let first = lease(&store, Lane::Fetch, earlier).await;
    assert_eq!(first.len(), 1);
    // A try that was put off waits for its time.
    let soon = after(earlier, Duration::from_secs(10));
    store.later(first[0].lease, soon, "later".to_owned()).await.expect("it is put off");
    assert!(lease(&store, Lane::Fetch, earlier).await.is_empty());
    // Put back once more, nobody waits a day for it.
    let earliest = before(earlier, DAY);
    clock.set(earliest);
    assert_eq!(lease(&store, Lane::Fetch, earliest).await.len(), 1);
    assert!(lease(&store, Lane::Timer, earliest).await.is_empty(), "a deadline is no try: it comes when it is due");
    assert!(shutdown.drained(LONG).await);
}

// Threat 63.
#[tokio::test]
async fn later_runs_have_greater_ids_though_the_clock_was_set_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(start()));
    let (store, shutdown) = open(folder.path(), &clock).await;
    let mut runs = vec![accept(&store).await];
    clock.set(before(start(), DAY));
    runs.push(accept(&store).await);
    assert!(shutdown.drained(LONG).await);
    drop(store);
    clock.set(before(start(), DAY * 2));
    let (store, shutdown) = open(folder.path(), &clock).await;
    runs.push(accept(&store).await);
    assert!(runs.is_sorted_by(|one, next| one < next), "{runs:?}");
    assert!(shutdown.drained(LONG).await);
}

// Threat 63.
#[test]
fn an_executor_is_looked_at_though_the_clock_was_set_back() {
    let key = "01jd8qk4wmfvt9e3v1n0t2m6xz-1-1".parse().expect("a key");
    let live = [Live { key, executor: "local".parse().expect("a name"), anchor: None, build: Some("1".to_owned()), parts: Vec::new() }];
    let mut reconciler = Reconciler::default();
    let looks = reconciler.due(start(), &live);
    assert_eq!(looks.len(), 1);
    assert!(reconciler.due(start(), &live).is_empty(), "a look is out");
    reconciler.seen(&looks[0], Some(Vec::new()), start());
    assert!(reconciler.due(start(), &live).is_empty(), "it was seen just now");
    assert_eq!(reconciler.due(before(start(), DAY), &live).len(), 1);
}
