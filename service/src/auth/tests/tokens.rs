use std::net::TcpListener;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use signalbox_contract::grant::Grant;
use signalbox_contract::token::{Capability, Service};
use signalbox_contract::{Code, Digest, Problem};

use super::{Keys, revoked};
use crate::auth::{Denied, KeySet, MAX_TOKEN, Verifier, init_keys, rotate_keys, sha256};
use crate::testing::eventually;

/// An unsigned or wrongly signed token with this header.
fn unsigned(header: &str, claims: &str, signature: &[u8]) -> String {
    format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims), URL_SAFE_NO_PAD.encode(signature))
}

fn refused(verifier: &Verifier, token: &str) -> Denied {
    let denied = verifier.operator(token).expect_err(token);
    assert_eq!(denied.code(), Code::Unauthenticated, "{token}");
    denied
}

#[test]
fn what_was_signed_is_verified_and_says_what_it_said() {
    let keys = Keys::new();
    let claims = keys.claims(vec![Grant::everything()]);
    let token = keys.operator(vec![Grant::everything()]);
    let verified = keys.verifier(Service::Controller).operator(&token).expect("verified");
    assert_eq!((&verified.sub, &verified.grants), (&claims.sub, &claims.grants));
    let token = keys.act("POST /repo", b"{}");
    let act = keys.verifier(Service::VcsWorker).act(&token, "POST /repo", &sha256(b"{}")).expect("verified");
    assert_eq!(act.key, Some(super::key(1)));
}

/// Threat 1.
#[test]
fn a_token_without_a_signature_is_refused() {
    let keys = Keys::new();
    let verifier = keys.verifier(Service::Controller);
    let claims = keys.changed("x", "1");
    for alg in ["none", "None", "nOnE", "NONE", "", "EdDSA"] {
        let header = format!(r#"{{"typ":"signalbox-operator+jwt","alg":"{alg}","kid":"{}"}}"#, keys.signer.key_id());
        refused(&verifier, &unsigned(&header, &claims, b""));
        refused(&verifier, unsigned(&header, &claims, b"").trim_end_matches('.'));
    }
    assert!(verifier.operator(&keys.forge(&keys.header(), &claims)).is_ok(), "the same, well signed, is good");
}

/// Threats 2 and 10.
#[test]
fn the_token_does_not_choose_the_algorithm() {
    let keys = Keys::new();
    let verifier = keys.verifier(Service::Controller);
    let claims = keys.changed("x", "1");
    let public = std::fs::read(keys.dir.path().join("public.json")).expect("the public keys");
    let document: serde_json::Value = serde_json::from_slice(&public).expect("JSON");
    let raw = URL_SAFE_NO_PAD.decode(document["keys"][0]["x"].as_str().expect("x")).expect("base64");
    for secret in [public.as_slice(), raw.as_slice(), b"", b"secret"] {
        let header = keys.header().replace("EdDSA", "HS256");
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(&header), URL_SAFE_NO_PAD.encode(&claims));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        refused(&verifier, &format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag)));
    }
    for alg in ["ES256", "RS256", "PS256", "ES384", "Ed25519", "eddsa"] {
        let header = keys.header().replace("EdDSA", alg);
        refused(&verifier, &unsigned(&header, &claims, &[0; 64]));
        refused(&verifier, &keys.forge(&header, &claims));
    }
    // All zero, and the DER of an empty signature.
    refused(&verifier, &unsigned(&keys.header(), &claims, &[0; 64]));
    refused(&verifier, &unsigned(&keys.header(), &claims, &[0x30, 0x06, 2, 1, 0, 2, 1, 0]));
}

/// Threat 3: the name of a key is compared with those of the file's keys, and never opened.
#[test]
fn a_key_that_is_not_in_the_file_is_refused() {
    let keys = Keys::new();
    let verifier = keys.verifier(Service::Controller);
    let long = "k".repeat(64 * 1024);
    for kid in ["../../dev/null", "/etc/passwd", "\\u0000", "' OR 1=1 --", "", "public.json", &long] {
        let header = format!(r#"{{"typ":"signalbox-operator+jwt","alg":"EdDSA","kid":"{kid}"}}"#);
        refused(&verifier, &keys.forge(&header, &keys.changed("x", "1")));
    }
    let header = r#"{"typ":"signalbox-operator+jwt","alg":"EdDSA"}"#;
    refused(&verifier, &keys.forge(header, &keys.changed("x", "1")));
}

/// Threats 4 and 5.
#[test]
fn a_header_that_brings_its_own_key_or_anything_else_is_refused_and_nothing_is_fetched() {
    let keys = Keys::new();
    let verifier = keys.verifier(Service::Controller);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a setting");
    let url = format!("http://{}/jwks.json", listener.local_addr().expect("an address"));
    let public = std::fs::read_to_string(keys.dir.path().join("public.json")).expect("the public keys");
    let document: serde_json::Value = serde_json::from_str(&public).expect("JSON");
    let jwk = document["keys"][0].to_string();
    let members = [
        format!(r#""jku":"{url}""#),
        format!(r#""x5u":"{url}""#),
        format!(r#""jwk":{jwk}"#),
        r#""x5c":["MIIB"]"#.to_owned(),
        r#""x5t":"MIIB""#.to_owned(),
        r#""x5t#S256":"MIIB""#.to_owned(),
        r#""crit":["exp"]"#.to_owned(),
        r#""crit":[]"#.to_owned(),
        r#""crit":["b64"],"b64":false"#.to_owned(),
        r#""zip":"DEF""#.to_owned(),
        r#""enc":"A128GCM""#.to_owned(),
        r#""cty":"JWT""#.to_owned(),
        r#""anything":1"#.to_owned(),
        r#""alg":"EdDSA""#.to_owned(),
    ];
    for member in members {
        let header = format!("{},{member}}}", keys.header().trim_end_matches('}'));
        assert_eq!(refused(&verifier, &keys.forge(&header, &keys.changed("x", "1"))), Denied::Unverifiable, "{member}");
    }
    assert_eq!(listener.accept().expect_err("no connection").kind(), std::io::ErrorKind::WouldBlock);
}

/// Threat 6.
#[test]
fn times_that_are_over_absent_or_absurd_are_refused() {
    let keys = Keys::new();
    let verifier = keys.verifier(Service::Controller);
    let now = super::Keys::now(&keys);
    for exp in
        ["null", "\"2000000000\"", "1e400", "NaN", "-1", "0", "1.5e9", "[]", "true", "99999999999999999999", &format!("{}", now - 50)]
    {
        refused(&verifier, &keys.forge(&keys.header(), &keys.changed("exp", exp)));
    }
    for iat in ["null", "\"1\"", "-1", &format!("{}", now + 3600), &format!("{}", now + 400_000_000)] {
        refused(&verifier, &keys.forge(&keys.header(), &keys.changed("iat", iat)));
    }
    refused(&verifier, &keys.forge(&keys.header(), &keys.changed("nbf", &format!("{}", now + 60))));
    assert!(verifier.operator(&keys.forge(&keys.header(), &keys.changed("nbf", &format!("{now}")))).is_ok());
    for claim in ["iss", "aud", "sub", "jti", "grants"] {
        refused(&verifier, &keys.forge(&keys.header(), &keys.changed(claim, "null")));
    }
}

/// The leeway is five seconds, not the library's sixty; the clock is the one that was given; a remembered token ends too.
/// Threats 6 and 63.
#[test]
fn a_token_ends_when_it_says_by_the_clock_that_was_given() {
    let keys = Keys::new();
    let verifier = keys.verifier(Service::Controller);
    let token = keys.operator(vec![Grant::everything()]);
    assert!(verifier.operator(&token).is_ok());
    keys.clock.advance(Duration::from_secs(3600 + 4));
    assert!(verifier.operator(&token).is_ok(), "within the leeway");
    keys.clock.advance(Duration::from_secs(1));
    assert_eq!(verifier.operator(&token).expect_err("over"), Denied::Expired);
    let fresh = keys.verifier(Service::Controller);
    assert_eq!(fresh.operator(&token).expect_err("over"), Denied::Expired, "also where it was never remembered");
    // A clock that is set back a year must not make anything good that is bad, nor panic.
    keys.clock.set("2025-11-22T12:00:00Z".parse().expect("a time"));
    assert_eq!(verifier.operator(&token).expect_err("from the future"), Denied::NotYet);
}

/// Threat 7.
#[test]
fn a_good_token_for_something_else_is_forbidden() {
    let keys = Keys::new();
    let deployer = keys.verifier(Service::DeployWorker);
    let controller = keys.verifier(Service::Controller);
    let act = keys.act("POST /deploy", b"");
    let empty = sha256(b"");
    assert_eq!(
        deployer.act(&act, "POST /deploy", &empty).expect_err("another's"),
        Denied::WrongAudience { given: Some(Service::VcsWorker), wanted: Service::DeployWorker }
    );
    let words =
        Problem::from(controller.operator(&keys.forge(&keys.header(), &keys.changed("aud", "\"artifact-store\""))).expect_err("no"));
    let expected = "The token is for the artifact-store, and this is the controller: use one whose audience is controller.";
    assert_eq!((words.code, words.detail.as_str()), (Code::Forbidden, expected));
    // What its holder calls himself is not repeated, and of a token that nobody signed nothing is said.
    let unknown = Problem::from(controller.operator(&keys.forge(&keys.header(), &keys.changed("aud", "\"me\""))).expect_err("no"));
    assert!(unknown.detail.starts_with("The token is for another service, and this is the controller"), "{unknown:?}");
    let signed = keys.forge(&keys.header(), &keys.changed("aud", "\"artifact-store\""));
    let unsigned = format!("{}.{}", signed.rsplit_once('.').expect("a signature").0, "A".repeat(86));
    assert_eq!(controller.operator(&unsigned).expect_err("no"), Denied::Unverifiable);
    let builder = keys.capability(Capability::PutGrant { names: vec!["hello".parse().expect("a name")], max_bytes: 1 });
    assert_eq!(deployer.act(&builder, "POST /deploy", &empty).expect_err("another kind"), Denied::WrongKind);
    assert_eq!(controller.operator(&act).expect_err("another kind"), Denied::WrongKind);
    let stranger = keys.forge(&keys.header(), &keys.changed("iss", "\"gitlab\""));
    assert_eq!(controller.operator(&stranger).expect_err("another's"), Denied::WrongIssuer);
    let several = keys.forge(&keys.header(), &keys.changed("aud", "[\"controller\"]"));
    assert_eq!(controller.operator(&several).expect_err("one audience only"), Denied::Unverifiable);
    for denied in [
        Denied::WrongAudience { given: None, wanted: Service::Controller },
        Denied::WrongKind,
        Denied::WrongIssuer,
        Denied::WrongRequest,
        Denied::WrongBody,
    ] {
        assert_eq!(denied.code(), Code::Forbidden);
    }
    // An operator cannot call himself the controller by another kind's name.
    let header = keys.header().replace("signalbox-operator+jwt", "signalbox-capability+jwt");
    assert_eq!(controller.capability(&keys.forge(&header, &keys.changed("x", "1"))).expect_err("no"), Denied::WrongIssuer);
    for typ in ["JWT", "jwt", "", "signalbox-operator+JWT"] {
        let header = keys.header().replace("signalbox-operator+jwt", typ);
        refused(&controller, &keys.forge(&header, &keys.changed("x", "1")));
    }
}

// Threat 7.
#[test]
fn an_act_token_is_good_for_its_one_request_only() {
    let keys = Keys::new();
    let verifier = keys.verifier(Service::VcsWorker);
    let token = keys.act("POST /repo", b"{}");
    let act = |op: &str, body: &[u8]| verifier.act(&token, op, &sha256(body)).map(|_| ());
    assert_eq!(act("POST /repo", b"{}"), Ok(()));
    for op in ["PUT /repo", "POST /repo/", "POST /Repo", "POST /repo?x=1", "post /repo", "POST /refs"] {
        assert_eq!(act(op, b"{}"), Err(Denied::WrongRequest), "{op}");
    }
    assert_eq!(act("POST /repo", b"{ }"), Err(Denied::WrongBody));
    assert_eq!(verifier.act(&token, "POST /repo", &Digest::from_bytes([0; 32])).map(|_| ()), Err(Denied::WrongBody));
    keys.clock.advance(Duration::from_secs(606));
    assert_eq!(act("POST /repo", b"{}"), Err(Denied::Expired));
}

/// Threat 9.
#[test]
fn a_revoked_token_is_refused_although_it_was_remembered() {
    let keys = Keys::new();
    let verifier = keys.verifier(Service::Controller);
    let token = keys.operator(vec![Grant::everything()]);
    let claims = verifier.operator(&token).expect("good");
    verifier.set_revoked(revoked(claims.jti));
    assert_eq!(verifier.operator(&token).expect_err("revoked"), Denied::Revoked);
    let other = keys.operator(vec![Grant::everything()]);
    assert!(verifier.operator(&other).is_ok(), "others go on");
}

/// Threat 9, and the rule of rotation: no good token is refused in between, and two rotations drop a key.
#[tokio::test]
async fn a_rotation_is_taken_up_by_itself_and_drops_what_is_older() {
    let keys = Keys::new();
    let verifier = keys.verifier(Service::Controller);
    let old = keys.operator(vec![Grant::everything()]);
    assert!(verifier.operator(&old).is_ok());
    let first = keys.signer.key_id();
    let second = rotate_keys(keys.dir.path()).expect("rotated");
    eventually("the signer takes up the new key, and nothing is refused meanwhile", Duration::from_secs(20), async || {
        let token = keys.operator(vec![Grant::everything()]);
        assert!(verifier.operator(&token).is_ok(), "what is signed is verified at once");
        (keys.signer.key_id() == second).then_some(())
    })
    .await;
    assert!(verifier.operator(&old).is_ok(), "the previous key is still believed");
    let third = rotate_keys(keys.dir.path()).expect("rotated");
    assert!(first != second && second != third && third != first);
    eventually("the first key is dropped", Duration::from_secs(20), async || {
        (verifier.operator(&old) == Err(Denied::Unverifiable)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_file_of_keys_that_becomes_unreadable_leaves_the_last_good_keys() {
    let keys = Keys::new();
    let path = keys.dir.path().join("public.json");
    let verifier = keys.verifier(Service::Controller);
    let token = keys.operator(vec![Grant::everything()]);
    std::fs::write(&path, "{").expect("written");
    verifier.reload();
    assert!(verifier.operator(&token).is_ok());
    let other = tempfile::tempdir().expect("a folder");
    init_keys(other.path()).expect("keys");
    std::fs::copy(other.path().join("public.json"), &path).expect("copied");
    eventually("the new keys are loaded", Duration::from_secs(20), async || verifier.operator(&token).is_err().then_some(())).await;
}

#[test]
fn a_token_that_is_too_long_is_refused_before_any_work() {
    let keys = Keys::new();
    let verifier = keys.verifier(Service::Controller);
    let token = "a".repeat(MAX_TOKEN + 1);
    assert_eq!(verifier.operator(&token).expect_err("long"), Denied::TooLong);
    assert_eq!(verifier.act(&token, "", &sha256(b"")).expect_err("long"), Denied::TooLong);
    assert_eq!(verifier.capability(&token).expect_err("long"), Denied::TooLong);
}

#[test]
fn why_a_token_is_refused_never_repeats_it() {
    let keys = Keys::new();
    let token = keys.operator(vec![]);
    let verifier = keys.verifier(Service::VcsWorker);
    let problem = signalbox_contract::Problem::from(verifier.operator(&token).expect_err("another's"));
    assert!(!serde_json::to_string(&problem).expect("JSON").contains(token.split('.').next_back().expect("a signature")));
    assert_eq!(problem.detail, "The token is for the controller, and this is the vcs-worker: use one whose audience is vcs-worker.");
}

/// Threats 2 and 10: what is not an Ed25519 key of its own name is refused at the start.
#[test]
fn a_weak_or_foreign_key_is_refused_at_the_start() {
    for text in [
        "",
        "[]",
        r#"{"keys":[]}"#,
        r#"{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"a","alg":"HS256"}]}"#,
        r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"a"}]}"#,
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAA","kid":"a"}]}"#,
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"mine"}]}"#,
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
    ] {
        assert!(KeySet::parse(text).is_err(), "{text}");
    }
    // The key and the thumbprint of RFC 8037, appendix A.
    let known = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"}]}"#;
    assert_eq!(KeySet::parse(known).expect("good").key_ids().collect::<Vec<_>>(), ["kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"]);
}

#[derive(Debug, Clone)]
enum Mutation {
    Replace(usize, u8),
    Insert(usize, u8),
    Remove(usize),
    Swap(usize, usize),
    Cut(usize),
    FlipBit(usize, u8),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let byte = prop_oneof![b'a'..=b'z', b'A'..=b'Z', b'0'..=b'9', Just(b'-'), Just(b'_'), Just(b'.'), Just(b'='), 32_u8..127];
    prop_oneof![
        4 => (any::<usize>(), byte.clone()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        2 => (any::<usize>(), byte).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        1 => any::<usize>().prop_map(Mutation::Remove),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(one, other)| Mutation::Swap(one, other)),
        1 => any::<usize>().prop_map(Mutation::Cut),
        2 => (any::<usize>(), 0_u8..7).prop_map(|(at, bit)| Mutation::FlipBit(at, bit)),
    ]
}

fn mutate(token: &str, mutations: &[Mutation]) -> String {
    let mut bytes = token.as_bytes().to_vec();
    for mutation in mutations {
        let len = bytes.len().max(1);
        match *mutation {
            _ if bytes.is_empty() => {}
            Mutation::Replace(at, byte) => bytes[at % len] = byte,
            Mutation::Insert(at, byte) => bytes.insert(at % len, byte),
            Mutation::Remove(at) => drop(bytes.remove(at % len)),
            Mutation::Swap(one, other) => bytes.swap(one % len, other % len),
            Mutation::Cut(at) => bytes.truncate(at % len),
            Mutation::FlipBit(at, bit) => bytes[at % len] ^= 1 << bit,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

// Threat 10.
#[test]
fn no_mutated_token_is_verified() {
    let keys = Keys::new();
    let tokens = [keys.operator(vec![Grant::everything()]), keys.operator(vec![])];
    let verifier = keys.verifier(Service::Controller);
    for token in &tokens {
        assert!(verifier.operator(token).is_ok());
    }
    proptest!(ProptestConfig::with_cases(2000), |(which in 0_usize..2, mutations in prop::collection::vec(mutation(), 1..4))| {
        let mutated = mutate(&tokens[which], &mutations);
        prop_assume!(!tokens.contains(&mutated));
        prop_assert!(verifier.operator(&mutated).is_err(), "{mutated}");
    });
    // Every other spelling of the signature's last letter stands for the same bytes to a careless decoder.
    let (rest, last) = tokens[0].split_at(tokens[0].len() - 1);
    for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=".chars().filter(|letter| last != letter.to_string()) {
        assert!(verifier.operator(&format!("{rest}{letter}")).is_err(), "{letter}");
    }
    // Parts of two good tokens do not make a third.
    let (one, other): (Vec<_>, Vec<_>) = (tokens[0].split('.').collect(), tokens[1].split('.').collect());
    assert!(verifier.operator(&format!("{}.{}.{}", one[0], other[1], one[2])).is_err());
}
