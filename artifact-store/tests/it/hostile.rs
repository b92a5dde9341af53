//! Requests that are not valid: each is told the field at fault, and leaves nothing.

use jiff::Timestamp;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use signalbox_contract::api::store::{BlobInfo, CloseRequest, CloseResult, ResolveRequest, UnpinRequest};
use signalbox_contract::api::{Answer, Nothing};
use signalbox_contract::{AttemptKey, Code, Problem, RunId};

use crate::house::{House, attempt, noise, problem};

/// What a refusal names.
async fn refused(response: Response) -> (u16, Code, String) {
    let Problem { status, code, errors, .. } = problem(response).await;
    (status, code, errors.into_iter().next().map(|error| error.field).unwrap_or_default())
}

#[tokio::test]
async fn a_history_is_asked_for_by_a_valid_name_and_valid_parameters() {
    let house = House::open().await;
    house.put("app", "x").await;
    for name in ["a..b", "a//b", "-x", "x.", "x%00", "e%cc%81", "app/versions", "a%5cb", &"a".repeat(201)] {
        let told = refused(house.get(&format!("/versions/{name}")).await).await;
        assert_eq!(told, (400, Code::InvalidRequest, "name".to_owned()), "{name}");
    }
    // A history has no history.
    let told = refused(house.get("/blobs/app/versions/versions").await).await;
    assert_eq!(told, (400, Code::InvalidRequest, "name".to_owned()));
    for (parameters, field) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=-1", "cursor"),
        ("cursor=9223372036854775808", "cursor"),
        ("x=1", "x"),
    ] {
        for path in ["/versions/app", "/blobs/app/versions"] {
            let told = refused(house.get(&format!("{path}?{parameters}")).await).await;
            assert_eq!(told, (400, Code::InvalidRequest, field.to_owned()), "{path}?{parameters}");
        }
    }
    house.close().await;
}

// What would be shown where a history is asked for has no name.
#[tokio::test]
async fn nothing_is_stored_where_a_history_is_asked_for() {
    let house = House::open().await;
    for method in [Method::PUT, Method::DELETE] {
        let request = house.request(method, "/blobs/app/versions").body("x");
        let problem = problem(request.send().await.expect("an answer")).await;
        assert_eq!((problem.status, problem.errors[0].field.as_str()), (400, "name"));
        assert!(problem.detail.contains("the history of the name before it"), "{problem:?}");
    }
    assert_eq!(house.get("/blobs/app/versions").await.status(), 404);
    assert_eq!(house.put("versions", "an ordinary name").await.status(), 201);
    assert_eq!(house.bytes("versions").await.expect("there"), b"an ordinary name");
    house.close().await;
}

#[tokio::test]
async fn a_digest_is_a_whole_sha_256() {
    let house = House::open().await;
    for digest in ["nonsense", "sha256:", "sha256:00", "md5:d41d8cd98f00b204e9800998ecf8427e", &"g".repeat(64), "a%00", "%ff"] {
        for method in [Method::GET, Method::HEAD] {
            let response = house.request(method.clone(), &format!("/digests/{digest}")).send().await.expect("an answer");
            assert_eq!(response.status(), 400, "{method} {digest}");
            if method == Method::GET {
                assert_eq!(refused(response).await, (400, Code::InvalidRequest, "digest".to_owned()), "{digest}");
            }
        }
    }
    house.close().await;
}

/// Sends a body with each of these changes, which must be refused for the body's field.
async fn each_is_refused(house: &House, path: &str, key: AttemptKey, good: &Value, changes: &[(&str, Value)]) {
    for (field, value) in changes {
        let mut body = good.clone();
        body[*field] = value.clone();
        let told = refused(house.raw_act(path, key, &body).await).await;
        assert_eq!(told, (400, Code::InvalidBody, (*field).to_owned()), "{path}: {body}");
    }
    for field in good.as_object().expect("an object").keys() {
        let mut body = good.clone();
        body.as_object_mut().expect("an object").remove(field);
        let told = refused(house.raw_act(path, key, &body).await).await;
        assert_eq!(told, (400, Code::InvalidBody, field.clone()), "{path} without {field}");
    }
    for body in [json!([]), json!(7), json!("x"), Value::Null] {
        let problem = problem(house.raw_act(path, key, &body).await).await;
        assert_eq!((problem.status, problem.code), (400, Code::InvalidBody), "{path}: {body}");
    }
}

#[tokio::test]
async fn what_closes_a_grant_is_whole_and_its_key_an_attempts() {
    let house = House::open().await;
    let key = attempt();
    let line = Timestamp::UNIX_EPOCH;
    let good = serde_json::to_value(CloseRequest { publish: true, line, pin: key.run }).expect("JSON");
    let path = format!("/grants/{key}/close");
    let changes = [
        ("publish", json!("yes")),
        ("publish", json!(1)),
        ("publish", Value::Null),
        ("line", json!("soon")),
        ("line", json!(-1)),
        ("pin", json!("../x")),
        ("pin", json!("")),
        ("surplus", json!(1)),
    ];
    each_is_refused(&house, &path, key, &good, &changes).await;
    for wrong in ["nonsense", "..%2fx", "-1-1-1"] {
        let told = refused(house.raw_act(&format!("/grants/{wrong}/close"), key, &good).await).await;
        assert_eq!(told, (400, Code::InvalidRequest, "key".to_owned()), "{wrong}");
    }
    // Nothing of it is remembered: the key is free for the right body, and the grant was open till then.
    let Answer::Done { result } = house.act::<CloseResult>(&path, key, &good).await else { panic!("not closed") };
    assert_eq!((result.artifacts, house.files()), (Vec::new(), (0, 0)));
    house.close().await;
}

#[tokio::test]
async fn what_is_resolved_and_let_go_of_is_named_whole() {
    let house = House::open().await;
    house.put("app", noise(1, 10)).await;
    let key = attempt();
    let good = serde_json::to_value(ResolveRequest { name: "app".parse().expect("a name"), pin: key.run }).expect("JSON");
    let changes = [
        ("name", json!("../x")),
        ("name", json!("app/versions")),
        ("name", json!("")),
        ("name", json!("a\0b")),
        ("name", json!("a".repeat(201))),
        ("name", json!(["app"])),
        ("pin", json!("x")),
        ("pin", json!(7)),
        ("surplus", json!(1)),
    ];
    each_is_refused(&house, "/resolve", key, &good, &changes).await;
    let good_unpin = serde_json::to_value(UnpinRequest { owner: key.run }).expect("JSON");
    let changes = [("owner", json!("x")), ("owner", json!("../x")), ("owner", Value::Null), ("surplus", json!(1))];
    each_is_refused(&house, "/unpin", key, &good_unpin, &changes).await;
    // Nothing of it is remembered: the key is free for the right bodies.
    assert!(matches!(house.act::<BlobInfo>("/resolve", key, &good).await, Answer::Done { .. }));
    assert!(matches!(house.act::<Nothing>("/unpin", key, &good_unpin).await, Answer::Done { .. }));
    house.close().await;
}

// Threat 61.
#[tokio::test]
async fn what_comes_as_no_json_is_not_taken_for_it() {
    let house = House::open().await;
    let key = AttemptKey { run: RunId::from_uuid(uuid::Uuid::nil()), step: 1, attempt: 1 };
    for (path, text) in [("/resolve", "name=app"), ("/unpin", "{\"owner\":"), ("/resolve", "{} {}"), ("/unpin", "\u{feff}{}")] {
        let problem = problem(house.raw_text(path, key, text).await).await;
        assert_eq!((problem.status, problem.code), (400, Code::InvalidBody), "{path}: {text}");
    }
    house.close().await;
}
