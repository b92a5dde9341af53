//! Bytes that rot, and things that somebody planted.

use std::os::unix::fs::symlink;
use std::path::Path;

use reqwest::Method;
use signalbox_contract::Digest;
use signalbox_contract::api::store::{Damage, ScrubResult};
use signalbox_contract::grant::Action;
use signalbox_service::auth::sha256;
use signalbox_service::sqlite::Database;

use crate::house::{House, file, noise};

/// Reads a name; the bytes if it was a whole 200.
async fn whole(house: &House, name: &str) -> Option<Vec<u8>> {
    let response = house.get(&format!("/blobs/{name}")).await;
    let status = response.status().as_u16();
    let length = response.content_length();
    match response.bytes().await {
        Ok(bytes) if status == 200 => {
            assert_eq!(length, Some(bytes.len() as u64));
            Some(bytes.to_vec())
        }
        Ok(_) => {
            assert_eq!(status, 500);
            None
        }
        // Cut in the middle.
        Err(_) => None,
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("a file");
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).expect("written");
}

// Threat 42.
#[tokio::test]
async fn a_bit_that_flips_anywhere_is_never_served() {
    let bytes = noise(1, 700_000);
    let digest = sha256(&bytes);
    let mut house = House::open().await;
    for at in [0, 1, 131_072, 262_143, 262_144, 400_000, 524_288, 699_999] {
        house.put("x", bytes.clone()).await;
        assert_eq!(whole(&house, "x").await.expect("good"), bytes, "an upload of the same bytes mends them");
        flip(&house.file(&digest), at);
        assert_eq!(whole(&house, "x").await, None, "{at}");
        house = house.reopen(|_| ()).await;
        assert_eq!(whole(&house, "x").await, None, "{at}, after a restart");
        assert_eq!(house.get("/blobs/x").await.status(), 500, "now it is known beforehand");
        assert_eq!(house.request(Method::HEAD, "/blobs/x").send().await.expect("an answer").status(), 500);
    }
    house.close().await;
}

#[tokio::test]
async fn only_the_part_that_is_asked_for_must_be_good() {
    let house = House::open().await;
    let bytes = noise(1, 700_000);
    house.put("x", bytes.clone()).await;
    flip(&house.file(&sha256(&bytes)), 600_000);
    let part = |range: &'static str| house.request(Method::GET, "/blobs/x").header("range", range).send();
    let response = part("bytes=0-99").await.expect("an answer");
    assert_eq!(response.status(), 206);
    assert!(response.bytes().await.expect("bytes") == bytes[..100]);
    assert_eq!(part("bytes=599999-600001").await.expect("an answer").status(), 500);
    assert!(
        house.telemetry.metrics().expect("metrics").lines().any(|line| line.starts_with("store_rot_found_total") && line.ends_with(" 1"))
    );
    house.close().await;
}

// Threat 42.
#[tokio::test]
async fn small_bytes_that_rot_are_not_served_either() {
    let house = House::open().await;
    house.put("x", "good bytes").await;
    let (folder, settings) = house.close().await;
    let db = Database::open(&folder.path().join("data/artifact-store.db"), &sqlx::migrate!(), 1).await.expect("a catalog");
    sqlx::query("UPDATE small SET bytes = CAST('bad! bytes' AS BLOB)").execute(&db.writer).await.expect("changed");
    db.close().await;
    let house = House::at(folder, &settings).await;
    assert_eq!(whole(&house, "x").await, None);
    assert_eq!(house.get(&format!("/digests/{}", sha256(b"good bytes"))).await.status(), 500);
    house.put("y", "good bytes").await;
    assert_eq!(whole(&house, "x").await.expect("mended"), b"good bytes");
    house.close().await;
}

#[tokio::test]
async fn a_file_that_is_cut_longer_or_gone_is_never_served() {
    let house = House::open().await;
    let bytes = noise(1, 300_000);
    let path = house.file(&sha256(&bytes));
    let spoils: [fn(&Path); 3] = [
        |path| std::fs::write(path, &noise(1, 300_000)[..299_999]).expect("written"),
        |path| std::fs::write(path, [noise(1, 300_000), vec![0]].concat()).expect("written"),
        |path| std::fs::remove_file(path).expect("removed"),
    ];
    for spoil in spoils {
        house.put("x", bytes.clone()).await;
        assert_eq!(whole(&house, "x").await.expect("good"), bytes);
        spoil(&path);
        assert_eq!(whole(&house, "x").await, None);
    }
    house.close().await;
}

// Threat 41.
#[tokio::test]
async fn links_pipes_and_folders_that_were_planted_are_refused() {
    let house = House::open().await;
    let bytes = noise(1, 300_000);
    let digest = sha256(&bytes);
    let path = house.file(&digest);
    let elsewhere = house.folder.path().join("elsewhere");
    std::fs::write(&elsewhere, &bytes).expect("written");
    let plants: [&dyn Fn(&Path); 2] = [
        // Even with the right bytes behind it.
        &|path| symlink(&elsewhere, path).expect("planted"),
        &|path| {
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).expect("planted");
        },
    ];
    for plant in plants {
        house.put("x", bytes.clone()).await;
        std::fs::remove_file(&path).expect("removed");
        plant(&path);
        assert_eq!(whole(&house, "x").await, None);
        house.put("x", bytes.clone()).await;
        assert_eq!(whole(&house, "x").await.expect("an upload puts the file in the place of what was planted"), bytes);
    }
    assert_eq!(std::fs::read(&elsewhere).expect("untouched"), bytes);

    // A folder of the fan-out that leads elsewhere is neither read nor written through.
    let fan = path.parent().expect("a folder").to_owned();
    let target = house.folder.path().join("target");
    std::fs::rename(&fan, &target).expect("moved");
    symlink(&target, &fan).expect("planted");
    assert_eq!(whole(&house, "x").await, None);
    assert_eq!(house.put("y", bytes.clone()).await.status(), 503);
    assert_eq!(std::fs::read_dir(&target).expect("a folder").count(), 1);
    house.close().await;
}

// Threat 41.
#[tokio::test]
async fn a_planted_link_in_the_place_of_a_folder_stops_the_start() {
    let house = House::open().await;
    let (folder, _) = house.close().await;
    let data = folder.path().join("data");
    let outside = folder.path().join("outside");
    std::fs::create_dir(&outside).expect("made");
    std::fs::write(outside.join("precious"), "precious").expect("written");
    std::fs::remove_dir(data.join("incoming")).expect("removed");
    symlink(&outside, data.join("incoming")).expect("planted");
    let started = std::panic::AssertUnwindSafe(House::at(folder, ""));
    assert!(futures_util::FutureExt::catch_unwind(started).await.is_err(), "it does not start");
}

#[test]
fn the_path_of_a_blob_is_its_digest() {
    let digest = Digest::from_bytes([0xab; 32]);
    assert_eq!(file(Path::new("d"), &digest), Path::new("d/blobs/ab").join("ab".repeat(31)));
}

/// Looks at everything, as somebody with these actions.
async fn scrubbed(house: &House, actions: &[Action]) -> ScrubResult {
    let token = house.token(actions, "*");
    let mut all = ScrubResult::default();
    loop {
        let cursor = all.next.take();
        let request = house.http.post(house.url("/scrub")).bearer_auth(&token).json(&serde_json::json!({ "cursor": cursor }));
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        let slice: ScrubResult = response.json().await.expect("what was found");
        all.rotten.extend(slice.rotten);
        (all.blobs, all.bytes, all.stored, all.next) = (all.blobs + slice.blobs, all.bytes + slice.bytes, slice.stored, slice.next);
        if all.next.is_none() {
            return all;
        }
    }
}

#[tokio::test]
async fn whatever_byte_of_whatever_blob_flips_it_is_found_and_named() {
    let mut house = House::open().await;
    let large: Vec<Vec<u8>> = (0..3).map(|n| noise(n, 300_000 + 262_144 * usize::try_from(n).expect("small"))).collect();
    for (number, bytes) in large.iter().enumerate() {
        house.put(&format!("large-{number}"), bytes.clone()).await;
    }
    house.put("small", "good bytes").await;
    let sum = large.iter().map(Vec::len).sum::<usize>() as u64 + 10;
    let all = scrubbed(&house, &[Action::Operate, Action::BlobRead]).await;
    assert_eq!((all.blobs, all.bytes, all.stored, all.rotten), (4, sum, sum, Vec::new()));

    // One after the other, so that each look finds all that were spoilt before, and no other.
    let mut expected = Vec::new();
    for (number, at) in [(0, 299_999), (1, 262_144), (2, 0)] {
        let digest = sha256(&large[number]);
        flip(&house.file(&digest), at);
        expected.push((digest, Damage::Changed, vec![format!("large-{number}")]));
        let found = scrubbed(&house, &[Action::Operate, Action::BlobRead]).await;
        let mut found: Vec<_> =
            found.rotten.into_iter().map(|blob| (blob.digest, blob.damage, blob.names.iter().map(ToString::to_string).collect())).collect();
        found.sort_by_key(|(_, _, names): &(_, _, Vec<String>)| names.clone());
        assert_eq!(found, expected);
        assert_eq!(whole(&house, &format!("large-{number}")).await, None, "what was found is not served");
    }

    // In the catalog, too; and a file that is gone is not what was stored either.
    for (number, bytes) in large.iter().enumerate() {
        house.put(&format!("large-{number}"), bytes.clone()).await;
    }
    assert!(scrubbed(&house, &[Action::Operate]).await.rotten.is_empty(), "uploads of the same bytes mend them");
    std::fs::remove_file(house.file(&sha256(&large[1]))).expect("removed");
    let (folder, settings) = house.close().await;
    let db = Database::open(&folder.path().join("data/artifact-store.db"), &sqlx::migrate!(), 1).await.expect("a catalog");
    sqlx::query("UPDATE small SET bytes = CAST('good bytez' AS BLOB)").execute(&db.writer).await.expect("changed");
    let tags = "UPDATE chunked SET tags = CAST(substr(tags, 1, 3) || x'00' || substr(tags, 5) AS BLOB) WHERE blob IN (SELECT id FROM blob WHERE size > 800000)";
    sqlx::query(tags).execute(&db.writer).await.expect("changed");
    db.close().await;
    house = House::at(folder, &settings).await;
    let found = scrubbed(&house, &[Action::Operate]).await;
    let mut damages: Vec<_> = found.rotten.iter().map(|blob| (blob.size, blob.damage)).collect();
    damages.sort_by_key(|(size, _)| *size);
    assert_eq!(damages, [(10, Damage::Changed), (562_144, Damage::Missing), (824_288, Damage::Changed)]);
    assert!(found.rotten.iter().all(|blob| blob.names.is_empty()), "names are for those who may read them");
    house.close().await;
}

#[tokio::test]
async fn only_who_operates_the_store_may_have_it_read_whole_and_from_places_that_were_given() {
    let house = House::open().await;
    house.put("x", "bytes").await;
    let asked = async |actions: &[Action], body: serde_json::Value| {
        let token = house.token(actions, "*");
        house.http.post(house.url("/scrub")).bearer_auth(token).json(&body).send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(asked(&[Action::BlobRead, Action::BlobWrite], serde_json::json!({})).await, 403);
    assert_eq!(asked(&[Action::Operate], serde_json::json!({ "cursor": "elsewhere" })).await, 400);
    assert_eq!(
        asked(&[Action::Operate], serde_json::json!({ "cursor": "1-70368744177663" })).await,
        200,
        "beyond its end nothing is to be read"
    );
    assert_eq!(asked(&[Action::Operate], serde_json::json!({})).await, 200);
    house.close().await;
}
