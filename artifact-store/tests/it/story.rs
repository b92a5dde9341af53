//! What everybody does with a store.

use reqwest::{Method, StatusCode};
use signalbox_contract::api::Page;
use signalbox_contract::api::store::BlobInfo;
use signalbox_contract::{Code, Digest};
use signalbox_service::auth::sha256;

use crate::house::{House, noise, problem};

#[tokio::test]
async fn bytes_are_stored_read_overwritten_and_deleted() {
    let house = House::open().await;
    for size in [0, 1, 4096, 16 * 1024, 16 * 1024 + 1, 256 * 1024, 256 * 1024 + 1, 3_000_000] {
        let name = format!("sizes/{size}");
        let (old, new) = (noise(size as u64, size), noise(size as u64 + 1, size + 1));
        let response = house.put(&name, old.clone()).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(response.headers()["etag"], format!("\"{}\"", sha256(&old)));
        let info: BlobInfo = response.json().await.expect("a description");
        assert_eq!((info.digest, info.size, info.version), (sha256(&old), size as u64, 1));
        assert_eq!(house.bytes(&name).await.expect("there"), old);

        let response = house.put(&name, new.clone()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.json::<BlobInfo>().await.expect("a description").version, 2);
        assert_eq!(house.bytes(&name).await.expect("there"), new);

        let head = house.request(Method::HEAD, &format!("/blobs/{name}")).send().await.expect("an answer");
        assert_eq!(head.headers()["content-length"], (size + 1).to_string());
        assert_eq!(house.get(&format!("/digests/{}", sha256(&old))).await.bytes().await.expect("bytes"), old, "history is readable");

        let path = format!("/blobs/{name}");
        assert_eq!(house.request(Method::DELETE, &path).send().await.expect("an answer").status(), StatusCode::NO_CONTENT);
        assert_eq!(house.bytes(&name).await, None);
        assert_eq!(house.request(Method::DELETE, &path).send().await.expect("an answer").status(), StatusCode::NOT_FOUND);
    }
    house.close().await;
}

#[tokio::test]
async fn when_it_was_stored_is_the_same_text_wherever_it_is_told() {
    let house = House::open().await;
    let texts = |answer: serde_json::Value| answer["stored_at"].as_str().expect("a time").to_owned();
    // A clock of nanoseconds ends in three zeros now and then; of ten times at least one does not.
    for round in 0..10 {
        let name = format!("told/{round}");
        let told: serde_json::Value = house.put(&name, "x").await.json().await.expect("a description");
        let listed: serde_json::Value = house.get(&format!("/blobs?prefix={name}")).await.json().await.expect("a page");
        assert_eq!(texts(told), texts(listed["items"][0].clone()));
    }
    house.close().await;
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let house = House::open().await;
    let (small, large) = (noise(1, 100), noise(2, 1_000_000));
    house.put("small", small.clone()).await;
    house.put("large", large.clone()).await;
    let house = house.reopen(|_| ()).await;
    assert_eq!(house.bytes("small").await.expect("there"), small);
    assert_eq!(house.bytes("large").await.expect("there"), large);
    house.close().await;
}

#[tokio::test]
async fn a_body_without_a_length_is_taken() {
    let house = House::open().await;
    for size in [10, 600_000] {
        let bytes = noise(3, size);
        let parts: Vec<Result<Vec<u8>, std::io::Error>> = bytes.chunks(7001).map(|part| Ok(part.to_vec())).collect();
        let body = reqwest::Body::wrap_stream(futures_util::stream::iter(parts));
        assert_eq!(house.put("chunked", body).await.status(), if size == 10 { 201 } else { 200 });
        assert_eq!(house.bytes("chunked").await.expect("there"), bytes);
    }
    house.close().await;
}

// Threat 37.
#[tokio::test]
async fn a_digest_that_is_not_met_stores_nothing() {
    let house = House::open().await;
    house.put("x", "old").await;
    let response = house
        .request(Method::PUT, "/blobs/x")
        .header("content-digest", "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:")
        .body("new")
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), 422);
    let problem = problem(response).await;
    assert_eq!((problem.code, problem.errors[0].field.as_str()), (Code::DigestMismatch, "content-digest"));
    assert_eq!(house.bytes("x").await.expect("there"), b"old");
    let given = house.get("/blobs/x").await.headers()["content-digest"].clone();
    let response = house.request(Method::PUT, "/blobs/y").header("content-digest", given).body("old").send().await.expect("an answer");
    assert_eq!(response.status(), 201, "what the store says of bytes is what it takes for them");
    for header in ["content-digest", "repr-digest", "digest"] {
        let request = house.request(Method::PUT, "/blobs/x").header(header, "sha-512=:AAAA:, md5=:AAAA:").body("new");
        let refused = crate::house::problem(request.send().await.expect("an answer")).await;
        assert_eq!((refused.status, refused.errors[0].field.as_str()), (400, header), "what is not compared is not taken");
        assert!(refused.detail.contains("sha-256"), "{refused:?}");
    }
    assert_eq!(house.bytes("x").await.expect("there"), b"old");
    for (header, status) in [("content-md5", 400), ("content-range", 400), ("content-encoding", 415)] {
        let response = house.request(Method::PUT, "/blobs/x").header(header, "gzip").body("new").send().await.expect("an answer");
        assert_eq!(response.status(), status, "{header}");
        let taken = response.headers().get("accept-encoding").is_some_and(|taken| taken == "identity");
        assert_eq!(taken, status == 415, "{header}: what is taken instead is said");
    }
    house.close().await;
}

#[tokio::test]
async fn conditions_decide_whether_a_name_is_changed() {
    let house = House::open().await;
    let send = |method: Method, header: &'static str, value: String, body: &'static str| {
        let request = house.request(method, "/blobs/x").header(header, value).body(body);
        async move { request.send().await.expect("an answer").status().as_u16() }
    };
    let tag = |bytes: &str| format!("\"{}\"", sha256(bytes.as_bytes()));
    assert_eq!(send(Method::PUT, "if-match", "*".to_owned(), "one").await, 412);
    assert_eq!(send(Method::PUT, "if-none-match", "*".to_owned(), "one").await, 201);
    assert_eq!(send(Method::PUT, "if-none-match", "*".to_owned(), "two").await, 412);
    assert_eq!(send(Method::PUT, "if-match", tag("two"), "two").await, 412);
    assert_eq!(send(Method::PUT, "if-match", tag("one"), "two").await, 200);
    assert_eq!(send(Method::PUT, "if-match", "nonsense".to_owned(), "three").await, 400);
    assert_eq!(send(Method::GET, "if-none-match", tag("two"), "").await, 304);
    assert_eq!(send(Method::GET, "if-none-match", tag("one"), "").await, 200);
    assert_eq!(send(Method::GET, "if-match", tag("one"), "").await, 412);
    assert_eq!(send(Method::DELETE, "if-match", tag("one"), "").await, 412);
    assert_eq!(send(Method::DELETE, "if-match", tag("two"), "").await, 204);
    house.close().await;
}

#[tokio::test]
async fn names_are_listed_in_pages_and_versions_newest_first() {
    let house = House::with("keep_versions = 3").await;
    for n in 0..25 {
        house.put(&format!("team/{n:02}"), format!("{n}")).await;
    }
    house.put("other", "x").await;
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let page: Page<BlobInfo> = house.get(&format!("/blobs?prefix=team/&limit=10{cursor}")).await.json().await.expect("a page");
        found.extend(page.items.iter().map(|info| info.name.to_string()));
        let Some(next) = page.next else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(found, (0..25).map(|n| format!("team/{n:02}")).collect::<Vec<_>>());

    for n in 0..5 {
        house.put("other", format!("{n}")).await;
    }
    for path in ["/versions/other", "/blobs/other/versions"] {
        let page: Page<BlobInfo> = house.get(&format!("{path}?limit=2")).await.json().await.expect("a page");
        assert_eq!(page.items.iter().map(|info| info.version).collect::<Vec<_>>(), [6, 5]);
        let rest: Page<BlobInfo> = house.get(&format!("{path}?cursor={}", page.next.expect("more"))).await.json().await.expect("a page");
        assert_eq!((rest.items.len(), rest.next), (1, None), "only three are kept");
    }
    assert_eq!(house.get("/versions/nothing").await.status(), 404);
    for (path, field) in [("/blobs?limit=0", "limit"), ("/blobs?limit=x", "limit"), ("/blobs?cursor=999999", "cursor"), ("/blobs?x=1", "x")]
    {
        let problem = problem(house.get(path).await).await;
        assert_eq!((problem.status, problem.errors[0].field.as_str()), (400, field), "{path}");
    }
    house.close().await;
}

#[tokio::test]
async fn the_same_bytes_are_kept_once() {
    let house = House::open().await;
    let bytes = noise(5, 500_000);
    for name in ["a", "b", "c"] {
        house.put(name, bytes.clone()).await;
    }
    assert_eq!(house.files(), (0, 1));
    house.close().await;
}

#[tokio::test]
async fn a_big_body_streams_both_ways() {
    let house = House::open().await;
    let part = bytes::Bytes::from(noise(6, 1 << 20));
    let parts = std::iter::repeat_n(part, 96).map(Ok::<_, std::io::Error>);
    let response = house.put("big", reqwest::Body::wrap_stream(futures_util::stream::iter(parts))).await;
    let info: BlobInfo = response.json().await.expect("a description");
    assert_eq!(info.size, 96 << 20);
    let mut response = house.get("/blobs/big").await;
    let (mut size, mut hash) = (0_u64, aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256));
    while let Some(chunk) = response.chunk().await.expect("more") {
        size += chunk.len() as u64;
        hash.update(&chunk);
    }
    let digest = Digest::from_bytes(hash.finish().as_ref().try_into().expect("32 bytes"));
    assert_eq!((size, digest), (info.size, info.digest));
    house.close().await;
}
