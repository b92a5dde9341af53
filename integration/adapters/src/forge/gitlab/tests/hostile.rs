//! Whatever comes, nothing panics.

use proptest::prelude::*;

use super::events::{note, push, request};
use super::*;

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        Just(json!(SHA)),
        Just(json!("refs/heads/main")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("id|iid|state|action|url|title|variables|key|value|web_url", inner, 0..4)
                .prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    // Threat 18.
    #[test]
    fn no_delivery_makes_it_panic(
        which in 0..4_usize,
        fields in prop::collection::hash_map(
            "object_attributes|project|ref|after|merge_request|user|changes|source_pipeline|labels|commit|pipeline_id", anything(), 0..8,
        ),
    ) {
        let mut body = [push("refs/heads/main", OLD, SHA), request("update"), note("recheck"), json!({"object_kind": "build"})][which].clone();
        for (name, value) in fields {
            body[name] = value;
        }
        let kept = crate::forge::payload::kept(body);
        let _ = forge(settings()).translate("Push Hook", &kept);
    }
}
