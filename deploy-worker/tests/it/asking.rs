//! What the API takes, and from whom.

use http::{HeaderMap, Method};
use serde_json::{Value, json};
use signalbox_contract::api::deploy::{ActivateRequest, DeployRequest, DeployResult, EnvironmentInfo, HostOutcome};
use signalbox_contract::api::{Answer, Page};
use signalbox_contract::token::Service;
use signalbox_contract::{AttemptKey, Code, Problem};
use signalbox_service::auth::sha256;
use signalbox_service::client::{Call, CallError};

use crate::world::{NAME, World, assert_all, done};

fn refused<T: std::fmt::Debug>(answer: Result<T, CallError>) -> Problem {
    match answer {
        Err(CallError::Refused(problem)) => problem,
        other => panic!("not refused: {other:?}"),
    }
}

// Threat 46.
#[tokio::test]
async fn a_bad_request_is_told_which_field_is_at_fault() {
    let world = World::with_hosts(1).await;
    let request = world.request(sha256(b"one"), 1);
    let key = AttemptKey { run: request.run, step: 2, attempt: 1 };
    let call = Call::post(Service::DeployWorker, "/deploy", key);
    let ask = |request: DeployRequest| {
        let (world, call) = (&world, &call);
        async move { refused(world.client.ask::<_, DeployResult>(&world.signer, call, &request).await) }
    };
    let problem = ask(request.clone()).await;
    assert_eq!((problem.code, problem.errors[0].field.as_str()), (Code::InvalidRequest, "signalbox-capability"));
    let problem = ask(DeployRequest { sequence: 0, ..request.clone() }).await;
    assert_eq!((problem.code, problem.errors[0].field.as_str()), (Code::InvalidBody, "sequence"));
    let problem = ask(DeployRequest { run: world.run(), ..request.clone() }).await;
    assert_eq!((problem.code, problem.errors[0].field.as_str()), (Code::InvalidBody, "run"));
    // Threat 46.
    for name in ["a/b", "..", "-x", "a'b", "a*", "a\nb", "a\0b", "current", "é", &"x".repeat(300)] {
        let mut body = serde_json::to_value(&request).expect("JSON");
        body["published_name"] = name.into();
        let problem = refused(world.client.ask::<_, DeployResult>(&world.signer, &call, &body).await);
        assert_eq!((problem.code, problem.errors[0].field.as_str()), (Code::InvalidBody, "published_name"), "{name:?}");
    }
    world.end().await;
}

/// Sends a body with each of these changes, and without each of its fields, which must be refused for that field.
async fn each_is_refused(world: &World, path: &str, key: AttemptKey, good: &Value, optional: &[&str], changes: &[(&str, Value)]) {
    let changed = changes.iter().map(|(field, value)| (*field, Some(value)));
    let fields = good.as_object().expect("an object").keys().map(String::as_str).filter(|field| !optional.contains(field));
    for (field, value) in changed.chain(fields.map(|field| (field, None))) {
        let mut body = good.clone();
        match value {
            Some(value) => body[field] = value.clone(),
            None => drop(body.as_object_mut().expect("an object").remove(field)),
        }
        let problem =
            refused(world.client.ask::<_, DeployResult>(&world.signer, &Call::post(Service::DeployWorker, path, key), &body).await);
        let told = (problem.status, problem.code, problem.errors.first().map(|error| error.field.as_str()));
        assert_eq!(told, (400, Code::InvalidBody, Some(field)), "{path}: {body}");
    }
}

// Threat 46.
#[tokio::test]
async fn what_is_deployed_and_where_is_named_whole_and_what_is_refused_is_forgotten() {
    let world = World::with_hosts(1).await;
    let request = world.request(world.store.put(b"one"), 1);
    let key = AttemptKey { run: request.run, step: 2, attempt: 1 };
    let good = serde_json::to_value(&request).expect("JSON");
    let changes = [
        ("environment", json!("../test")),
        ("environment", json!("a/b")),
        ("environment", json!("")),
        ("environment", json!("a\nb")),
        ("environment", json!("x".repeat(64))),
        ("environment", json!(["test"])),
        ("digest", json!("sha256:00")),
        ("digest", json!("md5:d41d8cd98f00b204e9800998ecf8427e")),
        ("digest", json!("../../etc/passwd")),
        ("digest", Value::Null),
        ("artifact_id", json!("../x")),
        ("artifact_id", json!("a//b")),
        ("artifact_id", json!("x".repeat(201))),
        ("artifact_id", json!(7)),
        ("sequence", json!(-1)),
        ("sequence", json!(1.5)),
        ("sequence", json!(1_000_000_000_000_000_000_u64)),
        ("run", json!("../x")),
        ("surplus", json!(1)),
    ];
    each_is_refused(&world, "/deploy", key, &good, &[], &changes).await;
    assert_eq!((world.store.asked(), world.hosts[0].logins(), world.shown(0)), (0, 0, None));
    // The key is free for the right body.
    assert_all(&done(world.ask(&request).await.expect("an answer")), &HostOutcome::Switched);
    world.end().await;
}

#[tokio::test]
async fn what_is_switched_back_is_named_whole_and_what_is_refused_is_forgotten() {
    let world = World::with_hosts(1).await;
    assert_all(&world.deploy(b"one", 1).await, &HostOutcome::Switched);
    assert_all(&world.deploy(b"two", 2).await, &HostOutcome::Switched);
    let request = ActivateRequest {
        published_name: NAME.parse().expect("a name"),
        environment: "test".parse().expect("a name"),
        digest: Some(sha256(b"one")),
        sequence: 3,
        run: world.run(),
    };
    let key = AttemptKey { run: request.run, step: 0, attempt: 1 };
    let good = serde_json::to_value(&request).expect("JSON");
    let changes = [
        ("published_name", json!("..")),
        ("published_name", json!("a/b")),
        ("published_name", json!("current")),
        ("published_name", json!("a'b")),
        ("environment", json!("../test")),
        ("environment", json!("-x")),
        ("digest", json!("sha256:00")),
        ("digest", json!("")),
        ("digest", json!(7)),
        ("sequence", json!(0)),
        ("sequence", json!(-1)),
        ("sequence", json!("3")),
        ("sequence", json!(1_000_000_000_000_000_000_u64)),
        ("run", json!(world.run())),
        ("run", json!("x")),
        ("artifact_id", json!("build/hello")),
    ];
    each_is_refused(&world, "/activate", key, &good, &["digest"], &changes).await;
    assert_eq!(world.shown(0).as_deref(), Some(&b"two"[..]));
    assert_all(&done(world.ask_to_activate(&request).await), &HostOutcome::Switched);
    assert_eq!(world.shown(0).as_deref(), Some(&b"one"[..]));
    world.end().await;
}

#[tokio::test]
async fn an_environment_that_has_no_valid_name_is_refused_and_no_host_is_asked() {
    let world = World::with_hosts(1).await;
    for name in ["a..b", "-x", "x.", "a%2Fb", "..%2Fx", "a%00", "a%0Ab", "%C3%A9", "%FF", "a;b", &"x".repeat(64)] {
        let path = format!("/environments/{name}");
        let call = Call::get(Service::DeployWorker, &path);
        let problem = refused(world.client.read::<EnvironmentInfo>(&world.signer, &call).await);
        let told = (problem.status, problem.code, problem.errors.first().map(|error| error.field.as_str()));
        assert_eq!(told, (400, Code::InvalidRequest, Some("name")), "{name}");
    }
    assert_eq!(world.hosts[0].logins(), 0);
    world.end().await;
}

// Threat 7.
#[tokio::test]
async fn only_the_controller_may_ask() {
    let world = World::with_hosts(1).await;
    let answer = world.client.json::<(), Page<EnvironmentInfo>>(Method::GET, "/environments", None, HeaderMap::new(), None).await;
    assert_eq!(refused(answer).code, Code::Unauthenticated);
    // A token for another service is none for this one.
    let answer = world.client.read::<Page<EnvironmentInfo>>(&world.signer, &Call::get(Service::VcsWorker, "/environments")).await;
    assert!(matches!(refused(answer).status, 401 | 403));
    // One that names no attempt changes nothing.
    let call = Call::new(Service::DeployWorker, Method::POST, "/deploy", None);
    let answer: Result<Answer<DeployResult>, _> = world.client.ask(&world.signer, &call, &world.request(sha256(b"one"), 1)).await;
    assert_eq!(refused(answer).code, Code::Forbidden);
    world.end().await;
}

#[tokio::test]
async fn environments_are_listed_without_asking_their_hosts() {
    let mut world = World::with_hosts(1).await;
    world.hosts[0].down().await;
    let call = Call::get(Service::DeployWorker, "/environments");
    let page: Page<EnvironmentInfo> = world.client.read(&world.signer, &call).await.expect("a list");
    let listed = page.items;
    assert_eq!(page.next, None);
    assert_eq!((listed.len(), listed[0].name.as_str(), listed[0].hosts.len(), listed[0].shown.len()), (1, "test", 1, 0));
    let names = listed[0].names.as_deref().expect("the patterns of the names that it allows");
    assert!(names.iter().any(|glob| glob.matches("hello")), "{names:?}");
    let call = Call::get(Service::DeployWorker, "/environments/none");
    assert_eq!(refused(world.client.read::<EnvironmentInfo>(&world.signer, &call).await).code, Code::NotFound);
    world.end().await;
}

#[tokio::test]
async fn environments_are_listed_page_by_page_in_the_order_of_their_names() {
    let mut world = World::with_hosts(1).await;
    let more = |config: &str| {
        let (lines, test) = config.split_once("[environments.test").expect("a table");
        let tables = ["b", "a", "test-2", "test-10", "test"]
            .map(|name| format!("[environments.{name}{}", test.replace("environments.test", &format!("environments.{name}"))));
        format!("{lines}{}", tables.join("\n"))
    };
    world.restart(more).await;
    let (mut seen, mut after) = (Vec::new(), None::<String>);
    loop {
        let path = after.map_or_else(|| "/environments?limit=2".to_owned(), |after| format!("/environments?limit=2&cursor={after}"));
        let page: Page<EnvironmentInfo> = world.client.read(&world.signer, &Call::get(Service::DeployWorker, &path)).await.expect("a page");
        assert!((1..=2).contains(&page.items.len()), "{page:?}");
        seen.extend(page.items.into_iter().map(|one| one.name.to_string()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["a", "b", "test", "test-10", "test-2"]);
    for (parameters, field) in [("limit=0", "limit"), ("limit=201", "limit"), ("limit=x", "limit"), ("cursor=../x", "cursor"), ("x=1", "x")]
    {
        let path = format!("/environments?{parameters}");
        let answer = world.client.read::<Page<EnvironmentInfo>>(&world.signer, &Call::get(Service::DeployWorker, &path)).await;
        let problem = refused(answer);
        let told = (problem.status, problem.code, problem.errors.first().map(|error| error.field.as_str()));
        assert_eq!(told, (400, Code::InvalidRequest, Some(field)), "{parameters}");
    }
    world.end().await;
}
