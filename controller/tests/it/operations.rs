//! Every operation of the API's description: each refuses what makes no sense and names it, and each that needs a token does
//! nothing without one. An operation that is new fails here until it has its cases.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use signalbox_contract::Code;

use crate::deliveries::{acted, delivers, said, setup};
use crate::house::{House, answer, expect, refused};

/// A run that there is not.
const RUN: &str = "01jd8qk4wmfvt9e3v1n0t2m6xz";

/// What makes no sense: the operation, where it is asked, with which body, and the field that is at fault.
type Case = (&'static str, &'static str, Option<Value>, &'static str);

/// Operations that take nothing that could make no sense. What forges deliver, and what a build's ID token is, are refused by
/// their signatures, in tests of their own.
const ASK_NOTHING: [&str; 7] = [
    "GET /doctor",
    "GET /health/live",
    "GET /health/ready",
    "GET /schemas/signalbox.json",
    "POST /token",
    "POST /webhooks/{forge}",
    "POST /webhooks/{forge}/{path}",
];

/// One operation each that is told to others how to do it.
fn cases() -> Vec<Case> {
    let body = |text: &str| serde_json::from_str::<Value>(text).ok();
    let mut cases = vec![
        ("POST /cd", "/cd", body(r#"{"repo": "hello", "ref": "a..b"}"#), "ref"),
        ("POST /cd", "/cd", body(r#"{"ref": "main"}"#), "repo"),
        ("POST /environments/{name}/deploy", "/environments/a%20b/deploy", body(r#"{"artifact_id": "a", "published_name": "a"}"#), "name"),
        (
            "POST /environments/{name}/deploy",
            "/environments/test/deploy",
            body(r#"{"artifact_id": "../x", "published_name": "a"}"#),
            "artifact_id",
        ),
        ("POST /environments/{name}/rollback", "/environments/-x/rollback", body(r#"{"published_name": "a"}"#), "name"),
        ("POST /environments/{name}/rollback", "/environments/test/rollback", body(r#"{"published_name": "a/b"}"#), "published_name"),
        ("GET /environments/{name}", "/environments/a%20b", None, "name"),
        ("GET /environments/{name}", "/environments/test?cursor=a%20b", None, "cursor"),
        ("POST /mirrors/collect", "/mirrors/collect", body(r#"{"dry_run": 1}"#), "dry_run"),
        ("POST /mirrors/collect", "/mirrors/collect", body(r#"{"all": true}"#), "all"),
        ("POST /tokens", "/tokens", body(r#"{"principal": "", "audience": "controller", "lifetime": 1, "grants": []}"#), "principal"),
        ("DELETE /tokens/{jti}", "/tokens/x", None, "jti"),
        ("GET /tokens", "/tokens?cursor=x", None, "cursor"),
        ("GET /revocations", "/revocations?cursor=x", None, "cursor"),
        ("GET /revocations", "/revocations?limit=1001", None, "limit"),
        ("GET /mirrors", "/mirrors?limit=21", None, "limit"),
        ("GET /status", "/status?cursor=x", None, "cursor"),
        ("GET /runs", "/runs?state=happy", None, "state"),
        ("GET /environments", "/environments?cursor=a%20b", None, "cursor"),
        ("GET /deliveries", "/deliveries?state=happy", None, "state"),
        ("GET /deliveries", "/deliveries?source=a%20b", None, "source"),
        ("GET /deliveries", "/deliveries?cursor=-1", None, "cursor"),
        ("GET /deliveries", "/deliveries?cursor=9223372036854775808", None, "cursor"),
        ("GET /deliveries/{id}", "/deliveries/x", None, "id"),
        ("GET /deliveries/{id}", "/deliveries/-1", None, "id"),
        ("GET /deliveries/{id}", "/deliveries/18446744073709551616", None, "id"),
        ("POST /deliveries/{id}/replay", "/deliveries/x/replay", None, "id"),
        ("GET /runs/{id}", "/runs/x", None, "id"),
        ("GET /runs/{id}/events", "/runs/x/events", None, "id"),
        ("GET /runs/{id}/live", "/runs/x/live", None, "id"),
        ("GET /runs/{id}/steps/{step}/attempts/{attempt}", "/runs/x/steps/build/attempts/1", None, "id"),
        ("GET /runs/{id}/steps/{step}/log", "/runs/x/steps/build/log", None, "id"),
        ("GET /runs/{id}/steps/{step}/log", "/runs/%00/steps/build/log", None, "id"),
        ("POST /runs/{id}/stop", "/runs/x/stop", None, "id"),
        ("POST /runs/{id}/rerun", "/runs/x/rerun", None, "id"),
        ("POST /runs/{id}/rerun", "/runs/01jd8qk4wmfvt9e3v1n0t2m6xz/rerun", body(r#"{"from": "middle"}"#), "from"),
    ];
    for (operation, path) in [
        ("GET /status", "/status?"),
        ("GET /runs", "/runs?"),
        ("GET /tokens", "/tokens?"),
        ("GET /environments", "/environments?"),
        ("GET /environments/{name}", "/environments/test?"),
        ("GET /deliveries", "/deliveries?"),
        ("GET /mirrors", "/mirrors?"),
        ("GET /revocations", "/revocations?"),
    ] {
        for (query, field) in [("limit=0", "limit"), ("limit=x", "limit"), ("limit=99999999999", "limit"), ("page=2", "page")] {
            cases.push((operation, Box::leak(format!("{path}{query}").into_boxed_str()), None, field));
        }
    }
    cases
}

/// The operations of the description that is served as documentation, and whether each needs a token.
fn described() -> Vec<(String, bool)> {
    let api = serde_json::to_value(signalbox_controller::openapi()).expect("JSON");
    let paths = api["paths"].as_object().expect("paths").iter();
    paths
        .flat_map(|(path, item)| {
            let operations = item.as_object().expect("operations").iter();
            operations.map(move |(method, operation)| {
                let open = operation["security"].as_array().is_some_and(|all| all.iter().any(|needed| *needed == json!({})));
                (format!("{} {path}", method.to_uppercase()), !open)
            })
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_refuses_what_makes_no_sense_and_names_it() {
    let house = House::open().await;
    let cases = cases();
    let known: BTreeSet<&str> = cases.iter().map(|(operation, ..)| *operation).chain(ASK_NOTHING).collect();
    let described = described();
    let described: BTreeSet<&str> = described.iter().map(|(operation, _)| operation.as_str()).collect();
    assert_eq!(known, described, "each operation has its cases, and no case is of an operation that is gone");
    for (operation, path, body, field) in &cases {
        let method: Method = operation.split(' ').next().unwrap_or_default().parse().expect("a method");
        let request = house.by(house.token(), method, path);
        let request = if let Some(body) = body { request.json(body) } else { request };
        let problem = refused(request, 400).await;
        assert!(matches!(problem.code, Code::InvalidRequest | Code::InvalidBody), "{operation} {path}: {problem:?}");
        assert_eq!(problem.errors[0].field, *field, "{operation} {path}: {problem:?}");
    }
    let runs: Value = expect(house.get("/runs"), StatusCode::OK).await;
    assert_eq!(runs["items"], json!([]), "nothing came of it");
    house.close().await;
}

/// Where an operation is asked for, of things that there are not.
fn at(template: &str) -> String {
    let id = if template.starts_with("/deliveries") { "1" } else { RUN };
    let path = template.replace("{id}", id).replace("{step}", "build").replace("{attempt}", "1").replace("{name}", "test");
    path.replace("{jti}", "01936f00-0000-7000-8000-000000000000").replace("{forge}", "nowhere").replace("{path}", "x")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_operation_ignores_a_parameter_that_it_does_not_read() {
    let house = House::open().await;
    let secret = "s3cr3t-of-somebody";
    // A forge disables a webhook that is refused, so what stands behind the path there is let be.
    for (operation, _) in described().into_iter().filter(|(operation, _)| !operation.starts_with("POST /webhooks/")) {
        let (method, template) = operation.split_once(' ').expect("a method and a path");
        let method: Method = method.parse().expect("a method");
        for (query, field) in [("x=1", "x"), ("token=", "token"), ("limt=5&limit=1", "limt")] {
            let path = format!("{}?{query}{}", at(template), if field == "token" { secret } else { "" });
            let request = house.by(house.token(), method.clone(), &path);
            let body = json!({ "repo": "hello", "ref": "main" });
            let problem = refused(if method == Method::POST { request.json(&body) } else { request }, 400).await;
            assert_eq!((problem.code, problem.errors[0].field.as_str()), (Code::InvalidRequest, field), "{operation}: {problem:?}");
            assert!(!format!("{problem:?}").contains(secret), "{problem:?}");
            if field == "token" {
                assert!(problem.errors[0].detail.contains("Authorization"), "it is said where it belongs: {problem:?}");
            }
        }
    }
    let runs: Value = expect(house.get("/runs"), StatusCode::OK).await;
    assert_eq!(runs["items"], json!([]), "nothing came of it");
    // A question mark with nothing behind it says nothing.
    answer(house.get("/status?"), StatusCode::OK).await;
    answer(house.by(house.token(), Method::HEAD, "/runs?limit=1"), StatusCode::OK).await;
    answer(house.by(house.token(), Method::HEAD, "/runs?x=1"), StatusCode::BAD_REQUEST).await;
    for page in ["/?x=1", "/sign-in?token=x", "/view/deliveries?x=1", "/view/environments?x=1", "/assets/style.css?x=1"] {
        answer(house.get(page).header("accept", "text/html"), StatusCode::BAD_REQUEST).await;
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_that_needs_a_token_does_nothing_without_one() {
    let house = House::with(setup()).await;
    delivers(&house, &said("1", "uploaded", 7, 2)).await;
    let delivery = acted(&house, "uploaded").await.id.to_string();
    let stranger = House::open().await;
    for (operation, needs) in described() {
        let (method, template) = operation.split_once(' ').expect("a method and a path");
        let path = at(&if template.starts_with("/deliveries") { template.replace("{id}", &delivery) } else { template.to_owned() });
        let method: Method = method.parse().expect("a method");
        if !needs {
            let status = house.bare(method, &path).send().await.expect("an answer").status();
            assert_ne!(status, StatusCode::UNAUTHORIZED, "{operation} is said to need no token");
            continue;
        }
        for request in [
            house.bare(method.clone(), &path),
            house.bare(method.clone(), &path).header("authorization", "Basic c2lnbmFsYm94Ong="),
            house.by("not-a-token", method.clone(), &path),
            house.by(stranger.token(), method.clone(), &path),
        ] {
            let request = if method == Method::POST { request.json(&json!({})) } else { request };
            let response = answer(request, StatusCode::UNAUTHORIZED).await;
            assert_eq!(response.headers()["www-authenticate"], "Bearer", "{operation}");
        }
        refused(house.bare(method, &format!("{path}?access_token={}", house.token())), 401).await;
    }
    let open: Value = expect(house.bare(Method::GET, "/revocations"), StatusCode::OK).await;
    assert_eq!(open, json!({ "revoked": [] }), "nothing came of it, and revocations are public");
    stranger.close().await;
    house.close().await;
}
