//! Disks and quotas that are full.

use reqwest::Method;
use signalbox_contract::Code;
use signalbox_service::testing::SmallDisk;

use crate::house::{House, noise, problem};

// Threat 38.
#[tokio::test]
async fn a_full_disk_is_507_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(disk) = SmallDisk::mount(&folder.path().join("data"), "size=12m") else { return };
    let house = House::at(folder, "").await;
    let (small, large) = (noise(1, 4000), noise(2, 2_000_000));
    house.put("small", small.clone()).await;
    house.put("large", large.clone()).await;
    // One that is announced, and one that nobody can know of beforehand.
    let response = house.put("large", noise(3, 30_000_000)).await;
    assert_eq!(problem(response).await.code, Code::InsufficientStorage);
    let parts: Vec<Result<Vec<u8>, std::io::Error>> = (0..30).map(|n| Ok(noise(n, 1 << 20))).collect();
    let response = house.put("large", reqwest::Body::wrap_stream(futures_util::stream::iter(parts))).await;
    assert_eq!(problem(response).await.code, Code::InsufficientStorage);
    assert_eq!(house.files().0, 0, "the half of it is gone");
    // The rest is filled with small ones, until the catalog itself has no room.
    let mut refused = None;
    for n in 0..4000 {
        let response = house.put(&format!("fill/{n}"), noise(n, 16_000)).await;
        if !response.status().is_success() {
            refused = Some(problem(response).await.code);
            break;
        }
    }
    assert_eq!(refused, Some(Code::InsufficientStorage));
    assert_eq!(house.bytes("small").await.expect("still there"), small);
    assert_eq!(house.bytes("large").await.expect("still there"), large);
    assert_eq!(house.get("/health/live").await.status(), 200);
    let house = house.reopen(|_| ()).await;
    assert_eq!(house.bytes("large").await.expect("still there after a restart"), large);
    assert_eq!(house.bytes("fill/0").await.expect("acknowledged, so there"), noise(0, 16_000));
    let (folder, _) = house.close().await;
    drop(disk);
    drop(folder);
}

// Threat 38.
#[tokio::test]
async fn a_disk_without_inodes_is_507_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(disk) = SmallDisk::mount(&folder.path().join("data"), "size=40m,nr_inodes=290") else { return };
    let house = House::at(folder, "").await;
    let mut kept = 0;
    let refused = loop {
        let response = house.put(&format!("file/{kept}"), noise(kept, 20_000)).await;
        if !response.status().is_success() {
            break problem(response).await.code;
        }
        kept += 1;
        assert!(kept < 290);
    };
    assert_eq!(refused, Code::InsufficientStorage);
    assert!(kept > 0);
    assert_eq!(house.put("small", "needs no file").await.status(), 201);
    for n in 0..kept {
        assert_eq!(house.bytes(&format!("file/{n}")).await.expect("still there"), noise(n, 20_000));
    }
    house.request(Method::DELETE, "/blobs/file/0").send().await.expect("an answer");
    signalbox_service::testing::eventually("room is made", std::time::Duration::from_secs(20), || async {
        house.put("again", noise(1000, 20_000)).await.status().is_success().then_some(())
    })
    .await;
    let (folder, _) = house.close().await;
    drop(disk);
    drop(folder);
}

// Threat 38.
#[tokio::test]
async fn quotas_hold_for_one_blob_and_for_all() {
    let house = House::with("max_blob = \"500KiB\"\nmax_total = \"1MiB\"").await;
    assert_eq!(house.put("a", noise(1, 512_000)).await.status(), 201);
    assert_eq!(problem(house.put("a", noise(2, 512_001)).await).await.code, Code::TooLarge);
    assert_eq!(house.put("b", noise(3, 500_000)).await.status(), 201);
    assert_eq!(problem(house.put("c", noise(4, 100_000)).await).await.code, Code::InsufficientStorage);
    assert_eq!(problem(house.put("c", noise(5, 40_000).repeat(1)).await).await.code, Code::InsufficientStorage);
    let response = house
        .request(Method::PUT, "/blobs/c")
        .body(reqwest::Body::wrap_stream(futures_util::stream::iter(vec![Ok::<_, std::io::Error>(noise(1, 512_000))])))
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), 201, "bytes that are there already take no room");
    assert_eq!(house.files(), (0, 2));
    house.close().await;
}

#[tokio::test]
async fn room_is_left_on_the_disk() {
    let house = House::with("keep_free = \"1TiB\"").await;
    assert_eq!(problem(house.put("x", "x").await).await.code, Code::InsufficientStorage);
    house.close().await;
}
