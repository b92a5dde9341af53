//! Hooks: signatures, failures, faults.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use serde_json::json;
use signalbox_fakes::gitlab::fault::HookFaults;
use signalbox_fakes::gitlab::options::Version;

use super::world::{Receiver, World};

async fn project_with_hook(world: &World, receiver: &Receiver, more: serde_json::Value) -> (u64, String) {
    let id = world.gitlab.create_project("g/p").await.expect("a project");
    world.copy("g/p", None).await.git(&["push", "--quiet", "-o", "ci.skip", "origin", "main"]).await;
    world.gitlab.pushes_followed().await;
    let mut body = json!({ "url": receiver.url, "push_events": true });
    body.as_object_mut().expect("a document").extend(more.as_object().expect("a document").clone());
    let made = world.post(&format!("/projects/{id}/hooks"), body).await;
    assert_eq!(made.status, 201, "{made:?}");
    (id, format!("/projects/{id}/hooks/{}", made.body["id"]))
}

#[tokio::test]
async fn a_server_that_can_signs_and_one_that_cannot_says_nothing() {
    let key = format!("whsec_{}", STANDARD.encode([7; 32]));
    let receiver = Receiver::start();
    let old = World::new().await;
    let (_, hook) = project_with_hook(&old, &receiver, json!({ "signing_token": key })).await;
    assert_eq!(old.get(&hook).await.body.get("signing_token_present"), None);

    let receiver = Receiver::start();
    let new = World::with(|options| options.version(Version(19, 0))).await;
    let (_, hook) = project_with_hook(&new, &receiver, json!({ "signing_token": key, "token": "plain" })).await;
    let shown = new.get(&hook).await.body;
    assert_eq!((&shown["signing_token_present"], shown.get("token")), (&json!(true), None));
    assert_eq!(new.post(&format!("{hook}/test/push_events"), json!({})).await.status, 201);
    let told = receiver.until("the test arrives", |_| true).await;
    let head = |name: &str| told.headers[name].to_str().expect("text").to_owned();
    let text = format!("{}.{}.{}", head("webhook-id"), head("webhook-timestamp"), told.raw);
    let mac = aws_lc_rs::hmac::sign(&aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &[7; 32]), text.as_bytes());
    assert_eq!(head("webhook-signature"), format!("v1,{}", STANDARD.encode(mac)));
    assert_eq!(head("webhook-id"), head("idempotency-key"));
}

#[tokio::test]
async fn a_hook_that_fails_often_rests_and_a_good_test_wakes_it() {
    let receiver = Receiver::start();
    let world = World::with(|mut options| {
        options.disables_hooks = true;
        options
    })
    .await;
    let (_, hook) = project_with_hook(&world, &receiver, json!({})).await;
    receiver.answer(StatusCode::INTERNAL_SERVER_ERROR);
    for _ in 0..4 {
        let said = world.post(&format!("{hook}/test/push_events"), json!({})).await;
        assert_eq!((said.status, &said.body["message"]), (422, &json!("Hook executed successfully but returned HTTP 500")));
    }
    assert_eq!(world.get(&hook).await.body["alert_status"], "temporarily_disabled");
    receiver.answer(StatusCode::OK);
    assert_eq!(world.post(&format!("{hook}/test/push_events"), json!({})).await.status, 201);
    assert_eq!(world.get(&hook).await.body["alert_status"], "executable");
    assert_eq!(world.post(&format!("{hook}/test/push_events"), json!({})).await.status, 429);
    let events = world.get(&format!("{hook}/events?status=server_failure")).await.body;
    assert_eq!(events.as_array().map(Vec::len), Some(4));
    let again = world.post(&format!("{hook}/events/{}/resend", events[0]["id"]), json!({})).await;
    assert_eq!((again.status, again.body), (201, json!({ "response_status": 200 })));
    let key = |one: &super::world::Arrived| one.headers["idempotency-key"].clone();
    let arrived = receiver.arrived();
    assert_eq!(key(&arrived[3]), key(arrived.last().expect("one")), "what is told again has its key");
    assert_ne!(arrived[3].headers["x-gitlab-webhook-uuid"], arrived.last().expect("one").headers["x-gitlab-webhook-uuid"]);
}

#[tokio::test]
async fn an_old_server_turns_a_hook_off_for_good_after_one_4xx() {
    let receiver = Receiver::start();
    let world = World::with(|mut options| {
        options.disables_hooks = true;
        options.version(Version(17, 5))
    })
    .await;
    let (_, hook) = project_with_hook(&world, &receiver, json!({})).await;
    receiver.answer(StatusCode::NOT_FOUND);
    world.post(&format!("{hook}/test/push_events"), json!({})).await;
    assert_eq!(world.get(&hook).await.body["alert_status"], "disabled");
}

#[tokio::test]
async fn deliveries_are_dropped_and_doubled_as_ordered() {
    let receiver = Receiver::start();
    let world = World::new().await;
    let (id, _) = project_with_hook(&world, &receiver, json!({})).await;
    let branch = |name: &str| json!({ "branch": name, "ref": "main" });
    let path = format!("/projects/{id}/repository/branches");
    world.gitlab.faults().hooks(HookFaults { off: true, ..HookFaults::default() });
    assert_eq!(world.post(&path, branch("unseen")).await.status, 201);
    world.gitlab.pushes_followed().await;
    world.gitlab.deliveries_sent().await;
    world.gitlab.faults().hooks(HookFaults { doubled: 1.0, ..HookFaults::default() });
    world.post(&path, branch("twice")).await;
    let both = |one: &super::world::Arrived| one.body["ref"] == "refs/heads/twice";
    signalbox_service::testing::eventually("it comes twice", super::world::PATIENCE, || async {
        (receiver.arrived().iter().filter(|one| both(one)).count() == 2).then_some(())
    })
    .await;
    let arrived = receiver.arrived();
    let keys: Vec<_> = arrived.iter().filter(|one| both(one)).map(|one| one.headers["idempotency-key"].clone()).collect();
    assert_eq!(keys[0], keys[1]);
    assert!(arrived.iter().all(|one| one.body["ref"] != "refs/heads/unseen"));
}

#[tokio::test]
async fn a_server_may_refuse_hooks_into_its_own_network() {
    let world = World::with(|mut options| {
        options.hooks_to_local_network = false;
        options
    })
    .await;
    let id = world.gitlab.create_project("g/p").await.expect("a project");
    let said = world.ask(Method::POST, &format!("/projects/{id}/hooks"), Some(json!({ "url": "http://127.0.0.1:1/" }))).await;
    assert_eq!((said.status, said.body), (422, json!({ "error": "Invalid url given" })));
}
