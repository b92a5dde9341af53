//! Requests that are refused at the border.

use http::StatusCode;
use serde_json::{Value, json};
use signalbox_contract::Code;
use signalbox_contract::api::mirrors::MirrorInfo;
use signalbox_contract::api::{Answer, Page};
use signalbox_contract::token::Service;
use signalbox_service::auth::sha256;
use signalbox_service::secret::ExposeSecret as _;

use crate::house::{House, key};

// Threats 21, 22, 23, 24, 28 and 31.
#[tokio::test]
async fn what_could_be_misread_is_refused_and_the_field_is_named() {
    let house = House::open().await;
    let cases: &[(&str, &[Value])] = &[
        (
            "git",
            &[
                json!("--upload-pack=touch /tmp/x"),
                json!("-u"),
                json!("ext::sh -c id"),
                json!("EXT::sh"),
                json!("fd::3"),
                json!("file:///etc"),
                json!("/etc"),
                json!("http+unix://x/y"),
                json!("ssh://-oProxyCommand=id/x"),
                json!("ssh://-oX@h/x"),
                json!("https:///host/x"),
                json!("https://good@evil/x"),
                json!("https://127.1/x"),
                json!("https://0x7f.1/x"),
                json!("https://h/a%0ab"),
                json!("https://h/a\nb"),
                json!("https://h:0/x"),
                json!("https://[fe80::1%25eth0]/x"),
                json!(7),
                Value::Null,
            ],
        ),
        (
            "ref",
            &[
                json!("-h"),
                json!("--upload-pack=x"),
                json!("a..b"),
                json!("a@{1}"),
                json!("x.lock"),
                json!("HEAD"),
                json!("a\0b"),
                json!("r\u{202e}x"),
                json!("a".repeat(4096)),
            ],
        ),
        ("name", &[json!("../x"), json!("x.git/hooks"), json!("/x"), json!(""), json!("-x"), json!("a\nb")]),
        ("sha", &[json!("HEAD"), json!("0".repeat(40)), json!("abc"), json!("-x")]),
        ("files", &[json!(["../x"]), json!(["-x"]), json!([".git/config"]), json!("x"), json!(vec!["a"; 9])]),
        ("surplus", &[json!(1)]),
    ];
    for (field, values) in cases {
        for value in *values {
            let mut order = house.order("main");
            order[*field] = value.clone();
            let problem = house.post::<()>("/repo", key(), &order).await.expect_err(&value.to_string());
            assert_eq!(problem.status, 400, "{field} {value}");
            assert!(problem.errors.iter().any(|error| error.field.starts_with(field)), "{field} {value}: {problem:?}");
        }
    }
    assert!(house.server.seen().is_empty());
    assert!(house.copies().is_empty());
}

#[tokio::test]
async fn what_is_shown_and_where_is_named_whole_and_what_is_refused_is_forgotten() {
    let house = House::open().await;
    let sha = house.mirror(&house.order("main")).await.sha;
    let attempt = key();
    let good = json!({ "name": "team/hello", "sha": sha, "action": "publish" });
    let cases: &[(&str, &[Value])] = &[
        ("name", &[json!("../x"), json!("x.git/hooks"), json!(""), json!("-x"), json!("a\nb"), json!(7)]),
        ("sha", &[json!("HEAD"), json!("0".repeat(40)), json!("abc"), json!("-x"), Value::Null]),
        ("action", &[json!("force"), json!(""), json!(1), Value::Null]),
        ("mirror", &[json!("../x"), json!("-x"), json!("a/b"), json!(""), json!("x".repeat(64))]),
        ("naming", &[json!("other"), json!(""), json!(1), Value::Null]),
        ("original", &[json!("--upload-pack=x"), json!("a..b"), json!("a@{1}"), json!("x.lock"), json!("a\0b"), json!("a".repeat(4096))]),
        ("surplus", &[json!(1)]),
    ];
    for (field, values) in cases {
        for value in *values {
            let mut body = good.clone();
            body[*field] = value.clone();
            let problem = house.post::<()>("/refs", attempt, &body).await.expect_err(&body.to_string());
            let told = (problem.status, problem.code, problem.errors.first().map(|error| error.field.as_str()));
            assert_eq!(told, (400, Code::InvalidBody, Some(*field)), "{body}");
        }
    }
    for field in ["name", "sha", "action"] {
        let mut body = good.clone();
        body.as_object_mut().expect("an object").remove(field);
        let problem = house.post::<()>("/refs", attempt, &body).await.expect_err(field);
        assert_eq!((problem.status, problem.errors[0].field.as_str()), (400, field));
    }
    // The key is free for the right body.
    assert_eq!(house.publish(attempt, &sha).await.sha, sha);
}

#[tokio::test]
async fn a_list_of_mirrors_and_their_cleaning_take_what_is_documented_and_no_more() {
    let house = House::open().await;
    let sha = house.mirror(&house.order("main")).await.sha;
    house.publish(key(), &sha).await;
    for (parameters, field) in
        [("limit=0", "limit"), ("limit=101", "limit"), ("limit=x", "limit"), ("limit=-1", "limit"), ("limit=", "limit"), ("x=1", "x")]
    {
        let problem = house.get_problem(&format!("/mirrors?{parameters}")).await;
        let told = (problem.status, problem.code, problem.errors.first().map(|error| error.field.as_str()));
        assert_eq!(told, (400, Code::InvalidRequest, Some(field)), "{parameters}");
    }
    for (body, field) in [(json!({ "dry_run": "yes" }), "dry_run"), (json!({ "dry_run": null }), "dry_run"), (json!({ "age": 0 }), "age")] {
        let problem = house.act_problem("/mirrors/collect", &body).await;
        let told = (problem.status, problem.code, problem.errors.first().map(|error| error.field.as_str()));
        assert_eq!(told, (400, Code::InvalidBody, Some(field)), "{body}");
    }
    for body in [json!([true]), json!("x"), json!(1)] {
        let problem = house.act_problem("/mirrors/collect", &body).await;
        assert_eq!((problem.status, problem.code), (400, Code::InvalidBody), "{body}");
    }
    let page: Page<MirrorInfo> = house.get("/mirrors").await;
    assert!(page.items.len() == 1 && page.items[0].refs.len() == 1, "nothing went: {page:?}");
}

// Threat 7.
#[tokio::test]
async fn only_the_controller_may_ask_and_only_what_its_token_says() {
    let house = House::open().await;
    let body = serde_json::to_vec(&house.order("main")).expect("JSON");
    let post = |path: &str, token: Option<String>, body: Vec<u8>| {
        let request = house.http().post(format!("http://{}{path}", house.address)).header("content-type", "application/json").body(body);
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        async { request.send().await.expect("an answer").status() }
    };
    let act = |audience: Service, op: &str, keyed: bool, body: &[u8]| {
        let token = house.signer.act(audience, op, keyed.then(key), sha256(body)).expect("a token");
        Some(token.expose_secret().to_owned())
    };
    assert_eq!(post("/repo", None, body.clone()).await, StatusCode::UNAUTHORIZED);
    let wrong = [
        act(Service::ArtifactStore, "POST /repo", true, &body),
        act(Service::VcsWorker, "POST /refs", true, &body),
        act(Service::VcsWorker, "POST /repo", true, b"other"),
        act(Service::VcsWorker, "POST /repo", false, &body),
    ];
    for token in wrong {
        let status = post("/repo", token, body.clone()).await;
        assert!(matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN), "{status}");
    }
    let sha = house.source.read("refs/heads/main").await;
    let status = post("/repo", Some(house.capability("team/hello", &sha)), body.clone()).await;
    assert!(matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN), "{status}");
    assert!(house.server.seen().is_empty());
}

#[tokio::test]
async fn one_key_is_one_body() {
    let house = House::open().await;
    let attempt = key();
    let first: Answer<Value> = house.post("/repo", attempt, &house.order("main")).await.expect("done");
    house.server.forget();
    let again: Answer<Value> = house.post("/repo", attempt, &house.order("main")).await.expect("done");
    assert_eq!(first, again);
    assert!(house.server.seen().is_empty(), "the stored answer needs no git");
    let problem = house.post::<Value>("/repo", attempt, &house.order("other")).await.expect_err("another body");
    assert_eq!(problem.status, 422);
}

#[test]
fn the_api_is_described() {
    let text = serde_json::to_string(&signalbox_vcs_worker::openapi()).expect("JSON");
    for path in ["\"/repo\"", "\"/refs\"", "info/refs", "git-upload-pack"] {
        assert!(text.contains(path), "{path}");
    }
}
