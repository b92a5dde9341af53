//! The controller dies in the middle of something, and goes on when it is back.

use reqwest::StatusCode;
use serde_json::json;
use signalbox_contract::Verdict;
use signalbox_contract::api::run::{Accepted, Outcome};
use signalbox_controller::StartError;
use signalbox_service::folder::FolderError;

use crate::house::{House, Setup, expect, phase};
use crate::stand_ins::{At, Mood};

/// Each act of a whole run was done once.
fn all_once(house: &House) {
    for (at, what) in [(At::Vcs, "fetch"), (At::Vcs, "publish"), (At::Store, "close"), (At::Deploy, "deploy")] {
        assert_eq!(house.world.done(at, what), 1, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_being_mirrored_built_stored_or_deployed_goes_on() {
    futures_util::future::join_all([At::Vcs, At::Executor, At::Store, At::Deploy].map(async |at| {
        let mut house = House::open().await;
        house.world.is(at, Mood::Hanging);
        let run = house.branch("main").await;
        house.sees("it is asked", async || house.world.calls(at) > 0).await;
        house.dies();
        house.world.is(at, Mood::Well);
        house.comes_back().await;
        let view = house.ends(run, Outcome::Passed).await;
        assert!(view.steps.iter().all(|step| step.attempts.len() == 1), "{at:?}: nothing was tried anew");
        all_once(&house);
        assert_eq!(house.world.builds().begun(run).len(), 1, "{at:?}");
        house.close().await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_ends_while_nobody_looks_is_found() {
    let mut house = House::open().await;
    house.world.sources().script("slow", "wait");
    let run = house.branch("slow").await;
    house.builds(run).await;
    house.dies();
    house.world.build_ends(run, Verdict::Success);
    house.comes_back().await;
    house.ends(run, Outcome::Passed).await;
    all_once(&house);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dying_again_and_again_changes_nothing_in_the_end() {
    let mut house = House::with(Setup::default().capacity(1)).await;
    let mut runs = Vec::new();
    for _ in 0..8 {
        runs.push(house.branch("main").await);
        house.dies();
        house.comes_back().await;
    }
    for run in &runs {
        let view = house.ended(*run).await;
        let good = [Some(Outcome::Passed), Some(Outcome::Superseded)];
        assert!(good.contains(&view.summary.outcome), "{view:#?}");
        assert_eq!(house.world.builds().begun(*run).len(), 1);
    }
    assert_eq!(house.world.done(At::Vcs, "fetch"), runs.len());
    let past = house.world.hosts().past("test", "hello").to_vec();
    assert!(past.is_sorted_by(|a, b| a.1 < b.1), "activations rise: {past:?}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_in_good_order_while_others_hang() {
    let mut house = House::open().await;
    house.world.is(At::Vcs, Mood::Hanging);
    let run = house.branch("main").await;
    house.sees("it is asked", async || house.world.calls(At::Vcs) > 0).await;
    let begun = std::time::Instant::now();
    house.stops().await;
    assert!(begun.elapsed().as_secs() < 10, "nobody waits for a worker that hangs");
    house.world.is(At::Vcs, Mood::Well);
    house.comes_back().await;
    house.ends(run, Outcome::Passed).await;
    house.close().await;
}

// Threat 64.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_controller_is_told_who_has_the_folder() {
    let house = House::open().await;
    let Err(StartError::Folder(FolderError::Held { holder, .. })) = house.try_start().await else { panic!("it started") };
    assert!(holder.contains("controller") && holder.contains(&std::process::id().to_string()), "{holder}");
    let run = house.branch("main").await;
    house.ends(run, Outcome::Passed).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_room_after_a_restart_is_used_at_once() {
    let mut house = House::with(Setup::default().capacity(1)).await;
    house.world.sources().script("slow", "wait");
    let (first, second) = (house.branch("slow").await, house.branch("slow").await);
    house.builds(first).await;
    house.until("it waits", second, |view| phase(view) == "waiting").await;
    house.stops().await;
    house.set_up(Setup::default().capacity(2));
    house.comes_back().await;
    house.builds(second).await;
    assert_eq!(house.world.builds().running(), 2);
    house.close().await;
}

// Threat 64.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_deployed_after_a_restore_goes_over_what_was_deployed_since_the_backup() {
    let mut house = House::open().await;
    let deploy = async |house: &House, bytes: &[u8], environment: &str| {
        house.world.blobs().publish("tool", bytes);
        let body = json!({ "artifact_id": "tool", "published_name": "tool" });
        let accepted: Accepted = expect(house.post(&format!("/environments/{environment}/deploy"), &body), StatusCode::ACCEPTED).await;
        house.ends(accepted.run, Outcome::Passed).await;
    };
    deploy(&house, b"0", "test").await;
    house.stops().await;
    let data = house.folder.path().join("data");
    let (file, backup, mark) = (data.join("controller.db"), house.folder.path().join("backup.db"), data.join("restored"));
    std::fs::copy(&file, &backup).expect("a backup");
    house.comes_back().await;
    for bytes in [b"1", b"2", b"3"] {
        deploy(&house, bytes, "test").await;
        // What the backup does not even know of.
        deploy(&house, bytes, "production").await;
    }
    house.stops().await;

    for left in ["controller.db-wal", "controller.db-shm"] {
        let _ = std::fs::remove_file(data.join(left));
    }
    std::fs::copy(&backup, &file).expect("the backup is put back");
    std::fs::write(&mark, "").expect("a mark");
    house.comes_back().await;
    assert!(!mark.exists(), "it is heard once");
    deploy(&house, b"4", "test").await;
    house.stops().await;
    house.comes_back().await;
    deploy(&house, b"5", "production").await;
    deploy(&house, b"6", "test").await;
    house.close().await;
}
