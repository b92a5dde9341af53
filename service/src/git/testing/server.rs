//! `git http-backend` behind a small handler.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio_util::io::ReaderStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use crate::process::Program;

/// How the server misbehaves.
#[derive(Debug, Clone, Default)]
pub enum Misbehaviour {
    /// Not at all.
    #[default]
    None,
    /// Every request is sent elsewhere, with this status.
    Redirect(u16, String),
    /// No request is answered for as long as this lasts; afterwards those that wait are.
    Hang,
    /// Requests for a repository without `.git` after its name are redirected to the one with it, as GitLab does.
    WantsSuffix,
    /// Every request is answered with this status.
    Status(u16),
    /// Every request is answered with bytes that are no git.
    Garbage,
    /// Every request is answered with a web page of one line, as a sign-in or a proxy does.
    Page,
    /// The refs are given out, and then comes a pack that announces this many objects, and objects without end.
    Endless(u32),
    /// The refs are given out, and no request for objects is ever answered.
    HangAtObjects,
    /// Pushes are taken, and never answered.
    HangAfterPush,
    /// Pushes are taken, and the answer is lost on the way.
    LoseAnswerToPush,
    /// The refs are given out, and then comes a complaint with these bytes on the channel for people.
    Complaint(Vec<u8>),
}

/// A request that the server saw.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The path and the query.
    pub target: String,
    /// The header `Authorization`, if there was one.
    pub authorization: Option<String>,
    /// The header `Git-Protocol`, if there was one.
    pub protocol: Option<String>,
    /// What was asked in the body, as far as it is text.
    pub body: String,
}

impl Seen {
    /// Whether objects were asked for.
    pub fn fetches(&self) -> bool {
        self.body.contains("command=fetch")
    }

    /// Whether refs were asked for.
    pub fn lists(&self) -> bool {
        self.body.contains("command=ls-refs")
    }
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    credential: Mutex<Option<String>>,
    misbehaviour: Mutex<Misbehaviour>,
    seen: Mutex<Vec<Seen>>,
    pushed: std::sync::atomic::AtomicBool,
    /// How many requests for objects are being answered, and how many were at once at most.
    fetches: Mutex<(usize, usize)>,
}

/// Counts a request for objects until it is answered whole, or its client has gone away.
struct Fetching(Arc<Shared>);

impl Fetching {
    fn begin(shared: &Arc<Shared>) -> Self {
        let mut fetches = shared.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        fetches.0 += 1;
        fetches.1 = fetches.1.max(fetches.0);
        drop(fetches);
        Self(Arc::clone(shared))
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.0.fetches.lock().unwrap_or_else(PoisonError::into_inner).0 -= 1;
    }
}

impl Shared {
    /// Waits until the server does not hang any more.
    async fn hung(&self) {
        let hangs = || matches!(*self.misbehaviour.lock().unwrap_or_else(PoisonError::into_inner), Misbehaviour::Hang);
        while hangs() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A git server on loopback. It ends when it is dropped.
#[derive(Debug)]
pub struct GitServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    _end: DropGuard,
}

impl GitServer {
    /// Serves every repository below `root`, to everybody.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(root: &Path) -> Self {
        Self::start_at(root, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// Serves every repository below `root`, to everybody, at this address.
    ///
    /// # Panics
    /// When the address is not free.
    #[expect(clippy::expect_used, reason = "a test without its server cannot go on")]
    #[expect(clippy::disallowed_methods, reason = "a test's server needs no deadlines against clients that stall")]
    pub async fn start_at(root: &Path, address: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            credential: Mutex::default(),
            misbehaviour: Mutex::default(),
            seen: Mutex::default(),
            pushed: std::sync::atomic::AtomicBool::default(),
            fetches: Mutex::default(),
        });
        let router = axum::Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let end = CancellationToken::new();
        let ended = end.clone();
        tokio::spawn(async move {
            tokio::select! {
                result = async { axum::serve(listener, router).await } => result.expect("the server runs"),
                () = ended.cancelled() => {}
            }
        });
        Self { address, shared, _end: end.drop_guard() }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a repository, with or without `.git`, as the path on disk has it.
    ///
    /// # Panics
    /// When `path` does not fit into a URL.
    #[expect(clippy::expect_used, reason = "a test names its own repositories")]
    pub fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://{}/{path}", self.address)).expect("a URL")
    }

    /// From now on asks for exactly this header `Authorization`.
    pub fn require(&self, authorization: &str) {
        *self.shared.credential.lock().unwrap_or_else(PoisonError::into_inner) = Some(authorization.to_owned());
    }

    /// From now on misbehaves like this.
    pub fn misbehave(&self, how: Misbehaviour) {
        *self.shared.misbehaviour.lock().unwrap_or_else(PoisonError::into_inner) = how;
    }

    /// Whether it has taken a push that it does not answer.
    pub fn has_taken_a_push(&self) -> bool {
        self.shared.pushed.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// How many requests for objects it was answering at once at most.
    pub fn most_fetches_at_once(&self) -> usize {
        self.shared.fetches.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// What it was asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what it was asked so far.
    pub fn forget(&self) {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, 64 * 1024 * 1024).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let seen = Seen {
        target: parts.uri.to_string(),
        authorization: text("authorization"),
        protocol: text("git-protocol"),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let fetches = seen.fetches();
    let negotiates = seen.body.contains("have ") && !seen.body.contains("done");
    let given = seen.authorization.clone();
    shared.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    let misbehaviour = shared.misbehaviour.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match misbehaviour {
        Misbehaviour::Redirect(status, to) => {
            let to = format!("{to}{}", parts.uri);
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FOUND);
            return (status, [(header::LOCATION, to)]).into_response();
        }
        Misbehaviour::WantsSuffix if !parts.uri.path().contains(".git/") => {
            let to = parts.uri.to_string().replacen("/info/refs", ".git/info/refs", 1);
            return (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, to)]).into_response();
        }
        Misbehaviour::Hang => shared.hung().await,
        Misbehaviour::HangAtObjects if fetches => std::future::pending().await,
        Misbehaviour::Status(status) => return StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT).into_response(),
        Misbehaviour::Garbage => return (StatusCode::OK, "<html>\nWelcome to the proxy\u{1b}[31m\n</html>\n").into_response(),
        Misbehaviour::Page => {
            let page = "<!doctype html><html><head><title>Sign in</title></head><body><form></form></body></html>";
            return ([(header::CONTENT_TYPE, "text/html")], page).into_response();
        }
        Misbehaviour::Endless(objects) if fetches => return endless(objects, negotiates),
        Misbehaviour::Complaint(bytes) if fetches => return complaint(&bytes, negotiates),
        _ => {}
    }
    let wanted = shared.credential.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if wanted.is_some() && wanted != given {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"test\"")]).into_response();
    }
    let pushes = parts.uri.path().ends_with("/git-receive-pack");
    let fetching = fetches.then(|| Fetching::begin(&shared));
    let answer = backend(&shared.root, &parts, body, fetching).await;
    if pushes && matches!(misbehaviour, Misbehaviour::HangAfterPush | Misbehaviour::LoseAnswerToPush) {
        // Git has ended when its answer was read.
        if let Ok(answer) = answer {
            let _ = axum::body::to_bytes(answer.into_body(), 1024 * 1024).await;
        }
        if matches!(misbehaviour, Misbehaviour::HangAfterPush) {
            shared.pushed.store(true, std::sync::atomic::Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        return StatusCode::BAD_GATEWAY.into_response();
    }
    answer.unwrap_or_else(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response())
}

/// A line of git's protocol on a channel: 1 is data, 2 is for people, 3 is a fatal error.
fn packet(channel: u8, bytes: &[u8]) -> Vec<u8> {
    let mut line = format!("{:04x}", bytes.len() + 5).into_bytes();
    line.push(channel);
    line.extend_from_slice(bytes);
    line
}

fn fetch_answer(body: Body) -> Response {
    let head = HeaderValue::from_static("application/x-git-upload-pack-result");
    ([(header::CONTENT_TYPE, head)], body).into_response()
}

/// How the answer to a fetch begins. A client that tells what it has, and is not done, is told that this is enough.
fn fetch_head(negotiates: bool) -> Vec<u8> {
    let agreed: &[u8] = if negotiates { b"0014acknowledgments\n000aready\n0001" } else { b"" };
    [agreed, b"000dpackfile\n"].concat()
}

/// A pack without end.
fn endless(objects: u32, negotiates: bool) -> Response {
    let mut start = fetch_head(negotiates);
    start.extend(packet(1, &[b"PACK\0\0\0\x02", &objects.to_be_bytes()[..]].concat()));
    let mut state = 1_u64;
    let chunks =
        futures_util::stream::iter(std::iter::once(Ok::<_, std::io::Error>(Bytes::from(start))).chain(std::iter::from_fn(move || {
            let mut chunk = Vec::with_capacity(60_000);
            // Stored deflate blocks of noise: blobs of 1000 bytes each, as large on disk as on the wire.
            while chunk.len() < 60_000 {
                let size = 1000_u16;
                // Type 3 (blob), size 1000 in git's variable-length form.
                chunk.extend_from_slice(&[0xb8, 0x3e]);
                chunk.extend_from_slice(&[0x78, 0x01, 0x01]);
                chunk.extend_from_slice(&size.to_le_bytes());
                chunk.extend_from_slice(&(!size).to_le_bytes());
                let (mut a, mut b) = (1_u32, 0_u32);
                for _ in 0..size {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    let byte = state.to_le_bytes()[3];
                    a = (a + u32::from(byte)) % 65521;
                    b = (b + a) % 65521;
                    chunk.push(byte);
                }
                chunk.extend_from_slice(&((b << 16) | a).to_be_bytes());
            }
            Some(Ok(Bytes::from(packet(1, &chunk))))
        })));
    fetch_answer(Body::from_stream(chunks))
}

fn complaint(bytes: &[u8], negotiates: bool) -> Response {
    let mut body = fetch_head(negotiates);
    body.extend(packet(2, bytes));
    body.extend(packet(3, bytes));
    body.extend(b"0000");
    fetch_answer(Body::from(body))
}

/// Runs the backend as a CGI program, and streams its answer.
async fn backend(root: &Path, parts: &axum::http::request::Parts, body: Bytes, fetching: Option<Fetching>) -> anyhow::Result<Response> {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let mut program = Program::new("/usr/lib/git-core/git-http-backend");
    for (key, value) in [
        ("PATH", "/usr/bin:/bin".to_owned()),
        ("HOME", "/nonexistent".to_owned()),
        ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
        ("GIT_HTTP_EXPORT_ALL", "1".to_owned()),
        ("GIT_PROJECT_ROOT", root.display().to_string()),
        ("PATH_INFO", parts.uri.path().to_owned()),
        ("QUERY_STRING", parts.uri.query().unwrap_or_default().to_owned()),
        ("REQUEST_METHOD", parts.method.to_string()),
        ("CONTENT_TYPE", header("content-type")),
        ("CONTENT_LENGTH", body.len().to_string()),
        ("HTTP_CONTENT_ENCODING", header("content-encoding")),
        ("GIT_PROTOCOL", header("git-protocol")),
        ("REMOTE_ADDR", "127.0.0.1".to_owned()),
    ] {
        program = program.env(key, value);
    }
    let mut running = program.start()?;
    let (Some(mut stdin), Some(stdout)) = (running.stdin.take(), running.stdout.take()) else {
        anyhow::bail!("no streams");
    };
    let feed = tokio::spawn(async move {
        let _ = stdin.write_all(&body).await;
    });
    let mut stdout = BufReader::new(stdout);
    let (mut status, mut headers) = (StatusCode::OK, HeaderMap::new());
    loop {
        let mut line = String::new();
        stdout.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        if name.eq_ignore_ascii_case("status") {
            status = value.split(' ').next().and_then(|code| code.parse().ok()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        } else {
            headers.insert(header::HeaderName::try_from(name)?, value.parse()?);
        }
    }
    // The program ends when its answer was read or the client went away.
    let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<Bytes>>(4);
    tokio::spawn(async move {
        use futures_util::StreamExt as _;
        let mut chunks = ReaderStream::new(stdout);
        while let Some(chunk) = chunks.next().await {
            if sender.send(chunk).await.is_err() {
                break;
            }
        }
        feed.abort();
        drop(fetching);
        let _ = running.wait_within(Duration::from_mins(1), &CancellationToken::new()).await;
    });
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|chunk| (chunk, receiver)) });
    Ok((status, headers, Body::from_stream(stream)).into_response())
}
