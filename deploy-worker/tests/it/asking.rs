//! What the API takes, and from whom.

use http::{HeaderMap, Method};
use signalbox_contract::api::Answer;
use signalbox_contract::api::deploy::{DeployRequest, DeployResult, EnvironmentInfo};
use signalbox_contract::token::Service;
use signalbox_contract::{AttemptKey, Code, Problem};
use signalbox_service::auth::sha256;
use signalbox_service::client::{Call, CallError};

use crate::world::World;

fn refused<T: std::fmt::Debug>(answer: Result<T, CallError>) -> Problem {
    match answer {
        Err(CallError::Refused(problem)) => problem,
        other => panic!("not refused: {other:?}"),
    }
}

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

#[tokio::test]
async fn only_the_controller_may_ask() {
    let world = World::with_hosts(1).await;
    let answer = world.client.json::<(), Vec<EnvironmentInfo>>(Method::GET, "/environments", None, HeaderMap::new(), None).await;
    assert_eq!(refused(answer).code, Code::Unauthenticated);
    // A token for another service is none for this one.
    let answer = world.client.read::<Vec<EnvironmentInfo>>(&world.signer, &Call::get(Service::VcsWorker, "/environments")).await;
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
    let listed: Vec<EnvironmentInfo> = world.client.read(&world.signer, &call).await.expect("a list");
    assert_eq!((listed.len(), listed[0].name.as_str(), listed[0].hosts.len(), listed[0].shown.len()), (1, "test", 1, 0));
    let names = listed[0].names.as_deref().expect("the patterns of the names that it allows");
    assert!(names.iter().any(|glob| glob.matches("hello")), "{names:?}");
    let call = Call::get(Service::DeployWorker, "/environments/none");
    assert_eq!(refused(world.client.read::<EnvironmentInfo>(&world.signer, &call).await).code, Code::NotFound);
    world.end().await;
}
