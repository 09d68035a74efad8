//! Authorities: generated ones, and those of the user with their keys.

use std::fmt::Write as _;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use openssl::x509::{X509, X509PurposeId};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use vault_bake::identity::{Authority, IdentityError, Leaf, Request, not_after};
use vault_bake::secret::Secret;
use vault_bake::wait::Interrupt;

use super::{certificate, now, trusted};

const YEAR_H: i64 = 365 * 24;

pub fn generated() -> Authority {
    Authority::generate("a test", now(), SignedDuration::from_hours(YEAR_H)).unwrap()
}

fn request() -> Request {
    Request::vault(Some("10.77.0.31".parse().unwrap()), 720)
}

async fn issue(authority: &Authority, at: Timestamp) -> Result<Leaf, IdentityError> {
    authority.issue(&request(), at, &Interrupt::default()).await
}

/// A CA of rcgen: certificate and key, PEM. Also what issues in its name.
struct Ca {
    pem: String,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn ca(name: &str, above: Option<&Ca>, change: impl FnOnce(&mut CertificateParams)) -> Ca {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = match above {
        None => params.self_signed(&key).unwrap(),
        Some(above) => params.signed_by(&key, &above.issuer).unwrap(),
    };
    Ca {
        pem: certificate.pem(),
        key_pem: key.serialize_pem(),
        issuer: Issuer::new(params, key),
    }
}

#[tokio::test]
async fn a_generated_authority_issues_for_its_names_and_for_no_longer_than_it_lives() {
    let authority = generated();
    let leaf = issue(&authority, now()).await.unwrap();
    let ca = authority.certificate_pem();
    let cases = [
        ("vault.service.consul", 0, true),
        ("localhost", 0, true),
        ("127.0.0.1", 719, true),
        ("10.77.0.31", -1, true),
        ("10.77.0.32", 0, false),
        ("server.dc1.consul", 0, false),
        ("localhost", 721, false),
        ("localhost", -2, false),
    ];
    for (host, hours, expected) in cases {
        let at = now() + SignedDuration::from_hours(hours);
        for purpose in [X509PurposeId::SSL_SERVER, X509PurposeId::SSL_CLIENT] {
            assert_eq!(
                trusted(ca, &leaf, at, purpose, host),
                expected,
                "{host} {hours}"
            );
        }
    }
    assert_eq!(
        authority.expires_at(),
        now() + SignedDuration::from_hours(YEAR_H)
    );
    assert_eq!(
        not_after(&leaf.certificate_pem).unwrap(),
        now() + SignedDuration::from_hours(720)
    );

    // Ten days before its end, the certificate is shorter.
    let late = authority.expires_at() - SignedDuration::from_hours(240);
    let leaf = issue(&authority, late).await.unwrap();
    assert_eq!(
        not_after(&leaf.certificate_pem).unwrap(),
        authority.expires_at()
    );
    let expired = issue(&authority, authority.expires_at()).await;
    insta::assert_snapshot!(expired.err().unwrap(), @"cannot use the certificate from the certificate authority: it is not valid for a server: certificate has expired");
}

#[tokio::test]
async fn an_authority_is_the_same_after_it_was_stored() {
    let made = generated();
    let key = made.key_pem().unwrap().clone();
    let spaced = format!("A comment.\n\n{}\n", made.certificate_pem());
    let read = Authority::from_files(&spaced, key, now()).unwrap();
    assert_eq!(read.certificate_pem(), made.certificate_pem());
    assert_eq!(read.expires_at(), made.expires_at());
    let leaf = issue(&read, now()).await.unwrap();
    let ca = made.certificate_pem();
    assert!(trusted(
        ca,
        &leaf,
        now(),
        X509PurposeId::SSL_SERVER,
        "localhost"
    ));
}

#[tokio::test]
async fn keys_of_other_algorithms_and_intermediate_authorities_issue_too() {
    let root = ca("root", None, |_| ());
    let below = ca("below", Some(&root), |_| ());
    let chain = format!("{}{}", below.pem, root.pem);
    let authority = Authority::from_files(&chain, Secret::new(below.key_pem), now()).unwrap();
    let leaf = issue(&authority, now()).await.unwrap();
    // The leaf, then its issuer: a client may know the root alone.
    let sent = X509::stack_from_pem(leaf.certificate_pem.as_bytes()).unwrap();
    assert_eq!(sent.len(), 2);
    assert_eq!(
        sent[1].to_der().unwrap(),
        certificate(&below.pem).to_der().unwrap()
    );

    for (algorithm, option) in [("RSA", "rsa_keygen_bits:2048"), ("ED25519", "")] {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = made_by_openssl(folder.path(), algorithm, option);
        // The real time, because openssl made it.
        let today = not_after(&certificate).unwrap() - SignedDuration::from_hours(24);
        let authority = Authority::from_files(&certificate, Secret::new(key), today).unwrap();
        issue(&authority, today).await.unwrap();
    }
}

/// Returns certificate and key of a CA that openssl makes, PEM.
#[expect(
    clippy::disallowed_methods,
    reason = "the test starts openssl as users do"
)]
fn made_by_openssl(folder: &std::path::Path, algorithm: &str, option: &str) -> (String, String) {
    let mut command = std::process::Command::new("openssl");
    command.args([
        "req", "-x509", "-newkey", algorithm, "-nodes", "-days", "30",
    ]);
    command.args(["-subj", "/CN=CA", "-keyout", "ca.key", "-out", "ca.pem"]);
    if !option.is_empty() {
        command.args(["-pkeyopt", option]);
    }
    let output = command.current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let read = |name| std::fs::read_to_string(folder.join(name)).unwrap();
    (read("ca.pem"), read("ca.key"))
}

#[test]
fn what_is_no_authority_is_refused_with_its_defect() {
    let good = ca("CA", None, |_| ());
    let other = ca("CA", None, |_| ());
    let below = ca("below", Some(&good), |_| ());
    let no_ca = ca("CA", None, |params| params.is_ca = IsCa::ExplicitNoCa);
    let no_limits = ca("CA", None, |params| params.is_ca = IsCa::NoCa);
    let no_signatures = ca("CA", None, |params| {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    });
    let expired = ca("CA", None, |params| {
        params.not_after = rcgen::date_time_ymd(2026, 2, 1);
    });
    let future = ca("CA", None, |params| {
        params.not_before = rcgen::date_time_ymd(2026, 12, 1);
    });
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let cases: [(&str, &str, &str); 12] = [
        ("no text", "", &good.key_pem),
        ("no certificate", "hello", &good.key_pem),
        ("a damaged one", &good.pem[..200], &good.key_pem),
        ("a leaf", &no_ca.pem, &no_ca.key_pem),
        ("no constraints", &no_limits.pem, &no_limits.key_pem),
        ("may not sign", &no_signatures.pem, &no_signatures.key_pem),
        ("expired", &expired.pem, &expired.key_pem),
        ("of the future", &future.pem, &future.key_pem),
        ("no root", &below.pem, &below.key_pem),
        ("another key", &good.pem, &other.key_pem),
        ("a passphrase", &good.pem, encrypted),
        ("no key", &good.pem, &good.pem),
    ];
    let mut table = String::new();
    for (case, certificate, key) in cases {
        let refused = Authority::from_files(certificate, Secret::new(key), now()).err();
        let _ = writeln!(table, "{case}: {}", refused.unwrap());
    }
    let none = Authority::external(&good.pem, vec![], now()).err().unwrap();
    let _ = writeln!(table, "no command: {none}");
    insta::assert_snapshot!(table);
}

/// A limit in the certificate of the CA holds for what it issues.
#[tokio::test]
async fn a_name_that_the_authority_may_not_issue_is_refused() {
    let limited = ca("CA", None, |params| {
        params.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("example.com".into())],
            excluded_subtrees: vec![],
        });
    });
    let key = Secret::new(limited.key_pem);
    let authority = Authority::from_files(&limited.pem, key, now()).unwrap();
    let refused = issue(&authority, now()).await.err().unwrap();
    insta::assert_snapshot!(refused, @"cannot use the certificate from the certificate authority: it is not valid for a server: permitted subtree violation");
}

#[test]
fn the_end_of_a_chain_is_its_earliest_end() {
    let early = ca("early", None, |params| {
        params.not_after = rcgen::date_time_ymd(2026, 12, 1);
    });
    let late = ca("late", None, |_| ());
    for chain in [[&early, &late], [&late, &early]] {
        let pem = chain.map(|ca| ca.pem.as_str()).concat();
        assert_eq!(not_after(&pem).unwrap().to_string(), "2026-12-01T00:00:00Z");
    }
    let far = ca("far", None, |params| {
        params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    });
    assert_eq!(
        not_after(&far.pem).unwrap().to_string(),
        "9999-12-30T22:00:00Z"
    );
    insta::assert_snapshot!(not_after("hello").unwrap_err(), @"cannot read a certificate: it contains no certificate in PEM");
}

/// A common name has at most 64 characters.
#[tokio::test]
async fn long_names_of_datacenters_fit_into_a_certificate() {
    let datacenter = "d".repeat(63);
    let request = Request::consul(Some(&datacenter), None, 24);
    let issued = generated()
        .issue(&request, now(), &Interrupt::default())
        .await;
    let name = format!("server.{datacenter}.consul");
    let leaf = issued.unwrap();
    let names = certificate(&leaf.certificate_pem)
        .subject_alt_names()
        .unwrap();
    assert!(names.iter().any(|found| found.dnsname() == Some(&name)));
    let address: IpAddr = "::1".parse().unwrap();
    let request = Request::consul(None, Some(address), 24);
    assert_eq!(request.names, ["localhost"]);
    assert_eq!(request.addresses.len(), 2);
}
