//! Environments: what is there, deploying from the store, going back.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use signalbox_contract::api::Page;
use signalbox_contract::api::deploy::EnvironmentInfo;
use signalbox_contract::api::run::{Accepted, Outcome, RunKind, Status};
use signalbox_contract::grant::Grant;
use signalbox_contract::{Code, Problem, RunId};

use crate::house::{House, expect, globs, refused};
use crate::stand_ins::{At, Mood};

async fn ask(house: &House, path: &str, body: &Value) -> RunId {
    let accepted: Accepted = expect(house.post(path, body), StatusCode::ACCEPTED).await;
    accepted.run
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_store_is_deployed_and_rolled_back() {
    let house = House::open().await;
    let body = json!({ "artifact_id": "tool/x", "published_name": "tool" });
    let one = house.world.blobs().publish("tool/x", b"1");
    let run = ask(&house, "/environments/test/deploy", &body).await;
    let view = house.ends(run, Outcome::Passed).await;
    assert_eq!((view.summary.kind, view.steps.len()), (RunKind::Deploy, 1));
    assert!(house.world.blobs().pinned.contains(&run), "the bytes stay while the run is kept");
    let two = house.world.blobs().publish("tool/x", b"2");
    let run = ask(&house, "/environments/test/deploy", &body).await;
    house.ends(run, Outcome::Passed).await;
    assert_eq!(house.world.hosts().shows("test", "tool"), Some(two));

    let back = ask(&house, "/environments/test/rollback", &json!({ "published_name": "tool" })).await;
    let view = house.ends(back, Outcome::Passed).await;
    assert_eq!(view.summary.kind, RunKind::Rollback);
    assert_eq!(house.world.hosts().shows("test", "tool"), Some(one));
    let named = json!({ "published_name": "tool", "digest": two });
    let run = ask(&house, "/environments/test/rollback", &named).await;
    house.ends(run, Outcome::Passed).await;
    assert_eq!(house.world.hosts().shows("test", "tool"), Some(two));
    let past = house.world.hosts().past("test", "tool").to_vec();
    assert!(past.is_sorted_by(|a, b| a.1 < b.1), "{past:?}");
    assert_eq!(house.world.asked(At::Deploy, "deploy"), 2, "a rollback moves no bytes");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_cannot_be_deployed_or_gone_back_to() {
    let house = House::open().await;
    let run = ask(&house, "/environments/test/deploy", &json!({ "artifact_id": "nothing", "published_name": "x" })).await;
    assert!(house.ends(run, Outcome::Failed).await.summary.reason.contains("nothing"));
    house.world.blobs().publish("tool", b"1");
    let run = ask(&house, "/environments/test/rollback", &json!({ "published_name": "x" })).await;
    assert_eq!(house.ends(run, Outcome::Failed).await.summary.reason, "The hosts keep no such release.");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_shows_what_its_hosts_show() {
    let house = House::open().await;
    let run = house.branch("main").await;
    house.ends(run, Outcome::Passed).await;
    let list: Page<EnvironmentInfo> = expect(house.get("/environments"), StatusCode::OK).await;
    let names: Vec<&str> = list.items.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["production", "test"]);
    let first: Page<EnvironmentInfo> = expect(house.get("/environments?limit=1"), StatusCode::OK).await;
    assert_eq!((first.items[0].name.as_str(), first.next.as_deref()), ("production", Some("production")));
    let last: Page<EnvironmentInfo> = expect(house.get("/environments?cursor=production&limit=1"), StatusCode::OK).await;
    assert_eq!((last.items[0].name.as_str(), last.next), ("test", None));
    let one: EnvironmentInfo = expect(house.get("/environments/test?limit=1"), StatusCode::OK).await;
    assert_eq!((one.shown.len(), one.hosts.len(), one.next.as_ref().map(AsRef::as_ref)), (1, 2, Some("web1")));
    let one: EnvironmentInfo = expect(house.get("/environments/test?cursor=web1&limit=1"), StatusCode::OK).await;
    assert_eq!((one.shown[0].host.as_str(), one.next), ("web2", None));
    let one: EnvironmentInfo = expect(house.get("/environments/test"), StatusCode::OK).await;
    assert_eq!(one.shown.len(), 2);
    assert!(one.shown.iter().all(|host| host.releases[0].run == run && host.releases[0].name.as_str() == "hello"));
    let unknown = refused(house.get("/environments/moon"), 404).await;
    assert!(unknown.detail.ends_with("There is: production, test."), "{}", unknown.detail);
    let narrow = house.token_of("narrow", vec![Grant { environments: globs(&["test", "moon"]), ..Grant::everything() }]);
    for path in ["/environments/moon", "/environments/production"] {
        let unseen = refused(house.by(&narrow, Method::GET, path), 404).await;
        assert!(unseen.detail.ends_with("There is: test."), "what is not there and what may not be seen look alike: {}", unseen.detail);
    }

    for mood in [Mood::Broken, Mood::Babbling, Mood::Overloaded] {
        house.world.is(At::Deploy, mood);
        for path in ["/environments", "/environments/test"] {
            assert_eq!(refused(house.get(path), 502).await.code, Code::Upstream);
        }
    }
    house.world.goes_away(At::Deploy).await;
    refused(house.get("/environments"), 502).await;
    house.close().await;
}

/// What refuses each request that names the environment.
async fn refusals(house: &House, token: &str, environment: &str) -> Vec<Problem> {
    let cd = json!({ "repo": "hello", "ref": "main", "artifact": "site/hello", "environment": environment });
    let deploy = json!({ "artifact_id": "tool", "published_name": "x" });
    let paths = [
        ("/cd".to_owned(), cd),
        (format!("/environments/{environment}/deploy"), deploy),
        (format!("/environments/{environment}/rollback"), json!({ "published_name": "x" })),
    ];
    let mut problems = Vec::new();
    for (path, body) in paths {
        let problem = refused(house.by(token, Method::POST, &path).json(&body), 422).await;
        assert_eq!(problem.code, Code::NotConfigured);
        assert_eq!(problem.errors[0].field, if path == "/cd" { "environment" } else { "name" });
        problems.push(problem);
    }
    problems
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_that_is_not_there_is_refused_before_anything_begins() {
    let house = House::open().await;
    for problem in refusals(&house, house.token(), "moon").await {
        assert!(problem.detail.contains("production, test"), "{}", problem.detail);
    }
    let grant = Grant { environments: globs(&["test", "moon"]), ..Grant::everything() };
    let narrow = house.token_of("narrow", vec![grant]);
    for problem in refusals(&house, &narrow, "moon").await {
        assert!(problem.detail.contains("There is: test."), "only what they may see: {}", problem.detail);
    }
    let status: Status = expect(house.get("/status"), StatusCode::OK).await;
    assert!(status.builds.is_empty(), "nothing was accepted");

    // One that was added a moment ago is there.
    house.world.hosts().added.push("moon");
    house.world.blobs().publish("tool", b"1");
    let run = ask(&house, "/environments/moon/deploy", &json!({ "artifact_id": "tool", "published_name": "x" })).await;
    house.ends(run, Outcome::Passed).await;

    // When the worker is away, or hangs, what it said last holds, and nobody waits for it for long.
    for mood in [Mood::Broken, Mood::Hanging] {
        house.world.is(At::Deploy, mood);
        refusals(&house, house.token(), "mars").await;
    }
    house.world.is(At::Deploy, Mood::Well);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_can_tell_which_environments_there_are_all_are_accepted() {
    let mut house = House::open().await;
    house.stops().await;
    house.world.is(At::Deploy, Mood::Broken);
    house.comes_back().await;
    let run = ask(&house, "/environments/moon/rollback", &json!({ "published_name": "x" })).await;
    house.world.is(At::Deploy, Mood::Well);
    assert!(house.ends(run, Outcome::Failed).await.summary.reason.contains("moon"));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_its_environment_does_not_allow_is_refused_before_anything_begins() {
    let mut house = House::open().await;
    house.world.hosts().names = Some(globs(&["tool", "site-*"]));
    // What is known and does not speak against a request is not asked for anew, so it begins with this.
    house.stops().await;
    house.comes_back().await;
    let cd = |name: Option<&str>| json!({ "repo": "hello", "ref": "main", "artifact": "site/hello", "environment": "test", "published_name": name });
    let deploy = |name: &str| json!({ "artifact_id": "tool", "published_name": name });
    let back = |name: &str| json!({ "published_name": name });
    let asked =
        [("/cd", cd(Some("other"))), ("/environments/test/deploy", deploy("other")), ("/environments/test/rollback", back("other"))];
    for (path, body) in &asked {
        let problem = refused(house.by(house.token(), Method::POST, path).json(body), 422).await;
        assert_eq!((problem.code, problem.errors[0].field.as_str()), (Code::NotConfigured, "published_name"), "{path}");
        assert!(problem.detail.contains("allow: tool, site-*."), "{}", problem.detail);
    }
    let status: Status = expect(house.get("/status"), StatusCode::OK).await;
    assert!(status.builds.is_empty(), "nothing was accepted");

    // One that is allowed since a moment ago is taken.
    house.world.blobs().publish("tool", b"1");
    house.world.hosts().names = Some(globs(&["tool", "other"]));
    let run = ask(&house, "/environments/test/deploy", &deploy("other")).await;
    house.ends(run, Outcome::Passed).await;
    house.close().await;
}
