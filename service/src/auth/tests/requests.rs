//! The extractors, on a real socket, by requests that are written byte by byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use signalbox_contract::api::Nothing;
use signalbox_contract::grant::{Action, Grant, Target};
use signalbox_contract::token::{Capability, Service};
use signalbox_contract::{Code, Problem, RepoName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Keys;
use crate::auth::{Act, Capable, Operator, Verifier};
use crate::http::{ServeOptions, bind, finish, serve};
use crate::secret::ExposeSecret as _;
use crate::shutdown::Shutdown;
use crate::telemetry::Telemetry;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    name: RepoName,
}

async fn who(operator: Operator) -> String {
    operator.principal().to_owned()
}

async fn start(operator: Operator) -> crate::http::Result<&'static str> {
    let repo = "team/hello".parse().expect("a name");
    let environment = "production".parse().expect("a name");
    operator.require(Action::Deploy, &Target { repo: Some(&repo), environment: Some(&environment), ..Target::default() })?;
    Ok("deployed")
}

async fn act(State(_): State<Arc<Verifier>>, act: Act<Body>) -> crate::http::Result<String> {
    let key = act.attempt()?;
    let capability = act.capability.as_ref().map_or(0, |capability| capability.expose_secret().len());
    Ok(format!("{} {key} {} {capability}", act.body.name, act.wait.as_secs()))
}

async fn read(act: Act<()>) -> String {
    format!("{}", act.key.is_some())
}

async fn read_nothing(act: Act<Nothing>) -> String {
    format!("{:?}", act.body)
}

async fn repo(capable: Capable) -> crate::http::Result<&'static str> {
    capable.reads_repo(&"team/hello".parse().expect("a name"))?;
    Ok("refs")
}

struct Server {
    keys: Keys,
    address: SocketAddr,
    shutdown: Shutdown,
}

struct Answered {
    status: u16,
    head: String,
    body: String,
}

impl Answered {
    fn problem(&self) -> Problem {
        serde_json::from_str(&self.body).expect(&self.body)
    }
}

impl Server {
    fn start(audience: Service) -> Self {
        let keys = Keys::new();
        let verifier = Arc::new(keys.verifier(audience));
        let inner = Router::new().route("/repo", post(act));
        let router = Router::new()
            .route("/who", get(who))
            .route("/start", post(start))
            .route("/read", get(read))
            .route("/nothing", get(read_nothing))
            .route("/git", get(repo))
            .nest("/nested", inner)
            .with_state(verifier);
        let options = ServeOptions { max_body: 1024 * 1024, ..ServeOptions::new("test") };
        let router = finish(router, &options, &Telemetry::new("test"));
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        let address = listener.local_addr().expect("an address");
        let shutdown = Shutdown::new();
        shutdown.spawn("server", serve(listener, router, options, shutdown.clone()));
        Self { keys, address, shutdown }
    }

    /// Sends a request as it is written here, and gives the answer.
    async fn send(&self, line: &str, headers: &[&str], body: &[u8]) -> Answered {
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        let mut head = format!("{line} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n", self.address, body.len());
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        // A server that refuses early may close before it has taken a large body.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.expect("an answer in time");
        let answer = String::from_utf8(answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Answered { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    async fn end(self) {
        assert!(self.shutdown.drained(Duration::from_secs(20)).await, "everything has ended");
    }
}

/// Threats 8 and 11.
#[tokio::test]
async fn exactly_one_token_in_exactly_one_header_is_taken() {
    let server = Server::start(Service::Controller);
    let token = server.keys.operator(vec![Grant::everything()]);
    let good = format!("Authorization: Bearer {token}");
    let answer = server.send("GET /who", &[&good], b"").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "mina"));
    // The scheme's name is case-insensitive (RFC 9110); the token is not.
    assert_eq!(server.send("GET /who", &[&format!("Authorization: bearer {token}")], b"").await.status, 200);
    assert_eq!(server.send("GET /who", &[&format!("Authorization: Bearer {}", token.to_uppercase())], b"").await.status, 401);

    let cases: Vec<(&str, Vec<String>)> = vec![
        ("none", vec![]),
        ("two", vec![good.clone(), good.clone()]),
        ("an empty one", vec!["Authorization: Bearer".to_owned()]),
        ("an empty one", vec!["Authorization: Bearer ".to_owned()]),
        ("another scheme", vec![format!("Authorization: Token {token}")]),
        ("no scheme", vec![format!("Authorization: {token}")]),
        ("basic", vec![format!("Authorization: Basic {}", STANDARD.encode(format!("signalbox:{token}")))]),
        ("two in one", vec![format!("{good}, Bearer {token}")]),
        ("one and a half", vec![format!("{good} {token}")]),
        ("quoted", vec![format!("Authorization: Bearer \"{token}\"")]),
        ("a tab", vec![format!("Authorization: Bearer\t{token}")]),
        ("too long", vec![format!("Authorization: Bearer {}", "a".repeat(17 * 1024))]),
        ("latin", vec![format!("{good}\u{e9}")]),
        ("another header", vec![format!("X-Authorization: Bearer {token}")]),
    ];
    for (what, headers) in cases {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let answer = server.send("GET /who", &headers, b"").await;
        assert_eq!(answer.status, 401, "{what}: {}", answer.body);
        assert_eq!(answer.problem().code, Code::Unauthenticated, "{what}");
        assert!(answer.head.contains("www-authenticate: bearer"), "{what}: {}", answer.head);
        assert!(!answer.body.contains(&token) && !answer.head.contains(&token.to_ascii_lowercase()), "{what}");
    }
    // A NUL makes the head itself invalid.
    assert!(matches!(server.send("GET /who", &[&format!("{good}\0")], b"").await.status, 400 | 401));
    for query in ["access_token", "ACCESS_TOKEN", "access%5ftoken"] {
        assert_eq!(server.send(&format!("GET /who?{query}={token}"), &[], b"").await.status, 401, "{query}");
        assert_eq!(server.send(&format!("GET /who?{query}={token}"), &[&good], b"").await.status, 401, "{query}");
    }
    assert_eq!(server.send(&format!("GET /who?token={token}"), &[], b"").await.status, 401);
    server.end().await;
}

// Threat 8.
#[tokio::test]
async fn the_pages_cookie_is_taken_where_there_is_no_header() {
    let server = Server::start(Service::Controller);
    let token = server.keys.operator(vec![Grant::everything()]);
    let cookie = format!("Cookie: theme=dark; signalbox-session={token}");
    assert_eq!(server.send("GET /who", &[&cookie], b"").await.body, "mina");
    assert_eq!(server.send("GET /who", &[&cookie, &cookie], b"").await.status, 401, "two cookies");
    assert_eq!(server.send("GET /who", &[&cookie, "Authorization: Bearer x"], b"").await.status, 401, "the header decides");
    assert_eq!(server.send("GET /who", &["Cookie: signalbox-session="], b"").await.status, 401);
    assert_eq!(server.send(&format!("GET /who?access_token={token}"), &[&cookie], b"").await.status, 401);
    server.end().await;
}

#[tokio::test]
async fn a_grant_that_is_missing_is_named() {
    let server = Server::start(Service::Controller);
    let grant = Grant { actions: vec![Action::Deploy], repos: vec!["*".parse().expect("a pattern")], ..Grant::default() };
    let token = server.keys.operator(vec![grant]);
    let answer = server.send("POST /start", &[&format!("Authorization: Bearer {token}")], b"").await;
    assert_eq!((answer.status, answer.problem().code), (403, Code::Forbidden));
    assert_eq!(answer.problem().detail, "No grant of this token allows `deploy` on repository `team/hello`, environment `production`.");
    let all = server.keys.operator(vec![Grant::everything()]);
    assert_eq!(server.send("POST /start", &[&format!("Authorization: Bearer {all}")], b"").await.body, "deployed");
    server.end().await;
}

#[tokio::test]
async fn an_act_is_bound_to_its_whole_path_its_method_and_its_body() {
    let server = Server::start(Service::VcsWorker);
    let body = br#"{"name":"team/hello"}"#;
    let token = server.keys.act("POST /nested/repo", body);
    let auth = format!("Authorization: Bearer {token}");
    let json = "Content-Type: application/json";
    let answer = server.send("POST /nested/repo", &[&auth, json, "Prefer: respond-async, wait=7"], body).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, format!("team/hello {} 7 0", super::key(1)).as_str()));
    // A query is no part of the operation.
    assert_eq!(server.send("POST /nested/repo?x=1", &[&auth, json], body).await.status, 200);

    // The path within the nest alone is another operation.
    let inner = format!("Authorization: Bearer {}", server.keys.act("POST /repo", body));
    assert_eq!(server.send("POST /nested/repo", &[&inner, json], body).await.status, 403);
    let answer = server.send("POST /nested/repo", &[&auth, json], br#"{"name":"team/other"}"#).await;
    assert_eq!((answer.status, answer.problem().detail.as_str()), (403, "The token is bound to another body."));
    assert_eq!(server.send("POST /nested/repo", &[&auth, json], b"").await.status, 403);
    assert_eq!(server.send("GET /read", &[&auth], b"").await.status, 403);
    assert_eq!(server.send("POST /nested/repo", &[json], body).await.status, 401);
    // The pages' cookie is for operators alone.
    assert_eq!(server.send("POST /nested/repo", &[&format!("Cookie: signalbox-session={token}"), json], body).await.status, 401);
    assert_eq!(server.send("POST /nested/repo", &[&auth, "Content-Type: text/plain"], body).await.status, 415);
    assert_eq!(server.send("POST /nested/repo", &[&auth], body).await.status, 415);
    server.end().await;
}

#[tokio::test]
async fn what_is_wrong_with_an_act_is_named() {
    let server = Server::start(Service::VcsWorker);
    let json = "Content-Type: application/json";
    for (body, code) in [
        (&br#"{"name":"../x"}"#[..], Code::InvalidBody),
        (br#"{"name":"a","more":1}"#, Code::InvalidBody),
        (b"{", Code::InvalidBody),
        (b"\xff", Code::InvalidBody),
        (b"", Code::InvalidBody),
        (br#"{"name":"a"} {}"#, Code::InvalidBody),
        (br#"{"name":"a","name":"b"}"#, Code::InvalidBody),
    ] {
        let auth = format!("Authorization: Bearer {}", server.keys.act("POST /nested/repo", body));
        let answer = server.send("POST /nested/repo", &[&auth, json], body).await;
        assert_eq!((answer.status, answer.problem().code), (400, code), "{}", answer.body);
    }
    let body = br#"{"name":1}"#;
    let auth = format!("Authorization: Bearer {}", server.keys.act("POST /nested/repo", body));
    let answer = server.send("POST /nested/repo", &[&auth, json], body).await;
    assert_eq!(answer.problem().errors.first().map(|error| error.field.as_str()), Some("name"), "{}", answer.body);

    // 100,000 brackets are 400, not a stack overflow; more than the limit is 413, and was never collected.
    let deep = vec![b'['; 100_000];
    let auth = format!("Authorization: Bearer {}", server.keys.act("POST /nested/repo", &deep));
    assert_eq!(server.send("POST /nested/repo", &[&auth, json], &deep).await.status, 400);
    let large = vec![b' '; 300 * 1024];
    let auth = format!("Authorization: Bearer {}", server.keys.act("POST /nested/repo", &large));
    assert_eq!(server.send("POST /nested/repo", &[&auth, json], &large).await.status, 413);
    server.end().await;
}

#[tokio::test]
async fn an_act_without_a_body_can_be_read_as_nothing() {
    let server = Server::start(Service::VcsWorker);
    let auth = format!("Authorization: Bearer {}", server.keys.act("GET /read", b""));
    assert_eq!(server.send("GET /read", &[&auth], b"").await.body, "true");
    let auth = format!("Authorization: Bearer {}", server.keys.act("GET /nothing", b""));
    assert_eq!(server.send("GET /nothing", &[&auth], b"").await.body, "Nothing");
    server.end().await;
}

#[tokio::test]
async fn a_wish_to_wait_is_bounded_and_a_senseless_one_ignored() {
    let server = Server::start(Service::VcsWorker);
    let body = br#"{"name":"a"}"#;
    let auth = format!("Authorization: Bearer {}", server.keys.act("POST /nested/repo", body));
    let headers = ["Content-Type: application/json", &auth];
    for (prefer, seconds) in [
        ("wait=3", 3),
        ("Wait = \"4\"", 4),
        ("handling=lenient; x=1, wait=5", 5),
        ("wait=86400", 20),
        ("wait=-1", 0),
        ("wait=99999999999", 0),
        ("wait", 0),
        ("waiting=5", 0),
    ] {
        let prefer = format!("Prefer: {prefer}");
        let answer = server.send("POST /nested/repo", &[headers[0], headers[1], &prefer], body).await;
        assert_eq!(answer.body.split(' ').nth(2), Some(seconds.to_string().as_str()), "{prefer}");
    }
    for (capability, status) in [("abc.def", 200), ("a b", 400), ("", 400)] {
        let capability = format!("Signalbox-Capability: {capability}");
        assert_eq!(server.send("POST /nested/repo", &[headers[0], headers[1], &capability], body).await.status, status);
    }
    let twice = ["Signalbox-Capability: a", "Signalbox-Capability: a"];
    assert_eq!(server.send("POST /nested/repo", &[headers[0], headers[1], twice[0], twice[1]], body).await.status, 400);
    server.end().await;
}

#[tokio::test]
async fn a_capability_is_taken_as_git_gives_it_and_is_narrow() {
    let server = Server::start(Service::VcsWorker);
    let repo = |name: &str| Capability::ReadRepo {
        repo: name.parse().expect("a name"),
        sha: "0123456789012345678901234567890123456789".parse().expect("a sha"),
    };
    let token = server.keys.capability(repo("team/hello"));
    let basic = |user: &str, token: &str| format!("Authorization: Basic {}", STANDARD.encode(format!("{user}:{token}")));
    assert_eq!(server.send("GET /git", &[&format!("Authorization: Bearer {token}")], b"").await.body, "refs");
    assert_eq!(server.send("GET /git", &[&basic("signalbox", &token)], b"").await.body, "refs");
    // git asks without a password first, and sends one only if it is asked for it.
    let asked = server.send("GET /git", &[], b"").await;
    assert_eq!(asked.status, 401);
    assert!(asked.head.contains("www-authenticate: basic realm=\"signalbox\""), "{}", asked.head);
    assert_eq!(server.send("GET /git", &[&basic("root", &token)], b"").await.status, 401);
    assert_eq!(server.send("GET /git", &["Authorization: Basic !!!"], b"").await.status, 401);
    let other = server.keys.capability(repo("team/other"));
    assert_eq!(server.send("GET /git", &[&basic("signalbox", &other)], b"").await.status, 403);
    let digest = server.keys.capability(Capability::ReadDigest { digest: crate::auth::sha256(b"") });
    assert_eq!(server.send("GET /git", &[&basic("signalbox", &digest)], b"").await.status, 403);
    let act = server.keys.act("GET /git", b"");
    assert_eq!(server.send("GET /git", &[&basic("signalbox", &act)], b"").await.status, 403);
    server.end().await;
}
