//! What is different between two images, and the order of package versions.

use std::cmp::Ordering;

use serde_json::json;
use vault_bake::manifest::diff::diff;
use vault_bake::manifest::{CheckFact, debian};

use super::sample::{check, digest, packages, release, sample, step};

#[test]
fn debian_versions_are_ordered_as_dpkg_orders_them() {
    let versions = [
        "0",
        "1~~",
        "1~",
        "1",
        "1-0",
        "01",
        "1.00",
        "1.2.3",
        "1.10",
        "1a",
        "1+",
        "1:0.5",
        "0:1",
        "2.36-9+deb12u13",
        "2.36-9+deb12u9",
        "3.0.17-1~deb12u3",
        "3.0.17-1",
        "3.0.17-1+b1",
        "1.0-rc1-1",
        "1.0~rc1-1",
        "99999999999999999999999",
        "100000000000000000000000",
        "1-a~",
        "1-a",
        "1A",
    ];
    if !std::path::Path::new("/usr/bin/dpkg").exists() {
        #[expect(clippy::print_stderr, reason = "a skipped test says so")]
        let () = eprintln!("skipped: no dpkg to compare with");
        return;
    }
    // One shell asks for all pairs and prints those that dpkg orders otherwise.
    let mut script = String::new();
    for (at, a) in versions.iter().enumerate() {
        for b in &versions[..at] {
            use std::fmt::Write as _;
            let word = match debian::compare(a, b) {
                Ordering::Less => "lt",
                Ordering::Equal => "eq",
                Ordering::Greater => "gt",
            };
            let claim = format!("'{a}' {word} '{b}'");
            writeln!(
                script,
                "dpkg --compare-versions {claim} || echo \"{claim}\""
            )
            .unwrap();
        }
    }
    let shell = vault_bake::process::Program::new("sh")
        .arg("-s")
        .input(script);
    let interrupt = vault_bake::wait::Interrupt::default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let wrong = runtime.block_on(shell.run(&interrupt)).unwrap();
    assert_eq!(String::from_utf8_lossy(&wrong), "");
}

#[test]
fn differences() {
    let a = sample("2026.1122.0", "disk");
    let same = diff(&a, &a, Some((&packages(), &packages())));
    assert!(same.is_empty());
    insta::assert_snapshot!(same, @r#"
quickstart@2026.1122.0 -> quickstart@2026.1122.0
no difference
"#);
    let mut b = sample("2026.1122.1", "another disk");
    b.releases = vec![
        release("vault", "1.20.4", true),
        release("consul", "1.22.0", true),
    ];
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
