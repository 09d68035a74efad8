//! Canonical JSON: the fast and the thorough parser accept the same bytes.

use proptest::prelude::*;
use serde_json::{Map, Value};
use vault_bake::canonical::parse;
use vault_bake::digest::canonical_json;

/// Any value of a record.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec(("[ -~]{0,6}", inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(value in value()) {
        let bytes = canonical_json(&value);
        prop_assert_eq!(parse(&bytes, 1 << 20).unwrap(), value);
    }

    #[test]
    fn what_is_read_is_what_would_be_written(
        value in value(),
        at in any::<prop::sample::Index>(),
        byte in prop::sample::select(b" \n\"\\/,:{}[]0-19aeu\x00\x7f\xc3".to_vec()),
        insert in any::<bool>(),
    ) {
        let mut bytes = canonical_json(&value);
        let at = at.index(bytes.len());
        if insert {
            bytes.insert(at, byte);
        } else {
            bytes[at] = byte;
        }
        if let Ok(value) = parse(&bytes, 1 << 20) {
            prop_assert_eq!(canonical_json(&value), bytes);
        }
    }
}

#[test]
fn other_forms_of_the_same_value_are_refused() {
    for text in [
        r#"{"b":1,"a":2}"#,
        r#"{"a":{"d":1,"c":2}}"#,
        r#"[{"b":1,"a":2}]"#,
        r#"{"a": 1}"#,
        r#""\/""#,
        r#""\u0041""#,
        r#""\u000A""#,
        r#""\u001F""#,
        "01",
        "1.0",
        "1e3",
        "-0",
        r#"{"a":1,"a":1}"#,
        r#"{"a":null}"#,
    ] {
        assert!(parse(text.as_bytes(), 100).is_err(), "{text}");
    }
    for text in [
        r#"{"a":2,"b":1}"#,
        r#""\u001f\n/""#,
        "\"\u{7f}é\u{2028}\"",
        "-1",
    ] {
        assert!(parse(text.as_bytes(), 100).is_ok(), "{text}");
    }
}
