//! Who may ask for what.

use http::{HeaderMap, Method};
use signalbox_adapters::executor::conformance::Script;
use signalbox_adapters::executor::{Anchor, Executor as _, ExecutorError};
use signalbox_contract::api::Nothing;
use signalbox_contract::api::executor::ObserveRequest;
use signalbox_contract::token::Service;
use signalbox_contract::{AttemptKey, Code, Problem};
use signalbox_service::client::{Call, CallError, Client};

use crate::stage::Stage;

fn client(stage: &Stage) -> Client {
    Client::new(format!("http://{}/", stage.address).parse().expect("a URL"), None).expect("a client")
}

async fn refused(stage: &Stage, call: Call<'_>, body: &impl serde::Serialize) -> Problem {
    match client(stage).act::<_, serde_json::Value>(&stage.signer, &call, body).await {
        Err(CallError::Refused(problem)) => problem,
        other => panic!("must be refused: {other:?}"),
    }
}

// Threat 7.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_but_the_controller_is_heard() {
    let stage = Stage::with("").await;
    let key = stage.order_of(Script::new("true")).key;
    for (method, path) in [
        (Method::POST, "/builds".to_owned()),
        (Method::POST, "/observe".to_owned()),
        (Method::POST, format!("/builds/{key}/cancel")),
        (Method::POST, format!("/builds/{key}/fence")),
        (Method::POST, format!("/builds/{key}/forget")),
        (Method::GET, format!("/builds/{key}/log")),
    ] {
        let answer = client(&stage).json::<Nothing, serde_json::Value>(method, &path, None, HeaderMap::new(), None).await;
        assert!(matches!(&answer, Err(CallError::Refused(problem)) if problem.code == Code::Unauthenticated), "{path}: {answer:?}");
    }
    // A token for another service, and one for another path.
    let elsewhere = Call::post(Service::DeployWorker, "/observe", key);
    let problem = refused(&stage, elsewhere, &ObserveRequest { keys: Vec::new() }).await;
    assert!(matches!(problem.code, Code::Forbidden | Code::Unauthenticated), "{problem:?}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_for_one_attempt_changes_no_other() {
    let stage = Stage::with("").await;
    let (mine, other) = (stage.order_of(Script::new("true")).key, stage.order_of(Script::new("true")).key);
    for what in ["cancel", "fence", "forget"] {
        let path = format!("/builds/{other}/{what}");
        let problem = refused(&stage, Call::post(Service::LocalExecutor, &path, mine), &Nothing {}).await;
        assert_eq!(problem.code, Code::Forbidden, "{what}");
        let problem = refused(&stage, Call::new(Service::LocalExecutor, Method::POST, &path, None), &Nothing {}).await;
        assert_eq!(problem.code, Code::Forbidden, "{what} without a key");
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_told_the_field_at_fault_and_leave_nothing() {
    let stage = Stage::with("").await;
    let good = stage.order_of(Script::new("true"));
    let request = serde_json::json!({
        "repo": "team/hello",
        "source": {"url": good.source.url, "ref": good.source.ref_name, "sha": good.source.sha, "branch": "main"},
        "script": "true", "env": {}, "artifacts": {}, "deadline": good.deadline, "store": good.store, "read": "read", "put": "put",
    });
    let nul = "a\u{0}b";
    for (pointer, value, field) in [
        ("/script", serde_json::json!(""), "script"),
        ("/script", serde_json::json!(nul), "script"),
        ("/script", serde_json::json!("x".repeat(130 * 1024)), "script"),
        ("/env", serde_json::json!({"A": nul}), "env"),
        ("/env", serde_json::json!({"1": "x"}), "env"),
        ("/artifacts", serde_json::json!({"../x": "y"}), "artifacts"),
        ("/artifacts", serde_json::json!({"x": "../y"}), "artifacts"),
        ("/source/url", serde_json::json!("file:///etc"), "source.url"),
        ("/source/sha", serde_json::json!("main"), "source.sha"),
        ("/source/ref", serde_json::json!("--upload-pack=x"), "source.ref"),
        ("/store", serde_json::json!("http://u:p@host/"), "store"),
        ("/repo", serde_json::json!("../x"), "repo"),
        ("/deadline", serde_json::json!("soon"), "deadline"),
        ("/read", serde_json::json!(""), "read"),
        ("/put", serde_json::json!(""), "put"),
        ("/source/branch", serde_json::json!("a..b"), "source.branch"),
        ("/env", serde_json::json!([]), "env"),
    ] {
        let mut bad = request.clone();
        *bad.pointer_mut(pointer).expect("there") = value;
        let problem = refused(&stage, Call::post(Service::LocalExecutor, "/builds", good.key), &bad).await;
        assert_eq!(problem.code, Code::InvalidBody, "{pointer}: {problem:?}");
        assert!(problem.errors.iter().any(|error| error.field.starts_with(field)), "{pointer}: {problem:?}");
    }
    let mut bad = request.clone();
    bad["surplus"] = serde_json::json!(1);
    let problem = refused(&stage, Call::post(Service::LocalExecutor, "/builds", good.key), &bad).await;
    assert_eq!((problem.code, problem.errors[0].field.as_str()), (Code::InvalidBody, "surplus"));
    let many = ObserveRequest { keys: vec![good.key; 1001] };
    let problem = refused(&stage, Call::post(Service::LocalExecutor, "/observe", good.key), &many).await;
    assert_eq!((problem.code, problem.errors[0].field.as_str()), (Code::InvalidBody, "keys"));
    let problem = refused(&stage, Call::post(Service::LocalExecutor, "/observe", good.key), &serde_json::json!({"keys": ["x"]})).await;
    assert_eq!((problem.code, problem.errors[0].field.as_str()), (Code::InvalidBody, "keys[0]"));
    let build = stage.known(good.key, String::new().try_into().expect("valid"));
    assert_eq!(build.observe().await.state, signalbox_contract::build::BuildState::Gone);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_stands_for_one_request_whatever_its_capabilities_are() {
    let stage = Stage::with("").await;
    let order = stage.order_of(Script::new("true"));
    let first = stage.start(&order).await;
    let mut again = order.clone();
    again.read = "another capability".into();
    again.put = "another capability".into();
    assert_eq!(stage.start(&again).await.tracked, first.tracked);
    let mut other = order.clone();
    other.repo = "team/other".parse().expect("valid");
    let refused = stage.executor.start(&other, &Anchor::default()).await;
    assert!(matches!(refused, Err(ExecutorError::Refused(_))), "{refused:?}");
    first.ended().await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_and_ends_of_what_never_was_are_not_found() {
    let stage = Stage::with("").await;
    let key: AttemptKey = stage.order_of(Script::new("true")).key;
    let path = format!("/builds/{key}/cancel");
    assert_eq!(refused(&stage, Call::post(Service::LocalExecutor, &path, key), &Nothing {}).await.code, Code::NotFound);
    let call = format!("/builds/{key}/log");
    let answer = client(&stage).read::<serde_json::Value>(&stage.signer, &Call::get(Service::LocalExecutor, &call)).await;
    assert!(matches!(&answer, Err(CallError::Refused(problem)) if problem.code == Code::NotFound), "{answer:?}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_attempts_key_is_refused_on_every_path() {
    let stage = Stage::with("").await;
    let key: AttemptKey = stage.order_of(Script::new("true")).key;
    let field = |problem: &Problem| problem.errors.first().map(|error| error.field.clone());
    for wrong in ["nonsense", "a..b", "..%2F..%2Fetc", "x%00y", "%FF", "-1-1-1", &format!("{key}-1"), &"a".repeat(500)] {
        for what in ["cancel", "fence", "forget"] {
            let path = format!("/builds/{wrong}/{what}");
            let problem = refused(&stage, Call::post(Service::LocalExecutor, &path, key), &Nothing {}).await;
            assert_eq!((problem.status, problem.code, field(&problem)), (400, Code::InvalidRequest, Some("key".to_owned())), "{path}");
        }
        let problem = not_read(&stage, &format!("/builds/{wrong}/log")).await;
        assert_eq!((problem.status, problem.code, field(&problem)), (400, Code::InvalidRequest, Some("key".to_owned())), "{wrong}");
    }
    for (parameters, name) in [("from=x", "from"), ("from=-1", "from"), ("from=", "from"), ("to=1", "to")] {
        let problem = not_read(&stage, &format!("/builds/{key}/log?{parameters}")).await;
        assert_eq!((problem.status, problem.code, field(&problem)), (400, Code::InvalidRequest, Some(name.to_owned())), "{parameters}");
    }
    // None of it fenced the attempt: it still builds.
    assert_eq!(stage.start(&stage.order_of(Script::new("true"))).await.ended().await.0, signalbox_contract::Verdict::Success);
    stage.close().await;
}

async fn not_read(stage: &Stage, path: &str) -> Problem {
    match client(stage).read::<serde_json::Value>(&stage.signer, &Call::get(Service::LocalExecutor, path)).await {
        Err(CallError::Refused(problem)) => problem,
        other => panic!("must be refused: {other:?}"),
    }
}

#[test]
fn the_description_names_every_route() {
    let paths: Vec<String> = signalbox_local_executor::openapi().paths.paths.into_keys().collect();
    let builds: Vec<&str> = paths.iter().map(String::as_str).filter(|path| !path.starts_with("/health/")).collect();
    let word = |word| format!("/builds/{{key}}/{word}");
    assert_eq!(builds, ["/builds", &word("cancel"), &word("fence"), &word("forget"), &word("log"), "/observe"]);
}
