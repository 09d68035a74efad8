//! Differences between two images, and the order of package versions.

use std::cmp::Ordering;

use serde_json::json;
use testing::sample::{check, digest, golden as sample, packages, release, step};
use vault_bake::manifest::diff::diff;
use vault_bake::manifest::{CheckFact, Input, Package, debian};

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
        #[expect(clippy::print_stderr, reason = "a skipped test prints its reason")]
        let () = eprintln!("SKIPPED: no dpkg to compare with");
        return;
    }
    // One shell compares all pairs, and prints those that dpkg orders otherwise.
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
    b.base.disk_sha256 = Some(digest("another base"));
    b.steps.reverse();
    b.steps[1].digest = digest("another vault");
    b.steps.push(step("extra", "shell"));
    b.checks[1] = check("vault.tls-only", false);
    b.checks.push(CheckFact {
        skipped: Some("no TPM".into()),
        ..check("vault.tpm", true)
    });
    b.variables.insert("datacenter".into(), json!("dc2"));
    b.outputs[0].file.as_mut().unwrap().size -= 5_000_000;
    let mut list = packages();
    list[0].version = "3.0.17-1~deb12u4".into();
    list[1].version = "5.2.15-2+b8".into();
    list[2].name = "zstd".into();
    let both = diff(&a, &b, Some((&packages(), &list)));
    insta::assert_snapshot!("diff_text", both);
    insta::assert_snapshot!("diff_json", serde_json::to_string_pretty(&both).unwrap());
    assert!(diff(&a, &b, None).packages.is_none());
}

/// Returns the differences between two package lists with this package manager, as `name change
/// from to`.
fn packages_differ(manager: &str, a: &[(&str, &str, &str)], b: &[(&str, &str, &str)]) -> String {
    let list = |packages: &[(&str, &str, &str)]| -> Vec<Package> {
        let package = |(name, arch, version): &(&str, &str, &str)| Package {
            name: (*name).into(),
            arch: (*arch).into(),
            version: (*version).into(),
            source: "source".into(),
        };
        packages.iter().map(package).collect()
    };
    let mut image = sample("1.0.0", "disk");
    image.packages.manager = manager.into();
    let difference = diff(&image, &image, Some((&list(a), &list(b))));
    let changed = difference.packages.unwrap().into_iter().map(|one| {
        let value = |value: Option<String>| value.unwrap_or("-".into());
        let (from, to) = (value(one.from), value(one.to));
        format!("{} {:?} {from} -> {to}", one.name, one.change)
    });
    changed.collect::<Vec<_>>().join("; ")
}

#[test]
fn packages_of_several_architectures_and_versions() {
    let cases = [
        (
            "another architecture is no other package",
            "dpkg",
            vec![("tz", "all", "2")],
            vec![("tz", "amd64", "1")],
        ),
        (
            "a second architecture hides no downgrade",
            "dpkg",
            vec![("libc6", "amd64", "2")],
            vec![("libc6", "amd64", "1"), ("libc6", "i386", "1")],
        ),
        (
            "nor does one that is gone",
            "dpkg",
            vec![("libc6", "amd64", "1"), ("libc6", "i386", "1")],
            vec![("libc6", "amd64", "2")],
        ),
        (
            "several versions have no order",
            "dpkg",
            vec![("linux", "amd64", "2"), ("linux", "amd64", "1")],
            vec![("linux", "amd64", "9")],
        ),
        (
            "their order in the list does not count",
            "dpkg",
            vec![("linux", "amd64", "2"), ("linux", "amd64", "1")],
            vec![("linux", "amd64", "1"), ("linux", "amd64", "2")],
        ),
        (
            "dpkg's order is not rpm's",
            "rpm",
            vec![("bash", "x86_64", "1^git1-1")],
            vec![("bash", "x86_64", "1-1")],
        ),
        (
            "an epoch",
            "dpkg",
            vec![("passwd", "amd64", "1:4.13")],
            vec![("passwd", "amd64", "9.1")],
        ),
    ];
    let printed: Vec<String> = cases
        .iter()
        .map(|(case, manager, a, b)| format!("{case}\n    {}", packages_differ(manager, a, b)))
        .collect();
    insta::assert_snapshot!(printed.join("\n"), @r#"
another architecture is no other package
    tz Down 2 -> 1
a second architecture hides no downgrade
    libc6:amd64 Down 2 -> 1; libc6:i386 Added - -> 1
nor does one that is gone
    libc6:amd64 Up 1 -> 2; libc6:i386 Removed 1 -> -
several versions have no order
    linux Other 1, 2 -> 9
their order in the list does not count
    
dpkg's order is not rpm's
    bash Other 1^git1-1 -> 1-1
an epoch
    passwd Down 1:4.13 -> 9.1
"#);
}

#[test]
fn all_of_the_base_is_compared_and_no_value_is_lost() {
    let a = sample("1.0.0", "disk");
    let mut b = a.clone();
    b.base.requested = json!({ "kind": "packages", "suite": "trixie", "extra": [] });
    b.base.resolved = json!({ "kind": "packages", "index": [{ "suite": "trixie", "date": 7 }] });
    (b.os.version, b.os.kernel) = ("13".into(), "6.12.0".into());
    b.outputs[0].arch = "aarch64".into();
    // Two items with one name: both must appear.
    b.inputs.insert(Input {
        role: "script".into(),
        name: "vault/install.sh".into(),
        digest: digest("another"),
        size: 7,
    });
    b.checks.push(check("vault.tls-only", false));
    let difference = diff(&a, &b, None);
    assert!(!difference.is_empty());
    insta::assert_snapshot!(difference, @r#"
quickstart@1.0.0 -> quickstart@1.0.0
base
  ~ kernel                   6.1.0-41-amd64 -> 6.12.0
  ~ os                       debian 12 -> debian 13
  + requested.extra          []
  ~ requested.suite          bookworm -> trixie
  - resolved.index           []
  + resolved.index[0].date   7
  + resolved.index[0].suite  trixie
inputs
  ~ script vault/install.sh  sha256:e269c982d050 -> sha256:ae448ac86c4e, sha256:e269c982d050
checks
  ~ vault.tls-only  ok -> ok, not ok
outputs
  ~ local  qcow2 x86_64 bios -> qcow2 aarch64 bios
packages: not compared, a list is missing
"#);
    let mut c = a.clone();
    c.base.requested["suite"] = json!("trixie");
    assert!(!diff(&a, &c, None).is_empty());
    let mut c = a.clone();
    c.outputs[0].class = "azure-gallery-version".into();
    assert!(!diff(&a, &c, None).is_empty());
}

#[test]
fn downgrades_are_releases_and_packages() {
    let (a, mut b) = (sample("1.0.0", "disk"), sample("1.0.1", "disk"));
    b.releases[1] = release("vault", "1.20.4", true);
    let mut older = packages();
    older[1].version = "5.2.15-2+b8".into();
    let names = |difference: &vault_bake::manifest::diff::Difference| -> Vec<String> {
        difference
            .downgrades()
            .map(|one| one.name.clone())
            .collect()
    };
    let down = diff(&a, &b, Some((&packages(), &older)));
    assert_eq!(names(&down), ["vault", "bash"]);
    assert!(names(&diff(&b, &a, Some((&older, &packages())))).is_empty());
}
