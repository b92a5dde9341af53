//! ID tokens of jobs: whose they are, and which are none.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::rsa::{KeyPair, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use aws_lc_rs::{hmac, rand::SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use signalbox_service::clock::ManualClock;
use signalbox_service::shutdown::Shutdown;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::{GitLabExecutor, Keyring};
use super::world::{NOW, SHA, World};
use crate::executor::{BuildIdentity, Executor as _, Unidentified};
use crate::gitlab::GitLab;
use crate::gitlab::tests::server::{answer, client};

const AUDIENCE: &str = "https://signalbox.example.org";
const KEYS: &str = "GET /oauth/discovery/keys";

/// Two keys for all stories: making one takes a while.
fn pair(number: usize) -> &'static KeyPair {
    static PAIRS: OnceLock<[KeyPair; 2]> = OnceLock::new();
    &PAIRS.get_or_init(|| [(); 2].map(|()| KeyPair::generate(KeySize::Rsa2048).expect("a key")))[number]
}

fn public(number: usize, kid: &str) -> Value {
    let parts = PublicKeyComponents::<Vec<u8>>::from(pair(number).public_key());
    json!({ "kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": BASE64.encode(parts.n), "e": BASE64.encode(parts.e) })
}

fn text(head: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64.encode(head.to_string()), BASE64.encode(claims.to_string()))
}

fn signed(number: usize, head: &Value, claims: &Value) -> String {
    let text = text(head, claims);
    let mut signature = vec![0; pair(number).public_modulus_len()];
    pair(number).sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).expect("signed");
    format!("{text}.{}", BASE64.encode(signature))
}

struct Story {
    world: World,
    clock: Arc<ManualClock>,
    executor: GitLabExecutor,
}

fn executor(gitlab: GitLab, clock: &Arc<ManualClock>, shutdown: &Shutdown) -> GitLabExecutor {
    let keyring = Keyring::new(gitlab.clone(), Arc::clone(clock) as _, shutdown.clone());
    GitLabExecutor::new(gitlab, "builds", Arc::clone(clock) as _).identifying(AUDIENCE, &keyring)
}

impl Story {
    async fn new() -> Self {
        let world = World::new().await;
        let clock = Arc::new(ManualClock::new(NOW.parse::<Timestamp>().expect("a time")));
        let executor = executor(world.server.client(), &clock, &Shutdown::new());
        world.put(KEYS, &json!({ "keys": [public(0, "one")] }));
        Self { world, clock, executor }
    }

    fn issuer(&self) -> String {
        self.world.server.url().as_str().trim_end_matches('/').to_owned()
    }

    /// What GitLab says of the job 700 in the pipeline 70 of the project 7.
    fn claims(&self) -> Value {
        let now = NOW.parse::<Timestamp>().expect("a time").as_second();
        json!({
            "iss": self.issuer(), "sub": "project_path:builds/team/hello:ref_type:branch:ref:cd/x", "aud": AUDIENCE,
            "iat": now, "nbf": now - 5, "exp": now + 3600, "jti": "f00d",
            "namespace_id": "1", "namespace_path": "builds/team", "project_id": "7", "project_path": "builds/team/hello",
            "pipeline_id": "70", "pipeline_source": "api", "job_id": "700",
            "ref": "cd/x", "ref_type": "branch", "ref_path": "refs/heads/cd/x", "ref_protected": "false", "sha": SHA,
            "user_id": "1", "user_login": "bot", "user_email": "bot@example.org",
        })
    }

    fn token(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = self.claims();
        change(&mut claims);
        signed(0, &json!({ "kid": "one", "typ": "JWT", "alg": "RS256" }), &claims)
    }

    async fn identify(&self, token: &str) -> Result<BuildIdentity, Unidentified> {
        self.executor.identify(&token.into()).await
    }

    fn asked(&self) -> usize {
        self.world.server.seen().iter().filter(|head| head.contains("/oauth/discovery/keys")).count()
    }
}

#[tokio::test]
async fn a_jobs_token_tells_its_build_and_the_keys_are_asked_for_once_and_without_our_token() {
    let story = Story::new().await;
    let expected = BuildIdentity {
        build: "7/70".parse().expect("a build"),
        repo: "team/hello".parse().expect("a name"),
        ref_name: "refs/heads/cd/x".parse().expect("a ref"),
        sha: SHA.parse().expect("a commit"),
        part: "700".to_owned(),
    };
    assert_eq!(story.identify(&story.token(|_| ())).await, Ok(expected.clone()));
    let tag = story.token(|claims| {
        claims["ref_type"] = json!("tag");
        claims["aud"] = json!([AUDIENCE]);
        claims["project_id"] = json!(7);
    });
    assert_eq!(story.identify(&tag).await.expect("identified").ref_name.to_string(), "refs/tags/cd/x");
    assert_eq!(story.asked(), 1);
    assert!(!story.world.server.seen().concat().contains("glpat"), "the keys are public");
    let off = GitLabExecutor::new(story.world.server.client(), "builds", Arc::clone(&story.clock) as _);
    assert_eq!(off.identify(&story.token(|_| ()).into()).await, Err(Unidentified::Elsewhere), "unless it is configured");
}

#[tokio::test]
async fn a_token_that_gitlab_did_not_sign_so_is_none() {
    let story = Story::new().await;
    let claims = story.claims();
    // Threat: the algorithm that the token wishes.
    for alg in ["none", "None", "NONE"] {
        let unsigned = text(&json!({ "kid": "one", "typ": "JWT", "alg": alg }), &claims);
        for token in [format!("{unsigned}."), format!("{unsigned}.e30"), unsigned] {
            assert_eq!(story.identify(&token).await, Err(Unidentified::Unverifiable), "{alg}");
        }
    }
    let modulus = public(0, "one")["n"].as_str().expect("a modulus").to_owned();
    for secret in [modulus.as_bytes(), &BASE64.decode(&modulus).expect("base64")] {
        let text = text(&json!({ "kid": "one", "typ": "JWT", "alg": "HS256" }), &claims);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes());
        assert_eq!(story.identify(&format!("{text}.{}", BASE64.encode(tag))).await, Err(Unidentified::Unverifiable));
    }
    for head in [
        json!({ "kid": "one", "typ": "JWT", "alg": "RS384" }),
        json!({ "kid": "one", "typ": "JWT", "alg": "PS256" }),
        json!({ "kid": "one", "typ": "at+jwt", "alg": "RS256" }),
        json!({ "typ": "JWT", "alg": "RS256" }),
        json!({ "kid": "", "typ": "JWT", "alg": "RS256" }),
        json!({ "kid": "one", "alg": "RS256", "jku": "http://127.0.0.1:1/keys" }),
        json!({ "kid": "one", "alg": "RS256", "jwk": public(1, "one") }),
        json!({ "kid": "one", "alg": "RS256", "crit": ["exp"], "exp": 1 }),
    ] {
        assert_eq!(story.identify(&signed(0, &head, &claims)).await, Err(Unidentified::Unverifiable), "{head}");
    }
    let head = json!({ "kid": "one", "typ": "JWT", "alg": "RS256" });
    assert_eq!(story.identify(&signed(1, &head, &claims)).await, Err(Unidentified::Unverifiable), "another's key under this name");
    let good = story.token(|_| ());
    let (front, signature) = good.rsplit_once('.').expect("a signature");
    let other = story.token(|claims| claims["pipeline_id"] = json!("71"));
    for token in [
        String::new(),
        "x".repeat(1 << 20),
        "..".to_owned(),
        "a.b.c".to_owned(),
        format!("{front}."),
        format!("{front}.{signature}.{signature}"),
        format!("{}.{signature}", other.rsplit_once('.').expect("a signature").0),
    ] {
        assert_eq!(story.identify(&token).await, Err(Unidentified::Unverifiable), "{token:.80}");
    }
}

#[tokio::test]
async fn a_genuine_token_for_something_else_is_none_for_us() {
    let story = Story::new().await;
    let now = NOW.parse::<Timestamp>().expect("a time").as_second();
    let issuer = story.issuer();
    for (field, value) in [
        ("iss", json!("https://gitlab.example.org")),
        ("iss", json!(format!("{issuer}/"))),
        ("iss", json!(format!("{issuer}.evil.example"))),
        ("aud", json!("https://vault.example.org")),
        ("aud", json!("")),
        ("aud", json!([])),
        ("aud", json!([AUDIENCE, "https://vault.example.org"])),
        ("aud", json!(format!("{AUDIENCE}/"))),
    ] {
        let token = story.token(|claims| claims[field] = value.clone());
        assert_eq!(story.identify(&token).await, Err(Unidentified::Elsewhere), "{field} = {value}");
    }
    for (field, value) in [
        ("exp", json!(now - 31)),
        ("exp", json!(now + 25 * 3600)),
        ("iat", json!(now + 31)),
        ("nbf", json!(now + 31)),
        ("exp", json!(i64::MAX)),
    ] {
        let refused = story.identify(&story.token(|claims| claims[field] = value.clone())).await;
        assert!(matches!(refused, Err(Unidentified::Untimely(_) | Unidentified::Unverifiable)), "{field} = {value}: {refused:?}");
    }
    for (field, value) in [
        ("project_path", json!("others/team/hello")),
        ("project_path", json!("buildsteam/hello")),
        ("project_path", json!("builds/../others/hello")),
        ("project_path", json!("builds")),
        ("namespace_path", json!("builds")),
        ("ref_type", json!("merge_request")),
        ("ref", json!("../x")),
        ("sha", json!("main")),
    ] {
        let refused = story.identify(&story.token(|claims| claims[field] = value.clone())).await;
        assert!(matches!(refused, Err(Unidentified::Unfit(_))), "{field} = {value}: {refused:?}");
    }
    for (field, value) in [
        ("exp", json!(null)),
        ("exp", json!("soon")),
        ("iat", json!(null)),
        ("aud", json!(null)),
        ("iss", json!(null)),
        ("pipeline_id", json!("0")),
        ("pipeline_id", json!("70/../71")),
        ("pipeline_id", json!("-70")),
        ("pipeline_id", json!(7.5)),
        ("project_id", json!("")),
        ("project_id", json!("99999999999999999999")),
        ("job_id", json!(null)),
        ("ref", json!(null)),
        ("sha", json!(["x"])),
    ] {
        let token = story.token(|claims| claims[field] = value.clone());
        assert_eq!(story.identify(&token).await, Err(Unidentified::Unverifiable), "{field} = {value}");
    }
    let late = story.token(|claims| claims["exp"] = json!(now - 29));
    assert!(story.identify(&story.token(|claims| claims["iat"] = json!(now + 29))).await.is_ok(), "clocks differ a little");
    assert!(matches!(story.identify(&late).await, Err(Unidentified::Unverifiable)), "it ended before it was made");
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_once_a_minute_and_found_after_a_rotation() {
    let story = Story::new().await;
    let good = story.token(|_| ());
    let rotated = signed(1, &json!({ "kid": "two", "typ": "JWT", "alg": "RS256" }), &story.claims());
    assert!(story.identify(&good).await.is_ok());
    story.clock.advance(Duration::from_secs(20));
    for _ in 0..50 {
        assert_eq!(story.identify(&rotated).await, Err(Unidentified::NotNow { after: Duration::from_secs(40) }), "it may be new");
    }
    let older = story.claims()["iat"].as_i64().expect("a time") - 60;
    let claims = [("iat", json!(older)), ("nbf", json!(older))].into_iter().fold(story.claims(), |mut claims, (name, value)| {
        claims[name] = value;
        claims
    });
    let strange = signed(1, &json!({ "kid": "two", "typ": "JWT", "alg": "RS256" }), &claims);
    assert_eq!(story.identify(&strange).await, Err(Unidentified::Unverifiable), "it was made before the keys were told");
    assert_eq!(story.asked(), 1, "strangers do not make us ask");
    story.world.put(KEYS, &json!({ "keys": [public(0, "one"), public(1, "two"), { "kid": 7 }] }));
    story.clock.advance(Duration::from_secs(40));
    assert!(story.identify(&rotated).await.is_ok());
    assert_eq!(story.asked(), 2);
    story.world.put(KEYS, &json!({ "keys": [public(1, "two")] }));
    assert!(story.identify(&good).await.is_ok());
    story.clock.advance(Duration::from_mins(10));
    assert_eq!(story.identify(&good).await, Err(Unidentified::Unverifiable), "a key that was withdrawn is believed no more");
    assert!(story.identify(&rotated).await.is_ok());
    assert_eq!(story.asked(), 3);
}

#[tokio::test]
async fn the_last_keys_are_kept_while_gitlab_is_away_but_not_for_ever() {
    let story = Story::new().await;
    let lasting = |story: &Story| story.token(|claims| claims["exp"] = json!(claims["iat"].as_i64().expect("a time") + 12 * 3600));
    let token = lasting(&story);
    story.world.refuse(KEYS, "503 Service Unavailable", &json!({}));
    assert!(matches!(story.identify(&token).await, Err(Unidentified::NotNow { .. })), "nothing is known yet");
    assert!(matches!(story.identify(&token).await, Err(Unidentified::NotNow { .. })));
    assert_eq!(story.asked(), 1, "it is not asked again at once");
    story.world.put(KEYS, &json!({ "keys": [public(0, "one")] }));
    story.clock.advance(Duration::from_secs(5));
    assert!(story.identify(&token).await.is_ok());
    story.world.refuse(KEYS, "503 Service Unavailable", &json!({}));
    story.clock.advance(Duration::from_hours(5));
    assert!(story.identify(&token).await.is_ok());
    story.clock.advance(Duration::from_hours(2));
    assert!(matches!(story.identify(&token).await, Err(Unidentified::NotNow { .. })));
}

#[tokio::test]
async fn whatever_answers_instead_of_keys_is_read_in_bounds_and_believed_by_nobody() {
    let many: Vec<Value> = (0..100).map(|number| public(0, &format!("key {number}"))).chain([public(0, "one")]).collect();
    let html = answer("200 OK", "", "<html>Sign in</html>");
    let redirect = answer("302 Found", "location: http://127.0.0.1:1/keys\r\n", "");
    let huge = answer("200 OK", "", format!("{{\"keys\":[{}]}}", " ".repeat(1 << 20)));
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{\"keys\":".to_vec();
    for (what, bytes) in [
        ("a page", html),
        ("elsewhere", redirect),
        ("a megabyte", huge),
        ("half an answer", cut),
        ("too many keys", answer("200 OK", "", json!({ "keys": many }).to_string())),
        ("a list", answer("200 OK", "", json!([public(0, "one")]).to_string())),
        ("an object of objects", answer("200 OK", "", json!({ "keys": { "one": public(0, "one") } }).to_string())),
        ("a refusal with keys", answer("404 Not Found", "", json!({ "keys": [public(0, "one")] }).to_string())),
    ] {
        let story = Story::new().await;
        story.world.put_raw(KEYS, bytes);
        let refused = story.identify(&story.token(|_| ())).await;
        assert!(matches!(refused, Err(Unidentified::NotNow { .. })), "{what}: {refused:?}");
    }
}

#[tokio::test]
async fn nobody_waits_long_for_a_gitlab_that_takes_its_time_and_its_keys_are_had_all_the_same() {
    let slow = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = url::Url::parse(&format!("http://{}/", slow.local_addr().expect("bound"))).expect("a URL");
    let story = Story::new().await;
    let (first, shutdown) = (client(url.clone()), Shutdown::new());
    let keyring = Keyring::new(first.clone(), Arc::clone(&story.clock) as _, shutdown.clone());
    let [executor, another] = ["builds", "builds/team"]
        .map(|group| GitLabExecutor::new(first.clone(), group, Arc::clone(&story.clock) as _).identifying(AUDIENCE, &keyring));
    let token = story.token(|claims| claims["iss"] = json!(url.as_str().trim_end_matches('/'))).into();
    let begun = std::time::Instant::now();
    let (one, other) = tokio::join!(executor.identify(&token), another.identify(&token));
    assert!(matches!(one, Err(Unidentified::NotNow { .. })), "{one:?}");
    assert!(matches!(other, Err(Unidentified::NotNow { .. })), "{other:?}");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    // The one answer is for both of them, and it comes after both have given up.
    let (mut stream, _) = slow.accept().await.expect("a request");
    drop(slow);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    let keys = answer("200 OK", "", json!({ "keys": [public(0, "one")] }).to_string());
    stream.write_all(&keys).await.expect("answered");
    assert!(executor.identify(&token).await.is_ok());
    assert_eq!(another.identify(&token).await.expect("identified").repo.to_string(), "hello");
    assert!(shutdown.drained(Duration::from_secs(20)).await);
}

#[tokio::test]
async fn asking_for_keys_ends_with_the_service() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = url::Url::parse(&format!("http://{}/", silent.local_addr().expect("bound"))).expect("a URL");
    let (story, shutdown) = (Story::new().await, Shutdown::new());
    let executor = executor(client(url.clone()), &story.clock, &shutdown);
    let token = story.token(|claims| claims["iss"] = json!(url.as_str().trim_end_matches('/'))).into();
    let asking = executor.identify(&token);
    let ending = async {
        let _stream = silent.accept().await.expect("a request");
        shutdown.drained(Duration::from_secs(20)).await
    };
    let (asked, ended) = tokio::join!(asking, ending);
    assert!(matches!(asked, Err(Unidentified::NotNow { .. })) && ended, "{asked:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_one_claim_is_the_build_is_the_tokens_own_or_none(
        field in proptest::sample::select(vec!["iss", "aud", "exp", "iat", "nbf", "project_id", "project_path", "namespace_path", "pipeline_id", "job_id", "ref", "ref_type", "sha"]),
        value in prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            ".{0,60}".prop_map(Value::from),
            "[a-z/.]{0,30}".prop_map(Value::from),
            proptest::collection::vec(".{0,10}", 0..3).prop_map(Value::from),
        ],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let story = Story::new().await;
            let token = story.token(|claims| claims[field] = value.clone());
            if let Ok(identity) = story.identify(&token).await {
                let number = |field: &str| if let Value::String(text) = &story.claims()[field] { text.clone() } else { String::new() };
                // Only these may be otherwise, and then the build is another one.
                prop_assert!(matches!(field, "exp" | "iat" | "nbf" | "project_id" | "pipeline_id" | "job_id" | "ref"), "{} = {}", field, value);
                let own = format!("{}/{}", number("project_id"), number("pipeline_id"));
                prop_assert_eq!(identity.build.as_str() == own, !matches!(field, "project_id" | "pipeline_id"));
            }
            Ok(())
        })?;
    }

    #[test]
    fn no_text_brings_the_reader_down(text in ".{0,300}", parts in proptest::collection::vec("[A-Za-z0-9_-]{0,80}", 0..5)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let story = Story::new().await;
            prop_assert!(story.identify(&text).await.is_err());
            prop_assert!(story.identify(&parts.join(".")).await.is_err());
            prop_assert_eq!(story.asked(), 0);
            Ok(())
        })?;
    }
}
