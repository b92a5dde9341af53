//! Who may see and do what.

use reqwest::{Method, StatusCode};
use serde_json::json;
use signalbox_contract::api::Page;
use signalbox_contract::api::deploy::EnvironmentInfo;
use signalbox_contract::api::run::{Accepted, Outcome, RunAction, RunSummary, RunView, Status};
use signalbox_contract::grant::{Action, Grant};
use signalbox_contract::{FailureCode, Verdict};

use crate::house::{House, answer, expect, globs, on_repos, refused};
use crate::pages::with_cookie;

// Threat 67.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_reader_may_not_see_is_not_there() {
    let house = House::open().await;
    let run = house.branch("main").await;
    house.ends(run, Outcome::Passed).await;
    let mine = house.cd(&json!({ "repo": "team/other", "ref": "main" })).await;
    house.ends(mine, Outcome::Passed).await;
    let reader = house.token_of("reader", vec![on_repos(&[Action::Read, Action::Stop, Action::Rerun], &["team/*"])]);
    for what in ["", "/events", "/live", "/steps/build/log"] {
        refused(house.by(&reader, Method::GET, &format!("/runs/{run}{what}")), 404).await;
    }
    for what in ["stop", "rerun"] {
        refused(house.by(&reader, Method::POST, &format!("/runs/{run}/{what}")).json(&json!({})), 404).await;
    }
    let status: Status = expect(house.by(&reader, Method::GET, "/status"), StatusCode::OK).await;
    assert_eq!(status.finished, [mine]);
    let runs: Page<RunSummary> = expect(house.by(&reader, Method::GET, "/runs"), StatusCode::OK).await;
    assert_eq!(runs.items.len(), 1);
    let runs: Page<RunSummary> = expect(house.by(&reader, Method::GET, "/runs?repo=hello"), StatusCode::OK).await;
    assert!(runs.items.is_empty());
    let environments: Page<EnvironmentInfo> = expect(house.by(&reader, Method::GET, "/environments"), StatusCode::OK).await;
    assert!(environments.items.is_empty());
    refused(house.by(&reader, Method::GET, "/environments/test"), 404).await;
    house.close().await;
}

// Threat 67.
#[tokio::test(flavor = "multi_thread")]
async fn runs_without_a_repository_are_seen_by_environment_and_name() {
    let house = House::open().await;
    house.world.blobs().publish("tool", b"1");
    let mut runs = Vec::new();
    for name in ["mine", "theirs"] {
        let body = json!({ "artifact_id": "tool", "published_name": name });
        let accepted: Accepted = expect(house.post("/environments/production/deploy", &body), StatusCode::ACCEPTED).await;
        house.ends(accepted.run, Outcome::Passed).await;
        runs.push(accepted.run);
    }
    let grant = Grant { actions: vec![Action::Read], environments: globs(&["production"]), names: globs(&["mine"]), ..Grant::default() };
    let reader = house.token_of("reader", vec![grant]);
    let list: Page<RunSummary> = expect(house.by(&reader, Method::GET, "/runs"), StatusCode::OK).await;
    assert_eq!(list.items.iter().map(|run| run.id).collect::<Vec<_>>(), [runs[0]], "lists and runs follow the same rule");
    answer(house.by(&reader, Method::GET, &format!("/runs/{}", runs[0])), StatusCode::OK).await;
    refused(house.by(&reader, Method::GET, &format!("/runs/{}", runs[1])), 404).await;
    let shown: EnvironmentInfo = expect(house.by(&reader, Method::GET, "/environments/production"), StatusCode::OK).await;
    assert!(shown.shown.iter().all(|host| host.releases.iter().all(|release| release.name.as_str() == "mine")));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn starting_what_deploys_needs_the_right_to_deploy_and_says_so() {
    let house = House::open().await;
    let builder = house.token_of("builder", vec![on_repos(&[Action::Start, Action::Read], &["hello"])]);
    let deploys = json!({ "repo": "hello", "ref": "main", "artifact": "site/hello" });
    let problem = refused(house.by(&builder, Method::POST, "/cd").json(&deploys), 403).await;
    for word in ["deploy", "hello", "site/hello", "test"] {
        assert!(problem.detail.contains(word), "{word}: {}", problem.detail);
    }
    let builds = json!({ "repo": "hello", "ref": "main" });
    let _: Accepted = expect(house.by(&builder, Method::POST, "/cd").json(&builds), StatusCode::ACCEPTED).await;
    // Whether a repository is there is no business of those who may not start it.
    let (there, not) = (json!({ "repo": "team/other", "ref": "main" }), json!({ "repo": "team/nothing", "ref": "main" }));
    let one = refused(house.by(&builder, Method::POST, "/cd").json(&there), 403).await;
    let other = refused(house.by(&builder, Method::POST, "/cd").json(&not), 403).await;
    assert_eq!(one.detail.replace("team/other", ""), other.detail.replace("team/nothing", ""));

    let narrow = Grant {
        actions: vec![Action::Start, Action::Deploy],
        repos: globs(&["hello"]),
        artifacts: globs(&["site/*"]),
        environments: globs(&["test"]),
        names: globs(&["hello"]),
    };
    let narrow = house.token_of("narrow", vec![narrow]);
    let _: Accepted = expect(house.by(&narrow, Method::POST, "/cd").json(&deploys), StatusCode::ACCEPTED).await;
    for (field, value) in [("environment", "production"), ("published_name", "other"), ("artifact", "x/y")] {
        let mut body = deploys.clone();
        body[field] = json!(value);
        let problem = refused(house.by(&narrow, Method::POST, "/cd").json(&body), 403).await;
        assert!(problem.detail.contains(value), "{}", problem.detail);
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_action_needs_its_own_grant() {
    let house = House::open().await;
    house.world.hosts().stuck = Some("web1");
    let run = house.branch("main").await;
    house.ends(run, Outcome::Failed).await;
    let reader = house.token_of("reader", vec![on_repos(&[Action::Read], &["*"])]);
    for what in ["stop", "rerun"] {
        let problem = refused(house.by(&reader, Method::POST, &format!("/runs/{run}/{what}")).json(&json!({})), 403).await;
        assert!(problem.detail.contains(what), "{}", problem.detail);
    }
    let reader_and_rerunner = house.token_of("rerunner", vec![on_repos(&[Action::Read, Action::Rerun], &["*"])]);
    let problem = refused(house.by(&reader_and_rerunner, Method::POST, &format!("/runs/{run}/rerun")).json(&json!({})), 403).await;
    assert!(problem.detail.contains("start"), "running again is starting: {}", problem.detail);
    let rerunner = house.token_of("rerunner", vec![on_repos(&[Action::Read, Action::Rerun, Action::Start], &["*"])]);
    let problem = refused(house.by(&rerunner, Method::POST, &format!("/runs/{run}/rerun")).json(&json!({})), 403).await;
    assert!(problem.detail.contains("deploy"), "running again deploys: {}", problem.detail);
    let all = || globs(&["*"]);
    let deployer =
        Grant { actions: vec![Action::Deploy], artifacts: all(), environments: globs(&["test"]), names: all(), ..Grant::default() };
    let deployer = house.token_of("deployer", vec![deployer]);
    let body = json!({ "artifact_id": "a", "published_name": "a" });
    answer(house.by(&deployer, Method::POST, "/environments/test/deploy").json(&body), StatusCode::ACCEPTED).await;
    refused(house.by(&deployer, Method::POST, "/environments/production/deploy").json(&body), 403).await;
    refused(house.by(&deployer, Method::POST, "/environments/test/rollback").json(&json!({ "published_name": "a" })), 403).await;
    refused(house.by(&deployer, Method::GET, "/tokens"), 403).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rerun_has_the_rights_of_whoever_reruns_and_not_of_whoever_started() {
    let house = House::open().await;
    let all = || globs(&["*"]);
    let may = |artifacts: &[&str]| Grant {
        actions: vec![Action::Read, Action::Start, Action::Rerun, Action::Deploy],
        repos: globs(&["hello"]),
        artifacts: globs(artifacts),
        environments: all(),
        names: all(),
    };
    // What started it may publish everything; what reruns it, something else.
    let run = house.cd(&json!({ "repo": "hello", "ref": "main" })).await;
    house.ends(run, Outcome::Passed).await;
    let path = format!("/runs/{run}/rerun");
    let (other, fitting) = (house.token_of("other", vec![may(&["tool/*"])]), house.token_of("fitting", vec![may(&["site/*"])]));
    for from in ["start", "failed"] {
        let request = house.by(&other, Method::POST, &path).json(&json!({ "from": from }));
        refused(request, if from == "start" { 403 } else { 409 }).await;
    }
    let problem = refused(house.by(&other, Method::POST, &path).json(&json!({ "from": "start" })), 403).await;
    assert!(problem.detail.contains("site/hello"), "{}", problem.detail);
    let _: Accepted = expect(house.by(&fitting, Method::POST, &path).json(&json!({ "from": "start" })), StatusCode::ACCEPTED).await;
    house.ends(run, Outcome::Passed).await;

    // Where the plan was never resolved, it is resolved with the rights of whoever asks now.
    let narrow = house.cd_by(&other, &json!({ "repo": "hello", "ref": "main" })).await;
    let view = house.ends(narrow, Outcome::Failed).await;
    assert_eq!(view.steps[0].attempts[0].failure.as_ref().map(|failure| failure.code), Some(FailureCode::ArtifactNotAllowed));
    let path = format!("/runs/{narrow}/rerun");
    let _: Accepted = expect(house.by(&fitting, Method::POST, &path).json(&json!({})), StatusCode::ACCEPTED).await;
    house.ends(narrow, Outcome::Passed).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_offers_only_what_its_reader_may_do_now() {
    let house = House::open().await;
    house.world.sources().script("slow", "wait");
    let run = house.branch("slow").await;
    house.builds(run).await;
    let path = format!("/runs/{run}");
    let reads = house.token_of("reads", vec![on_repos(&[Action::Read], &["*"])]);
    let stops = house.token_of("stops", vec![on_repos(&[Action::Read, Action::Stop], &["*"])]);
    // It may be rerun, and not be deployed again.
    let half = house.token_of("half", vec![on_repos(&[Action::Read, Action::Start, Action::Rerun], &["*"])]);
    // It may all be done, and what it makes may not be published.
    let mut bare = Grant::everything();
    bare.artifacts = Vec::new();
    let silent = house.token_of("silent", vec![bare, Grant { actions: vec![Action::Deploy], ..Grant::everything() }]);
    let offered = async |token: &str| {
        let response = answer(house.by(token, Method::GET, &path), StatusCode::OK).await;
        let tag = response.headers()["etag"].to_str().expect("text").to_owned();
        let view: RunView = response.json().await.expect("a run");
        let page = answer(with_cookie(house.bare(Method::GET, &format!("/view/runs/{run}")), token), StatusCode::OK).await;
        let page = page.text().await.expect("a page");
        for (action, button) in [(RunAction::Stop, ">Stop</button>"), (RunAction::Rerun, ">Rerun</button>")] {
            assert_eq!(view.actions.contains(&action), page.contains(button), "the page and the API offer the same");
        }
        (view.actions, tag)
    };
    for token in [&reads, &half] {
        assert_eq!(offered(token).await.0, []);
    }
    let (actions, tag) = offered(&stops).await;
    assert_eq!(actions, [RunAction::Stop]);
    let asked = house.by(&reads, Method::GET, &path).header("if-none-match", &tag);
    answer(asked, StatusCode::OK).await;
    let asked = house.by(&stops, Method::GET, &path).header("if-none-match", &tag);
    answer(asked, StatusCode::NOT_MODIFIED).await;

    let _: Accepted = expect(house.by(&stops, Method::POST, &format!("{path}/stop")), StatusCode::ACCEPTED).await;
    house.ends(run, Outcome::Stopped).await;
    for token in [&reads, &stops, &half, &silent] {
        assert_eq!(offered(token).await.0, []);
        refused(house.by(token, Method::POST, &format!("{path}/rerun")), 403).await;
    }
    assert_eq!(offered(house.token()).await.0, [RunAction::Rerun]);
    let _: Accepted = expect(house.by(house.token(), Method::POST, &format!("{path}/rerun")), StatusCode::ACCEPTED).await;
    house.builds(run).await;
    house.world.build_ends(run, Verdict::Success);
    house.ends(run, Outcome::Passed).await;
    house.close().await;
}
