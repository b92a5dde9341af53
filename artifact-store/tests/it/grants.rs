//! What attempts put, and what becomes of it.

use jiff::Timestamp;
use reqwest::StatusCode;
use signalbox_contract::api::store::{BlobInfo, CloseRequest, CloseResult, GrantInfo, PutResult, ResolveRequest, UnpinRequest};
use signalbox_contract::api::{Answer, Nothing};
use signalbox_contract::token::{Capability, Service};
use signalbox_contract::{ArtifactName, AttemptKey, FailureCode};
use signalbox_service::auth::sha256;
use signalbox_service::secret::ExposeSecret as _;

use crate::house::{House, attempt, noise, problem};

fn name(text: &str) -> ArtifactName {
    text.parse().expect("a name")
}

impl House {
    async fn put_as(&self, key: AttemptKey, path: &str, bytes: Vec<u8>, max_bytes: u64) -> reqwest::Response {
        let names = ["app", "doc/page", "close", "big"].map(name).to_vec();
        let capability = self.capability(key, Capability::PutGrant { names, max_bytes });
        self.http.put(self.url(path)).bearer_auth(capability).body(bytes).send().await.expect("an answer")
    }

    async fn in_grant(&self, key: AttemptKey) -> GrantInfo {
        let path = format!("/grants/{key}");
        let token = self.signer.act(Service::ArtifactStore, &format!("GET {path}"), None, sha256(b"")).expect("a token");
        let response = self.http.get(self.url(&path)).bearer_auth(token.expose_secret()).send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.expect("what is in it")
    }

    async fn close_grant(&self, key: AttemptKey, publish: bool, line: i64) -> CloseResult {
        let line = Timestamp::from_second(line).expect("a moment");
        let answer = self.act(&format!("/grants/{key}/close"), key, &CloseRequest { publish, line, pin: key.run }).await;
        match answer {
            Answer::Done { result } => result,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_a_build_puts_is_public_only_when_it_passed() {
    let house = House::open().await;
    let key = attempt();
    for (path, bytes) in [("app", noise(1, 100)), ("doc/page", noise(2, 300_000)), ("close", noise(3, 10))] {
        let response = house.put_as(key, &format!("/grants/{key}/{path}"), bytes.clone(), 1_000_000).await;
        assert_eq!(response.status(), StatusCode::OK);
        let put: PutResult = response.json().await.expect("a result");
        assert_eq!((put.name.as_str(), put.digest), (path, sha256(&bytes)));
        assert_eq!(house.bytes(path).await, None, "not yet");
    }
    assert_eq!(house.get(&format!("/digests/{}", sha256(&noise(1, 100)))).await.status(), 404, "not by digest either");
    // The same again, and then another for it.
    assert_eq!(house.put_as(key, &format!("/grants/{key}/app"), noise(1, 100), 1_000_000).await.status(), 200);
    assert_eq!(house.put_as(key, &format!("/grants/{key}/app"), noise(4, 200), 1_000_000).await.status(), 200);

    let result = house.close_grant(key, true, 1000).await;
    assert_eq!(result.artifacts.iter().map(|put| put.name.as_str()).collect::<Vec<_>>(), ["app", "close", "doc/page"]);
    assert_eq!(house.bytes("app").await.expect("public"), noise(4, 200));
    assert_eq!(house.bytes("doc/page").await.expect("public"), noise(2, 300_000));
    let page: signalbox_contract::api::Page<BlobInfo> = house.get("/versions/app").await.json().await.expect("a page");
    assert_eq!((page.items.len(), page.items[0].run), (1, Some(key.run)));

    let late = house.put_as(key, &format!("/grants/{key}/app"), noise(5, 5), 1_000_000).await;
    assert_eq!(late.status(), 409, "the attempt is over");
    assert_eq!(house.close_grant(key, true, 1000).await, result, "asking again is the same answer");
    let house = house.reopen(|_| ()).await;
    assert_eq!(house.close_grant(key, true, 1000).await, result, "after a restart too");
    let other = CloseRequest { publish: false, line: Timestamp::UNIX_EPOCH, pin: key.run };
    assert_eq!(house.raw_act(&format!("/grants/{key}/close"), key, &other).await.status(), 422);
    house.close().await;
}

#[tokio::test]
async fn the_controller_sees_what_lies_in_a_grant_and_nobody_else_does() {
    let house = House::open().await;
    let (key, other) = (attempt(), attempt());
    assert_eq!(house.in_grant(key).await, GrantInfo { artifacts: Vec::new(), closed: false });
    for bytes in [noise(1, 100), noise(2, 50)] {
        assert_eq!(house.put_as(key, &format!("/grants/{key}/doc/page"), bytes, 1000).await.status(), StatusCode::OK);
    }
    let put = PutResult { name: name("doc/page"), digest: sha256(&noise(2, 50)), size: 50 };
    assert_eq!(house.in_grant(key).await, GrantInfo { artifacts: vec![put], closed: false });
    assert_eq!(house.in_grant(other).await.artifacts, []);
    let capability = house.capability(key, Capability::PutGrant { names: vec![name("doc/page")], max_bytes: 1000 });
    let asked = house.http.get(house.url(&format!("/grants/{key}"))).bearer_auth(capability).send().await.expect("an answer");
    assert_eq!(problem(asked).await.status, 403);
    house.close_grant(key, true, 1000).await;
    assert_eq!(house.in_grant(key).await, GrantInfo { artifacts: Vec::new(), closed: true });
    house.close().await;
}

#[tokio::test]
async fn what_a_failed_build_put_is_thrown_away() {
    let house = House::open().await;
    let key = attempt();
    house.put_as(key, &format!("/grants/{key}/big"), noise(1, 300_000), 1_000_000).await;
    assert_eq!(house.close_grant(key, false, 1000).await.artifacts, []);
    assert_eq!(house.bytes("big").await, None);
    signalbox_service::testing::eventually("its file is collected", std::time::Duration::from_secs(20), || async {
        (house.files() == (0, 0)).then_some(())
    })
    .await;
    let never = attempt();
    assert_eq!(house.close_grant(never, true, 1000).await.artifacts, [], "nothing was put");
    assert_eq!(house.put_as(never, &format!("/grants/{never}/app"), noise(1, 1), 10).await.status(), 409, "and nothing may be any more");
    house.close().await;
}

// Threat 44.
#[tokio::test]
async fn a_capability_is_for_one_attempt_some_names_and_so_many_bytes() {
    let house = House::open().await;
    let (key, other) = (attempt(), attempt());
    let status = |response: reqwest::Response| response.status().as_u16();
    let put = |path: String, size| house.put_as(key, Box::leak(path.into_boxed_str()), noise(size as u64, size), 100_000);
    assert_eq!(status(put(format!("/grants/{other}/app"), 1).await), 403);
    assert_eq!(status(put(format!("/grants/{key}/else"), 1).await), 403);
    assert_eq!(status(put(format!("/grants/{key}/app"), 60_000).await), 200);
    assert_eq!(status(put(format!("/grants/{key}/big"), 60_000).await), 413, "both together are too much");
    assert_eq!(status(put(format!("/grants/{key}/app"), 90_000).await), 200, "one in the place of the other is not");
    assert_eq!(status(put(format!("/grants/{key}/big"), 10_000).await), 200);
    assert_eq!(status(put(format!("/grants/{key}/big"), 10_001).await), 413);
    let anybody = house.request(reqwest::Method::PUT, &format!("/grants/{key}/app")).body("x").send().await.expect("an answer");
    assert_eq!(anybody.status(), 403, "an operator is no attempt");
    for (path, field) in [("nonsense/app", "key".to_owned()), (&format!("{key}/a..b"), "name".to_owned())] {
        let problem = problem(house.put_as(key, &format!("/grants/{path}"), vec![1], 10).await).await;
        assert_eq!((problem.status, problem.errors.first().map(|error| error.field.clone())), (400, Some(field)), "{path}");
    }
    house.close().await;
}

#[tokio::test]
async fn an_older_run_never_hides_what_a_newer_one_made() {
    let house = House::open().await;
    let (older, newer) = (attempt(), attempt());
    for (key, seed) in [(older, 1), (newer, 2)] {
        house.put_as(key, &format!("/grants/{key}/app"), noise(seed, 50), 1000).await;
    }
    house.close_grant(newer, true, 2000).await;
    let result = house.close_grant(older, true, 1000).await;
    assert_eq!(result.artifacts[0].digest, sha256(&noise(1, 50)), "it is told what it made");
    assert_eq!(house.bytes("app").await.expect("there"), noise(2, 50));
    let page: signalbox_contract::api::Page<BlobInfo> = house.get("/versions/app").await.json().await.expect("a page");
    assert_eq!(page.items.len(), 2, "the older one is part of the history");
    house.close().await;
}

// Threat 43.
#[tokio::test]
async fn pinned_bytes_stay_until_their_run_lets_go() {
    let house = House::open().await;
    let bytes = noise(1, 300_000);
    house.put("app", bytes.clone()).await;
    let key = attempt();
    let resolve = ResolveRequest { name: name("app"), pin: key.run };
    let Answer::Done { result } = house.act::<BlobInfo>("/resolve", key, &resolve).await else { panic!("not resolved") };
    assert_eq!((result.digest, result.version), (sha256(&bytes), 1));
    house.request(reqwest::Method::DELETE, "/blobs/app").send().await.expect("an answer");
    house.put("other", "something that comes later").await;
    let capability = house.capability(key, Capability::ReadDigest { digest: result.digest });
    let read = || house.http.get(house.url(&format!("/digests/{}", result.digest))).bearer_auth(&capability).send();
    // Two passes of the collector: what it would take, it would have taken.
    let before = collections(&house);
    signalbox_service::testing::eventually("something else is collected", std::time::Duration::from_secs(20), || async {
        house.put("other", noise(7, 8)).await;
        house.request(reqwest::Method::DELETE, "/blobs/other").send().await.expect("an answer");
        (collections(&house) >= before + 2).then_some(())
    })
    .await;
    assert_eq!(read().await.expect("an answer").bytes().await.expect("bytes"), bytes);
    let _: Answer<Nothing> = house.act("/unpin", key, &UnpinRequest { owner: key.run }).await;
    signalbox_service::testing::eventually("the bytes are collected", std::time::Duration::from_secs(20), || async {
        (read().await.expect("an answer").status() == 404 && house.files() == (0, 0)).then_some(())
    })
    .await;
    let gone = AttemptKey { attempt: 2, ..key };
    let Answer::Failed { failure } = house.act::<BlobInfo>("/resolve", gone, &resolve).await else { panic!("resolved") };
    assert_eq!(failure.code, FailureCode::ArtifactUnavailable);
    house.close().await;
}

fn collections(house: &House) -> u64 {
    let metrics = house.telemetry.metrics().expect("metrics");
    let line = metrics.lines().find(|line| line.starts_with("store_blobs_collected_total")).expect("the counter");
    line.rsplit(' ').next().expect("a value").parse().expect("a number")
}
