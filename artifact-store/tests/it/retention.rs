//! What is collected, and what a crash left over.

use std::time::Duration;

use reqwest::Method;
use signalbox_service::auth::sha256;
use signalbox_service::testing::eventually;

use crate::house::{House, file, noise};

#[tokio::test]
async fn what_a_crash_left_over_is_swept() {
    let house = House::open().await;
    let kept = noise(1, 300_000);
    house.put("kept", kept.clone()).await;
    let stray = noise(2, 300_000);
    let house = house
        .reopen(|data| {
            std::fs::write(data.join("incoming/0123456789abcdef0123456789abcdef"), b"half of something").expect("written");
            std::fs::write(file(data, &sha256(&stray)), &stray).expect("written");
        })
        .await;
    eventually("only what is known is left", Duration::from_secs(20), || async { (house.files() == (0, 1)).then_some(()) }).await;
    assert_eq!(house.bytes("kept").await.expect("there"), kept);
    house.close().await;
}

#[tokio::test]
async fn old_versions_and_deleted_names_give_their_room_back() {
    let house = House::with("keep_versions = 2\nmax_total = \"1MiB\"").await;
    for n in 0..4 {
        eventually("there is room for the next", Duration::from_secs(20), || async {
            (house.put("x", noise(n, 300_000)).await.status().is_success()).then_some(())
        })
        .await;
    }
    eventually("two versions are left", Duration::from_secs(20), || async { (house.files() == (0, 2)).then_some(()) }).await;
    house.request(Method::DELETE, "/blobs/x").send().await.expect("an answer");
    eventually("nothing is left", Duration::from_secs(20), || async { (house.files() == (0, 0)).then_some(()) }).await;
    assert_eq!(house.put("y", noise(9, 1 << 20)).await.status(), 201, "all the room is there again");
    house.close().await;
}

// Threat 64.
#[tokio::test]
async fn a_second_store_on_the_same_folder_is_refused() {
    let house = House::open().await;
    let refused = signalbox_service::folder::DataFolder::claim(&house.data(), "artifact-store").expect_err("held");
    assert!(refused.to_string().contains("artifact-store, process"), "{refused}");
    let (folder, _) = house.close().await;
    signalbox_service::folder::DataFolder::claim(&folder.path().join("data"), "artifact-store").expect("free");
}
