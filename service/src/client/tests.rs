use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::{get, post, put};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use http::Response;
use signalbox_contract::{Code, Problem, RepoName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::auth::tests::{Keys, key};
use crate::auth::{Act, Verifier};
use crate::config::TlsFiles;
use crate::http::{ServeOptions, StreamLimits, bind, finish_with, serve, streaming};
use crate::ledger::{Ledger, respond};
use crate::shutdown::Shutdown;
use crate::telemetry::Telemetry;

const SOON: Duration = Duration::from_secs(20);

fn client(address: SocketAddr) -> Client {
    Client::new(format!("http://{address}").parse().expect("a URL"), None).expect("a client")
}

/// A server that takes one connection, reads some of the request, and then does as `answer` says.
async fn canned(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(answer).await;
        let _ = stream.shutdown().await;
    });
    address
}

async fn ask(client: &Client) -> Result<serde_json::Value, CallError> {
    client.json(Method::POST, "/x?q=canary-query", Some(&SecretString::from("canary-token")), HeaderMap::new(), Some(&1)).await
}

#[derive(Clone)]
struct Worker {
    verifier: Arc<Verifier>,
    ledger: Ledger,
    runs: Arc<AtomicU32>,
}

impl axum::extract::FromRef<Worker> for Arc<Verifier> {
    fn from_ref(worker: &Worker) -> Self {
        Self::clone(&worker.verifier)
    }
}

async fn work(State(worker): State<Worker>, act: Act<RepoName>) -> crate::http::Result<Response<Body>> {
    let key = act.attempt()?;
    let capability = act.needed_capability()?.clone();
    let runs = worker.runs;
    let answer = worker
        .ledger
        .ask("POST /deep/repo", &key, &act.digest, act.wait, async move || {
            runs.fetch_add(1, Ordering::SeqCst);
            Ok(format!("{} with {}", act.body, capability.expose_secret()))
        })
        .await?;
    Ok(respond(answer))
}

async fn whole(act: Act<()>) -> axum::Json<bool> {
    axum::Json(act.key.is_none())
}

async fn told() -> String {
    request_id::current().map_or_else(String::new, |id| format!("\"{}\"", id.as_str()))
}

async fn big() -> Body {
    Body::from_stream(stream::iter((0..64).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![7; 64 * 1024])))))
}

async fn count(body: Body) -> String {
    let mut total = 0;
    let mut stream = body.into_data_stream();
    while let Some(chunk) = stream.next().await {
        total += chunk.map_or(0, |chunk| chunk.len());
    }
    total.to_string()
}

struct Running {
    keys: Keys,
    shutdown: Shutdown,
    address: SocketAddr,
    runs: Arc<AtomicU32>,
    _data: tempfile::TempDir,
}

impl Running {
    async fn start(tls: Option<TlsFiles>) -> Self {
        let keys = Keys::new();
        let data = tempfile::tempdir().expect("a folder");
        let shutdown = Shutdown::new();
        let ledger = Ledger::open(data.path(), keys.clock.clone(), shutdown.clone()).await.expect("a ledger");
        let verifier = Arc::new(keys.verifier(Service::VcsWorker));
        let runs = Arc::<AtomicU32>::default();
        let state = Worker { verifier, ledger, runs: runs.clone() };
        let ordinary = Router::new()
            .nest("/deep", Router::new().route("/repo", post(work)))
            .route("/whole/{name}", get(whole))
            .route("/told", get(told))
            .with_state(state);
        let streams = streaming(
            Router::new().route("/big", get(big)).route("/count", put(count)),
            StreamLimits::new(1 << 30, Duration::from_mins(1)),
        );
        let options = ServeOptions::new("test").tls(tls);
        let router = finish_with(ordinary, streams, &options, &Telemetry::new("test"));
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        let address = listener.local_addr().expect("an address");
        shutdown.spawn("server", serve(listener, router, options, shutdown.clone()));
        Self { keys, shutdown, address, runs, _data: data }
    }

    async fn end(self) {
        assert!(self.shutdown.drained(SOON).await, "everything has ended");
    }
}

#[tokio::test]
async fn an_act_is_asked_for_with_all_that_it_needs_and_done_once() {
    let service = Running::start(None).await;
    let client = client(service.address);
    let body: RepoName = "team/hello".parse().expect("a name");
    let capability = SecretString::from("a.b.c");
    let call = Call::post(Service::VcsWorker, "/deep/repo", key(1)).wait(Duration::from_secs(5)).capability(Some(&capability));
    for _ in 0..3 {
        let answer = client.ask::<_, String>(&service.keys.signer, &call, &body).await.expect("answered");
        assert_eq!(answer, Answer::Done { result: "team/hello with a.b.c".to_owned() });
    }
    assert_eq!(service.runs.load(Ordering::SeqCst), 1);
    let other: RepoName = "team/other".parse().expect("a name");
    let refused = client.ask::<_, String>(&service.keys.signer, &call, &other).await.expect_err("another body");
    assert!(matches!(&refused, CallError::Refused(problem) if problem.code == Code::KeyReused), "{refused:?}");
    assert!(!refused.may_pass());
    let wrong = Call::post(Service::DeployWorker, "/deep/repo", key(1));
    let refused = client.ask::<_, String>(&service.keys.signer, &wrong, &body).await.expect_err("another's token");
    assert!(matches!(&refused, CallError::Refused(problem) if problem.code == Code::Forbidden), "{refused:?}");
    // The path that is signed is the path that is sent, whatever it has to be written as; a query is no part of it.
    let read = Call::get(Service::VcsWorker, "/whole/a b?a=1");
    assert!(client.read::<bool>(&service.keys.signer, &read).await.expect("answered"));
    service.end().await;
}

#[tokio::test]
async fn a_request_s_id_goes_along() {
    let service = Running::start(None).await;
    let client = client(service.address);
    let id: request_id::RequestId = "from-the-caller".parse().expect("an id");
    let told: String = request_id::scope(id, client.json(Method::GET, "/told", None, HeaderMap::new(), None::<&()>)).await.expect("told");
    assert_eq!(told, "from-the-caller");
    service.end().await;
}

#[tokio::test]
async fn streams_go_both_ways_whatever_their_size() {
    let service = Running::start(None).await;
    let client = client(service.address);
    let download = client.get_stream("/big", None, HeaderMap::new()).await.expect("a stream");
    let total: usize = download.into_stream().map(|chunk| chunk.expect("a chunk").len()).fold(0, async |sum, len| sum + len).await;
    assert_eq!(total, 64 * 64 * 1024);
    let body = stream::iter((0..64).map(|_| Ok(Bytes::from(vec![7; 64 * 1024]))));
    let counted: u64 = client.put_stream("/count", None, HeaderMap::new(), 64 * 64 * 1024, body).await.expect("counted");
    assert_eq!(counted, 64 * 64 * 1024);
    // A source that fails makes the other side see a body that is cut, and us an unknown outcome.
    let broken = stream::iter([Ok(Bytes::from_static(b"ab")), Err(std::io::Error::other("the disk"))]);
    let error = client.put_stream::<u64, _>("/count", None, HeaderMap::new(), 4, broken).await.expect_err("cut");
    assert!(matches!(error, CallError::Unknown { .. }), "{error:?}");
    let missing = client.get_stream("/missing", None, HeaderMap::new()).await.expect_err("not there");
    assert!(matches!(&missing, CallError::Refused(problem) if problem.code == Code::NotFound), "{missing:?}");
    service.end().await;
}

#[tokio::test]
async fn a_download_that_is_cut_is_an_error_and_not_an_end() {
    let address = canned(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await;
    let mut download = client(address).get_stream("/x", None, HeaderMap::new()).await.expect("a head");
    assert_eq!(download.content_length(), Some(10));
    let outcome = loop {
        match download.chunk().await {
            Ok(Some(_)) => {}
            outcome => break outcome,
        }
    };
    assert!(matches!(outcome, Err(CallError::Unknown { .. })), "{outcome:?}");
}

#[tokio::test]
async fn what_never_left_is_told_from_what_may_have_been_done() {
    // Nobody listens.
    let nobody = crate::testing::free_port();
    assert!(matches!(ask(&client(nobody)).await, Err(CallError::NotSent { .. })));
    // The request was taken, and the connection closed without a word.
    assert!(matches!(ask(&client(canned(b"").await)).await, Err(CallError::Unknown { .. })));
    assert!(matches!(ask(&client(canned(b"HTTP/1.1 200 OK\r\nContent-Le").await)).await, Err(CallError::Unknown { .. })));
    assert!(matches!(ask(&client(canned(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}").await)).await, Err(CallError::Unknown { .. })));
    assert!(matches!(ask(&client(canned(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{").await)).await, Err(CallError::Unknown { .. })));
    // It was taken, and nothing came back in time.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = client(listener.local_addr().expect("an address")).answering_within(Duration::from_millis(200));
    assert!(matches!(ask(&silent).await, Err(CallError::Unknown { .. })));
    // A fault without a word may have come after it was done.
    assert!(matches!(ask(&client(canned(b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n").await)).await, Err(CallError::Unknown { .. })));
}

#[tokio::test]
async fn a_refusal_is_read_and_a_later_time_is_kept() {
    // The status is the one that was answered, whatever the body claims.
    let claims_success = Problem { status: 200, ..Problem::new(Code::SourceConflict) };
    let body = serde_json::to_string(&claims_success).expect("JSON");
    let head = "HTTP/1.1 409 Conflict\r\nContent-Type: application/problem+json\r\nContent-Length:";
    let problem = format!("{head} {}\r\n\r\n{body}", body.len()).leak().as_bytes();
    let refused = ask(&client(canned(problem).await)).await.expect_err("refused");
    assert!(
        matches!(&refused, CallError::Refused(problem) if problem.code == Code::SourceConflict && problem.status == 409),
        "{refused:?}"
    );
    let bare = ask(&client(canned(b"HTTP/1.1 404 No\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi").await)).await;
    assert!(
        matches!(&bare, Err(CallError::Refused(problem)) if problem.code == Code::NotFound && problem.detail.contains("127.0.0.1") && problem.detail.contains("404")),
        "{bare:?}"
    );
    let busy = ask(&client(canned(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n").await)).await;
    assert!(matches!(busy, Err(CallError::Retry { after: Some(after), .. }) if after == Duration::from_secs(7)));
    let long = ask(&client(canned(b"HTTP/1.1 429 Many\r\nRetry-After: 99999999\r\nContent-Length: 0\r\n\r\n").await)).await;
    assert!(matches!(long, Err(CallError::Retry { after: Some(after), .. }) if after == Duration::from_hours(1)));
    let fault = Problem::new(Code::Internal);
    assert!(CallError::Refused(fault).may_pass(), "a fault may pass");
}

/// A redirect would send the token elsewhere; an endless answer would fill the memory.
#[tokio::test]
async fn no_redirect_is_followed_and_no_answer_is_without_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let target = listener.local_addr().expect("an address");
    let answer = format!("HTTP/1.1 307 There\r\nLocation: http://{target}/\r\nContent-Length: 0\r\n\r\n");
    let redirected = ask(&client(canned(answer.leak().as_bytes()).await)).await;
    assert!(matches!(redirected, Err(CallError::Unknown { .. })), "{redirected:?}");
    assert!(tokio::time::timeout(Duration::from_millis(50), listener.accept()).await.is_err(), "nobody came to the target");
    let endless: Vec<u8> = [b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n".to_vec(), vec![b' '; 2_000_000]].concat();
    let large = ask(&client(canned(endless.leak()).await)).await.expect_err("too large");
    assert!(matches!(large, CallError::Unknown { .. }), "{large:?}");
}

/// Threats 11 and 65.
#[tokio::test]
async fn no_error_shows_a_token_or_a_query() {
    for answer in [&b""[..], b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", b"canary"] {
        let error = ask(&client(canned(answer).await)).await.expect_err("failed");
        let mut text = format!("{error:?} {error}");
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text.push_str(&error.to_string());
            cause = error.source();
        }
        assert!(!text.contains("canary-"), "{text}");
    }
    let service = client(crate::testing::free_port());
    let newline = SecretString::from("canary-token\r\nX: y");
    let error = service.get_stream("/x", Some(&newline), HeaderMap::new()).await.expect_err("no token");
    assert!(matches!(error, CallError::NotSent { .. }) && !format!("{error:?}").contains("canary-"));
}

#[test]
fn only_an_origin_that_keeps_secrets_can_be_called() {
    let new = |base: &str| Client::new(base.parse().expect("a URL"), None).map(|_| ()).map_err(|error| error.to_string());
    for base in ["http://127.0.0.1:7481", "http://[::1]:7481/", "http://localhost:1", "https://vcs.example:7481"] {
        assert_eq!(new(base), Ok(()), "{base}");
    }
    for base in [
        "http://vcs.example",
        "http://10.0.0.1",
        "http://127.0.0.1.nip.io",
        "https://user@vcs.example",
        "https://user:secret@vcs.example",
        "https://vcs.example/prefix",
        "https://vcs.example/?a=b",
        "ftp://vcs.example",
        "unix:/run/x",
    ] {
        let refused = new(base).expect_err(base);
        assert!(!refused.contains("secret"), "{refused}");
    }
}

#[tokio::test]
async fn a_path_names_no_other_host() {
    let service = Running::start(None).await;
    let client = client(service.address);
    for path in ["//elsewhere.example/x", "/\\elsewhere.example", "/../../x"] {
        let error = client.json::<(), ()>(Method::GET, path, None, HeaderMap::new(), None).await.expect_err("not there");
        assert!(matches!(&error, CallError::Refused(problem) if problem.status < 500), "{path}: {error:?}");
    }
    let error = client.json::<(), ()>(Method::GET, "https://elsewhere.example/", None, HeaderMap::new(), None).await;
    assert!(matches!(error, Err(CallError::NotSent { .. })));
    service.end().await;
}

// Threat 70.
#[tokio::test]
async fn only_the_given_authority_is_believed() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate().expect("a key");
    let ca = authority.self_signed(&ca_key).expect("a certificate");
    let issuer = rcgen::Issuer::new(authority, ca_key);
    let server_key = rcgen::KeyPair::generate().expect("a key");
    let server = rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
        .and_then(|parameters| parameters.signed_by(&server_key, &issuer))
        .expect("a certificate");
    let write = |name: &str, text: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("private");
        path
    };
    let ca = write("ca.pem", ca.pem());
    let tls = TlsFiles { certificate: write("cert.pem", server.pem()), key: write("key.pem", server_key.serialize_pem()) };
    let service = Running::start(Some(tls)).await;
    let base: Url = format!("https://{}", service.address).parse().expect("a URL");
    let call = Call::get(Service::VcsWorker, "/whole/x");
    let trusting = Client::new(base.clone(), Some(&ca)).expect("a client");
    assert!(trusting.read::<bool>(&service.keys.signer, &call).await.expect("answered"));
    let strange = Client::new(base, None);
    // Where the system has no authorities at all, the client cannot even be made.
    if let Ok(strange) = strange {
        let error = strange.read::<bool>(&service.keys.signer, &call).await.expect_err("not believed");
        assert!(matches!(error, CallError::NotSent { .. }), "{error:?}");
    }
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "").expect("written");
    assert!(matches!(Client::new("https://x.example".parse().expect("a URL"), Some(&empty)), Err(ClientError::Authority { .. })));
    service.end().await;
}
