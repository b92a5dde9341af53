//! Parts of bytes.

use reqwest::Method;
use signalbox_service::auth::sha256;

use crate::house::{House, noise, problem};

async fn part(house: &House, name: &str, range: &str) -> (u16, Option<String>, Vec<u8>) {
    let response = house.request(Method::GET, &format!("/blobs/{name}")).header("range", range).send().await.expect("an answer");
    let content_range = response.headers().get("content-range").map(|value| value.to_str().expect("text").to_owned());
    (response.status().as_u16(), content_range, response.bytes().await.expect("bytes").to_vec())
}

#[tokio::test]
async fn every_part_is_what_a_slice_would_be() {
    let house = House::open().await;
    for size in [1_usize, 1000, 16_384, 300_000, 524_288, 800_001] {
        let bytes = noise(size as u64, size);
        house.put("x", bytes.clone()).await;
        let edges = [0, 1, 16_383, 262_143, 262_144, 262_145, 524_287, 524_288, size / 2, size - 1];
        for from in edges {
            for until in edges.map(|edge| edge + 1) {
                if from >= until {
                    continue;
                }
                let (status, content_range, body) = part(&house, "x", &format!("bytes={from}-{}", until - 1)).await;
                if from >= size {
                    assert_eq!((status, content_range), (416, Some(format!("bytes */{size}"))));
                    continue;
                }
                let end = until.min(size);
                assert_eq!((status, content_range), (206, Some(format!("bytes {from}-{}/{size}", end - 1))));
                assert!(body == bytes[from..end], "{from}..{end} of {size}");
            }
        }
        let (status, _, body) = part(&house, "x", "bytes=-7").await;
        assert!(status == 206 && body == bytes[size.saturating_sub(7)..]);
    }
    house.close().await;
}

// Threat 39.
#[tokio::test]
async fn strange_ranges_are_bounded() {
    let house = House::open().await;
    let bytes = noise(1, 1000);
    house.put("x", bytes.clone()).await;
    let many = format!("bytes={}", vec!["0-999"; 1000].join(","));
    for range in ["bytes=5-2", "bytes=-", "bytes=a-b", "lines=0-1", "bytes=0-1,5-6", "bytes=-1-2", many.as_str()] {
        let (status, _, body) = part(&house, "x", range).await;
        assert!(status == 200 && body == bytes, "{range}");
    }
    for range in ["bytes=1000-", "bytes=18446744073709551615-", "bytes=18446744073709551616-18446744073709551617", "bytes=-0"] {
        let response = house.request(Method::GET, "/blobs/x").header("range", range).send().await.expect("an answer");
        assert_eq!(problem(response).await.errors[0].field, "range");
    }
    let (status, _, body) = part(&house, "x", "bytes=990-18446744073709551616").await;
    assert!(status == 206 && body == bytes[990..]);
    house.close().await;
}

// Threat 39.
#[tokio::test]
async fn a_download_is_resumed_only_if_it_is_still_the_same() {
    let house = House::open().await;
    let bytes = noise(1, 500_000);
    house.put("x", bytes.clone()).await;
    let resume = |tag: String| house.request(Method::GET, "/blobs/x").header("range", "bytes=300000-").header("if-range", tag).send();
    let response = resume(format!("\"{}\"", sha256(&bytes))).await.expect("an answer");
    assert_eq!(response.status(), 206);
    assert!(response.headers().contains_key("repr-digest") && !response.headers().contains_key("content-digest"));
    assert!(response.bytes().await.expect("bytes") == bytes[300_000..]);
    for stale in [format!("\"{}\"", sha256(b"other")), "Sat, 01 Jan 2028 00:00:00 GMT".to_owned(), format!("W/\"{}\"", sha256(&bytes))] {
        let response = resume(stale).await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert!(response.bytes().await.expect("bytes") == bytes);
    }
    house.close().await;
}
