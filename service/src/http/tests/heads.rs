//! Heads that are slow, long, or could mean two things.

use std::time::Instant;

use axum::routing::{get, post};
use futures_util::StreamExt as _;

use super::*;

fn routes() -> Router {
    Router::new()
        .route("/", get(async || "hello"))
        .route("/echo", post(async |body: axum::body::Bytes| body))
        .route("/seen", get(async |uri: http::Uri| uri.to_string()))
}

// Threat 54.
#[tokio::test]
async fn heads_that_could_mean_two_things_are_refused() {
    let server = Server::start(routes(), quick());
    let head = |lines: &str| format!("POST /echo HTTP/1.1\r\n{lines}\r\n\r\n");
    for (what, request) in [
        ("length, then encoding", head("Host: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked") + "0\r\n\r\n"),
        ("encoding, then length", head("Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4") + "0\r\n\r\n"),
        ("encoding, then length, odd case", head("Host: a\r\ntransfer-ENCODING:chunked\r\ncontent-LENGTH:4") + "0\r\n\r\n"),
        ("an unknown encoding", head("Host: a\r\nTransfer-Encoding: xchunked") + "0\r\n\r\n"),
        ("two encodings in one", head("Host: a\r\nTransfer-Encoding: gzip, chunked") + "0\r\n\r\n"),
        ("two encodings", head("Host: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked") + "0\r\n\r\n"),
        ("chunked is not last", head("Host: a\r\nTransfer-Encoding: chunked, identity") + "0\r\n\r\n"),
        ("two lengths", head("Host: a\r\nContent-Length: 4\r\nContent-Length: 5") + "abcde"),
        ("one length twice", head("Host: a\r\nContent-Length: 4\r\nContent-Length: 4") + "abcd"),
        ("two lengths in one", head("Host: a\r\nContent-Length: 4, 4") + "abcd"),
        ("a signed length", head("Host: a\r\nContent-Length: +4") + "abcd"),
        ("no host", head("Content-Length: 0")),
        ("two hosts", head("Host: a\r\nHost: a\r\nContent-Length: 0")),
        ("an empty host", head("Host: \r\nContent-Length: 0")),
        ("a host with a user", head("Host: a@b\r\nContent-Length: 0")),
        ("a host with a path", head("Host: a/b\r\nContent-Length: 0")),
        ("a folded line", head("Host: a\r\nX: 1\r\n 2\r\nContent-Length: 0")),
        ("a space before the colon", head("Host: a\r\nContent-Length : 0")),
        ("a NUL", head("Host: a\r\nX: \0")),
        ("another host in the target", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("another port in the target", "GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("a user in the target", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("bare line feeds", "GET / HTTP/1.1\nHost: a\n\n".to_owned()),
        ("one bare line feed", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n".to_owned()),
        ("a fault in a later request", "GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n".to_owned()),
    ] {
        let answer = server.send(&request).await;
        assert!(answer.contains("HTTP/1.1 400 "), "{what}: {answer:?}");
        let expected = if what.contains("later") { 2 } else { 1 };
        assert_eq!(answer.matches("HTTP/1.1 ").count(), expected, "{what}: nothing after the fault is answered: {answer:?}");
    }
    server.end().await;
}

#[tokio::test]
async fn a_refused_head_gets_a_problem_that_names_the_header() {
    let server = Server::start(routes(), quick());
    let answer = server.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n").await;
    assert!(answer.contains("content-type: application/problem+json"), "{answer}");
    assert!(answer.contains(r#""code":"invalid-request""#) && answer.contains(r#""field":"content-length""#), "{answer}");
    server.end().await;
}

#[tokio::test]
async fn what_is_no_head_at_all_gets_a_problem_too() {
    let server = Server::start(routes(), quick());
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(101));
    for (request, expected, words) in [
        ("garbage\r\n\r\n", 400, "not the head of a request"),
        ("\x16\x03\x01\x02\0\x01\0", 400, "not the head of a request"),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 400, "not the head of a request"),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400, "not the head of a request"),
        (&many, 431, "more than 100 fields"),
    ] {
        let answer = server.send(request).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert_eq!(status(&answer), expected, "{answer}");
        let problem: signalbox_contract::Problem = serde_json::from_str(body).unwrap_or_else(|_| panic!("a problem: {answer}"));
        assert!(problem.status == expected && problem.detail.contains(words), "{answer}");
        for line in ["content-type: application/problem+json".to_owned(), format!("content-length: {}", body.len())] {
            assert_eq!(head.lines().filter(|there| **there == *line).count(), 1, "{line}: {answer}");
        }
        let id = problem.instance.expect("an id");
        assert!(head.contains(&format!("x-request-id: {id}")) && head.matches("content-length").count() == 1, "{answer}");
        assert!(head.contains("connection: close") && head.contains("date: "), "{answer}");
    }
    // Behind an answer, on the same connection, it is the same once that answer is out.
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
    assert!(one_answer(&mut stream).await.ends_with("hello"));
    stream.write_all(b"garbage\r\n\r\n").await.expect("sent");
    let answer = rest(&mut stream).await;
    assert!(status(&answer) == 400 && answer.contains("not the head of a request"), "{answer}");
    server.end().await;
}

// Threat 54.
#[tokio::test]
async fn bytes_that_are_served_are_sent_as_they_are_whatever_they_say() {
    const SAID: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let pieces = || {
        let pieces = futures_util::stream::iter(["a", SAID, SAID]).then(|piece| async move {
            tokio::task::yield_now().await;
            Ok::<_, std::io::Error>(axum::body::Bytes::from_static(piece.as_bytes()))
        });
        ([(http::header::CONTENT_LENGTH, (1 + 2 * SAID.len()).to_string())], axum::body::Body::from_stream(pieces))
    };
    let routes = Router::new().route("/whole", get(async || SAID)).route("/pieces", get(async move || pieces()));
    let server = Server::start(routes, quick());
    let mut stream = server.connect().await;
    for _ in 0..2 {
        stream.write_all(b"GET /whole HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
        assert!(one_answer(&mut stream).await.ends_with(&format!("\r\n\r\n{SAID}")));
    }
    stream.write_all(b"GET /pieces HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("sent");
    let answer = rest(&mut stream).await;
    assert_eq!(answer.matches(SAID).count(), 2, "{answer}");
    assert!(!answer.contains("application/problem+json"), "{answer}");
    // Also where what follows is refused while an answer is still to be sent.
    let both = server.send("GET /whole HTTP/1.1\r\nHost: a\r\n\r\ngarbage\r\n\r\n").await;
    assert!(both.contains(&format!("\r\n\r\n{SAID}HTTP/1.1 400 ")), "{both}");
    server.end().await;
}

// Threat 54.
#[tokio::test]
async fn what_is_hidden_behind_a_smuggled_body_is_never_a_request() {
    let server = Server::start(routes(), quick());
    let hidden = "GET /seen HTTP/1.1\r\nHost: a\r\n\r\n";
    let request = format!(
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
        5 + hidden.len()
    );
    let answer = server.send(&request).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    server.end().await;
}

#[tokio::test]
async fn honest_requests_may_follow_each_other_on_one_connection() {
    let server = Server::start(routes(), quick());
    let mut stream = server.connect().await;
    let pipelined = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 44\r\n\r\nGET /seen HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\nabcd\r\nGET http://A:80/seen?q HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(pipelined.as_bytes()).await.expect("sent");
    let answer = rest(&mut stream).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    let chunked = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n0\r\n\r\n";
    let answer = server.send(chunked).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close") && answer.ends_with("abc"), "{answer}");
    let old = server.send("GET / HTTP/1.0\r\n\r\n").await;
    assert!(old.ends_with("hello"), "{old}");
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    let answer = server.send(upgrade).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "an upgrade is not offered: {answer}");
    server.end().await;
}

// Threat 56.
#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let server = Server::start(routes(), quick());
    let headers = "X-Many: y\r\n".repeat(101);
    for (what, request, expected) in [
        ("101 more headers", format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n"), 431),
        ("a header of a megabyte", format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(1 << 20)), 431),
        ("a path of 9 KiB", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(9 << 10)), 414),
        ("a query of 60 KiB", format!("GET /?{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(60 << 10)), 414),
        ("a path of 64 KiB", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(64 << 10)), 414),
    ] {
        assert_eq!(status(&server.send(&request).await), expected, "{what}");
    }
    server.end().await;
}

// Threat 57.
#[tokio::test]
async fn methods_that_are_not_offered_are_refused_and_never_overridden() {
    let server = Server::start(routes(), quick());
    for request in
        ["TRACE / HTTP/1.1", "CONNECT a:443 HTTP/1.1", "BREW / HTTP/1.1", "OPTIONS / HTTP/1.1", "DELETE / HTTP/1.1", "PRI / HTTP/1.1"]
    {
        let answer = server.send(format!("{request}\r\nHost: a\r\n\r\n")).await;
        assert_eq!(status(&answer), 405, "{request}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("allow: get"), "{request}: {answer}");
        assert!(answer.contains(r#""code":"method-not-allowed""#), "{request}: {answer}");
    }
    let overridden = server.send("POST / HTTP/1.1\r\nHost: a\r\nX-HTTP-Method-Override: GET\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(status(&overridden), 405);
    server.end().await;
}

// Threat 55.
#[tokio::test]
async fn a_client_that_stalls_before_its_head_is_over_is_closed() {
    let server = Server::start(routes(), quick());
    for part in ["", "GE", "GET / HTTP/1.1\r\nHost: a\r\n", "PRI * HTTP/2.0\r\n\r\nSM"] {
        let begun = Instant::now();
        let answer = server.send(part).await;
        assert!(begun.elapsed() < Duration::from_secs(10), "{part:?}");
        assert!(!answer.contains(" 200 "), "{part:?}: {answer}");
    }
    server.end().await;
}

// Threat 55.
#[tokio::test]
async fn a_head_that_trickles_is_closed_at_its_deadline() {
    let server = Server::start(routes(), quick());
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").await.expect("sent");
    let trickle = async {
        while stream.write_all(b"X").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, trickle).await.expect("the server closes the connection");
    server.end().await;
}

// Threat 55.
#[tokio::test]
async fn a_connection_that_is_idle_between_requests_is_closed() {
    let server = Server::start(routes(), quick());
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
    assert!(one_answer(&mut stream).await.ends_with("hello"));
    assert_eq!(rest(&mut stream).await, "", "closed without a word");
    server.end().await;
}
