//! Whatever comes, nothing panics.

use proptest::prelude::*;

use super::*;

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        Just(json!(SHA)),
        Just(json!(NOTHING)),
        Just(json!("refs/changes/01/1/2")),
        Just(json!("Patch Set \u{e9}:\n\n(")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("name|project|ref|number|revision|refName|newRev|url|branch", inner, 0..4)
                .prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

const KINDS: &str = "patchset-created|comment-added|change-merged|ref-updated|batch-ref-updated|wip-state-changed|change-abandoned";
const FIELDS: &str = "change|patchSet|refUpdate|refUpdates|comment|author|newRev|project|eventCreatedOn|patchSetComments|refName";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    // Threat 18.
    #[test]
    fn no_event_makes_it_panic(kind in KINDS, fields in prop::collection::hash_map(FIELDS, anything(), 0..8)) {
        let mut event = event(&kind);
        for (name, value) in fields {
            event[name] = value;
        }
        let admitted = gerrit().admit_streamed(event.to_string().as_bytes()).expect("an object");
        let _ = gerrit().translate(&admitted.kind, &admitted.body);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = gerrit().admit_streamed(&bytes);
        let _ = gerrit().translate("patchset-created", &bytes);
    }
}
