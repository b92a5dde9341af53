//! Bytes that are sent to confuse, to hold up, and to be let in.

use std::time::Instant;

use axum::routing::{get, post};

use super::*;

fn routes() -> Router {
    Router::new()
        .route("/", get(async || "hello"))
        .route("/echo", post(async |body: axum::body::Bytes| body))
        .route("/hidden", get(async || "what was hidden"))
        .route("/large", get(async || vec![b'x'; 64 << 20]))
}

/// What follows a request that is refused, and must never be taken for a request of its own.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

// Threat 54.
#[tokio::test]
async fn lengths_and_encodings_that_others_may_read_otherwise_are_refused_with_all_that_follows() {
    let server = Server::start(routes(), quick());
    let long = format!("Transfer-Encoding: chunked\r\n\r\n3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(100_000));
    let trailers = format!("Transfer-Encoding: chunked\r\n\r\n0\r\n{}\r\n", "X: y\r\n".repeat(10_000));
    let mut cases: Vec<String> = [
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\u{b}chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: 0x4\r\n\r\nabcd",
        "Content-Length: -1\r\n\r\nabcd",
        "Content-Length:\r\n\r\nabcd",
        "Content-Length: 18446744073709551616\r\n\r\nabcd",
        "Content-Length: 4 4\r\n\r\nabcd",
        "Content-Length: 4\0\r\n\r\nabcd",
        "Content-Length: 4.0\r\n\r\nabcd",
        "X: a\rContent-Length: 4\r\n\r\nabcd",
        "Content-Length: 0\r\nno colon\r\n\r\n",
        "Content-Length: 0\r\n: no name\r\n\r\n",
        "Content-Length: 0\r\nA B: a space\r\n\r\n",
        &long,
        &trailers,
    ]
    .map(str::to_owned)
    .into();
    for size in ["ffffffffffffffff1", "ffffffffffffffff", "0x3", "+3", "-3", " 3", "3\nX", ""] {
        cases.push(format!("Transfer-Encoding: chunked\r\n\r\n{size}\r\nabc\r\n0\r\n\r\n"));
    }
    for chunks in ["3\nabc\r\n0\r\n\r\n", "3\r\nabc\n0\r\n\r\n", "3\r\nabc\r\n0\n\n", "3\r\nabcX0\r\n\r\n", "3\r\nabcdef\r\n0\r\n\r\n"] {
        cases.push(format!("Transfer-Encoding: chunked\r\n\r\n{chunks}"));
    }
    for case in cases {
        let answer = server.send(format!("POST /echo HTTP/1.1\r\nHost: a\r\n{case}{HIDDEN}")).await;
        assert_eq!((status(&answer), answer.matches("HTTP/1.1 ").count()), (400, 1), "{case:?}: {answer}");
    }
    for version in ["1.0\r\nConnection: keep-alive", "1.0"] {
        let old = format!("POST /echo HTTP/{version}\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}");
        let answer = server.send(old).await;
        assert!(status(&answer) == 400 && !answer.contains("what was hidden"), "{version}: {answer}");
    }
    // What is lawful and rare ends the connection, so that nothing can hide behind it.
    for lawful in ["3 \r\nabc\r\n0\r\n\r\n", "3\r\nabc\r\n0\r\nContent-Length: 50\r\nHost: b\r\n\r\n"] {
        let answer = server.send(format!("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{lawful}{HIDDEN}")).await;
        assert!(answer.ends_with("abc") && answer.matches("HTTP/1.1 ").count() == 1, "{lawful:?}: {answer}");
    }
    server.end().await;
}

// Threat 54.
#[tokio::test]
async fn a_first_line_and_a_host_have_one_form() {
    let server = Server::start(routes(), quick());
    for request in [
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\r\nHost: a\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        "GET / http/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 x\r\nHost: a\r\n\r\n",
        "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET \\hidden HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /#/hidden HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n",
        "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let answer = server.send(request).await;
        assert_eq!((status(&answer), answer.matches("HTTP/1.1 ").count()), (400, 1), "{request:?}: {answer}");
    }
    // A path is what it says: nothing is taken away from it, and nothing decoded.
    for path in ["/x/../hidden", "/x/%2e%2e/hidden", "//hidden", "/./hidden", "/hidden/", "/HIDDEN", "/hidden%00"] {
        let answer = server.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(status(&answer), 404, "{path}: {answer}");
    }
    for host in ["a", "a:", "a:80", "127.0.0.1:65535", "[::1]:80", "[::1]"] {
        let answer = server.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(status(&answer), 200, "{host}: {answer}");
    }
    server.end().await;
}

// Threat 55.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_slow_clients_of_every_kind_keep_nobody_waiting() {
    let options = ServeOptions { max_connections: 512, ..quick() };
    let server = Server::start(routes(), options);
    let ask = async || {
        let begun = Instant::now();
        let answer = server.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(answer.ends_with("hello"), "{answer}");
        begun.elapsed()
    };
    let mut slow = Vec::new();
    for kind in [
        "",
        "GET / HTTP/1.1\r\nHo",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nx",
        "GET /large HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        for _ in 0..if kind.contains("large") { 4 } else { 100 } {
            let mut stream = server.connect().await;
            stream.write_all(kind.as_bytes()).await.expect("sent");
            slow.push(stream);
        }
    }
    let mut waits = Vec::new();
    for _ in 0..50 {
        waits.push(ask().await);
    }
    waits.sort();
    // The shortest deadline of the slow ones is 400 ms: whoever had to wait for that would be seen.
    assert!(waits[waits.len() / 2] < Duration::from_millis(200), "{waits:?}");
    // And each of them is closed, whatever it waits for.
    let none = "http_connections{service=\"test\"} 0\n";
    crate::testing::eventually(none, PATIENCE, async || server.telemetry.metrics().expect("text").contains(none).then_some(())).await;
    drop(slow);
    server.end().await;
}

// Threat 61.
#[tokio::test]
async fn no_other_site_is_allowed_to_read_an_answer() {
    let server = Server::start(routes(), quick());
    for request in ["GET /", "GET /nowhere", "OPTIONS /", "OPTIONS /echo", "POST /"] {
        let asked = "Origin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization";
        let answer = server.send(format!("{request} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{asked}\r\n\r\n")).await;
        assert!(!answer.to_ascii_lowercase().contains("access-control-"), "{request}: {answer}");
        assert!(!request.starts_with("OPTIONS") || status(&answer) == 405, "{request}: {answer}");
    }
    server.end().await;
}
