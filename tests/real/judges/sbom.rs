//! Bills of materials are valid by the official schema.

use vault_bake::manifest::{Manifest, Package, sbom};
use vault_bake::process::Program;
use vault_bake::wait::Interrupt;

use super::{judged, python, sample};

/// Prints nothing where standard input is a valid document, and what is wrong with it where it is not.
const JUDGE: &str = "
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read())
if error: print(error)
";

/// The packages of this machine, where it has dpkg; otherwise the sample's.
async fn packages() -> Vec<Package> {
    let query = Program::new("dpkg-query").arg("-W").arg("-f");
    let query = query.arg("${Package}\\t${Architecture}\\t${Version}\\t${source:Package}\\n");
    let Ok(list) = query.run(&Interrupt::default()).await else {
        return sample::packages();
    };
    let list = String::from_utf8(list).expect("UTF-8");
    let package = |line: &str| match line.split('\t').collect::<Vec<_>>()[..] {
        [name, arch, version, source] => Package {
            name: name.into(),
            arch: arch.into(),
            version: version.into(),
            source: source.into(),
        },
        _ => panic!("{line}"),
    };
    list.lines().map(package).collect()
}

#[tokio::test]
async fn documents_are_valid_by_the_official_schema() {
    let Some(python) = python() else { return };
    let least = sample::sample("1.2.3", "disk");
    let mut rpm = sample::sample_with_everything();
    rpm.packages.manager = "rpm".into();
    rpm.os.version = String::new();
    rpm.releases[0].url = None;
    let odd = Package {
        name: "größe | <b>".into(),
        arch: String::new(),
        version: "1:2+3 4/5?6#7@8%9".into(),
        source: String::new(),
    };
    let no_releases = Manifest {
        releases: vec![],
        ..least.clone()
    };
    let cases = [
        (sample::sample_with_everything(), packages().await),
        (least, vec![]),
        (rpm, vec![odd]),
        (no_releases, sample::packages()),
    ];
    for (manifest, packages) in cases {
        let document = sbom(&manifest, &packages);
        assert_eq!(
            judged(&python, JUDGE, document).await,
            "",
            "{} packages",
            packages.len()
        );
    }
}

/// The judge is awake: it refuses what is not valid.
#[tokio::test]
async fn a_broken_document_is_refused_by_the_official_schema() {
    let Some(python) = python() else { return };
    let document = sbom(&sample::sample("1.2.3", "disk"), &sample::packages());
    let document = String::from_utf8(document).expect("UTF-8");
    for (from, to) in [
        ("urn:uuid:", "urn:uuid:x"),
        ("\"SHA-256\"", "\"SHA-257\""),
        ("\"operating-system\"", "\"kernel\""),
        (
            "\"specVersion\":\"1.6\"",
            "\"specVersion\":\"1.6\",\"unknown\":1",
        ),
    ] {
        let broken = document.replacen(from, to, 1);
        assert_ne!(broken, document, "{from}");
        assert_ne!(judged(&python, JUDGE, broken).await, "", "{to}");
    }
}
