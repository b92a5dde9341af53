//! A server that answers each request with the bytes that a test wants, however wrong they are.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::Url;

use crate::gitlab::{Connection, GitLab};

/// The token that no other server may ever see.
pub(crate) const TOKEN: &str = "glpat-canary-token";

/// What was asked: heads and bodies.
type Seen = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

type Script = Arc<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Seen,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// A server whose answer to a request, of which it is given the head, is what `script` says.
    pub(crate) async fn new(script: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let seen = Seen::default();
        let (script, log): (Script, _) = (Arc::new(script), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => return,
                        }
                    }
                    let head = String::from_utf8_lossy(&head).into_owned();
                    let mut body = vec![0; length(&head)];
                    if stream.read_exact(&mut body).await.is_err() {
                        return;
                    }
                    log.lock().unwrap_or_else(PoisonError::into_inner).push((head.clone(), body));
                    // A client that has read enough closes; that is its right.
                    let _ = stream.write_all(&script(&head)).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { address, seen, task }
    }

    pub(crate) fn url(&self) -> Url {
        Url::parse(&format!("http://{}/", self.address)).expect("a URL")
    }

    /// The heads of what was asked.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.sent().into_iter().map(|(head, _)| head).collect()
    }

    /// The heads and bodies of what was asked.
    pub(crate) fn sent(&self) -> Vec<(String, Vec<u8>)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends, so that nobody listens any more.
    pub(crate) async fn task_ends(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    pub(crate) fn client(&self) -> GitLab {
        client(self.url())
    }
}

pub(crate) fn client(url: Url) -> GitLab {
    GitLab::new(&Connection::new(url, TOKEN.into())).expect("a client")
}

/// A whole answer.
pub(crate) fn answer(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let length = body.as_ref().len();
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body.as_ref()].concat()
}

/// The request's path and query.
pub(crate) fn target(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or_default()
}

/// How many bytes of body a request has.
fn length(head: &str) -> usize {
    let line = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned));
    line.and_then(|length| length.trim().parse().ok()).unwrap_or_default()
}
