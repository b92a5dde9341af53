//! Which deliveries are genuine, and what identifies them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use signalbox_service::secret::SecretString;

use super::*;

/// The example of the Standard Webhooks specification.
const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const TIME: &str = "1614265330";
const BODY: &str = r#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let header = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().expect("a header"));
    pairs.iter().map(header).collect()
}

fn admit(settings: &GitlabForgeSettings, headers: &HeaderMap, body: &str, at: i64) -> Result<Admitted, Forged> {
    let at = Timestamp::from_second(at).expect("a time");
    forge(settings.clone()).admit(&Knock { headers, path: "", body: body.as_bytes(), at })
}

fn with_secrets(secrets: &[&str], signing: &[&str]) -> GitlabForgeSettings {
    let list = |texts: &[&str]| texts.iter().map(|text| SecretString::from(*text)).collect::<Vec<_>>().into();
    GitlabForgeSettings { secrets: list(secrets), signing: list(signing), ..settings() }
}

#[test]
fn a_delivery_is_genuine_by_its_secret_old_or_new() {
    let settings = with_secrets(&["old", "new"], &[]);
    for (said, genuine) in [("old", true), ("new", true), ("", false), ("ol", false), ("newer", false), ("NEW", false)] {
        let admitted = admit(&settings, &headers(&[("x-gitlab-token", said)]), r#"{"object_kind":"push"}"#, 0);
        assert_eq!(admitted.is_ok(), genuine, "{said:?}: {admitted:?}");
    }
    let mut twice = headers(&[("x-gitlab-token", "old")]);
    twice.append("x-gitlab-token", "other".parse().expect("a header"));
    assert_eq!(admit(&settings, &twice, "{}", 0), Err(Forged::Unsigned));
    assert_eq!(admit(&settings, &HeaderMap::new(), "{}", 0), Err(Forged::Unsigned));
    // Without any secret nothing is genuine.
    assert_eq!(admit(&with_secrets(&[], &[]), &headers(&[("x-gitlab-token", "")]), "{}", 0), Err(Forged::Unsigned));
}

#[test]
fn a_delivery_is_genuine_by_its_signature() {
    let settings = with_secrets(&[], &["whsec_b2xkIGtleQ==", KEY]);
    let other = format!("v1,{} v2,whatever {SIGNATURE}", STANDARD.encode([0; 32]));
    for signature in [SIGNATURE, &other] {
        let headers = headers(&[("webhook-id", ID), ("webhook-timestamp", TIME), ("webhook-signature", signature)]);
        let admitted = admit(&settings, &headers, BODY, 1_614_265_330).expect("genuine");
        assert_eq!(admitted.id, ID);
    }
}

// Threat 13.
#[test]
fn whatever_is_changed_about_a_signed_delivery_it_is_not_genuine_any_more() {
    let settings = with_secrets(&["token"], &[KEY]);
    let forged: &[(&str, &str, &str, &str)] = &[
        ("msg_other", TIME, SIGNATURE, BODY),
        (ID, "1614265331", SIGNATURE, BODY),
        (ID, TIME, SIGNATURE, r#"{"test": 2432232315}"#),
        (ID, TIME, "v1,AAAA", BODY),
        (ID, TIME, "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", BODY),
        (ID, TIME, "", BODY),
    ];
    for (id, time, signature, body) in forged {
        // A good secret beside a bad signature does not help.
        let token = if signature.is_empty() { "guess" } else { "token" };
        let headers =
            headers(&[("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", signature), ("x-gitlab-token", token)]);
        assert_eq!(admit(&settings, &headers, body, 1_614_265_330), Err(Forged::Unsigned), "{id} {time} {signature} {body}");
    }
    let without = headers(&[("webhook-timestamp", TIME), ("webhook-signature", SIGNATURE)]);
    assert_eq!(admit(&settings, &without, BODY, 1_614_265_330), Err(Forged::Unsigned));
}

// Threat 14.
#[test]
fn a_signature_of_another_time_is_stale() {
    let mut settings = with_secrets(&[], &[KEY]);
    let headers = headers(&[("webhook-id", ID), ("webhook-timestamp", TIME), ("webhook-signature", SIGNATURE)]);
    for (at, genuine) in [(-301, false), (-300, true), (300, true), (301, false)] {
        let admitted = admit(&settings, &headers, BODY, 1_614_265_330 + at);
        assert_eq!(admitted.map(|_| ()), if genuine { Ok(()) } else { Err(Forged::Stale) }, "{at}");
    }
    settings.tolerance = Duration::from_hours(1);
    assert!(admit(&settings, &headers, BODY, 1_614_265_330 + 3600).is_ok());
}

#[test]
fn a_delivery_is_identified_by_its_key_and_else_by_its_content() {
    let settings = with_secrets(&["token"], &[]);
    let id = |extra: &[(&'static str, &str)], body| {
        let mut all = vec![("x-gitlab-token", "token"), ("x-gitlab-event", "Push Hook")];
        all.extend_from_slice(extra);
        admit(&settings, &headers(&all), body, 0).expect("genuine").id
    };
    assert_eq!(id(&[("idempotency-key", "f5e57402")], "{}"), "f5e57402");
    // These are others at each try, or shared by several events.
    let (one, other) = (("x-gitlab-webhook-uuid", "1"), ("x-gitlab-event-uuid", "2"));
    assert_eq!(id(&[one], r#"{"a":1,"b":2}"#), id(&[other], r#"{"b":2, "a":1}"#));
    assert_ne!(id(&[], r#"{"a":1}"#), id(&[], r#"{"a":2}"#));
}

#[test]
fn no_secret_is_kept() {
    let settings = with_secrets(&["s3cret-0"], &[]);
    let headers = headers(&[
        ("x-gitlab-token", "s3cret-0"),
        ("x-gitlab-event", "Pipeline Hook"),
        ("x-custom", "s3cret-1"),
        ("authorization", "Bearer s3cret-2"),
        ("x-gitlab-instance", "https://gitlab.example.org"),
    ]);
    let body =
        r#"{"object_kind":"pipeline","object_attributes":{"id":31,"variables":[{"key":"A","value":"s3cret-3"}]},"project":{"id":15}}"#;
    let admitted = admit(&settings, &headers, body, 0).expect("genuine");
    assert!(!format!("{admitted:?}").contains("s3cret"), "{admitted:?}");
    assert!(!String::from_utf8(admitted.body.clone()).expect("text").contains("s3cret"));
    assert_eq!(admitted.kind, "Pipeline Hook");
    // What is kept still means the same.
    assert_eq!(forge(settings).translate(&admitted.kind, &admitted.body).map(|happened| happened.len()), Ok(1));
}

#[test]
fn what_is_no_object_cannot_be_read() {
    let settings = with_secrets(&["token"], &[]);
    let deep = "[".repeat(100_000);
    for body in ["", "null", "[]", "<html>", &deep] {
        assert_eq!(admit(&settings, &headers(&[("x-gitlab-token", "token")]), body, 0), Err(Forged::Unreadable));
    }
}

// Threat 13.
#[test]
fn a_signature_is_good_for_its_own_bytes_and_once() {
    let settings = with_secrets(&[], &[KEY]);
    let with = |signature: &str| headers(&[("webhook-id", ID), ("webhook-timestamp", TIME), ("webhook-signature", signature)]);
    assert_eq!(glance_of(&settings, &with(SIGNATURE)), Ok(Glance::Signed));
    // The same JSON, written anew.
    assert_eq!(admit(&settings, &with(SIGNATURE), r#"{"test":2432232314}"#, 1_614_265_330), Err(Forged::Unsigned));
    let mut twice = with(SIGNATURE);
    twice.append("webhook-signature", SIGNATURE.parse().expect("a header"));
    assert_eq!(admit(&settings, &twice, BODY, 1_614_265_330), Err(Forged::Unsigned));
    assert_eq!(glance_of(&settings, &twice), Err(Forged::Unsigned));
    let mac = STANDARD.decode(&SIGNATURE[3..]).expect("base64");
    for length in [0, 1, 16, 31] {
        let short = format!("v1,{}", STANDARD.encode(&mac[..length]));
        assert_eq!(admit(&settings, &with(&short), BODY, 1_614_265_330), Err(Forged::Unsigned), "{length}");
    }
    // What others sign with, and what is too weak to be believed.
    for name in ["x-hub-signature", "x-hub-signature-256", "x-gitlab-signature"] {
        let other = headers(&[(name, "sha1=7d38cdd689735b008b3c702edd92eea23791c5f6")]);
        assert_eq!(admit(&settings, &other, BODY, 1_614_265_330), Err(Forged::Unsigned), "{name}");
        assert_eq!(glance_of(&settings, &other), Err(Forged::Unsigned), "{name}");
    }
}

fn glance_of(settings: &GitlabForgeSettings, headers: &HeaderMap) -> Result<Glance, Forged> {
    forge(settings.clone()).glance(headers, "")
}
