//! The bill of materials: its bytes, and names that other tools can parse.

use proptest::prelude::*;
use serde_json::Value;
use testing::sample::{digest, golden as sample, packages, sample_with_everything};
use vault_bake::canonical;
use vault_bake::digest::{Digest, canonical_json};
use vault_bake::manifest::{Manifest, Package, sbom};

fn document(manifest: &Manifest, packages: &[Package]) -> Value {
    serde_json::from_slice(&sbom(manifest, packages)).unwrap()
}

#[test]
fn golden_sbom() {
    let document = document(&sample_with_everything(), &packages());
    insta::assert_snapshot!("sbom", serde_json::to_string_pretty(&document).unwrap());
}

#[test]
fn the_same_facts_give_the_same_canonical_bytes() {
    let (manifest, mut list) = (sample("1.2.3", "disk"), packages());
    let bytes = sbom(&manifest, &list);
    let value = canonical::parse(&bytes, 1 << 20).unwrap();
    assert_eq!(canonical_json(&value), bytes);
    list.reverse();
    list.push(list[0].clone());
    assert_eq!(sbom(&manifest, &list), bytes, "order and repetition");
    // The manifest names the document, so the document must not depend on the manifest.
    let named = Manifest {
        sbom: sample_with_everything().sbom,
        ..manifest.clone()
    };
    assert_ne!(named.digest(), manifest.digest());
    assert_eq!(sbom(&named, &list), bytes);
    let other = Manifest {
        created_at: "2026-11-22T19:18:18Z".parse().unwrap(),
        ..manifest
    };
    assert_ne!(sbom(&other, &list), bytes);
}

#[test]
fn every_component_has_a_name_of_its_own_and_the_image_depends_on_it() {
    let document = document(&sample("1.2.3", "disk"), &packages());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let components = document["components"].as_array().unwrap();
    let mut names: Vec<String> = components.iter().map(|one| text(&one["bom-ref"])).collect();
    names.sort();
    let depends_on = document["dependencies"][0]["dependsOn"].as_array().unwrap();
    assert_eq!(depends_on.iter().map(text).collect::<Vec<_>>(), names);
    names.dedup();
    assert_eq!(names.len(), components.len());
    // Two releases, the system, the kernel, three packages.
    assert_eq!(names.len(), 7);
    let systems = components
        .iter()
        .filter(|one| one["type"] == "operating-system");
    assert_eq!(systems.count(), 1, "scanners take one for the distribution");
}

#[test]
fn a_bake_id_is_written_in_one_way_or_not_at_all() {
    let serial = |bake: &str| {
        let manifest = Manifest {
            build: bake.into(),
            ..sample("1.2.3", "disk")
        };
        document(&manifest, &[])["serialNumber"].clone()
    };
    let expected = "urn:uuid:019aad5f-0a00-7000-8000-000000000001";
    assert_eq!(serial("019AAD5F-0A00-7000-8000-000000000001"), expected);
    assert_eq!(serial("019aad5f0a0070008000000000000001"), expected);
    assert_eq!(serial("none"), Value::Null);
}

#[test]
fn a_release_without_an_address_still_says_what_its_archive_was() {
    let mut manifest = sample("1.2.3", "disk");
    manifest.releases[1].url = None;
    let document = document(&manifest, &[]);
    let vault = &document["components"][3];
    assert_eq!(vault["name"], "vault");
    assert_eq!(vault["externalReferences"], Value::Null);
    let archive = digest("vault archive 1.21.1");
    let purl = format!("pkg:generic/vault@1.21.1?checksum={archive}");
    assert_eq!(vault["purl"], purl.as_str());
}

fn package(name: &str, version: &str, arch: &str, source: &str) -> Package {
    Package {
        name: name.into(),
        arch: arch.into(),
        version: version.into(),
        source: source.into(),
    }
}

/// Returns the purl of a package with this manager and distribution.
fn purl(manager: &str, os: (&str, &str), package: Package) -> String {
    let mut manifest = sample("1.2.3", "disk");
    manifest.packages.manager = manager.into();
    (manifest.os.id, manifest.os.version) = (os.0.into(), os.1.into());
    let document = document(&manifest, &[package]);
    document["components"][4]["purl"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn purls() {
    let debian = ("debian", "12");
    let deb = |name, version, source| purl("dpkg", debian, package(name, version, "amd64", source));
    let printed = [
        deb("libssl3", "3.0.17-1~deb12u3", "openssl"),
        deb("libstdc++6", "12.2.0-14+deb12u1", "gcc-12"),
        deb("passwd", "1:4.13+dfsg1-1+deb12u1", "shadow"),
        deb("bsdutils", "1:2.38.1-5+deb12u3", "util-linux"),
        deb("g++", "4:12.2.0-3", "gcc-defaults"),
        deb("python3.11", "3.11.2-6+deb12u6", ""),
        deb("Odd", "1 2/3?4#5@6%7&8=9", "a@b&c=d"),
        deb("größe", "1", "größe"),
        purl(
            "dpkg",
            ("debian", ""),
            package("tzdata", "2025b", "all", "tzdata"),
        ),
        purl(
            "dpkg",
            ("Pop OS", "22.04"),
            package("tzdata", "2025b", "all", "tzdata"),
        ),
        purl(
            "rpm",
            ("rocky", "9.4"),
            package(
                "Vim",
                "2:8.2.2637-20.el9",
                "x86_64",
                "vim-8.2-20.el9.src.rpm",
            ),
        ),
        purl(
            "rpm",
            ("rocky", "9.4"),
            package("bash", "5.1.8-9.el9", "x86_64", "bash-5.1.8-9.el9.src.rpm"),
        ),
    ];
    insta::assert_snapshot!(printed.join("\n"), @r#"
pkg:deb/debian/libssl3@3.0.17-1~deb12u3?arch=amd64&distro=debian-12&upstream=openssl
pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12&upstream=gcc-12
pkg:deb/debian/passwd@1:4.13%2Bdfsg1-1%2Bdeb12u1?arch=amd64&distro=debian-12&upstream=shadow
pkg:deb/debian/bsdutils@1:2.38.1-5%2Bdeb12u3?arch=amd64&distro=debian-12&upstream=util-linux
pkg:deb/debian/g%2B%2B@4:12.2.0-3?arch=amd64&distro=debian-12&upstream=gcc-defaults
pkg:deb/debian/python3.11@3.11.2-6%2Bdeb12u6?arch=amd64&distro=debian-12
pkg:deb/debian/odd@1%202%2F3%3F4%235%406%257%268%3D9?arch=amd64&distro=debian-12&upstream=a%40b%26c%3Dd
pkg:deb/debian/gr%C3%B6%C3%9Fe@1?arch=amd64&distro=debian-12&upstream=gr%C3%B6%C3%9Fe
pkg:deb/debian/tzdata@2025b?arch=all&distro=debian&upstream=tzdata
pkg:deb/pop%20os/tzdata@2025b?arch=all&distro=Pop%20OS-22.04&upstream=tzdata
pkg:rpm/rocky/Vim@8.2.2637-20.el9?arch=x86_64&distro=rocky-9.4&epoch=2&upstream=vim-8.2-20.el9.src.rpm
pkg:rpm/rocky/bash@5.1.8-9.el9?arch=x86_64&distro=rocky-9.4&upstream=bash-5.1.8-9.el9.src.rpm
"#);
}

/// Returns the parts of a purl, decoded by the standard.
#[derive(Debug, PartialEq)]
struct Parsed {
    kind: String,
    namespace: String,
    name: String,
    version: Option<String>,
    qualifiers: Vec<(String, String)>,
}

fn parse(purl: &str) -> Parsed {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~:%/@?&=".contains(&byte);
    assert!(purl.bytes().all(allowed), "{purl}");
    let (rest, query) = purl.rsplit_once('?').unwrap_or((purl, ""));
    let qualifiers: Vec<_> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), decoded(value)))
        .collect();
    assert!(qualifiers.is_sorted(), "{purl}");
    let rest = rest.strip_prefix("pkg:").unwrap();
    let (kind, rest) = rest.split_once('/').unwrap();
    let (rest, version) = match rest.rsplit_once('@') {
        Some((rest, version)) => (rest, Some(decoded(version))),
        None => (rest, None),
    };
    let (namespace, name) = rest.rsplit_once('/').unwrap();
    assert!(!namespace.contains('/'), "{purl}");
    Parsed {
        kind: kind.into(),
        namespace: decoded(namespace),
        name: decoded(name),
        version,
        qualifiers,
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'%' {
            let digits = std::str::from_utf8(&after[..2]).unwrap();
            assert_eq!(digits, digits.to_uppercase());
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).unwrap()
}

proptest! {
    #[test]
    fn any_package_has_a_purl_that_says_what_it_is(
        name in ".{1,12}", version in ".{0,12}", arch in "[a-z0-9-]{1,8}", source in ".{0,12}",
    ) {
        let purl = purl("dpkg", ("debian", "12"), package(&name, &version, &arch, &source));
        let mut qualifiers = vec![("arch".into(), arch), ("distro".into(), "debian-12".into())];
        if !source.is_empty() {
            qualifiers.push(("upstream".into(), source));
        }
        prop_assert_eq!(parse(&purl), Parsed {
            kind: "deb".into(),
            namespace: "debian".into(),
            name: name.to_lowercase(),
            version: (!version.is_empty()).then_some(version),
            qualifiers,
        });
    }
}

#[test]
fn a_checksum_in_a_purl_is_read_back() {
    let document = document(&sample("1.2.3", "disk"), &[]);
    let purl = document["components"][3]["purl"].as_str().unwrap();
    let checksum = purl.rsplit_once("checksum=").unwrap().1;
    let archive = digest("vault archive 1.21.1");
    assert_eq!(checksum.parse::<Digest>().unwrap(), archive);
}
