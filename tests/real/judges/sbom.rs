//! Validates bills of materials with the official schema.

use vault_bake::manifest::{Manifest, Package, sbom};
use vault_bake::process::Program;
use vault_bake::wait::Interrupt;

use super::{python, run_validator, sample};
use testing::judged::{changed, pinned};

/// Validates the documents of standard input, separated by NULs. Prints `valid` or the error, one
/// line each.
const VALIDATOR: &str = "
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
validator = JsonStrictValidator(SchemaVersion.V1_6)
for document in sys.stdin.read().split(chr(0)):
    error = validator.validate_str(document)
    print('valid' if error is None else repr(str(error)))
";

/// Returns the packages of this machine, or the sample's if it has no dpkg.
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

/// Returns a document of every kind; one of them has these packages.
fn documents(packages: Vec<Package>) -> Vec<Vec<u8>> {
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
        (sample::sample_with_everything(), packages),
        (least, vec![]),
        (rpm, vec![odd]),
        (no_releases, sample::packages()),
    ];
    let document = |(manifest, packages): &(Manifest, Vec<Package>)| sbom(manifest, packages);
    cases.iter().map(document).collect()
}

/// Asserts that all are valid. Returns false if the validator is not installed.
async fn are_valid(documents: &[Vec<u8>]) -> bool {
    let Some(python) = python() else { return false };
    let output = run_validator(&python, VALIDATOR, documents.join(&0)).await;
    assert_eq!(
        output.lines().collect::<Vec<_>>(),
        vec!["valid"; documents.len()]
    );
    true
}

#[tokio::test]
async fn documents_were_validated_by_the_official_schema_since_they_changed() {
    let documents = documents(sample::packages());
    let all = [
        VALIDATOR.as_bytes(),
        pinned("cyclonedx").as_bytes(),
        &documents.join(&0),
    ]
    .concat();
    if let Some(changed) = changed("sbom", &all) {
        changed.refuse(are_valid(&documents).await);
    }
}

mod exhaustive {
    use super::*;

    #[tokio::test]
    async fn documents_are_valid_by_the_official_schema() {
        are_valid(&documents(packages().await)).await;
    }

    /// The validator works: it refuses invalid documents.
    #[tokio::test]
    async fn a_broken_document_is_refused_by_the_official_schema() {
        let Some(python) = python() else { return };
        let document = sbom(&sample::sample("1.2.3", "disk"), &sample::packages());
        let document = String::from_utf8(document).expect("UTF-8");
        let broken = [
            ("urn:uuid:", "urn:uuid:x"),
            ("\"SHA-256\"", "\"SHA-257\""),
            ("\"operating-system\"", "\"kernel\""),
            (
                "\"specVersion\":\"1.6\"",
                "\"specVersion\":\"1.6\",\"unknown\":1",
            ),
        ]
        .map(|(from, to)| {
            let broken = document.replacen(from, to, 1);
            assert_ne!(broken, document, "{from}");
            broken
        });
        let output = run_validator(&python, VALIDATOR, broken.join("\0")).await;
        assert_eq!(output.lines().count(), broken.len());
        for line in output.lines() {
            assert_ne!(line, "valid", "{output}");
        }
    }
}
