//! Sample manifests, test records and differences.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::json;
use vault_bake::digest::Digest;
use vault_bake::manifest::diff::{ChangeKind, Difference, FieldChange};
use vault_bake::manifest::{
    Base, BuilderFact, CheckFact, DefinitionFact, Descriptor, FileFact, Host, Input, LayerFact,
    Manifest, Os, Output, Package, Packages, ReleaseFact, Repro, ResumedFact, SBOM_MEDIA_TYPE,
    StepFact, TestRecord, Tool, packages_bytes,
};

pub fn digest(of: &str) -> Digest {
    Digest::hash_bytes(of)
}

pub fn release(product: &str, version: &str, official: bool) -> ReleaseFact {
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

pub fn step(name: &str, kind: &str) -> StepFact {
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

/// Returns a test record of `manifest` at `at`, with one check.
pub fn test_record(manifest: Digest, at: Timestamp, passed: bool) -> TestRecord {
    TestRecord {
        audit: None,
        manifest,
        run: "019aad5f-0a00-7000-8000-000000000002".into(),
        started_at: at.into(),
        ended_at: at.into(),
        passed,
        failure: (!passed).then(|| "consul did not come up".into()),
        checks: vec![check("vault.tls-only", passed)],
        builder: builder(),
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

/// Returns a manifest whose disk has the content `disk`.
pub fn sample(version: &str, disk: &str) -> Manifest {
    let mut manifest = golden(version, disk);
    if let Some(file) = &mut manifest.outputs[0].file {
        file.size = disk.len() as u64;
    }
    manifest
}

/// Returns a manifest with the size of a real disk, for tests without a store.
pub fn golden(version: &str, disk: &str) -> Manifest {
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
        layers: vec![],
        resumed: None,
        must_understand: vec![],
        image: "quickstart".into(),
        version: version.parse().unwrap(),
        build: "019aad5f-0a00-7000-8000-000000000001".into(),
        created_at: "2026-11-22T19:18:17Z".parse().unwrap(),
        releases: vec![
            release("consul", "1.8.7", false),
            release("vault", "1.21.1", true),
        ],
        source: DefinitionFact {
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
            disk_sha256: Some(digest("base disk")),
        },
        steps: vec![step("vault", "provisioner"), step("seal", "provisioner")],
        checks: vec![
            check("vault.unit-sandboxed", true),
            check("vault.tls-only", true),
        ],
        outputs: vec![Output::local_qcow2(file, "x86_64", "bios")],
        packages: Packages {
            digest: Digest::hash_bytes(packages_bytes(&packages())),
            count: 3,
            manager: "dpkg".into(),
        },
        sbom: None,
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

/// Returns a manifest with all optional fields.
pub fn sample_with_everything() -> Manifest {
    let mut manifest = golden("2026.1122.0", "disk");
    manifest.resumed = Some(ResumedFact {
        build: "019aad5f-0a00-7000-8000-000000000000".into(),
        memory_sha256: Digest::hash_bytes("memory"),
    });
    manifest.layers = vec![LayerFact {
        build: "019aad5f-0a00-7000-8000-000000000000".into(),
        digest: digest("layer"),
        key: digest("key of a layer"),
        made_at: "2026-11-20T08:00:00Z".parse().unwrap(),
        step: "vault".into(),
    }];
    manifest.sbom = Some(Descriptor {
        digest: digest("sbom"),
        size: 180_000,
        media_type: SBOM_MEDIA_TYPE.into(),
    });
    manifest.parent = Some(digest("parent"));
    manifest.checks[0].skipped = Some("no TPM".into());
    manifest.builder.tool.binary_sha256 = Some(digest("vault-bake"));
    manifest
}

/// Returns a difference in which every text is `evil`.
pub fn difference(evil: &str) -> Difference {
    let changed = || {
        vec![FieldChange {
            name: evil.into(),
            change: ChangeKind::Down,
            from: Some(evil.into()),
            to: Some(evil.into()),
        }]
    };
    Difference {
        from: evil.into(),
        to: evil.into(),
        releases: changed(),
        base: changed(),
        packages: Some(changed()),
        steps: changed(),
        steps_reordered: false,
        inputs: changed(),
        variables: changed(),
        checks: changed(),
        outputs: changed(),
        size: (1, 1),
        virtual_size: (1, 1),
    }
}

/// Texts that are markup, a mention or a link, or end a table cell.
pub const EVIL: &[&str] = &[
    "a | b | c",
    "\\| a",
    "\\\\| a \\",
    "`",
    "``` ``",
    "a`b|c`d",
    "line\nbreak",
    "line\r\n\r\n# heading",
    "\u{2028}\u{85}\u{b}\u{c}",
    "<script>alert(1)</script>",
    "</details></code><img src=x onerror=y>",
    "<!-- ",
    "&lt;b&gt; &#96;",
    "@everyone and @octocat",
    "[click](https://evil.example)",
    "![x](https://evil.example/x.png)",
    "https://evil.example www.evil.example me@evil.example",
    "#1 GH-1 owner/repo#1 0123456789abcdef0123456789abcdef01234567",
    "**bold** _it_ ~~gone~~ ~x~ $x$ :tada:",
    "\u{202e}gnp.exe",
    "\u{1b}[31mred",
    "nul\0",
    "",
    " ",
    " led by a space",
    "---",
    "größe 漢字",
];
