//! Tests of the HTTP server over real sockets.

mod answers;
mod attacks;
mod drain;
mod heads;
mod parameters;
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::shutdown::Shutdown;
use crate::telemetry::Telemetry;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bounds that a test can wait for.
fn quick() -> ServeOptions {
    ServeOptions {
        header_timeout: Duration::from_millis(400),
        handshake_timeout: Duration::from_millis(400),
        body_deadline: Duration::from_millis(600),
        response_timeout: Duration::from_millis(800),
        write_timeout: Duration::from_millis(500),
        drain: Duration::from_secs(2),
        tls_poll: Duration::from_millis(50),
        ..ServeOptions::new("test")
    }
}

/// A server that runs for the length of a test.
struct Server {
    address: SocketAddr,
    telemetry: Telemetry,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Server {
    fn start(routes: Router, options: ServeOptions) -> Self {
        Self::start_with(routes, Router::new(), options)
    }

    fn start_with(routes: Router, streams: Router, options: ServeOptions) -> Self {
        install_crypto();
        let telemetry = Telemetry::new("test");
        let listener = bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
        let address = listener.local_addr().expect("an address");
        let shutdown = Shutdown::new();
        let router = finish_with(routes, streams, &options, &telemetry);
        let task = tokio::spawn(serve(listener, router, options, shutdown.clone()));
        Self { address, telemetry, shutdown, task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connected")
    }

    /// Sends bytes on a connection of their own, and gives all that comes until the server closes it.
    async fn send(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        // The server may refuse before it has read everything.
        let _ = stream.write_all(bytes.as_ref()).await;
        rest(&mut stream).await
    }

    /// Ends the server, which must not take longer than its drain allows.
    async fn end(self) {
        self.shutdown.begin();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the server ends").expect("and does not panic");
    }
}

/// All that comes until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = async {
        let mut buffer = [0; 4096];
        // A reset is an end, too.
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            bytes.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the server closes the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The next answer with a `Content-Length` on a connection that stays open.
async fn one_answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let read = async {
        let mut buffer = [0; 4096];
        loop {
            let count = stream.read(&mut buffer).await.expect("read");
            assert!(count > 0, "closed after {text:?}");
            text.push_str(&String::from_utf8_lossy(&buffer[..count]));
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
            if body.len() >= length.parse::<usize>().expect("a number") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("an answer");
    text
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}
