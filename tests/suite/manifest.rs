//! Manifests: their bytes, refused input, and differences between two.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose preparation fails has failed"
)]

mod diff;
mod markdown;
mod sbom;
mod schemas;

use proptest::prelude::*;
use serde_json::{Value, json};
use testing::sample::{
    check, digest, golden as sample, packages, sample_with_everything, test_record,
};
use vault_bake::canonical;
use vault_bake::digest::canonical_json;
use vault_bake::manifest::{
    ImageVersion, Manifest, Reference, ReleaseFact, TestRecord, debian, packages_bytes,
    parse_packages,
};
use vault_bake::release::{Architecture, LockedRelease, VerifiedRelease};

#[test]
fn golden_bytes() {
    let manifest = sample("2026.1122.0", "disk");
    let text = String::from_utf8(manifest.to_bytes()).unwrap();
    insta::assert_snapshot!("manifest_v1", text);
    insta::assert_snapshot!(manifest.digest(), @"sha256:cbd1619e072dee5cdd4362301852743ac74b135a5c57519825fabdb0f1c60544");
    assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), manifest);
}

#[test]
fn golden_bytes_with_all_that_may_be_absent() {
    let manifest = sample_with_everything();
    let text = String::from_utf8(manifest.to_bytes()).unwrap();
    insta::assert_snapshot!("manifest_v1_everything", text);
    assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), manifest);
}

/// The fast parser depends on it.
#[test]
fn records_have_their_fields_in_canonical_order() {
    fn check(record: impl serde::Serialize) {
        let plain = serde_json::to_string(&record).unwrap();
        assert_eq!(plain.into_bytes(), canonical_json(&record));
    }
    check(sample("1.0.0", "disk"));
    check(sample_with_everything());
    let manifest = digest("manifest");
    check(test_record(
        manifest,
        "2026-11-22T19:30:00Z".parse().unwrap(),
        true,
    ));
}

#[test]
fn shown() {
    insta::assert_snapshot!("manifest_shown", sample("2026.1122.0", "disk"));
    let printed = sample_with_everything().to_string();
    let sbom = printed.lines().find(|line| line.contains("sbom")).unwrap();
    insta::assert_snapshot!(sbom, @"  sbom      application/vnd.cyclonedx+json; version=1.6, 175.7 KiB, sha256:98f3ae1ef67113d8140d4f6cb8d2830070e21ea48f091be519659846c771a374");
}

#[test]
fn fields_of_later_versions_are_passed_over() {
    let manifest = sample("2026.1122.0", "disk");
    let mut value: Value = serde_json::from_slice(&manifest.to_bytes()).unwrap();
    value["predicate"]["later"] = json!({ "digest": "x" });
    assert_eq!(Manifest::parse(&canonical_json(&value)).unwrap(), manifest);
}

/// Returns the refusal of a manifest with one change.
fn refusal(path: &str, change: Value) -> String {
    let mut value: Value = serde_json::from_slice(&sample("1.2.3", "disk").to_bytes()).unwrap();
    *value.pointer_mut(path).unwrap() = change;
    Manifest::parse(&canonical_json(&value))
        .unwrap_err()
        .to_string()
}

#[test]
fn refused_manifests() {
    let upper = format!("sha256:{}", "AB".repeat(32));
    let cases = [
        (
            "/predicateType",
            json!("https://vault-bake.dev/image-manifest/v2"),
        ),
        ("/_type", json!("https://in-toto.io/Statement/v0.1")),
        ("/subject", json!([])),
        ("/subject/0/digest", json!({ "sha512": "00" })),
        ("/subject/0/digest/sha256", json!(&upper[7..])),
        ("/subject/0/digest/sha256", json!("00".repeat(32))),
        ("/subject/0/name", json!("another")),
        ("/predicate/must_understand", json!(["sealed-twice"])),
        ("/predicate/must_understand", json!([7])),
        ("/predicate/image", json!("../etc")),
        ("/predicate/image", json!("")),
        ("/predicate/version", json!("2026.0105.1")),
        ("/predicate/version", json!("1.2")),
        ("/predicate/version", json!("1.2.2147483648")),
        (
            "/predicate/build",
            json!("6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        ),
        ("/predicate/created_at", json!("2026-11-22T19:18:17.5Z")),
        ("/predicate/created_at", json!("2026-11-22T20:18:17+01:00")),
        ("/predicate/outputs", json!([])),
        ("/predicate/outputs/0/id", json!("../../etc/passwd")),
        ("/predicate/outputs/0/file/size", json!(-1)),
        (
            "/predicate/outputs/0/file/size",
            json!(9_007_199_254_740_992_u64),
        ),
        ("/predicate/outputs/0/file/digest", json!(upper)),
        ("/predicate/inputs/0/role", json!("zz")),
        ("/predicate/variables/datacenter", json!(1.5)),
        ("/predicate/variables/datacenter", json!(null)),
        ("/predicate/variables", json!({ "größe": 1 })),
        (
            "/predicate/variables/datacenter",
            json!("x".repeat(256 * 1024)),
        ),
        ("/predicate/steps", json!("none")),
    ];
    let refusals: Vec<String> = cases
        .into_iter()
        .map(|(path, change)| {
            let printed: String = change.to_string().chars().take(60).collect();
            format!("{path} = {printed}\n    {}", refusal(path, change))
        })
        .collect();
    insta::assert_snapshot!("refused_manifests", refusals.join("\n"));
}

#[test]
fn a_release_tells_neither_paths_nor_credentials() {
    let fact = |url: &str, official| {
        let verified = VerifiedRelease {
            locked: LockedRelease {
                product: "vault".into(),
                version: "1.21.1".into(),
                arch: Architecture::X86_64,
                file: "vault_1.21.1_linux_amd64.zip".into(),
                url: url.into(),
                sha256: digest("archive"),
                sums_sha256: digest("sums"),
                signature_sha256: digest("signature"),
                primary_fingerprint: "C874".into(),
                signing_fingerprint: "374E".into(),
                signed_at: "2026-11-01T10:00:00Z".into(),
                signer: "Somebody".into(),
                official,
            },
            archive: "/cache/archive".into(),
            archive_size_bytes: 5,
            binary_gz: "/cache/binary.gz".into(),
            binary_sha256: digest("binary"),
            binary_size_bytes: 7,
            licences: vec![],
        };
        ReleaseFact::from(&verified)
    };
    for hidden in [
        "file:///home/me/mirror/vault.zip",
        "/home/me/mirror/vault.zip",
        "https://me:secret@mirror.example/vault.zip",
        "https://mirror.example/vault.zip?sig=secret",
    ] {
        assert_eq!(fact(hidden, true).url, None, "{hidden}");
    }
    let url = "https://releases.hashicorp.com/vault/1.21.1/vault_1.21.1_linux_amd64.zip";
    assert_eq!(fact(url, true).url.as_deref(), Some(url));
    assert_eq!((fact(url, true).size, fact(url, true).binary_size), (5, 7));
    assert!(!fact(url, true).fixture && fact(url, false).fixture);
}

#[test]
fn refused_bytes() {
    let deep = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let cases = [
        String::new(),
        " {}".into(),
        "{}\n".into(),
        r#"{"a":1}{"#.into(),
        r#"{"a":1,"a":2}"#.into(),
        r#"{"a":{"b":1,"b":1}}"#.into(),
        r#"{"b":1,"a":2}"#.into(),
        r#"{"a": 1}"#.into(),
        r#"{"a":"\u0041"}"#.into(),
        r#"{"a":"\/"}"#.into(),
        "[1.0]".into(),
        "[1e2]".into(),
        "[-0]".into(),
        "[01]".into(),
        "[NaN]".into(),
        "[null]".into(),
        "[9007199254740992]".into(),
        "[-9007199254740992]".into(),
        "[123456789012345678901234567890]".into(),
        r#"["\ud800"]"#.into(),
        r#"{"é":1}"#.into(),
        "\u{feff}{}".into(),
        deep(65),
        deep(100_000),
    ];
    let refusals: Vec<String> = cases
        .iter()
        .map(|case| {
            let error = canonical::parse(case.as_bytes(), 300_000).unwrap_err();
            let printed: String = case.chars().take(40).collect();
            format!("{printed:?}\n    {error}")
        })
        .collect();
    insta::assert_snapshot!("refused_bytes", refusals.join("\n"));
    for kept in [deep(64), "[9007199254740991,-9007199254740991]".into()] {
        assert!(canonical::parse(kept.as_bytes(), 1000).is_ok(), "{kept}");
    }
    assert!(canonical::parse(b"[\"\xff\"]", 1000).is_err());
    assert!(canonical::parse(b"[1,2]", 4).is_err());
}

/// Any value of a record.
fn record_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map("[ -~]{0,6}", inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_bytes_survive_reading(value in record_value()) {
        let bytes = canonical_json(&value);
        let read = canonical::parse(&bytes, 1 << 24).unwrap();
        prop_assert_eq!(&read, &value);
        prop_assert_eq!(canonical_json(&read), bytes);
    }

    #[test]
    fn manifests_survive_reading(text in any::<String>(), size in 0_u64..1 << 53, patch in 0_u32..1 << 31) {
        let mut manifest = sample("1.2.3", &text);
        manifest.version = format!("2026.1122.{patch}").parse().unwrap();
        manifest.outputs[0].file.as_mut().unwrap().size = size;
        manifest.checks[0].description = text.clone();
        manifest.variables.insert("text".into(), text.into());
        let bytes = manifest.to_bytes();
        let read = Manifest::parse(&bytes).unwrap();
        prop_assert_eq!(read.to_bytes(), bytes);
        prop_assert_eq!(read, manifest);
    }

    #[test]
    fn altered_bytes_are_refused_or_still_canonical(at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = sample("1.2.3", "disk").to_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if Manifest::parse(&bytes).is_ok() {
            let value: Value = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(canonical_json(&value), bytes);
        }
    }

    #[test]
    fn debian_order_is_an_order(
        a in "[0-9]{1,2}[a-c0-9.+~]{0,6}", b in "[0-9]{1,2}[a-c0-9.+~]{0,6}", c in "[0-9]{1,2}[a-c0-9.+~]{0,6}",
    ) {
        prop_assert_eq!(debian::compare(&a, &b), debian::compare(&b, &a).reverse());
        if debian::compare(&a, &b).is_le() && debian::compare(&b, &c).is_le() {
            prop_assert!(debian::compare(&a, &c).is_le());
        }
    }
}

#[test]
fn versions_and_references() {
    let version = |text: &str| text.parse::<ImageVersion>().unwrap();
    assert!(version("2026.1122.10") > version("2026.1122.9"));
    let date = jiff::civil::date(2026, 1, 5);
    assert_eq!(ImageVersion::first_of(date).to_string(), "2026.105.0");
    assert_eq!(version("1.2.3").next(), Some(version("1.2.4")));
    assert_eq!(version("1.2.2147483647").next(), None);
    let twelve = "sha256:0123456789ab";
    let cases = [
        "quickstart@2026.1122.0",
        "quickstart",
        "quickstart:prod",
        twelve,
        "sha256:0123",
        "sha256:0123456789AB",
        "",
        "@1.2.3",
        "a@",
        "a@1.2",
        "a@01.2.3",
        "a@+1.2.3",
        "a@b@1.2.3",
        "a:",
        "a/b",
        "-a",
        "a b",
    ];
    let parsed: Vec<String> = cases
        .iter()
        .map(|case| match case.parse::<Reference>() {
            Ok(reference) => {
                assert_eq!(reference.to_string(), *case);
                format!("{case:?}\n    {reference:?}")
            }
            Err(error) => format!("{case:?}\n    {error}"),
        })
        .collect();
    insta::assert_snapshot!("references", parsed.join("\n"));
}

#[test]
fn package_lists_have_one_order() {
    let mut list = packages();
    let bytes = packages_bytes(&list);
    list.reverse();
    assert_eq!(packages_bytes(&list), bytes);
    assert_eq!(parse_packages(&bytes).unwrap()[0].name, "bash");
    insta::assert_snapshot!(String::from_utf8(bytes).unwrap(), @r#"[{"arch":"amd64","name":"bash","source":"bash","version":"5.2.15-2+b9"},{"arch":"amd64","name":"libssl3","source":"openssl","version":"3.0.17-1~deb12u3"},{"arch":"amd64","name":"tzdata","source":"tzdata","version":"2025b-0+deb12u2"}]"#);
}

#[test]
fn test_records() {
    let record = TestRecord {
        ended_at: "2026-11-22T19:21:00Z".parse().unwrap(),
        ..test_record(
            digest("manifest"),
            "2026-11-22T19:20:00Z".parse().unwrap(),
            true,
        )
    };
    let bytes = record.to_bytes();
    insta::assert_snapshot!("test_record_v1", String::from_utf8_lossy(&bytes));
    assert_eq!(TestRecord::parse(&bytes).unwrap(), record);
    let lie = TestRecord {
        checks: vec![check("vault.tls-only", false)],
        ..record.clone()
    };
    insta::assert_snapshot!(TestRecord::parse(&lie.to_bytes()).unwrap_err(), @"the test record is not valid: the test passed although `vault.tls-only` failed");
    let text = String::from_utf8(bytes).unwrap();
    let other_type = text.replace("image-test/v1", "image-test/v2");
    insta::assert_snapshot!(TestRecord::parse(other_type.as_bytes()).unwrap_err());
    let other_subject = text.replacen(&digest("manifest").hex(), &digest("other").hex(), 1);
    insta::assert_snapshot!(TestRecord::parse(other_subject.as_bytes()).unwrap_err());
}
