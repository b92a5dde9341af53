//! Asking once, twice, a hundred times; and what `202` promises.

use std::collections::BTreeSet;

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use signalbox_contract::api::Page;
use signalbox_contract::api::doctor::{DoctorReport, Severity};
use signalbox_contract::api::run::{Accepted, Outcome, RunSummary, Status};
use signalbox_contract::grant::{Action, Grant};
use signalbox_contract::{Code, Problem, Verdict};

use crate::house::{House, SOURCE, Setup, answer, expect, on_repos, refused};
use crate::pages::with_cookie;
use crate::stand_ins::{At, Mood};

fn hello() -> Value {
    json!({ "repo": "hello", "ref": "main" })
}

fn keyed(house: &House, path: &str, body: &Value, key: &str) -> RequestBuilder {
    house.post(path, body).header("idempotency-key", key)
}

async fn accepted(request: RequestBuilder) -> Accepted {
    let response = answer(request, StatusCode::ACCEPTED).await;
    let location = response.headers()["location"].to_str().expect("text").to_owned();
    let accepted: Accepted = response.json().await.expect("JSON");
    assert_eq!((location.as_str(), accepted.url.as_str()), (accepted.url.as_str(), format!("/runs/{}", accepted.run).as_str()));
    accepted
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_and_body_is_the_same_run() {
    let house = House::open().await;
    let first = accepted(keyed(&house, "/cd", &hello(), "morning")).await;
    // What was meant counts, not how it was spelt.
    let spelt = house.post("/cd", &hello()).header("idempotency-key", "morning").body("{ \"ref\":\"main\",\n\"repo\" : \"hello\" }");
    assert_eq!(accepted(spelt).await.run, first.run);
    let by_url = json!({ "repo": SOURCE, "ref": "main" });
    assert_eq!(accepted(keyed(&house, "/cd", &by_url, "morning")).await.run, first.run, "by its URL it is the same repository");
    house.ends(first.run, Outcome::Passed).await;
    assert_eq!(accepted(keyed(&house, "/cd", &hello(), "morning")).await.run, first.run, "also when it is over");
    let other = json!({ "repo": "hello", "ref": "another" });
    let problem = refused(keyed(&house, "/cd", &other, "morning"), 422).await;
    assert_eq!((problem.code, problem.errors[0].field.as_str()), (Code::KeyReused, "Idempotency-Key"));
    assert_ne!(accepted(keyed(&house, "/cd", &hello(), "evening")).await.run, first.run);

    let somebody = house.token_of("somebody", vec![Grant::everything()]);
    let theirs = house.by(&somebody, Method::POST, "/cd").json(&hello()).header("idempotency-key", "morning");
    assert_ne!(accepted(theirs).await.run, first.run, "a key belongs to whoever uses it");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_at_the_same_moment_and_across_a_restart_is_one_run() {
    let mut house = House::open().await;
    let asked = (0..20).map(|_| accepted(keyed(&house, "/cd", &hello(), "k")));
    let runs: BTreeSet<_> = futures_util::future::join_all(asked).await.into_iter().map(|accepted| accepted.run).collect();
    assert_eq!(runs.len(), 1);
    house.dies();
    house.comes_back().await;
    assert!(runs.contains(&accepted(keyed(&house, "/cd", &hello(), "k")).await.run));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_hold_for_environments_too() {
    let house = House::open().await;
    house.world.blobs().publish("tool", b"1");
    let body = json!({ "artifact_id": "tool", "published_name": "tool" });
    let first = accepted(keyed(&house, "/environments/test/deploy", &body, "k")).await;
    assert_eq!(accepted(keyed(&house, "/environments/test/deploy", &body, "k")).await.run, first.run);
    refused(keyed(&house, "/environments/production/deploy", &body, "k"), 422).await;
    refused(keyed(&house, "/environments/test/rollback", &json!({ "published_name": "tool" }), "k"), 422).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_one_is_refused() {
    let house = House::open().await;
    for key in ["", "x\u{1}y", &"x".repeat(129)] {
        let Ok(value) = reqwest::header::HeaderValue::from_bytes(key.as_bytes()) else { continue };
        let problem = refused(house.post("/cd", &hello()).header("idempotency-key", value), 400).await;
        assert_eq!(problem.errors[0].field, "Idempotency-Key", "{key:?}");
    }
    let twice = house.post("/cd", &hello()).header("idempotency-key", "a").header("idempotency-key", "b");
    assert_eq!(refused(twice, 400).await.errors[0].field, "Idempotency-Key");
    let runs: Page<RunSummary> = expect(house.get("/runs"), StatusCode::OK).await;
    assert!(runs.items.is_empty());
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_posts_without_a_key_are_a_hundred_runs() {
    let house = House::with(Setup::default().capacity(50)).await;
    let body = hello();
    let runs = futures_util::future::join_all((0..100).map(|_| house.cd(&body))).await;
    let different: BTreeSet<_> = runs.iter().copied().collect();
    assert_eq!(different.len(), 100);
    let status: Status = expect(house.get("/status?limit=200"), StatusCode::OK).await;
    assert_eq!(status.builds.len(), 100);
    let numbers: BTreeSet<u64> = status.builds.values().map(|run| run.number).collect();
    assert_eq!(numbers, (1..=100).collect(), "numbered without a gap");
    for run in runs {
        house.ends(run, Outcome::Passed).await;
    }
    assert_eq!(house.world.done(At::Vcs, "publish"), 100);

    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page: Page<RunSummary> = expect(house.get(&format!("/runs?limit=30{cursor}")), StatusCode::OK).await;
        seen.extend(page.items.iter().map(|run| run.id));
        let Some(next) = page.next else { break };
        cursor = format!("&cursor={next}");
    }
    assert!(seen.len() == 100 && seen.is_sorted_by(|a, b| a > b), "pages follow each other without gap or repetition, newest first");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_with_202_is_never_lost() {
    let mut house = House::open().await;
    for _ in 0..5 {
        let run = house.branch("main").await;
        house.dies();
        house.comes_back().await;
        house.ends(run, Outcome::Passed).await;
    }
    assert_eq!(house.world.done(At::Deploy, "deploy"), 5);
    house.close().await;
}

// Threat 62.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_takes_nothing_and_says_when_to_come_back() {
    let house = House::with(Setup::default().top("queue = 2")).await;
    house.world.is(At::Vcs, Mood::Hanging);
    let first = accepted(keyed(&house, "/cd", &hello(), "first")).await.run;
    let second = house.cd(&hello()).await;
    let response = answer(house.post("/cd", &hello()), StatusCode::SERVICE_UNAVAILABLE).await;
    assert!(response.headers()["retry-after"].to_str().expect("text").parse::<u32>().is_ok_and(|seconds| seconds > 0));
    assert_eq!(response.json::<Value>().await.expect("JSON")["code"], "queue-full");
    refused(house.post("/environments/test/deploy", &json!({ "artifact_id": "a", "published_name": "a" })), 503).await;
    assert_eq!(accepted(keyed(&house, "/cd", &hello(), "first")).await.run, first, "what is in it already needs no room");
    let runs: Page<RunSummary> = expect(house.get("/runs"), StatusCode::OK).await;
    assert_eq!(runs.items.len(), 2, "nothing was stored");
    house.world.is(At::Vcs, Mood::Well);
    house.ends(first, Outcome::Passed).await;
    house.ends(second, Outcome::Passed).await;
    let third = house.cd(&hello()).await;
    assert_eq!(house.ends(third, Outcome::Passed).await.summary.number, 3, "what was refused took no number");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_goes_on_only_where_the_queue_has_room() {
    let house = House::with(Setup::default().top("queue = 1")).await;
    house.world.blobs().publish("tool", b"1");
    let over = house.cd(&hello()).await;
    let before = house.ends(over, Outcome::Passed).await;
    house.world.is(At::Vcs, Mood::Hanging);
    let present = house.cd(&hello()).await;
    let started = [
        ("/cd".to_owned(), hello()),
        (format!("/runs/{over}/rerun"), json!({ "from": "start" })),
        ("/environments/test/deploy".to_owned(), json!({ "artifact_id": "tool", "published_name": "tool" })),
        ("/environments/test/rollback".to_owned(), json!({ "published_name": "hello" })),
    ];
    for (path, body) in &started {
        let response = answer(house.post(path, body), StatusCode::SERVICE_UNAVAILABLE).await;
        assert_eq!(response.headers()["retry-after"], "30", "{path}");
        let problem: Problem = response.json().await.expect("a problem");
        assert_eq!((problem.code, problem.retry_after), (Code::QueueFull, Some(30)), "{path}");
    }
    let pressed = with_cookie(house.bare(Method::POST, &format!("/view/runs/{over}/rerun")), house.token());
    let response = answer(pressed.header("sec-fetch-site", "same-origin"), StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(response.headers()["retry-after"], "30", "the button is refused alike");
    // What cannot be done anyway is said first: waiting would not help.
    refused(house.post(&format!("/runs/{present}/rerun"), &json!({})), 409).await;
    refused(house.post(&format!("/runs/{over}/rerun"), &json!({})), 409).await;
    assert_eq!(house.run(over).await, before, "nothing of it was begun");
    house.world.is(At::Vcs, Mood::Well);
    house.ends(present, Outcome::Passed).await;
    let _: Accepted = expect(house.post(&format!("/runs/{over}/rerun"), &json!({ "from": "start" })), StatusCode::ACCEPTED).await;
    house.ends(over, Outcome::Passed).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_was_mistyped_is_answered_with_what_may_be_meant() {
    let house = House::open().await;
    let mistyped = json!({ "repo": "helo", "ref": "main" });
    let problem = refused(house.post("/cd", &mistyped), 422).await;
    assert!(problem.detail.ends_with("Did you mean hello?"), "{problem:?}");
    let unlike = refused(house.post("/cd", &json!({ "repo": "nothing-like-it", "ref": "main" })), 422).await;
    assert!(!unlike.detail.contains("Did you mean"), "{unlike:?}");
    let some = house.token_of("some", vec![on_repos(&[Action::Start], &["hello"])]);
    let asked = |token: &str| house.by(token, Method::POST, "/cd").json(&mistyped);
    let problem = refused(asked(&some), 403).await;
    assert!(problem.detail.ends_with("Did you mean hello?"), "{problem:?}");
    // Whoever may not start it does not learn that there is one.
    let others = house.token_of("others", vec![on_repos(&[Action::Start], &["helo", "team/*"])]);
    let problem = refused(asked(&others), 422).await;
    assert!(!problem.detail.contains("hello"), "{problem:?}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_keeps_its_first_source() {
    let mut house = House::open().await;
    let run = house.cd(&hello()).await;
    house.ends(run, Outcome::Passed).await;
    let file = house.folder.path().join("controller.toml");
    house.stops().await;
    house.set_up(Setup::default().source("https://git.example.org/an/impostor"));
    house.comes_back().await;
    assert!(std::fs::read_to_string(file).expect("a file").contains("impostor"));
    let problem = refused(house.post("/cd", &hello()), 409).await;
    assert_eq!((problem.code, problem.errors[0].field.as_str()), (Code::SourceConflict, "repo"));
    for words in ["belongs to https://git.example.org/hello", "correct the `source`", "a name of its own"] {
        assert!(problem.detail.contains(words), "{words}: {problem:?}");
    }
    let report: DoctorReport = expect(house.get("/doctor"), StatusCode::OK).await;
    let found = report.findings.iter().find(|finding| finding.about == "repository hello").expect("it is looked at");
    assert!(found.severity == Severity::Error && found.detail.contains("belongs to https://git.example.org/hello"), "{found:?}");
    assert!(found.hint.contains("correct the `source`"), "{found:?}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slip_in_a_source_binds_nothing_and_is_corrected() {
    let mut house = House::with(Setup::default().source("https://git.example.org/helo")).await;
    // Nobody has this branch, so that nothing is ever fetched.
    let run = house.cd(&json!({ "repo": "hello", "ref": "nowhere" })).await;
    house.ends(run, Outcome::Failed).await;
    let some = house.token_of("some", vec![on_repos(&[Action::Read], &["hello"])]);
    let seen: Page<RunSummary> = expect(house.by(&some, Method::GET, "/runs"), StatusCode::OK).await;
    assert_eq!(seen.items.iter().map(|seen| seen.id).collect::<Vec<_>>(), [run], "it is seen by whoever may, fetched or not");
    house.stops().await;
    house.set_up(Setup::default());
    house.comes_back().await;
    let run = house.cd(&hello()).await;
    house.ends(run, Outcome::Passed).await;
    house.stops().await;
    house.comes_back().await;
    let run = house.cd(&hello()).await;
    house.ends(run, Outcome::Passed).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_a_source_that_lost_its_name_meanwhile_has_no_plan() {
    let mut house = House::with(Setup::default().source("https://git.example.org/helo")).await;
    house.world.is(At::Vcs, Mood::Overloaded);
    let old = house.cd(&hello()).await;
    house.stops().await;
    house.set_up(Setup::default());
    house.comes_back().await;
    // The other way about: the one that was accepted later is fetched first, while the first one waits to be tried again.
    let new = house.cd(&hello()).await;
    house.world.is(At::Vcs, Mood::Well);
    let (first, second) = (house.ended(old).await, house.ended(new).await);
    let outcomes = [first.summary.outcome, second.summary.outcome];
    assert!(outcomes.contains(&Some(Outcome::Passed)) && outcomes.contains(&Some(Outcome::Failed)), "one of them: {outcomes:?}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_has_a_tag_that_changes_with_it() {
    let house = House::open().await;
    house.world.sources().script("slow", "wait");
    let run = house.cd(&json!({ "repo": "hello", "ref": "slow" })).await;
    house.builds(run).await;
    let path = format!("/runs/{run}");
    let response = answer(house.get(&path), StatusCode::OK).await;
    let tag = response.headers()["etag"].clone();
    let again = answer(house.get(&path).header("if-none-match", &tag), StatusCode::NOT_MODIFIED).await;
    assert_eq!(again.headers()["etag"], tag);
    assert!(again.text().await.expect("text").is_empty());
    let several = format!("\"x\", W/{}", tag.to_str().expect("text"));
    answer(house.get(&path).header("if-none-match", several), StatusCode::NOT_MODIFIED).await;
    answer(house.get(&path).header("if-none-match", "\"x\""), StatusCode::OK).await;
    house.world.build_ends(run, Verdict::Success);
    house.ends(run, Outcome::Passed).await;
    answer(house.get(&path).header("if-none-match", &tag), StatusCode::OK).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_not_a_ref_and_whoever_gives_one_is_told_what_to_give() {
    let house = House::open().await;
    for commit in ["c0ffee1234".repeat(4), "C0FFEE1234".repeat(4), "0123456789abcdef".repeat(4)] {
        let problem = refused(house.post("/cd", &json!({ "repo": "hello", "ref": commit })), 422).await;
        assert_eq!((problem.code, problem.errors[0].field.as_str()), (Code::NotARef, "ref"), "{problem:?}");
        assert!(problem.detail.contains("branch or tag"), "{problem:?}");
    }
    // A branch may look nearly like one.
    let run = house.cd(&json!({ "repo": "hello", "ref": "c0ffee1234" })).await;
    house.ended(run).await;
    house.close().await;
}
