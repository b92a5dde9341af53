//! Builds that show who they are and upload by themselves.

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::json;
use signalbox_contract::api::exchange::{ACCESS_TOKEN, Exchanged, GRANT_TYPE, ID_TOKEN};
use signalbox_contract::api::run::Outcome;
use signalbox_contract::{RunId, Verdict};
use signalbox_service::auth::sha256;

use crate::house::{House, answer, phase, refused};
use crate::stand_ins::At;

async fn native(house: &House) -> RunId {
    house.cd(&json!({ "repo": "native", "ref": "main", "artifact": "site/hello" })).await
}

/// `POST /token` with this ID token.
fn exchange(house: &House, token: &str) -> RequestBuilder {
    let fields = [("grant_type", GRANT_TYPE), ("subject_token_type", ID_TOKEN), ("subject_token", token)];
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    house.bare(Method::POST, "/token").header("content-type", "application/x-www-form-urlencoded").body(form)
}

/// The ID token of a build of what was pushed last.
fn token(house: &House, build: &str) -> String {
    let sources = house.world.sources();
    let (key, pushed) = sources.pushed.iter().next_back().expect("a push");
    format!("far {build} native refs/heads/cd/{key} {}", pushed.sha)
}

fn put(house: &House, given: &Exchanged, name: &str, bytes: &'static [u8]) -> RequestBuilder {
    let path = given.upload.join(name).expect("an address");
    assert_eq!(path.as_str().strip_prefix(&house.world.url(At::Store)).map(|path| path.starts_with("/grants/")), Some(true));
    reqwest::Client::builder().no_proxy().build().expect("a client").put(path).bearer_auth(&given.access_token).body(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_build_uploads_by_its_identity_is_deployed_and_not_fetched() {
    let house = House::open().await;
    house.world.far().files.insert(("build".to_owned(), "out/hello".to_owned()), b"what the executor keeps".to_vec());
    house.world.far().breaks = 1;
    let run = native(&house).await;
    house.builds(run).await;
    let response = answer(exchange(&house, &token(&house, "7/1")), StatusCode::OK).await;
    assert_eq!(response.headers()["cache-control"], "no-store");
    let given: Exchanged = response.json().await.expect("an answer");
    assert_eq!((given.token_type.as_str(), given.issued_token_type.as_str()), ("Bearer", ACCESS_TOKEN));
    assert_eq!(
        (given.artifacts.iter().map(ToString::to_string).collect::<Vec<_>>(), given.attempt.run),
        (vec!["site/hello".to_owned()], run)
    );
    assert!(given.expires_in > 0 && given.max_bytes > 0);
    refused(put(&house, &given, "site/other", b"x"), 403).await;
    refused(house.by(&given.access_token, Method::GET, "/status"), 403).await;
    answer(put(&house, &given, "site/hello", b"a first try"), StatusCode::OK).await;
    answer(put(&house, &given, "site/hello", b"what was uploaded"), StatusCode::OK).await;
    house.world.far().ends(run, Verdict::Success);
    let view = house.ends(run, Outcome::Passed).await;
    let attempt = &view.steps[1].attempts[0];
    assert_eq!(attempt.artifacts[0].digest, sha256(b"what was uploaded"));
    assert!(attempt.remarks.is_empty(), "{:?}", attempt.remarks);
    assert_eq!(house.world.far().breaks, 1, "nothing was read there");
    // Threat: a token that is shown again when it is over.
    let problem = refused(exchange(&house, &token(&house, "7/1")), 403).await;
    assert!(problem.detail.contains("attempt that is at work"), "{problem}");
    house.close().await;
}

// Threat 69.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_good_for_its_own_build_of_its_own_commit_alone() {
    let house = House::open().await;
    let run = native(&house).await;
    house.builds(run).await;
    let good = token(&house, "7/1");
    for (token, words) in [
        (token(&house, "7/2"), "attempt that is at work"),
        (token(&house, "8/1"), "attempt that is at work"),
        (good.replace("native", "hello"), "another repository"),
        (good.replace("heads/cd", "heads/other"), "another ref"),
        (good.replace("heads/cd", "tags/cd"), "another ref"),
        (format!("{} {}", good.rsplit_once(' ').expect("a commit").0, "77".repeat(20)), "another commit"),
    ] {
        let problem = refused(exchange(&house, &token), 403).await;
        assert!(problem.detail.contains(words), "{token}: {problem}");
    }
    refused(exchange(&house, "of somebody else"), 401).await;
    refused(exchange(&house, "late"), 401).await;
    assert_eq!(refused(exchange(&house, "busy"), 503).await.retry_after, Some(7));
    let problem = refused(exchange(&house, ""), 400).await;
    assert_eq!(problem.errors[0].field, "subject_token");
    refused(house.bare(Method::POST, "/token").json(&json!({ "subject_token": good })), 415).await;
    let large = house.bare(Method::POST, "/token").header("content-type", "application/x-www-form-urlencoded");
    refused(large.body("x".repeat(100_000)), 413).await;
    answer(exchange(&house, &good), StatusCode::OK).await;

    house.world.far().ends(run, Verdict::Failed);
    house.ends(run, Outcome::Failed).await;
    refused(exchange(&house, &good), 403).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_asks_before_it_is_known_is_told_to_ask_again() {
    let house = House::open().await;
    house.world.far().idle = true;
    let run = native(&house).await;
    house.until("it is waited for", run, |view| phase(view) == "expected").await;
    let problem = refused(exchange(&house, &token(&house, "7/1")), 503).await;
    assert_eq!(problem.retry_after, Some(2), "{problem}");
    house.world.far().idle = false;
    house.builds(run).await;
    answer(exchange(&house, &token(&house, "7/1")), StatusCode::OK).await;
    answer(house.post(&format!("/runs/{run}/stop"), &json!({})), StatusCode::ACCEPTED).await;
    house.ends(run, Outcome::Stopped).await;
    refused(exchange(&house, &token(&house, "7/1")), 403).await;
    house.close().await;
}
