//! The pages, as a browser asks for them.

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::json;
use signalbox_contract::api::run::{Accepted, Outcome, RunState};
use signalbox_contract::grant::{Action, Grant};
use signalbox_contract::{Failure, FailureCode, RunId};

use crate::house::{House, answer, expect, on_repos, refused};
use crate::stand_ins::{At, Mood};

pub(crate) fn with_cookie(request: RequestBuilder, token: &str) -> RequestBuilder {
    request.header("cookie", format!("other=1; signalbox-session={token}")).header("accept", "text/html")
}

pub(crate) async fn page(house: &House, path: &str) -> String {
    let response = answer(with_cookie(house.bare(Method::GET, path), house.token()), StatusCode::OK).await;
    checked(&response);
    let text = response.text().await.expect("a page");
    assert!(!text.contains("<script") && !text.contains("javascript:"), "no page needs a script");
    text
}

pub(crate) fn checked(response: &reqwest::Response) {
    let headers = response.headers();
    let policy = headers["content-security-policy"].to_str().expect("text");
    assert!(
        policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert!(headers["content-type"].to_str().expect("text").starts_with("text/html"));
    assert_eq!(headers["cache-control"], "no-store");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_signs_in_with_a_token_and_out_again() {
    let house = House::open().await;
    let response = answer(house.bare(Method::GET, "/"), StatusCode::SEE_OTHER).await;
    assert_eq!(response.headers()["location"], "/sign-in");
    checked(&answer(house.bare(Method::GET, "/sign-in"), StatusCode::OK).await);
    let sign_in = |body: String| {
        house
            .bare(Method::POST, "/sign-in")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin")
            .body(body)
    };
    let wrong = answer(sign_in("token=wrong".to_owned()), StatusCode::UNAUTHORIZED).await;
    checked(&wrong);
    assert!(!wrong.headers().contains_key("set-cookie"));
    assert!(wrong.text().await.expect("a page").contains("role=\"alert\""));
    let odd = sign_in("tok=x".to_owned()).send().await.expect("an answer");
    assert!(odd.status().is_client_error());
    assert!(!odd.headers()["content-type"].to_str().expect("text").starts_with("text/plain"));

    let right = answer(sign_in(format!("token=+{}%0A", house.token())), StatusCode::SEE_OTHER).await;
    let cookie = right.headers()["set-cookie"].to_str().expect("text").to_owned();
    for flag in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age="] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    assert!(page(&house, "/").await.contains("tester"));
    let out = answer(with_cookie(house.bare(Method::POST, "/sign-out"), house.token()), StatusCode::SEE_OTHER).await;
    assert!(out.headers()["set-cookie"].to_str().expect("text").contains("Max-Age=0"));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_what_the_api_answers() {
    let house = House::open().await;
    house.world.builds().says = b"a line of the log\n".to_vec();
    let run = house.branch("main").await;
    let view = house.ends(run, Outcome::Passed).await;
    let list = page(&house, "/").await;
    assert!(list.contains(&format!("/view/runs/{run}")) && list.contains("passed"));
    let one = page(&house, &format!("/view/runs/{run}")).await;
    let sha = view.summary.sha.expect("a commit");
    for text in [sha.as_str(), "mirror", "build", "deploy", "web1", "a line of the log", "Rerun"] {
        assert!(one.contains(text), "{text}");
    }
    assert!(!one.contains("http-equiv=\"refresh\""), "what is over needs no look again");
    assert!(page(&house, &format!("/view/runs/{run}/steps/build/log?attempt=1")).await.contains("a line of the log"));
    assert!(page(&house, "/view/environments").await.contains("production"));
    house.world.goes_away(At::Deploy).await;
    let away = answer(with_cookie(house.bare(Method::GET, "/view/environments"), house.token()), StatusCode::BAD_GATEWAY).await;
    checked(&away);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_has_a_page_of_its_own() {
    let house = House::open().await;
    let run = house.branch("main").await;
    house.ends(run, Outcome::Passed).await;
    for path in ["/view/runs/01jd8qk4wmfvt9e3v1n0t2m6xz", "/view/runs/01jd8qk4wmfvt9e3v1n0t2m6xz/steps/build/log", "/nowhere"] {
        let response = answer(with_cookie(house.bare(Method::GET, path), house.token()), StatusCode::NOT_FOUND).await;
        checked(&response);
        assert!(response.text().await.expect("a page").contains("href=\"/\""), "{path}");
    }
    checked(&answer(with_cookie(house.bare(Method::GET, "/view/runs/x"), house.token()), StatusCode::BAD_REQUEST).await);
    let reader = house.token_of("reader", vec![on_repos(&[Action::Read], &["team/*"])]);
    answer(with_cookie(house.bare(Method::GET, &format!("/view/runs/{run}")), &reader), StatusCode::NOT_FOUND).await;
    let empty = answer(with_cookie(house.bare(Method::GET, "/"), &reader), StatusCode::OK).await.text().await.expect("a page");
    assert!(!empty.contains(&run.to_string()));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_opens_an_address_in_a_browser_gets_every_refusal_as_a_page() {
    let house = House::open().await;
    let run = "01jd8qk4wmfvt9e3v1n0t2m6xz";
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
    let reader = house.token_of("reader", vec![on_repos(&[Action::Read], &["team/*"])]);
    let cases = [
        (Method::GET, "/runs/zzz", house.token(), 400, "`id`"),
        (Method::GET, "/runs?page=2", house.token(), 400, "`page`"),
        (Method::GET, "/view/runs/zzz?x=1", house.token(), 400, "`x`"),
        (Method::GET, "/status", "not-a-token", 401, "token"),
        (Method::GET, "/doctor", reader.as_str(), 403, "operate"),
        (Method::GET, &format!("/runs/{run}"), house.token(), 404, "no such thing"),
        (Method::GET, "/nowhere", house.token(), 404, "no such thing"),
        (Method::DELETE, "/runs", house.token(), 405, "method"),
        (Method::DELETE, "/view/environments", house.token(), 405, "method"),
        (Method::GET, &format!("/runs?ref={}", "x".repeat(9000)), house.token(), 414, "too long"),
    ];
    for (method, path, token, status, words) in cases {
        let short = &path[..path.len().min(40)];
        let asked = || house.bare(method.clone(), path).header("cookie", format!("signalbox-session={token}"));
        let page = answer(asked().header("accept", browser), StatusCode::from_u16(status).expect("a status")).await;
        checked(&page);
        assert!(page.headers().contains_key("x-request-id"), "{short}");
        assert_eq!(page.headers().contains_key("allow"), status == 405, "{short}");
        let text = page.text().await.expect("a page");
        assert!(text.contains("/assets/style.css") && text.contains("href=\"/\"") && text.contains(words), "{short}: {text}");
        // A program that does not ask for a page gets none, whatever else it would take.
        for accept in ["*/*", "application/json, text/html;q=0.5", "application/problem+json"] {
            if !path.starts_with("/view") || status == 405 {
                refused(asked().header("accept", accept), status).await;
            }
        }
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_run_again_counts_from_when_it_was() {
    let house = House::open().await;
    let run = house.branch("main").await;
    let first = house.ends(run, Outcome::Passed).await.summary;
    assert_eq!((first.rerun_at, first.began_at()), (None, first.accepted_at));
    assert!(!page(&house, &format!("/view/runs/{run}")).await.contains("Run again"));
    let _: Accepted = expect(house.post(&format!("/runs/{run}/rerun"), &json!({ "from": "start" })), StatusCode::ACCEPTED).await;
    let second = house.ends(run, Outcome::Passed).await.summary;
    assert_eq!(second.accepted_at, first.accepted_at, "its age stays");
    assert!(second.rerun_at >= first.finished_at && second.began_at() <= second.finished_at.expect("its end"), "{second:?}");
    assert!(page(&house, &format!("/view/runs/{run}")).await.contains("Run again"));
    house.close().await;
}

async fn press(house: &House, run: RunId, what: &str, site: Option<&str>, status: StatusCode) {
    let mut request = with_cookie(house.bare(Method::POST, &format!("/view/runs/{run}/{what}")), house.token());
    if let Some(site) = site {
        request = request.header("sec-fetch-site", site);
    }
    answer(request, status).await;
}

// Threat 61.
#[tokio::test(flavor = "multi_thread")]
async fn another_site_cannot_press_our_buttons() {
    let house = House::open().await;
    house.world.sources().script("slow", "wait");
    let run = house.branch("slow").await;
    house.builds(run).await;
    press(&house, run, "stop", Some("cross-site"), StatusCode::FORBIDDEN).await;
    press(&house, run, "stop", Some("same-site"), StatusCode::FORBIDDEN).await;
    let foreign =
        with_cookie(house.bare(Method::POST, &format!("/view/runs/{run}/stop")), house.token()).header("origin", "https://evil.example");
    checked(&answer(foreign, StatusCode::FORBIDDEN).await);
    let api = with_cookie(house.bare(Method::POST, &format!("/runs/{run}/stop")), house.token()).header("sec-fetch-site", "cross-site");
    checked(&answer(api, StatusCode::FORBIDDEN).await);
    assert_eq!(house.run(run).await.summary.state, RunState::Building);
    press(&house, run, "stop", Some("same-origin"), StatusCode::SEE_OTHER).await;
    house.ends(run, Outcome::Stopped).await;
    press(&house, run, "stop", Some("same-origin"), StatusCode::CONFLICT).await;
    press(&house, run, "rerun", Some("same-origin"), StatusCode::SEE_OTHER).await;
    house.builds(run).await;
    house.close().await;
}

// Threat 58.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_request_says_of_where_it_came_from_is_not_believed() {
    let house = House::open().await;
    house.world.sources().script("slow", "wait");
    let run = house.branch("slow").await;
    house.builds(run).await;
    let forged = |request: reqwest::RequestBuilder| {
        let request = request.header("x-forwarded-host", "evil.example").header("x-forwarded-proto", "https");
        let request = request.header("x-forwarded-for", "203.0.113.7, 127.0.0.1").header("x-real-ip", "203.0.113.7");
        request.header("forwarded", "for=203.0.113.7;host=evil.example;proto=https").header("x-original-url", "/health/live")
    };
    // A page of another site is one, whichever host it claims that we are.
    let pressed = with_cookie(house.bare(Method::POST, &format!("/view/runs/{run}/stop")), house.token());
    checked(&answer(forged(pressed).header("origin", "https://evil.example"), StatusCode::FORBIDDEN).await);
    assert_eq!(house.run(run).await.summary.state, RunState::Building);
    // Nor does any of it come back, in places to look at or in pages.
    let request = forged(house.post("/cd", &json!({ "repo": "hello", "ref": "main" })));
    let accepted = answer(request, StatusCode::ACCEPTED).await;
    let place = accepted.headers()["location"].to_str().expect("text").to_owned();
    assert!(place.starts_with("/runs/"), "{place}");
    let shown = answer(forged(with_cookie(house.bare(Method::GET, "/"), house.token())), StatusCode::OK).await;
    let headers = format!("{:?}", shown.headers());
    let text = shown.text().await.expect("a page");
    assert!(!text.contains("evil.example") && !text.contains("203.0.113.7") && !headers.contains("evil.example"), "{headers} {text}");
    house.close().await;
}

// Threat 60.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_shown_becomes_markup() {
    let house = House::open().await;
    let evil = "\"'><img/src=x/onerror=alert(1)>";
    let token = house.token_of(evil, vec![Grant::everything()]);
    house.world.builds().says = format!("{evil}</pre><script>alert(1)</script>\n").into_bytes();
    house.world.sources().script(evil, "wait");
    let run: serde_json::Value = house
        .by(&token, Method::POST, "/cd")
        .json(&json!({ "repo": "hello", "ref": evil, "artifact": "site/hello" }))
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    let run: RunId = run["run"].as_str().expect("a run").parse().expect("a run");
    house.builds(run).await;
    house.world.builds().queue(run, evil);
    house.until("it is shown", run, |view| view.steps[1].reason == evil).await;
    let paths = [format!("/view/runs/{run}"), format!("/view/runs/{run}/steps/build/log"), "/".to_owned(), "/view/environments".to_owned()];
    let harmless = async || {
        for path in &paths {
            let text = page(&house, path).await;
            assert!(!text.contains("<img") && !text.contains("'><"), "{path}: {text}");
        }
    };
    harmless().await;
    house.world.build_ends(run, signalbox_contract::Verdict::Success);
    house.ends(run, Outcome::Passed).await;
    house.world.is(At::Vcs, Mood::Failing(Failure::new(FailureCode::RefNotFound, evil).hint(evil)));
    let failed = house.branch("main").await;
    house.ends(failed, Outcome::Failed).await;
    harmless().await;
    let text = page(&house, &format!("/view/runs/{failed}")).await;
    assert!(text.contains("&#60;img") || text.contains("&lt;img"), "it is shown as it is");
    assert!(!text.contains("<img"));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_rolled_back_by_a_button_for_those_who_may() {
    let house = House::open().await;
    let mut digests = Vec::new();
    for bytes in [b"1", b"2"] {
        digests.push(house.world.blobs().publish("tool", bytes));
        let body = json!({ "artifact_id": "tool", "published_name": "tool" });
        let accepted: Accepted = expect(house.post("/environments/test/deploy", &body), StatusCode::ACCEPTED).await;
        house.ends(accepted.run, Outcome::Passed).await;
    }
    let path = "/view/environments/test/rollback";
    assert!(page(&house, "/view/environments").await.contains(&format!("action=\"{path}\"")));
    let press = |token: &str, site: &str| {
        let request = with_cookie(house.bare(Method::POST, path), token).header("sec-fetch-site", site);
        request.header("content-type", "application/x-www-form-urlencoded").body("published_name=tool")
    };
    let reader = house.token_of("reader", vec![Grant { actions: vec![Action::Read], ..Grant::everything() }]);
    let shown = answer(with_cookie(house.bare(Method::GET, "/view/environments"), &reader), StatusCode::OK).await;
    assert!(!shown.text().await.expect("a page").contains(path), "no button for those who may not");
    answer(press(&reader, "same-origin"), StatusCode::FORBIDDEN).await;
    answer(press(house.token(), "cross-site"), StatusCode::FORBIDDEN).await;
    assert_eq!(house.world.hosts().shows("test", "tool"), Some(digests[1]));

    let pressed = answer(press(house.token(), "same-origin"), StatusCode::SEE_OTHER).await;
    let place = pressed.headers()["location"].to_str().expect("text").to_owned();
    let run: RunId = place.strip_prefix("/view/runs/").expect("a run").parse().expect("a run");
    house.ends(run, Outcome::Passed).await;
    assert_eq!(house.world.hosts().shows("test", "tool"), Some(digests[0]));
    let one = page(&house, &place).await;
    let change = format!("{} → {}", &digests[1].hex()[..12], &digests[0].hex()[..12]);
    for text in [change.as_str(), "Finished"] {
        assert!(one.contains(text), "{text}: {one}");
    }
    house.close().await;
}
