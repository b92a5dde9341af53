//! Everything that workers are ever given by the controller, in the hands of somebody who means harm: a worker that was taken
//! over, or whoever listened.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use signalbox_contract::api::Page;
use signalbox_contract::api::run::{Outcome, RunSummary};

use crate::house::{House, expect};
use crate::stand_ins::{At, Overheard};

/// What a thief would ask of the controller.
const OF_THE_CONTROLLER: [(&str, &str); 14] = [
    ("GET", "/status"),
    ("GET", "/runs"),
    ("GET", "/deliveries"),
    ("GET", "/tokens"),
    ("GET", "/environments"),
    ("GET", "/mirrors"),
    ("GET", "/doctor"),
    ("POST", "/tokens"),
    ("POST", "/cd"),
    ("POST", "/environments/test/deploy"),
    ("POST", "/environments/test/rollback"),
    ("POST", "/mirrors/collect"),
    ("POST", "/runs/01jd8qk4wmfvt9e3v1n0t2m6xz/stop"),
    ("DELETE", "/tokens/01936f00-0000-7000-8000-000000000000"),
];

/// And of workers.
const OF_A_WORKER: [(At, &str, &str); 12] = [
    (At::Vcs, "POST", "/repo"),
    (At::Vcs, "POST", "/refs"),
    (At::Vcs, "POST", "/mirrors/collect"),
    (At::Vcs, "GET", "/mirrors/doctor"),
    (At::Store, "POST", "/resolve"),
    (At::Store, "POST", "/unpin"),
    (At::Store, "POST", "/grants/01jd8qk4wmfvt9e3v1n0t2m6xz-0-1/close"),
    (At::Store, "PUT", "/grants/01jd8qk4wmfvt9e3v1n0t2m6xz-0-1/site/hello"),
    (At::Deploy, "POST", "/deploy"),
    (At::Deploy, "POST", "/activate"),
    (At::Executor, "POST", "/builds"),
    (At::Executor, "POST", "/builds/01jd8qk4wmfvt9e3v1n0t2m6xz-0-1/cancel"),
];

fn with_body(request: RequestBuilder, method: &str) -> RequestBuilder {
    if method == "GET" { request } else { request.json(&json!({})) }
}

/// A thief gets nowhere: the token is not good for this, or not good at all.
async fn refused(what: &str, request: RequestBuilder) {
    let status = request.send().await.expect("an answer").status().as_u16();
    assert!(matches!(status, 401 | 403), "{what}: {status}");
}

// Threats 7 and 44: what a worker holds, and what is heard on the way to it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_is_given_is_good_for_nothing_else() {
    let house = House::open().await;
    let run = house.branch("main").await;
    house.ends(run, Outcome::Passed).await;
    // The looks that need no run come by themselves.
    let _: Value = expect(house.get("/environments"), StatusCode::OK).await;
    house
        .sees("everybody was asked something", async || {
            let heard: BTreeSet<At> = house.world.overheard().iter().map(|overheard| overheard.at).collect();
            [At::Vcs, At::Store, At::Deploy, At::Executor].iter().all(|at| heard.contains(at))
        })
        .await;
    let heard = house.world.overheard();
    assert!(heard.iter().any(|overheard| overheard.capability), "capabilities are among them");
    let before: Vec<(At, usize)> = [At::Vcs, At::Store, At::Deploy, At::Executor].map(|at| (at, house.world.kept(at))).into();
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    for Overheard { at, operation, token, .. } in &heard {
        for (method, path) in OF_THE_CONTROLLER {
            let verb: Method = method.parse().expect("a method");
            let what = format!("the token of {operation} at the controller's {method} {path}");
            refused(&what, with_body(house.by(token, verb.clone(), path), method)).await;
            let cookie = house.bare(verb, path).header("cookie", format!("signalbox-session={token}"));
            refused(&what, with_body(cookie, method)).await;
        }
        for (other, method, path) in OF_A_WORKER {
            let what = format!("the token of {operation} at {at:?} used for {method} {path} at {other:?}");
            // A look at mirrors has no body, and its token is good for the same look again.
            if format!("{method} {path}") == *operation && method == "GET" {
                continue;
            }
            let url = format!("{}{path}", house.world.url(other));
            let request = http.request(method.parse().expect("a method"), url).bearer_auth(token);
            refused(&what, with_body(request, method)).await;
        }
    }
    let after: Vec<(At, usize)> = before.iter().map(|(at, _)| (*at, house.world.kept(*at))).collect();
    assert_eq!(after, before, "nothing was asked of anybody");
    let runs: Page<RunSummary> = expect(house.get("/runs"), StatusCode::OK).await;
    assert_eq!(runs.items.len(), 1, "nothing was begun");
    house.close().await;
}
