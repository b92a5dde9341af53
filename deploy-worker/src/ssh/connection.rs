//! One connection to one host.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use openssh::Session;
use signalbox_service::process::{Program, Running, Tail};
use signalbox_service::ssh::distrust;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::options::{READY, arguments};
use super::{CONNECTING, Destination, SshError, escape};

/// What is said of a host that says nothing when it closes a connection: its server was killed while it let us in.
pub(super) const WORDLESS: &str = "the host closed it without a word";

/// Sessions at a time over one connection. OpenSSH's server allows ten; one of them keeps the connection.
const SESSIONS: usize = 8;

/// What a login may print before the keeper speaks: banners, and what the account's shell says when it starts.
const NOISE: usize = 64 * 1024;

/// How long a connection may take to end by itself.
const FAREWELL: Duration = Duration::from_secs(1);

/// A connection on which sessions can be opened. It ends when it is dropped, at once, with its process.
#[derive(Debug)]
pub(super) struct Connection {
    running: Mutex<Option<Running>>,
    session: Arc<Session>,
    socket: PathBuf,
    permits: Semaphore,
    used: Mutex<Instant>,
}

impl Connection {
    /// Connects, logs in, and waits until a command runs on the host.
    pub(super) async fn establish(to: &Destination, socket: PathBuf, limit: Duration) -> Result<Self, SshError> {
        let mut running = Program::new("ssh")
            .args(arguments(to, &socket, limit))
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C")
            .start()
            .map_err(SshError::NoSsh)?;
        let (stdout, stderr) = (running.stdout.take(), running.stderr.take());
        let mut said = Tail::new(4096);
        let ready = async {
            tokio::select! {
                // Both must be read on: a host that fills one of them would otherwise never come to the other.
                ready = keeper_speaks(stdout) => ready,
                () = listen(&mut said, stderr) => false,
            }
        };
        let ready = tokio::time::timeout(limit, ready).await;
        // Dropping the process, if it comes to that, kills it wherever it hangs.
        match ready {
            Ok(true) => Ok(Self {
                session: Arc::new(Session::resume_mux(socket.clone().into_boxed_path(), None)),
                running: Mutex::new(Some(running)),
                socket,
                permits: Semaphore::new(SESSIONS),
                used: Mutex::new(Instant::now()),
            }),
            Ok(false) => {
                running.kill().await;
                let said = said.into_bytes();
                if let Some(why) = distrust(&String::from_utf8_lossy(&said)) {
                    return Err(SshError::Distrusted { why: escape(why.as_bytes()) });
                }
                let said = escape(&said);
                let said = if said.is_empty() { WORDLESS.to_owned() } else { said };
                Err(SshError::NotConnected { said })
            }
            Err(_) => {
                running.kill().await;
                discard(&socket);
                Err(SshError::Late { doing: CONNECTING, after: limit })
            }
        }
    }

    /// The way to open sessions.
    pub(super) fn session(&self) -> Arc<Session> {
        Arc::clone(&self.session)
    }

    /// The right to have one session more, which there may be a wait for.
    pub(super) async fn permit(&self) -> Result<SemaphorePermit<'_>, SshError> {
        // It is never closed.
        self.permits.acquire().await.map_err(|_| SshError::Broken)
    }

    /// Notes that it is used now.
    pub(super) fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// For how long nobody has used it. Nobody does now, if no permit is taken.
    pub(super) fn idle(&self) -> Option<Duration> {
        (self.permits.available_permits() == SESSIONS).then(|| self.used.lock().unwrap_or_else(PoisonError::into_inner).elapsed())
    }

    /// Ends it in good order: the keeper on the host goes first.
    pub(super) async fn close(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut running) = running {
            running.stdin = None;
            if tokio::time::timeout(FAREWELL, running.wait()).await.is_err() {
                running.kill().await;
            }
        }
        discard(&self.socket);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The process is killed when `running` is dropped. The crate's own session does nothing at its end, since it did
        // not make the connection: there is no blocking call here.
        if self.running.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            discard(&self.socket);
        }
    }
}

fn discard(socket: &Path) {
    // ssh removes it itself when it ends in good order.
    let _ = std::fs::remove_file(socket);
}

/// Reads until the keeper's line comes, past whatever the login prints before it. False when the stream ends first.
async fn keeper_speaks(stream: Option<impl AsyncRead + Unpin>) -> bool {
    let Some(mut stream) = stream else { return false };
    let mut seen: Vec<u8> = Vec::new();
    let mut chunk = [0; 1024];
    while seen.len() <= NOISE {
        match stream.read(&mut chunk).await {
            // The connection failed. What it said on the other stream matters now: that side decides.
            Ok(0) | Err(_) => return std::future::pending().await,
            Ok(count) => seen.extend_from_slice(&chunk[..count]),
        }
        if seen.windows(READY.len()).any(|window| window == READY) {
            return true;
        }
    }
    false
}

/// Reads what ssh complains of, to its end.
async fn listen(said: &mut Tail, stream: Option<impl AsyncRead + Unpin>) {
    if let Some(stream) = stream {
        // A stream that cannot be read says nothing more.
        let _ = said.read(stream).await;
    }
}
