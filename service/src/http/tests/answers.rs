//! What answers look like, and what they must not say.

use axum::routing::{get, post};
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use signalbox_contract::{Code, Problem, RunId};

use super::*;
use crate::telemetry::request_id;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    count: u32,
}

#[derive(Debug, thiserror::Error)]
#[error("the canary-in-the-message")]
struct Inner;

#[derive(Debug, thiserror::Error)]
#[error("the outer canary")]
struct Outer(#[source] Inner);

fn routes() -> Router {
    Router::new()
        .route("/body", post(async |Json(body): Json<Body>| Json(body)))
        .route("/query", get(async |Query(body): Query<Body>| Json(body)))
        .route("/runs/{run}", get(async |Path(run): Path<RunId>| run.to_string()))
        .route("/runs/{run}/then/{other}", get(async |Path((run, other)): Path<(RunId, RunId)>| format!("{run}{other}")))
        .route("/count/{step}/{number}", get(async |Path((_, number)): Path<(String, u32)>| number.to_string()))
        .route("/stop", post(async |_: NoBody| "stopped"))
        .route("/id/{id}", get(async |Path(id): Path<uuid::Uuid>| id.to_string()))
        .route("/fail", get(async || Err::<(), _>(internal(Outer(Inner)))))
        .route("/panic", get(panicking))
        .route("/slow", get(async || std::future::pending::<()>().await))
        .route("/busy", get(async || Err::<(), _>(Refusal(Problem::new(Code::QueueFull).retry_after(7)))))
        .route("/who", get(async || Err::<(), _>(Refusal(Problem::new(Code::Unauthenticated)))))
        .route("/id", get(async || request_id::current().map(|id| id.to_string()).unwrap_or_default()))
}

async fn panicking() {
    panic!("the canary of a panic");
}

async fn ask(server: &Server, request: &str) -> (http::StatusCode, http::HeaderMap, String) {
    let (method, path) = request.split_once(' ').expect("method and path");
    let client = reqwest::Client::new();
    let (path, body) = path.split_once(" <- ").unwrap_or((path, ""));
    let mut builder = client.request(method.parse().expect("a method"), format!("http://{}{path}", server.address));
    if !body.is_empty() {
        builder = builder.header("content-type", "application/json").body(body.to_owned());
    }
    let answer = builder.send().await.expect("answered");
    (answer.status(), answer.headers().clone(), answer.text().await.expect("text"))
}

#[tokio::test]
async fn everything_that_is_refused_is_a_problem_with_the_requests_id() {
    let server = Server::start(routes(), quick());
    for (request, code, field) in [
        ("GET /nowhere", Code::NotFound, ""),
        ("PUT /body", Code::MethodNotAllowed, ""),
        ("POST /body", Code::UnsupportedMediaType, ""),
        ("POST /body <- {", Code::InvalidBody, ""),
        ("POST /body <- {}", Code::InvalidBody, "count"),
        (r#"POST /body <- {"count":1,"x":2}"#, Code::InvalidBody, "x"),
        (r#"POST /body <- {"count":1} {}"#, Code::InvalidBody, ""),
        ("GET /query", Code::InvalidRequest, "count"),
        ("GET /query?count=hunter2", Code::InvalidRequest, "count"),
        ("GET /query?count=1&count=2", Code::InvalidRequest, "count"),
        ("GET /query?count=1&more=2", Code::InvalidRequest, "more"),
        ("GET /runs/hunter2", Code::InvalidRequest, "run"),
        ("GET /runs/%ff", Code::InvalidRequest, "run"),
        ("GET /runs/hunter2/then/hunter2", Code::InvalidRequest, "run"),
        ("GET /runs/01m82hp5x6eyrtk84r2rzzhsvh/then/hunter2", Code::InvalidRequest, "other"),
        ("GET /count/1/hunter2", Code::InvalidRequest, "number"),
        ("GET /query?count=%ff", Code::InvalidRequest, "count"),
        ("GET /query?count=1&a%ffb=1", Code::InvalidRequest, "a\u{fffd}b"),
        ("POST /stop <- [1]", Code::InvalidBody, ""),
        ("POST /stop <- null", Code::InvalidBody, ""),
        (r#"POST /stop <- {"force":true}"#, Code::InvalidBody, "force"),
        ("GET /fail", Code::Internal, ""),
        ("GET /panic", Code::Internal, ""),
        ("GET /slow", Code::Timeout, ""),
        ("GET /busy", Code::QueueFull, ""),
        ("GET /who", Code::Unauthenticated, ""),
    ] {
        let (status, headers, text) = ask(&server, request).await;
        let problem: Problem = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{request}: {error}: {text}"));
        assert_eq!((problem.code, status.as_u16(), problem.status), (code, code.status(), code.status()), "{request}: {text}");
        assert_eq!(headers["content-type"], "application/problem+json", "{request}");
        assert_eq!(headers["cache-control"], "no-store", "{request}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{request}");
        assert_eq!(problem.instance.as_deref(), headers["x-request-id"].to_str().ok(), "{request}");
        assert_eq!(problem.errors.first().map_or("", |error| &error.field), field, "{request}: {text}");
        assert!(!text.contains("canary") && !text.contains("hunter2"), "{request}: {text}");
        assert_eq!(headers.get("retry-after").is_some(), request == "GET /busy", "{request}");
        assert_eq!(headers.get("www-authenticate").is_some(), request == "GET /who", "{request}");
        assert_eq!(headers.get("allow").is_some(), request == "PUT /body", "{request}");
    }
    server.end().await;
}

#[tokio::test]
async fn what_is_expected_is_said_in_words_of_ours() {
    let server = Server::start(routes(), quick());
    for (request, words) in [
        ("GET /query?count=x", "must be a whole number, and not negative"),
        ("GET /query?count=-1", "must be a whole number, and not negative"),
        ("GET /query?count=", "must be a whole number, and not negative"),
        ("GET /query?count=99999999999", "must be a whole number, and not as large"),
        ("GET /query?count=%f0%28", "must be UTF-8 in percent-encoding"),
        ("GET /count/1/x", "must be a whole number from 0 to 4294967295"),
        ("GET /id/zzz", "must be a UUID: 32 hexadecimal digits, in groups of 8, 4, 4, 4 and 12"),
        (r#"POST /body <- {"count":"x"}"#, "must be a whole number from 0 to 4294967295"),
        (r#"POST /body <- {"count":-1}"#, "must be a whole number from 0 to 4294967295"),
    ] {
        let (_, _, text) = ask(&server, request).await;
        let problem: Problem = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{request}: {error}: {text}"));
        assert_eq!(problem.errors.first().map_or("", |error| &error.detail), words, "{request}: {text}");
        assert!(problem.detail.contains(words), "{request}: {text}");
    }
    for body in ["", " <- {}", " <-  { }"] {
        assert_eq!(ask(&server, &format!("POST /stop{body}")).await.0, 200, "{body}");
    }
    server.end().await;
}

// Threat 59.
#[tokio::test]
async fn a_requests_id_is_kept_when_it_is_plain_and_made_when_it_is_not() {
    let server = Server::start(routes(), quick());
    let id = async |sent: &str| {
        let answer = server.send(format!("GET /id HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{sent}\r\n")).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        assert!(head.contains(&format!("x-request-id: {body}")), "the handler, and its client, see the same: {answer}");
        body.to_owned()
    };
    assert_eq!(id("X-Request-Id: abc-1\r\n").await, "abc-1");
    for sent in ["", "X-Request-Id: a b\r\n", "X-Request-Id: \u{202e}\r\n", "X-Request-Id: a\r\nX-Request-Id: b\r\n"] {
        let made = id(sent).await;
        assert!(made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{sent:?}: {made}");
    }
    server.end().await;
}

#[tokio::test]
async fn health_tells_what_is_missing() {
    let server = Server::start(Router::new(), quick());
    assert_eq!(ask(&server, "GET /health/live").await.2, r#"{"status":"live","service":"test"}"#);
    assert_eq!(ask(&server, "GET /health/ready").await.2, r#"{"status":"ready","service":"test"}"#);
    let readiness = server.telemetry.readiness();
    readiness.missing("disk", "is full");
    let (status, headers, text) = ask(&server, "GET /health/ready").await;
    assert_eq!((status.as_u16(), headers["retry-after"].as_bytes()), (503, b"5".as_slice()));
    assert!(text.contains(r#"{"field":"disk","detail":"is full"}"#), "{text}");
    readiness.met("disk");
    assert_eq!(ask(&server, "GET /health/ready").await.0, 200);
    server.end().await;
}

#[tokio::test]
async fn metrics_count_by_route_never_by_path() {
    let server = Server::start(routes(), quick());
    let run = "x".repeat(9);
    ask(&server, &format!("GET /runs/{run}")).await;
    ask(&server, "GET /nowhere/at/all").await;
    ask(&server, "GET /id").await;
    let listener = bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
    let address = listener.local_addr().expect("an address");
    let (telemetry, shutdown) = (server.telemetry.clone(), server.shutdown.clone());
    let metrics = tokio::spawn(async move { telemetry.serve(listener, shutdown).await });
    let answer = reqwest::get(format!("http://{address}/metrics")).await.expect("answered");
    assert_eq!(answer.headers()["content-type"], crate::telemetry::METRICS_MEDIA_TYPE);
    let text = answer.text().await.expect("text");
    for line in [
        r#"http_requests_total{service="test",method="GET",route="/runs/{run}",status="400"} 1"#,
        r#"http_requests_total{service="test",method="GET",route="unmatched",status="404"} 1"#,
        r#"http_requests_total{service="test",method="GET",route="/id",status="200"} 1"#,
        r#"http_request_duration_seconds_count{service="test",method="GET",route="/id"} 1"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains(&run) && !text.contains("/nowhere"), "{text}");
    server.end().await;
    tokio::time::timeout(PATIENCE, metrics).await.expect("the metrics end, too").expect("without a panic");
}

#[tokio::test]
async fn a_packed_body_is_refused_and_the_answer_says_what_is_taken() {
    let streams = streaming(Router::new().route("/stream", post(async |body: axum::body::Bytes| body)), StreamLimits::new(1024, PATIENCE));
    let routes =
        Router::new().route("/", get(async || "hello")).route("/json", post(async |Json(body): Json<serde_json::Value>| Json(body)));
    let server = Server::start_with(routes, streams, quick());
    let ask = |method: &str, path: &str, encoding: &str| {
        let request = reqwest::Client::new().request(method.parse().expect("a method"), format!("http://{}{path}", server.address));
        request.header("content-type", "application/json").header("content-encoding", encoding).body("{}").send()
    };
    for encoding in ["gzip", "x-gzip", "br", "identity, gzip", "GZIP", "hunter2"] {
        let answer = ask("POST", "/json", encoding).await.expect("an answer");
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["accept-encoding"]),
            (415, &HeaderValue::from_static("identity")),
            "{encoding}"
        );
        let problem: Problem = answer.json().await.expect("a problem");
        assert_eq!((problem.code, problem.errors[0].field.as_str()), (Code::UnsupportedMediaType, "content-encoding"));
        assert!(problem.detail.contains("no encoding but identity") && !format!("{problem:?}").contains("hunter2"), "{problem:?}");
    }
    for (method, path, encoding) in
        [("POST", "/json", "identity"), ("POST", "/json", ""), ("GET", "/", "gzip"), ("POST", "/stream", "gzip")]
    {
        assert_eq!(ask(method, path, encoding).await.expect("an answer").status(), 200, "{method} {path} {encoding}");
    }
    let other = reqwest::Client::new().post(format!("http://{}/json", server.address)).body("{}").send().await.expect("an answer");
    assert_eq!(other.status(), 415);
    assert!(!other.headers().contains_key("accept-encoding"), "there it was another thing that was not taken");
    server.end().await;
}
