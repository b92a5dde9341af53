//! What people and programs are told of a request that makes no sense.

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use signalbox_contract::Code;
use signalbox_contract::api::run::{Accepted, Outcome};
use signalbox_contract::grant::Action;

use crate::house::{House, Setup, answer, expect, on_repos, refused};
use crate::pages::with_cookie;

/// A form that a page of ours sends.
fn form(house: &House, path: &str, fields: &str) -> RequestBuilder {
    let request = with_cookie(house.bare(Method::POST, path), house.token()).header("sec-fetch-site", "same-origin");
    request.header("content-type", "application/x-www-form-urlencoded").body(fields.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_with_fields_that_are_not_known_or_not_valid_does_nothing_and_the_page_names_them_once() {
    let house = House::open().await;
    let run = house.branch("main").await;
    house.ends(run, Outcome::Passed).await;
    let (rerun, stop) = (format!("/view/runs/{run}/rerun"), format!("/view/runs/{run}/stop"));
    let rollback = "/view/environments/test/rollback";
    for (path, fields, told) in [
        (rerun.as_str(), "from=zzz", "at `from`: is not known here"),
        (&rerun, "bad=1", "at `bad`: is not known here"),
        (&stop, "x=1", "at `x`: is not known here"),
        ("/view/deliveries/1/replay", "x=1", "at `x`: is not known here"),
        (rollback, "published_name=hello&zzz=1", "at `zzz`: is not known here"),
        (rollback, "published_name=hello&published_name=hello", "at `published_name`: stands there twice"),
        (rollback, "", "at `published_name`: is missing"),
        (rollback, "published_name=A/b", "at `published_name`: "),
        ("/sign-out", "x=1", "at `x`: is not known here"),
        ("/sign-in", "token=x&y=1", "at `y`: is not known here"),
        ("/sign-in", "token=x&token=y", "at `token`: stands there twice"),
    ] {
        let page = answer(form(&house, path, fields), StatusCode::BAD_REQUEST).await;
        assert!(page.headers()["content-type"].to_str().expect("text").starts_with("text/html"), "{path} {fields}");
        let text = page.text().await.expect("a page");
        assert!(text.contains(told), "{path} {fields}: {text}");
        assert_eq!(text.matches(told.rsplit(": ").next().filter(|words| !words.is_empty()).unwrap_or(told)).count(), 1, "{path}: {text}");
    }
    let other = form(&house, &rerun, "{}").header("content-type", "application/json");
    assert!(other.send().await.expect("an answer").status().is_client_error(), "a form says once that it is one");
    let runs: Value = expect(house.get("/runs"), StatusCode::OK).await;
    assert_eq!((runs["items"].as_array().map(Vec::len), &runs["items"][0]["rerun_at"]), (Some(1), &Value::Null), "nothing came of it");
    answer(form(&house, &rerun, ""), StatusCode::SEE_OTHER).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_with_parameters_that_are_not_valid_is_a_page_that_names_each_once() {
    let house = House::open().await;
    let page = answer(with_cookie(house.bare(Method::GET, "/runs?x=1&y=2"), house.token()), StatusCode::BAD_REQUEST).await;
    let text = page.text().await.expect("a page");
    assert!(text.contains("A parameter is not valid at `x`: is not known here") && text.contains("[y: is not known here"), "{text}");
    let known = refused(house.get("/runs?state=foo&ref=a..b&cursor=zz&limit=-1"), 400).await;
    let fields: Vec<&str> = known.errors.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!(fields, ["state", "ref", "cursor", "limit"], "{known:?}");
    assert!(known.detail.contains("`state`"), "{known:?}");
    for (query, fields) in [
        ("/runs?zzz=1&state=foo&token=hunter2&limit=500&repo=a%20b", "zzz state token limit repo"),
        ("/status?limit=0&page=2", "limit page"),
        ("/deliveries?limit=x&x=1&state=y", "limit x state"),
        ("/revocations?x=1&limit=1001&cursor=y", "x limit cursor"),
    ] {
        let told = refused(house.get(query), 400).await;
        let fields_told: Vec<&str> = told.errors.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields_told.join(" "), fields, "{query}: {told:?}");
        assert!(!format!("{told:?}").contains("hunter2"), "{told:?}");
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_is_named_and_a_digest_in_its_place_is_told_so() {
    let house = House::open().await;
    let digest = house.world.blobs().publish("tool", b"1").to_string();
    for (path, body, field) in [
        ("/environments/test/deploy", json!({ "artifact_id": digest, "published_name": "tool" }), "artifact_id"),
        ("/cd", json!({ "repo": "hello", "ref": "main", "artifact": digest }), "artifact"),
    ] {
        let problem = refused(house.post(path, &body), 400).await;
        assert_eq!(problem.errors[0].field, field, "{problem:?}");
        for words in ["must not be a digest", "what a name shows in the artifact store", "a rollback takes the digest"] {
            assert!(problem.detail.contains(words), "{words}: {problem:?}");
        }
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_and_an_environment_that_are_not_configured_are_told_at_once_with_those_that_are() {
    let house = House::open().await;
    let asked = json!({ "repo": "hello", "ref": "main", "artifact": "site/hello", "executor": "gone", "environment": "nowhere" });
    let problem = refused(house.post("/cd", &asked), 422).await;
    let fields: Vec<&str> = problem.errors.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!((problem.code, fields), (Code::NotConfigured, vec!["executor", "environment"]), "{problem:?}");
    assert!(problem.detail.starts_with("The executor is not configured. There is: "), "{problem:?}");
    for name in ["local", "test", "production"] {
        assert!(problem.detail.contains(name), "{name}: {problem:?}");
    }
    let right = json!({ "repo": "hello", "ref": "main", "executor": "local" });
    let _: Accepted = expect(house.post("/cd", &right), StatusCode::ACCEPTED).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_a_request_names_and_that_is_not_there_is_told_at_once() {
    let pushed = "[repositories.pushed]\nsource = \"https://git.example.org/pushed\"\nexecutor = \"far\"\nnaming = \"same\"";
    let house = House::with(Setup::default().table(pushed)).await;
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let inputs = json!({ "WHO": "me" });
    for (body, status, fields) in [
        (
            json!({ "repo": "gone", "ref": commit, "artifact": "a", "executor": "gone", "environment": "nowhere" }),
            422,
            "repo ref executor environment",
        ),
        (json!({ "repo": "gone", "ref": "main" }), 422, "repo"),
        (json!({ "repo": "gone", "ref": "main", "executor": "local", "artifact": "a", "environment": "test" }), 422, "repo"),
        (
            json!({ "repo": "hello", "ref": commit, "artifact": "a", "executor": "gone", "environment": "nowhere" }),
            422,
            "ref executor environment",
        ),
        (
            json!({ "repo": "pushed", "ref": "main", "inputs": inputs, "job": "cd", "artifact": "a", "environment": "nowhere" }),
            422,
            "environment inputs job",
        ),
        (json!({ "repo": "native", "ref": "main", "job": "cd" }), 400, "job"),
    ] {
        let problem = refused(house.post("/cd", &body), status).await;
        let told: Vec<&str> = problem.errors.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(told.join(" "), fields, "{body}: {problem:?}");
    }
    // Whoever may not deploy does not learn which environments there are, nor whoever may not start which repositories.
    let starter = house.token_of("starter", vec![on_repos(&[Action::Start], &["*"])]);
    let body = json!({ "repo": "gone", "ref": "main", "artifact": "a", "environment": "nowhere" });
    let problem = refused(house.by(&starter, Method::POST, "/cd").json(&body), 422).await;
    assert!(problem.errors.len() == 1 && !problem.detail.contains("production"), "{problem:?}");
    let stranger = house.token_of("stranger", vec![on_repos(&[Action::Start], &["team/*"])]);
    let body = json!({ "repo": "hello", "ref": commit, "executor": "gone" });
    assert!(refused(house.by(&stranger, Method::POST, "/cd").json(&body), 403).await.errors.is_empty());
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_handler_finds_at_fault_is_told_in_words_too() {
    let house = House::open().await;
    let run = house.cd(&json!({ "repo": "hello", "ref": "main" })).await;
    let cd = |body: Value| house.post("/cd", &body);
    let keyed = |key: &'static str, branch: &str| {
        let header = HeaderMap::from_iter([("idempotency-key".parse().expect("a name"), HeaderValue::from_static(key))]);
        cd(json!({ "repo": "hello", "ref": branch })).headers(header)
    };
    let _: Accepted = expect(keyed("once", "main"), StatusCode::ACCEPTED).await;
    let live = house.get(&format!("/runs/{run}/live")).header("last-event-id", "abc");
    for (request, status, detail) in [
        (house.get("/runs?limit=0"), 400, "A parameter is not valid at `limit`: must be between 1 and 200."),
        (live, 400, "A parameter is not valid at `Last-Event-ID`: must be a number."),
        (keyed("", "main"), 400, "A parameter is not valid at `Idempotency-Key`: must be given once, with 1 to 128 printable"),
        (keyed("once", "other"), 422, "The key was used with another body: `Idempotency-Key` was used for another request; take"),
        (cd(json!({ "repo": "x".repeat(4000), "ref": "main" })), 400, "The body is not valid at `repo`: must have at most"),
        (
            cd(json!({ "repo": "hello", "ref": "main", "published_name": "hello" })),
            400,
            "The body is not valid at `published_name`: makes sense only with an artifact",
        ),
    ] {
        let problem = refused(request, status).await;
        assert!(problem.detail.starts_with(detail) && problem.detail.ends_with('.'), "{problem:?}");
        assert_eq!(problem.to_string(), problem.detail, "it is said once");
    }
    house.close().await;
}
