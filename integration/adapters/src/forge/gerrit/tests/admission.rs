//! Which deliveries are genuine, and what identifies them.

use http::HeaderMap;
use jiff::Timestamp;

use super::*;

fn knock(path: &str, body: &[u8]) -> Result<Admitted, Forged> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/json; charset=utf-8".parse().expect("a header"));
    headers.insert("authorization", "Basic c2VjcmV0".parse().expect("a header"));
    gerrit().admit(&Knock { headers: &headers, path, body, at: Timestamp::UNIX_EPOCH })
}

// Threat 13.
#[test]
fn a_webhook_is_genuine_by_the_secret_in_its_path_old_or_new() {
    let body = event("patchset-created").to_string();
    for path in ["old-secret", "new-secret", "/new-secret/"] {
        let admitted = knock(path, body.as_bytes()).expect("genuine");
        assert_eq!(admitted.kind, "patchset-created");
        assert_eq!(admitted.headers, [("content-type".to_owned(), "application/json; charset=utf-8".to_owned())]);
    }
    for path in ["", "/", "old", "old-secretx", "OLD-SECRET", "old-secret/new-secret"] {
        assert_eq!(knock(path, body.as_bytes()), Err(Forged::Unsigned), "{path:?}");
    }
}

// Threat 13.
#[test]
fn without_a_secret_nothing_is_genuine() {
    let settings = GerritSettings::new("gerrit".parse().expect("a name"), "https://g.example.org".parse().expect("an address"), "robot");
    let body = event("patchset-created").to_string();
    let knock = Knock { headers: &HeaderMap::new(), path: "", body: body.as_bytes(), at: Timestamp::UNIX_EPOCH };
    assert_eq!(Gerrit::new(settings, SystemClock::shared()).expect("settings").admit(&knock), Err(Forged::Unsigned));
}

// Threat 18.
#[test]
fn what_is_no_object_or_too_large_cannot_be_read() {
    let deep = "[".repeat(100_000);
    let large = format!("{{\"type\":\"{}\"}}", "x".repeat(MAX_EVENT));
    for body in ["", "null", "[]", "{", "\"text\"", "{\"a\":\u{0}}", &deep, &large] {
        assert_eq!(knock("new-secret", body.as_bytes()), Err(Forged::Unreadable));
    }
}

#[test]
fn an_event_is_one_whether_it_streams_or_knocks() {
    let streamed = event("patchset-created");
    let knocked = with("patchset-created", |event| {
        // The webhooks plugin writes the same event in another way.
        event["project"] = json!({"name": "demo"});
        event["changeKey"] = json!({"key": "I0000000000000000000000000000000000000001"});
        event["change"]["number"] = json!("1");
    });
    let one = gerrit().admit_streamed(streamed.to_string().as_bytes()).expect("an object");
    let other = knock("new-secret", knocked.to_string().as_bytes()).expect("genuine");
    assert_eq!(one.id, other.id);
}

#[test]
fn what_differs_within_one_second_is_told_apart() {
    let events = [
        event("patchset-created"),
        event("change-restored"),
        with("patchset-created", |event| event["patchSet"]["number"] = json!(3)),
        with("patchset-created", |event| event["change"]["number"] = json!(2)),
        with("patchset-created", |event| event["change"]["project"] = json!("other")),
        with("patchset-created", |event| event["eventCreatedOn"] = json!(1)),
        with("wip-state-changed", |event| event["change"]["wip"] = json!(true)),
        event("wip-state-changed"),
        with("comment-added", |event| event["comment"] = json!("recheck")),
        with("comment-added", |event| event["author"] = json!({"username": "dev"})),
        json!({"type": "ref-updated", "eventCreatedOn": 1_795_371_318, "refUpdate": {"refName": "a", "newRev": SHA, "project": "demo"}}),
        json!({"type": "ref-updated", "eventCreatedOn": 1_795_371_318, "refUpdate": {"refName": "b", "newRev": SHA, "project": "demo"}}),
        json!({"type": "dropped-output"}),
    ];
    let mut ids: Vec<String> =
        events.iter().map(|event| gerrit().admit_streamed(event.to_string().as_bytes()).expect("an object").id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), events.len());
}

#[test]
fn a_type_that_could_deceive_a_reader_is_not_taken_over() {
    for kind in [json!("<script>alert(1)</script>"), json!("x".repeat(1000)), json!(7), json!(null)] {
        let admitted = gerrit().admit_streamed(json!({"type": kind}).to_string().as_bytes()).expect("an object");
        assert_eq!(admitted.kind, "unknown");
    }
}
