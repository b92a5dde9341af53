//! Full houses, slow readers, and the end.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::routing::{get, post};
use futures_util::stream;
use tokio::sync::Semaphore;

use super::*;
use crate::testing::eventually;

/// A handler that tells when a request has come, and answers once it is allowed to.
struct Gate {
    arrived: Semaphore,
    open: Semaphore,
}

impl Gate {
    fn closed() -> Arc<Self> {
        Arc::new(Self { arrived: Semaphore::new(0), open: Semaphore::new(0) })
    }

    fn routes(self: &Arc<Self>) -> Router {
        let wait = async |State(gate): State<Arc<Self>>| {
            gate.arrived.add_permits(1);
            gate.open.acquire().await.expect("a gate").forget();
            "let through"
        };
        Router::new().route("/wait", get(wait)).route("/", get(async || "hello")).with_state(Arc::clone(self))
    }

    /// A connection whose request waits at the gate.
    async fn waiting(&self, server: &Server) -> TcpStream {
        let mut stream = server.connect().await;
        stream.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
        tokio::time::timeout(PATIENCE, self.arrived.acquire()).await.expect("it arrives").expect("a gate").forget();
        stream
    }
}

/// How many connections the server has.
async fn connections(server: &Server, expected: usize) {
    let line = format!("http_connections{{service=\"test\"}} {expected}\n");
    eventually(&line, PATIENCE, async || server.telemetry.metrics().expect("text").contains(&line).then_some(())).await;
}

#[tokio::test]
async fn what_is_at_work_when_the_end_begins_is_answered() {
    let gate = Gate::closed();
    let server = Server::start(gate.routes(), quick());
    let mut stream = gate.waiting(&server).await;
    server.shutdown.begin();
    eventually("the listener is closed", PATIENCE, async || TcpStream::connect(server.address).await.is_err().then_some(())).await;
    gate.open.add_permits(1);
    assert!(rest(&mut stream).await.ends_with("let through"));
    server.end().await;
}

#[tokio::test]
async fn clients_that_stall_do_not_hold_up_the_end() {
    let options = ServeOptions { header_timeout: PATIENCE, drain: PATIENCE, ..quick() };
    let server = Server::start(Gate::closed().routes(), options);
    let mut silent = server.connect().await;
    let mut half = server.connect().await;
    half.write_all(b"GET / HTTP/1.1\r\nHo").await.expect("sent");
    let mut idle = server.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
    one_answer(&mut idle).await;
    connections(&server, 3).await;
    let begun = Instant::now();
    server.end().await;
    assert!(begun.elapsed() < PATIENCE / 2, "neither the head's nor the drain's deadline was waited for");
    for stream in [&mut silent, &mut half, &mut idle] {
        assert_eq!(rest(stream).await, "");
    }
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_at_the_drains_deadline() {
    let options = ServeOptions { drain: Duration::from_millis(300), response_timeout: PATIENCE * 9, ..quick() };
    let gate = Gate::closed();
    let server = Server::start(gate.routes(), options);
    let mut stream = gate.waiting(&server).await;
    server.end().await;
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn a_stream_ends_with_the_service() {
    let shutdown = Shutdown::new();
    let live = {
        let shutdown = shutdown.clone();
        move || {
            let events = stream::unfold((), async |()| {
                tokio::time::sleep(Duration::from_millis(10)).await;
                Some((Ok::<_, std::convert::Infallible>("event\n"), ()))
            });
            let body = Body::from_stream(until_the_end(events, &shutdown));
            async { body }
        }
    };
    let options = ServeOptions { drain: PATIENCE, ..quick() };
    let server = Server::start(Router::new().route("/live", get(live)), options);
    let mut stream = server.connect().await;
    stream.write_all(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
    connections(&server, 1).await;
    let begun = Instant::now();
    shutdown.begin();
    server.end().await;
    assert!(begun.elapsed() < PATIENCE / 2);
    assert!(rest(&mut stream).await.ends_with("0\r\n\r\n"), "the stream is ended, not cut");
}

// Threat 55.
#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_closed() {
    let endless = async || Body::from_stream(stream::repeat_with(|| Ok::<_, std::convert::Infallible>(vec![b'x'; 65_536])));
    let server = Server::start(Router::new().route("/endless", get(endless)), quick());
    let mut stream = server.connect().await;
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
    connections(&server, 1).await;
    connections(&server, 0).await;
    server.end().await;
}

// Threat 55.
#[tokio::test]
async fn when_the_house_is_full_the_longest_idle_connection_goes_and_busy_ones_stay() {
    let gate = Gate::closed();
    let options = ServeOptions { max_connections: 4, header_timeout: PATIENCE * 9, response_timeout: PATIENCE * 9, ..quick() };
    let server = Server::start(gate.routes(), options);
    let mut busy = gate.waiting(&server).await;
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(server.connect().await);
    }
    let answer = server.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.ends_with("hello"), "a newcomer is served in spite of forty idle ones: {answer:?}");
    gate.open.add_permits(1);
    assert!(one_answer(&mut busy).await.ends_with("let through"));
    for stream in idle.iter_mut().take(30) {
        assert_eq!(rest(stream).await, "", "the first ones had to go");
    }
    server.end().await;
}

// Threat 62.
#[tokio::test]
async fn too_many_requests_at_a_time_are_told_to_come_back() {
    let gate = Gate::closed();
    let server = Server::start(gate.routes(), ServeOptions { max_requests: 1, response_timeout: PATIENCE * 9, ..quick() });
    let mut first = gate.waiting(&server).await;
    let refused = server.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(status(&refused) == 503 && refused.contains("retry-after: 1"), "{refused}");
    gate.open.add_permits(1);
    assert!(one_answer(&mut first).await.ends_with("let through"));
    server.end().await;
}

// Threat 55.
#[tokio::test]
async fn bodies_have_deadlines_and_bounds_of_their_own() {
    let take = post(async |body: Body| whole_body(body).await.map(|body| body.len().to_string()));
    let limits =
        StreamLimits { idle: Duration::from_millis(300), response_timeout: PATIENCE, ..StreamLimits::new(200_000, Duration::from_secs(3)) };
    let streams = streaming(Router::new().route("/stream", take.clone()), limits);
    let options = ServeOptions { response_timeout: PATIENCE, ..quick() };
    let server = Server::start_with(Router::new().route("/take", take), streams, options);
    let head =
        |path: &str, length: usize| format!("POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    let chunked = |path: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert!(server.send(head("/take", 65_536) + &"x".repeat(65_536)).await.ends_with("65536"));
    assert_eq!(status(&server.send(head("/take", 65_537)).await), 413, "before a byte of it came");
    let large = format!("{:x}\r\n{}\r\n0\r\n\r\n", 70_000, "x".repeat(70_000));
    assert_eq!(status(&server.send(chunked("/take") + &large).await), 413);
    assert!(server.send(chunked("/stream") + &large).await.ends_with("70000"));
    assert_eq!(status(&server.send(head("/stream", 200_001)).await), 413);
    for path in ["/take", "/stream"] {
        let stopped = server.send(head(path, 10) + "half").await;
        assert_eq!(status(&stopped), 408, "{path}: {stopped}");
        assert!(stopped.contains(r#""code":"timeout""#), "{path}: {stopped}");
    }
    // A trickle keeps a stream alive, but not longer than its deadline; an ordinary route cares only for the whole.
    for path in ["/take", "/stream"] {
        let mut stream = server.connect().await;
        stream.write_all(head(path, 60_000).as_bytes()).await.expect("sent");
        let (mut read, mut write) = stream.split();
        let trickle = async {
            while write.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut answer = vec![0; 4096];
        let count = tokio::select! {
            () = trickle => 0,
            read = tokio::time::timeout(PATIENCE, read.read(&mut answer)) => read.expect("in time").expect("an answer"),
        };
        assert_eq!(status(&String::from_utf8_lossy(&answer[..count])), 408, "{path}");
    }
    server.end().await;
}
