//! Bad input: every endpoint, every field. Nothing is stored, and the answer names what is wrong.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use signalbox_contract::Code;
use signalbox_contract::api::Page;
use signalbox_contract::api::run::{Outcome, RunSummary};

use crate::house::{House, answer, expect, refused};

async fn nothing_is_stored(house: &House) {
    let runs: Page<RunSummary> = expect(house.get("/runs"), StatusCode::OK).await;
    assert!(runs.items.is_empty(), "{runs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_a_run_that_makes_no_sense_names_the_field() {
    let house = House::open().await;
    let many: serde_json::Map<String, Value> = (0..33).map(|n| (format!("V{n}"), json!("x"))).collect();
    for (field, value) in [
        ("ref", json!("")),
        ("ref", json!("-x")),
        ("ref", json!("a..b")),
        ("ref", json!("HEAD")),
        ("ref", json!("a\u{0}b")),
        ("ref", json!("x".repeat(256))),
        ("ref", json!(["main"])),
        ("repo", json!(7)),
        ("repo", json!("x".repeat(2049))),
        ("repo", json!(format!("https://git.example.org/{}", "x".repeat(3000)))),
        ("artifact", json!("../../etc/passwd")),
        ("artifact", json!("/x")),
        ("artifact", json!("a".repeat(201))),
        ("job", json!("a/b")),
        ("job", json!("")),
        ("environment", json!("a b")),
        ("published_name", json!("a/b")),
        ("published_name", json!("current")),
        ("executor", json!("$(id)")),
        ("inputs", json!("x")),
        ("inputs", Value::Object(many)),
        ("inputs.A", json!({ "A": "x".repeat(4097) })),
        ("inputs.A", json!({ "A": "x\u{0}" })),
        ("inputs.A", json!({ "A": 1 })),
        ("inputs.CICD_GIT_COMMIT", json!({ "CICD_GIT_COMMIT": "0" })),
        ("inputs.SIGNALBOX_RUN", json!({ "A": "x", "SIGNALBOX_RUN": "x" })),
        ("inputs.CI_DEBUG_TRACE", json!({ "CI_DEBUG_TRACE": "true" })),
        ("inputs.PATH", json!({ "PATH": "/tmp" })),
        ("inputs.LD_PRELOAD", json!({ "LD_PRELOAD": "/tmp/x.so" })),
        ("inputs.git_ssh_command", json!({ "git_ssh_command": "id" })),
        ("inputs.BASH_ENV", json!({ "CC": "clang", "BASH_ENV": "/tmp/x" })),
        ("branch", json!("main")),
        ("REPO", json!("hello")),
    ] {
        let mut body = json!({ "repo": "hello", "ref": "main", "artifact": "site/hello" });
        body[field.split('.').next().unwrap_or(field)] = value.clone();
        let problem = refused(house.post("/cd", &body), 400).await;
        assert_eq!((problem.code, problem.errors[0].field.as_str()), (Code::InvalidBody, field), "{problem:?}");
        if let Some(text) = value.as_str().filter(|text| text.len() > 5 && *text != "current") {
            assert!(!serde_json::to_string(&problem).expect("JSON").contains(text), "what was sent is not repeated");
        }
    }
    for (field, body) in [
        ("ref", json!({ "repo": "hello" })),
        ("repo", json!({ "ref": "main" })),
        ("environment", json!({ "repo": "hello", "ref": "main", "environment": "test" })),
        ("published_name", json!({ "repo": "hello", "ref": "main", "published_name": "x" })),
    ] {
        assert_eq!(refused(house.post("/cd", &body), 400).await.errors[0].field, field);
    }
    let problem = refused(house.post("/cd", &json!({ "repo": "hello", "ref": "main", "inputs": { "A B": "x" } })), 400).await;
    assert!(problem.errors[0].field.starts_with("inputs"), "{problem:?}");
    nothing_is_stored(&house).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_configured_is_named() {
    let house = House::open().await;
    for (field, body) in [
        ("repo", json!({ "repo": "nothing", "ref": "main" })),
        ("repo", json!({ "repo": "https://evil.example.org/x", "ref": "main" })),
        ("repo", json!({ "repo": "file:///etc/passwd", "ref": "main" })),
        ("repo", json!({ "repo": "--upload-pack=id", "ref": "main" })),
        ("repo", json!({ "repo": "", "ref": "main" })),
        ("executor", json!({ "repo": "hello", "ref": "main", "executor": "mars" })),
        ("executor", json!({ "repo": "bare", "ref": "main" })),
        ("environment", json!({ "repo": "team/other", "ref": "main", "artifact": "x" })),
    ] {
        let problem = refused(house.post("/cd", &body), 422).await;
        assert_eq!((problem.code, problem.errors[0].field.as_str()), (Code::NotConfigured, field), "{problem:?}");
    }
    nothing_is_stored(&house).await;
    house.close().await;
}

// Threats 18 and 61.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_json_or_too_large_is_refused() {
    let house = House::open().await;
    let run = "01jd8qk4wmfvt9e3v1n0t2m6xz";
    let paths = ["/cd".to_owned(), "/environments/test/deploy".to_owned(), "/environments/test/rollback".to_owned(), "/tokens".to_owned()];
    let rerun = format!("/runs/{run}/rerun");
    for path in paths.into_iter().chain([rerun.clone()]) {
        let post = || house.by(house.token(), Method::POST, &path);
        refused(post().body("{}"), 415).await;
        refused(post().header("content-type", "text/plain").body("{}"), 415).await;
        refused(post().header("content-type", "application/x-www-form-urlencoded").body("repo=hello"), 415).await;
        let json = || post().header("content-type", "application/json");
        // Where everything has a default, nothing is a body too; here there is no such run.
        refused(json().body(""), if path == rerun { 404 } else { 400 }).await;
        refused(post(), if path == rerun { 404 } else { 415 }).await;
        for body in ["{", "nonsense", "7", "null", "{\"a\":1}}", "{\"repo\":\"hello\",\"repo\":\"hello\"}"] {
            let problem = refused(json().body(body), 400).await;
            assert_eq!(problem.code, Code::InvalidBody, "{path} {body}");
        }
        refused(json().body(vec![b' '; 65 * 1024]), 413).await;
        let stream = futures_util::stream::iter((0..70).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1024])));
        refused(json().body(reqwest::Body::wrap_stream(stream)), 413).await;
        refused(json().body("[".repeat(60_000)), 400).await;
    }
    nothing_is_stored(&house).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn environments_take_only_what_makes_sense() {
    let house = House::open().await;
    let deploy = json!({ "artifact_id": "a", "published_name": "a" });
    for (field, value) in [("artifact_id", "../x"), ("published_name", "a/b"), ("digest", "x")] {
        let mut body = deploy.clone();
        body[field] = json!(value);
        assert_eq!(refused(house.post("/environments/test/deploy", &body), 400).await.errors[0].field, field);
    }
    let back = json!({ "published_name": "a" });
    for (field, value) in
        [("published_name", json!("")), ("digest", json!("sha256:xyz")), ("digest", json!(1)), ("artifact_id", json!("a"))]
    {
        let mut body = back.clone();
        body[field] = value;
        assert_eq!(refused(house.post("/environments/test/rollback", &body), 400).await.errors[0].field, field);
    }
    for name in ["-x", "a%20b", "..%2fx", &"x".repeat(64)] {
        assert_eq!(refused(house.get(&format!("/environments/{name}")), 400).await.errors[0].field, "name", "{name}");
        refused(house.post(&format!("/environments/{name}/deploy"), &deploy), 400).await;
        refused(house.post(&format!("/environments/{name}/rollback"), &back), 400).await;
    }
    nothing_is_stored(&house).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_checked() {
    let house = House::open().await;
    let run = house.branch("main").await;
    house.ends(run, Outcome::Passed).await;
    let events = format!("/runs/{run}/events");
    let log = format!("/runs/{run}/steps/build/log");
    for path in ["/status", "/runs", "/tokens", &events] {
        for limit in ["0", "201", "-1", "x", "99999999999"] {
            assert_eq!(refused(house.get(&format!("{path}?limit={limit}")), 400).await.errors[0].field, "limit", "{path} {limit}");
        }
        assert_eq!(refused(house.get(&format!("{path}?page=2")), 400).await.errors[0].field, "page", "{path}");
        refused(house.get(&format!("{path}?limit=1&limit=2")), 400).await;
        answer(house.get(&format!("{path}?limit=200")), StatusCode::OK).await;
    }
    for (path, field, value) in [
        ("/status", "cursor", "x"),
        ("/runs", "cursor", "%27%20OR%201=1"),
        ("/runs", "repo", "..%2f"),
        ("/runs", "ref", "-x"),
        ("/runs", "state", "happy"),
        ("/tokens", "cursor", "x"),
        (events.as_str(), "after", "-1"),
        (log.as_str(), "attempt", "x"),
        (log.as_str(), "tail", "-1"),
        (log.as_str(), "lines", "1"),
    ] {
        assert_eq!(refused(house.get(&format!("{path}?{field}={value}")), 400).await.errors[0].field, field, "{path}");
    }
    for id in ["x", "01JD8QK4WMFVT9E3V1N0T2M6XZ", "8zzzzzzzzzzzzzzzzzzzzzzzzz", "%00"] {
        for what in ["", "/events", "/live"] {
            assert_eq!(refused(house.get(&format!("/runs/{id}{what}")), 400).await.errors[0].field, "id", "{id}{what}");
        }
        refused(house.post(&format!("/runs/{id}/stop"), &json!({})), 400).await;
    }
    for what in ["", "/events", "/live", "/steps/build/log"] {
        refused(house.get(&format!("/runs/01jd8qk4wmfvt9e3v1n0t2m6xz{what}")), 404).await;
    }
    assert_eq!(refused(house.post(&format!("/runs/{run}/rerun"), &json!({ "from": "middle" })), 400).await.errors[0].field, "from");
    assert_eq!(refused(house.post(&format!("/runs/{run}/rerun"), &json!({ "step": 1 })), 400).await.errors[0].field, "step");
    let words = refused(house.post(&format!("/runs/{run}/rerun"), &json!({ "from": 1 })), 400).await.errors.remove(0);
    assert!(words.field == "from" && words.detail.contains("`failed` or `start`"), "{words:?}");
    assert_eq!(refused(house.post(&format!("/runs/{run}/rerun"), &Value::Null), 400).await.detail, "The body must be an object.");
    assert_eq!(refused(house.post(&format!("/runs/{run}/stop"), &json!({ "from": "start" })), 400).await.errors[0].field, "from");
    refused(house.by(house.token(), Method::POST, &format!("/runs/{run}/stop")).body("now"), 415).await;
    refused(house.by(house.token(), Method::POST, &format!("/runs/{run}/stop")), 409).await;
    refused(house.post(&format!("/runs/{run}/stop"), &json!({})), 409).await;
    let live = house.get(&format!("/runs/{run}/live")).header("last-event-id", "x");
    assert_eq!(refused(live, 400).await.errors[0].field, "Last-Event-ID");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_at_fault_is_named_at_once() {
    let house = House::open().await;
    let grant = json!({ "actions": ["read", "fly"], "repos": [7] });
    for (path, body, fields) in [
        ("/cd", json!({}), "ref repo"),
        (
            "/cd",
            json!({ "repo": 7, "ref": "a..b", "job": "", "branch": "x", "inputs": { "A": 1, "B": 2 } }),
            "branch inputs.A inputs.B job ref repo",
        ),
        (
            "/cd",
            json!({ "repo": "x".repeat(3000), "ref": "main", "environment": "test", "inputs": { "PATH": "x", "A": "\u{0}" } }),
            "environment inputs.A inputs.PATH repo",
        ),
        ("/environments/test/deploy", json!({ "artifact_id": "../x", "digest": "x" }), "artifact_id digest published_name"),
        ("/environments/test/rollback", json!({ "published_name": "a/b", "digest": 1 }), "digest published_name"),
        (
            "/tokens",
            json!({ "audience": "moon", "lifetime": -1, "grants": [grant] }),
            "audience grants[0].actions[1] grants[0].repos[0] lifetime principal",
        ),
        ("/tokens", json!({ "principal": "", "audience": "controller", "lifetime": 0, "grants": [] }), "grants lifetime principal"),
    ] {
        let problem = refused(house.post(path, &body), 400).await;
        let mut named: Vec<&str> = problem.errors.iter().map(|error| error.field.as_str()).collect();
        named.sort_unstable();
        assert_eq!((problem.code, named.join(" ").as_str()), (Code::InvalidBody, fields), "{path} {problem:?}");
    }
    nothing_is_stored(&house).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_parameter_must_be_is_said_without_a_librarys_words() {
    let house = House::open().await;
    let run = house.branch("main").await;
    house.ends(run, Outcome::Passed).await;
    let number = "must be a whole number";
    let cases = [
        (Method::DELETE, "/tokens/zzz".to_owned(), "jti", "must be a UUID"),
        (Method::GET, format!("/runs/{run}/steps/build/attempts/x"), "attempt", "must be a whole number from 0 to 65535"),
        (Method::GET, "/deliveries/zz".to_owned(), "id", number),
        (Method::GET, "/runs?limit=x".to_owned(), "limit", number),
        (Method::GET, "/runs?repo=%ff".to_owned(), "repo", "must be UTF-8"),
        (Method::GET, format!("/runs/{run}/events?after=x"), "after", number),
        (Method::GET, format!("/runs/{run}/steps/build/log?tail=x"), "tail", number),
        (Method::GET, format!("/runs/{run}/steps/build/log?attempt=70000"), "attempt", number),
        (Method::GET, "/deliveries?cursor=x".to_owned(), "cursor", number),
        (Method::GET, "/tokens?cursor=x".to_owned(), "cursor", "must be a UUID"),
    ];
    for (method, path, field, words) in cases {
        let problem = refused(house.by(house.token(), method, &path), 400).await;
        let error = &problem.errors[0];
        assert!(error.field == field && error.detail.starts_with(words), "{path}: {problem:?}");
        let text = format!("{problem:?}");
        assert!(
            !["invalid digit", "parsing", "u16", "u64", "struct", "invalid type"].iter().any(|word| text.contains(word)),
            "{path}: {text}"
        );
    }
    let broken = house.by(house.token(), Method::POST, "/cd").header("content-type", "application/json");
    let problem = refused(broken.body(b"{\"repo\": \"\xff\", \"ref\": \"main\"}".to_vec()), 400).await;
    assert!(problem.detail.contains("UTF-8"), "{problem:?}");
    // What does not fit at all is too long, whatever it asks for.
    assert_eq!(refused(house.get(&format!("/runs?ref={}", "x".repeat(9000))), 414).await.code, Code::UriTooLong);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_an_endpoint_is_a_problem_too() {
    let house = House::open().await;
    assert_eq!(refused(house.get("/nowhere"), 404).await.code, Code::NotFound);
    let response = answer(house.by(house.token(), Method::PUT, "/cd"), StatusCode::METHOD_NOT_ALLOWED).await;
    assert!(response.headers().contains_key("allow"));
    refused(house.by(house.token(), Method::DELETE, "/runs"), 405).await;
    house.close().await;
}
