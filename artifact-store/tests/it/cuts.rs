//! Uploads that do not come to their end.

use std::time::Duration;

use signalbox_service::testing::eventually;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::house::{House, noise};

/// Sends a request and reads until the store closes. `cut` ends the sending side, as a client that died does.
async fn send(house: &House, head: &str, body: &[u8], cut: bool) -> String {
    let mut socket = TcpStream::connect(house.address).await.expect("a connection");
    let head = head.replace("TOKEN", &house.all());
    // The store may answer and close before it has read all.
    let _ = socket.write_all(head.as_bytes()).await;
    let _ = socket.write_all(body).await;
    if cut {
        let _ = socket.shutdown().await;
    }
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn nothing_is_left(house: &House, files: usize) {
    eventually("the incoming file is removed", Duration::from_secs(20), || async { (house.files() == (0, files)).then_some(()) }).await;
}

// Threat 35.
#[tokio::test]
async fn an_upload_that_is_cut_anywhere_leaves_the_old_bytes() {
    let house = House::open().await;
    let (small, large) = (noise(1, 900), noise(2, 400_000));
    house.put("small", "old").await;
    house.put("large", large.clone()).await;
    for cut in (0..small.len()).step_by(13) {
        let head =
            format!("PUT /blobs/small HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer TOKEN\r\nContent-Length: {}\r\n\r\n", small.len());
        let answer = send(&house, &head, &small[..cut], true).await;
        assert!(!answer.starts_with("HTTP/1.1 2"), "{cut}: {answer}");
    }
    let new = noise(3, 700_000);
    for cut in [0, 1, 16_384, 16_385, 262_143, 262_144, 262_145, 524_288, 699_999] {
        let head = format!("PUT /blobs/large HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer TOKEN\r\nContent-Length: {}\r\n\r\n", new.len());
        let answer = send(&house, &head, &new[..cut], true).await;
        assert!(!answer.starts_with("HTTP/1.1 2"), "{cut}: {answer}");
    }
    nothing_is_left(&house, 1).await;
    assert_eq!(house.bytes("small").await.expect("there"), b"old");
    assert_eq!(house.bytes("large").await.expect("there"), large);
    house.close().await;
}

// Threat 35.
#[tokio::test]
async fn bodies_that_are_wrongly_framed_store_nothing() {
    let house = House::open().await;
    let head = "PUT /blobs/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer TOKEN\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in ["5\r\nhel", "zz\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n", "ffffffffffffffffff\r\nx", "5\r\nhelloXX0\r\n\r\n"] {
        let answer = send(&house, head, body.as_bytes(), true).await;
        assert!(!answer.starts_with("HTTP/1.1 2"), "{body:?}: {answer}");
    }
    assert_eq!(house.bytes("x").await, None);
    let answer = send(&house, head, b"5\r\nhello\r\n0\r\nContent-Digest: sha-256=:AAAA:\r\n\r\n", false).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "a trailer is no reason to refuse: {answer}");
    // What is longer than announced is another request, and no good one.
    let head = "PUT /blobs/y HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer TOKEN\r\nContent-Length: 3\r\n\r\n";
    let answer = send(&house, head, b"abcdef", false).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert_eq!(house.bytes("y").await.expect("there"), b"abc");
    house.close().await;
}

// Threat 35.
#[tokio::test]
async fn a_body_that_will_be_refused_is_not_waited_for() {
    let house = House::with("max_blob = \"1MiB\"").await;
    let mut socket = TcpStream::connect(house.address).await.expect("a connection");
    let head = format!(
        "PUT /blobs/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 1048577\r\nExpect: 100-continue\r\n\r\n",
        house.all()
    );
    socket.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = vec![0; 12];
    socket.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer, b"HTTP/1.1 413");
    let parts = (0..2).map(|n| Ok::<_, std::io::Error>(noise(n, 600_000)));
    let over = house.put("x", reqwest::Body::wrap_stream(futures_util::stream::iter(parts))).await;
    assert_eq!(over.status(), 413);
    nothing_is_left(&house, 0).await;
    house.close().await;
}
