//! Manifests: their bytes, what is refused, and what is different between two.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};
use vault_bake::digest::{Digest, canonical_json};
use vault_bake::manifest::diff::diff;
use vault_bake::manifest::{
    Base, BuilderFact, CheckFact, FileFact, Host, ImageVersion, Input, Manifest, Os, Output,
    Package, Packages, Reference, ReleaseFact, Repro, SCHEMA, Source, StepFact, TEST_SCHEMA,
    TestRecord, Tool, canonical, debian, packages_bytes, parse_packages,
};

fn digest(of: &str) -> Digest {
    Digest::of(of)
}

fn release(product: &str, version: &str, official: bool) -> ReleaseFact {
    ReleaseFact {
        product: product.into(),
        version: version.into(),
        file: format!("{product}_{version}_linux_amd64.zip"),
        url: Some(format!("https://releases.example/{product}/{version}")),
        sha256: digest(&format!("{product} archive {version}")),
        size: 160_000_000,
        binary_sha256: digest(&format!("{product} binary {version}")),
        binary_size: 480_000_000,
        sums_sha256: digest("sums"),
        signature_sha256: digest("signature"),
        primary_fingerprint: "C874011F0AB405110D02105534365D9472D7468F".into(),
        signing_fingerprint: "374EC75B485913604A831CC7C820C6D5CD27AB87".into(),
        signed_at: "2026-11-01T10:00:00Z".into(),
        signer: "HashiCorp Security".into(),
        official,
        fixture: !official,
    }
}

fn step(name: &str, kind: &str) -> StepFact {
    StepFact {
        name: name.into(),
        kind: kind.into(),
        digest: digest(name),
        started_at: "2026-11-22T19:18:00Z".parse().unwrap(),
        ended_at: "2026-11-22T19:18:04Z".parse().unwrap(),
        elapsed_ms: 4321,
        exit: 0,
        log_digest: digest("log"),
    }
}

pub fn check(id: &str, ok: bool) -> CheckFact {
    CheckFact {
        id: id.into(),
        description: "it is so".into(),
        ok,
        skipped: None,
        step: "vault".into(),
    }
}

pub fn builder() -> BuilderFact {
    BuilderFact {
        name: "qemu".into(),
        tool: Tool {
            version: "0.1.0".into(),
            binary_sha256: None,
        },
        host: Host {
            os: "linux".into(),
            arch: "x86_64".into(),
        },
    }
}

pub fn packages() -> Vec<Package> {
    let package = |name: &str, version: &str, source: &str| Package {
        name: name.into(),
        arch: "amd64".into(),
        version: version.into(),
        source: source.into(),
    };
    vec![
        package("libssl3", "3.0.17-1~deb12u3", "openssl"),
        package("bash", "5.2.15-2+b9", "bash"),
        package("tzdata", "2025b-0+deb12u2", "tzdata"),
    ]
}

/// The manifest of a bake whose disk has the content `disk`.
pub fn sample(version: &str, disk: &str) -> Manifest {
    let file = FileFact {
        digest: digest(disk),
        size: 410_000_123,
        virtual_size: 10 << 30,
    };
    let input = |role: &str, name: &str| Input {
        role: role.into(),
        name: name.into(),
        digest: digest(name),
        size: 7,
    };
    Manifest {
        schema: SCHEMA.into(),
        must_understand: vec![],
        image: "quickstart".into(),
        version: version.parse().unwrap(),
        bake: "019aad5f-0a00-7000-8000-000000000001".into(),
        created_at: "2026-11-22T19:18:17Z".parse().unwrap(),
        releases: vec![release("consul", "1.8.7", false), release("vault", "1.21.1", true)],
        source: Source {
            repo: Some("https://git.example/images".into()),
            commit: Some("33a75e3".into()),
            dirty: Some(true),
            definition_digest: digest("definition"),
            lock_digest: digest("lock"),
            plan_digest: digest("plan"),
        },
        variables: BTreeMap::from([
            ("datacenter".to_owned(), json!("dc1")),
            ("token".to_owned(), json!({ "secret": "token" })),
        ]),
        inputs: BTreeSet::from([
            input("script", "vault/install.sh"),
            input("product", "vault_1.21.1_linux_amd64.zip"),
            input("repo-index", "bookworm"),
        ]),
        base: Base {
            requested: json!({ "kind": "packages", "suite": "bookworm" }),
            resolved: json!({ "kind": "packages", "index": [] }),
            disk_sha256: digest("base disk"),
        },
        steps: vec![step("vault", "provisioner"), step("seal", "provisioner")],
        checks: vec![check("vault.unit-sandboxed", true), check("vault.tls-only", true)],
        outputs: vec![Output::local_qcow2(file, "x86_64", "bios")],
        packages: Packages {
            digest: Digest::of(packages_bytes(&packages())),
            count: 3,
            manager: "dpkg".into(),
        },
        os: Os {
            id: "debian".into(),
            version: "12".into(),
            kernel: "6.1.0-41-amd64".into(),
        },
        builder: builder(),
        repro: Repro {
            hermetic: false,
            not_pinned: vec!["packages that steps install".into()],
        },
        parent: None,
    }
}

#[test]
fn golden_bytes() {
    let manifest = sample("2026.1122.0", "disk");
    let text = String::from_utf8(manifest.to_bytes()).unwrap();
    insta::assert_snapshot!("manifest_v1", text);
    insta::assert_snapshot!(manifest.digest(), @"");
    assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), manifest);
}

#[test]
fn shown() {
    insta::assert_snapshot!("manifest_shown", sample("2026.1122.0", "disk"));
}

#[test]
fn fields_of_later_versions_are_passed_over() {
    let manifest = sample("2026.1122.0", "disk");
    let mut value: Value = serde_json::from_slice(&manifest.to_bytes()).unwrap();
    value["sbom"] = json!({ "digest": "x" });
    assert_eq!(Manifest::parse(&canonical_json(&value)).unwrap(), manifest);
}

/// What a manifest with one change is refused for.
fn refusal(path: &str, change: Value) -> String {
    let mut value: Value = serde_json::from_slice(&sample("1.2.3", "disk").to_bytes()).unwrap();
    *value.pointer_mut(path).unwrap() = change;
    Manifest::parse(&canonical_json(&value)).unwrap_err().to_string()
}

#[test]
fn refused_manifests() {
    let upper = format!("sha256:{}", "AB".repeat(32));
    let cases = [
        ("/schema", json!("https://vault-bake.dev/image-manifest/v2")),
        ("/must_understand", json!(["sealed-twice"])),
        ("/must_understand", json!([7])),
        ("/image", json!("../etc")),
        ("/image", json!("")),
        ("/version", json!("2026.0105.1")),
        ("/version", json!("1.2")),
        ("/version", json!("1.2.2147483648")),
        ("/bake", json!("6ba7b810-9dad-11d1-80b4-00c04fd430c8")),
        ("/created_at", json!("2026-11-22T19:18:17.5Z")),
        ("/created_at", json!("2026-11-22T20:18:17+01:00")),
        ("/outputs", json!([])),
        ("/outputs/0/file/size", json!(-1)),
        ("/outputs/0/file/size", json!(9_007_199_254_740_992_u64)),
        ("/outputs/0/file/digest", json!(upper)),
        ("/inputs/0/role", json!("zz")),
        ("/variables/datacenter", json!(1.5)),
        ("/variables/datacenter", json!(null)),
        ("/variables", json!({ "größe": 1 })),
        ("/variables/datacenter", json!("x".repeat(256 * 1024))),
        ("/steps", json!("none")),
    ];
    let refusals: Vec<String> = cases
        .into_iter()
        .map(|(path, change)| {
            let shown: String = change.to_string().chars().take(60).collect();
            format!("{path} = {shown}\n    {}", refusal(path, change))
        })
        .collect();
    insta::assert_snapshot!("refused_manifests", refusals.join("\n"));
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
            let shown: String = case.chars().take(40).collect();
            format!("{shown:?}\n    {error}")
        })
        .collect();
    insta::assert_snapshot!("refused_bytes", refusals.join("\n"));
    for kept in [deep(64), "[9007199254740991,-9007199254740991]".into()] {
        assert!(canonical::parse(kept.as_bytes(), 1000).is_ok(), "{kept}");
    }
    assert!(canonical::parse(b"[\"\xff\"]", 1000).is_err());
    assert!(canonical::parse(b"[1,2]", 4).is_err());
}

/// Any value that a record may hold.
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
        manifest.outputs[0].file.size = size;
        manifest.checks[0].description = text.clone();
        manifest.variables.insert("text".into(), text.into());
        let bytes = manifest.to_bytes();
        let read = Manifest::parse(&bytes).unwrap();
        prop_assert_eq!(read.to_bytes(), bytes);
        prop_assert_eq!(read, manifest);
    }

    #[test]
    fn altered_bytes_are_refused_or_another_manifest(at in any::<prop::sample::Index>(), byte: u8) {
        let manifest = sample("1.2.3", "disk");
        let mut bytes = manifest.to_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        if let Ok(read) = Manifest::parse(&bytes) {
            prop_assert_ne!(Digest::of(&bytes), manifest.digest());
            // A field whose name was altered is one that a later version may have written.
            prop_assert!(read != manifest || read.parent.is_none());
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
fn debian_versions_are_ordered_as_dpkg_orders_them() {
    let versions = [
        "0", "1~~", "1~", "1", "1-0", "1-1", "01", "1.0", "1.00", "1.2.3", "1.10", "1a", "1+", "1.",
        "1:0.5", "0:1", "2.36-9+deb12u13", "2.36-9+deb12u9", "2.36-9", "3.0.17-1~deb12u3",
        "3.0.17-1", "3.0.17-1+b1", "5.2.15-2+b9", "5.2.15-2+b10", "1.0-rc1-1", "1.0~rc1-1",
        "20240203", "20230311+deb12u1", "99999999999999999999999", "100000000000000000000000", "1:1-1",
        "2:1-1", "1-a~", "1-a", "1A", "1z", "9.9p1", "9.9",
    ];
    let dpkg = std::path::Path::new("/usr/bin/dpkg");
    if !dpkg.exists() {
        eprintln!("skipped: no dpkg to compare with");
        return;
    }
    // One shell asks for all pairs: a process for each of a thousand would take the suite's time.
    let mut script = String::new();
    let mut ours = String::new();
    for a in versions {
        for b in versions {
            use std::fmt::Write as _;
            for (word, holds) in [("lt", Ordering::Less), ("eq", Ordering::Equal)] {
                let holds = debian::compare(a, b) == holds;
                writeln!(ours, "{a} {word} {b} {holds}").unwrap();
                writeln!(
                    script,
                    "dpkg --compare-versions '{a}' {word} '{b}' && echo '{a} {word} {b} true' || echo '{a} {word} {b} false'"
                )
                .unwrap();
            }
        }
    }
    let shell = vault_bake::process::Program::new("sh").arg("-s").input(script);
    let interrupt = vault_bake::wait::Interrupt::default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let theirs = runtime.block_on(shell.run(&interrupt)).unwrap();
    let theirs = String::from_utf8(theirs).unwrap();
    let wrong: Vec<_> = ours.lines().zip(theirs.lines()).filter(|(a, b)| a != b).collect();
    assert_eq!(ours.lines().count(), theirs.lines().count());
    assert!(wrong.is_empty(), "{wrong:#?}");
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
        "quickstart@2026.1122.0", "quickstart", "quickstart:prod", twelve, "sha256:0123", "sha256:0123456789AB",
        "", "@1.2.3", "a@", "a@1.2", "a@01.2.3", "a@+1.2.3", "a@b@1.2.3", "a:", "a/b", "-a", "a b",
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
    insta::assert_snapshot!(String::from_utf8(bytes).unwrap(), @"");
}

#[test]
fn differences() {
    let a = sample("2026.1122.0", "disk");
    let same = diff(&a, &a, Some((&packages(), &packages())));
    assert!(same.is_empty());
    insta::assert_snapshot!(same, @"");
    let mut b = sample("2026.1122.1", "another disk");
    b.releases = vec![release("vault", "1.20.4", true), release("consul", "1.22.0", true)];
    b.base.disk_sha256 = digest("another base");
    b.steps.reverse();
    b.steps[1].digest = digest("another vault");
    b.steps.push(step("extra", "shell"));
    b.checks[1] = check("vault.tls-only", false);
    b.checks.push(CheckFact {
        skipped: Some("no TPM".into()),
        ..check("vault.tpm", true)
    });
    b.variables.insert("datacenter".into(), json!("dc2"));
    b.outputs[0].file.size -= 5_000_000;
    let mut list = packages();
    list[0].version = "3.0.17-1~deb12u4".into();
    list[1].version = "5.2.15-2+b8".into();
    list[2].name = "zstd".into();
    let both = diff(&a, &b, Some((&packages(), &list)));
    insta::assert_snapshot!("diff_text", both);
    insta::assert_snapshot!("diff_json", serde_json::to_string_pretty(&both).unwrap());
    assert!(diff(&a, &b, None).packages.is_none());
}

#[test]
fn test_records() {
    let record = TestRecord {
        schema: TEST_SCHEMA.into(),
        manifest: digest("manifest"),
        run: "019aad5f-0a00-7000-8000-000000000002".into(),
        started_at: "2026-11-22T19:20:00Z".parse().unwrap(),
        ended_at: "2026-11-22T19:21:00Z".parse().unwrap(),
        passed: true,
        failure: None,
        checks: vec![check("vault.tls-only", true)],
        builder: builder(),
    };
    let bytes = record.to_bytes();
    insta::assert_snapshot!("test_record_v1", String::from_utf8_lossy(&bytes));
    assert_eq!(TestRecord::parse(&bytes).unwrap(), record);
    let lie = TestRecord {
        checks: vec![check("vault.tls-only", false)],
        ..record.clone()
    };
    insta::assert_snapshot!(TestRecord::parse(&lie.to_bytes()).unwrap_err(), @"");
    let other = TestRecord {
        schema: "x".into(),
        ..record
    };
    insta::assert_snapshot!(TestRecord::parse(&other.to_bytes()).unwrap_err(), @"");
}
