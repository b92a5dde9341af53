//! What is at the mirrors, and cleaning them: the controller hands it on to the VCS worker, for those who may.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use signalbox_contract::api::Page;
use signalbox_contract::api::mirrors::{CollectResult, MirrorInfo};
use signalbox_contract::grant::Action;
use signalbox_contract::{AttemptKey, Code};
use signalbox_service::clock::{Clock as _, SystemClock};

use crate::house::{House, expect, on_repos, refused};
use crate::stand_ins::{At, Mood};

/// A repository at the mirror `far`, with the ref of one attempt.
fn mirrored(name: &str) -> MirrorInfo {
    let attempt: AttemptKey = "01jd8qk4wmfvt9e3v1n0t2m6xz-1-1".parse().expect("a key");
    let info = json!({
        "mirror": "far", "name": name, "url": format!("https://gitlab.example.org/ci/{name}"), "project": "17", "size": 4096,
        "refs": [{ "ref": format!("refs/heads/cd/{attempt}"), "sha": "a".repeat(40), "attempt": attempt, "since": SystemClock.now() }],
        "more_refs": 0,
    });
    serde_json::from_value(info).expect("what a mirror shows")
}

async fn names(house: &House, token: &str, path: &str) -> (Vec<String>, Option<String>) {
    let page: Page<MirrorInfo> = expect(house.by(token, Method::GET, path), StatusCode::OK).await;
    (page.items.iter().map(|info| info.name.to_string()).collect(), page.next)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_at_the_mirrors_is_listed_page_by_page_to_those_who_may_see_it() {
    let house = House::open().await;
    house.world.sources().mirrored = ["hello", "team/a", "team/other"].map(mirrored).into();
    let (first, next) = names(&house, house.token(), "/mirrors?limit=2").await;
    assert_eq!(first, ["hello", "team/a"]);
    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("cursor", &next.expect("there is more")).finish();
    let (rest, next) = names(&house, house.token(), &format!("/mirrors?{query}")).await;
    assert_eq!((rest, next), (vec!["team/other".to_owned()], None));

    let some = house.token_of("some", vec![on_repos(&[Action::Operate], &["team/*"])]);
    assert_eq!(names(&house, &some, "/mirrors").await.0, ["team/a", "team/other"]);
    let reader = house.token_of("reader", vec![on_repos(&[Action::Read, Action::Start], &["*"])]);
    assert!(refused(house.by(&reader, Method::GET, "/mirrors"), 403).await.detail.contains("`operate`"));
    for wrong in ["limit=0", "limit=21", "x=1"] {
        refused(house.get(&format!("/mirrors?{wrong}")), 400).await;
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cleaning_shows_first_and_is_for_those_who_look_after_all() {
    let house = House::open().await;
    house.world.sources().mirrored = vec![mirrored("hello")];
    let would: CollectResult = expect(house.post("/mirrors/collect", &json!({ "dry_run": true })), StatusCode::OK).await;
    assert!(would.dry_run && would.refs.len() == 1, "{would:?}");
    let went: CollectResult = expect(house.post("/mirrors/collect", &json!({})), StatusCode::OK).await;
    assert_eq!((went.dry_run, went.refs), (false, would.refs));
    let again: CollectResult = expect(house.post("/mirrors/collect", &json!({})), StatusCode::OK).await;
    assert!(again.refs.is_empty(), "{again:?}");

    let some = house.token_of("some", vec![on_repos(&[Action::Operate], &["team/*", "hello"])]);
    let problem = refused(house.by(&some, Method::POST, "/mirrors/collect").json(&json!({ "dry_run": true })), 403).await;
    assert!(problem.detail.contains("every repository"), "{problem:?}");
    refused(house.post("/mirrors/collect", &json!({ "force": true })), 400).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_not_well_is_told_in_words() {
    let house = House::open().await;
    house.world.sources().collecting = true;
    let busy = refused(house.post("/mirrors/collect", &json!({})), 503).await;
    assert_eq!((busy.code, busy.retry_after), (Code::Unavailable, Some(7)));
    assert!(busy.detail.contains("being cleaned already"), "{busy:?}");
    for mood in [Mood::Broken, Mood::Babbling, Mood::Overloaded] {
        house.world.is(At::Vcs, mood);
        let problem = refused(house.get("/mirrors"), 502).await;
        assert!(problem.detail.contains("VCS worker did not answer"), "{problem:?}");
    }
    house.world.goes_away(At::Vcs).await;
    refused(house.post("/mirrors/collect", &json!({ "dry_run": true })), 502).await;
    let status: Value = expect(house.get("/status"), StatusCode::OK).await;
    assert!(status.is_object(), "everything else is answered");
    house.close().await;
}
