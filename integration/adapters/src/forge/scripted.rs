//! A server that answers each request with the bytes that a test wants, however wrong they are.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use url::Url;

type Script = Arc<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

pub(super) struct Scripted {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scripted {
    /// A server whose answer to a request, of which it is given head and body, is what `script` says.
    pub(super) async fn new(script: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let (script, log): (Script, _) = (Arc::new(script), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer_one(stream, Arc::clone(&script), Arc::clone(&log)));
            }
        });
        Self { port, seen, task }
    }

    pub(super) fn url(&self) -> Url {
        format!("http://127.0.0.1:{}/", self.port).parse().expect("an address")
    }

    /// What was asked, head and body.
    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn answer_one(mut stream: TcpStream, script: Script, log: Arc<Mutex<Vec<String>>>) {
    let mut asked = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk).await {
            Ok(count) if count > 0 => asked.extend_from_slice(&chunk[..count]),
            _ => return,
        }
        let text = String::from_utf8_lossy(&asked);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        if body.len() >= length.unwrap_or(0) {
            break;
        }
    }
    let asked = String::from_utf8_lossy(&asked).into_owned();
    log.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
    // A client that has read enough closes; that is its right.
    let _ = stream.write_all(&script(&asked)).await;
    let _ = stream.shutdown().await;
}

/// A whole answer.
pub(super) fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let kind = if headers.to_ascii_lowercase().contains("content-type") { "" } else { "content-type: application/json\r\n" };
    format!("HTTP/1.1 {status}\r\n{kind}content-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}").into_bytes()
}
