//! An authority behind a command: openssl signs requests as users do, well and wrongly.

#![expect(clippy::disallowed_methods, reason = "openssl signs by the real time")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use openssl::x509::{X509PurposeId, X509Req};
use tempfile::TempDir;
use vault_bake::identity::{Authority, IdentityError, Leaf, Request};
use vault_bake::wait::Interrupt;

use super::trusted;

/// The signature of a request, with the extensions that it asks for.
const SIGN: &str = "openssl x509 -req -in /dev/stdin -CA ca.pem -CAkey ca.key -CAcreateserial -days 5 -copy_extensions copyall 2>/dev/null";

/// A folder with a CA, its key, and another CA.
struct Signer {
    folder: TempDir,
    now: Timestamp,
    pem: String,
}

impl Signer {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::now();
        let year = SignedDuration::from_hours(365 * 24);
        let make = |name: &str| {
            // Older than the real time, for cases of another day.
            let past = now - SignedDuration::from_hours(240);
            let ca = Authority::generate(name, past, year).unwrap();
            fs::write(
                folder.path().join(format!("{name}.pem")),
                ca.certificate_pem(),
            )
            .unwrap();
            let key = ca.key_pem().unwrap().expose();
            fs::write(folder.path().join(format!("{name}.key")), key).unwrap();
            ca.certificate_pem().to_owned()
        };
        make("other");
        let pem = make("ca");
        Self { folder, now, pem }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn authority(&self, script: &str) -> Authority {
        let script = format!("cd {}\n{script}", self.path().display());
        let command = ["sh", "-c", &script].map(str::to_owned).to_vec();
        Authority::external(&self.pem, command, self.now).unwrap()
    }

    async fn issue(&self, script: &str, days: i64) -> Result<Leaf, IdentityError> {
        let at = self.now + SignedDuration::from_hours(24 * days);
        let authority = self.authority(script);
        authority.issue(&request(), at, &Interrupt::default()).await
    }
}

fn request() -> Request {
    Request::vault(Some("10.77.0.31".parse().unwrap()), 720)
}

#[tokio::test]
async fn a_command_signs_a_request_that_openssl_reads() {
    let signer = Signer::new();
    let leaf = signer
        .issue(&format!("tee csr.pem | {SIGN}"), 0)
        .await
        .unwrap();
    for purpose in [X509PurposeId::SSL_SERVER, X509PurposeId::SSL_CLIENT] {
        for host in [
            "vault.service.consul",
            "localhost",
            "127.0.0.1",
            "10.77.0.31",
        ] {
            assert!(trusted(&signer.pem, &leaf, Timestamp::now(), purpose, host));
        }
    }
    let csr = X509Req::from_pem(&fs::read(signer.path().join("csr.pem")).unwrap()).unwrap();
    assert!(csr.verify(&csr.public_key().unwrap()).unwrap());
    // The key stays here.
    assert!(signer.authority(SIGN).key_pem().is_none());
    // Text around the certificate, and a chain that is not needed, are accepted.
    let chatty = format!("echo Signed.; {SIGN}; cat ca.pem");
    assert!(signer.issue(&chatty, 0).await.is_ok());
}

/// Answers that are not the requested certificate, by their defect. Days from today come last.
const WRONG: [(&str, &str, i64); 15] = [
    ("nothing", "cat >/dev/null", 0),
    ("no certificate", "cat", 0),
    ("half a certificate", "SIGN | head -n 5", 0),
    ("another authority", "SIGN_BY other", 0),
    (
        "another key",
        "openssl req -x509 -newkey EC -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj /CN=a 2>/dev/null",
        0,
    ),
    ("the CA first", "cat ca.pem; SIGN", 0),
    ("no names", "SIGN | sed -n p >/dev/null; SIGN_WITH", 0),
    (
        "a name less",
        "SIGN_WITH subjectAltName=DNS:vault.service.consul,IP:127.0.0.1,IP:10.77.0.31",
        0,
    ),
    (
        "an address less",
        "SIGN_WITH subjectAltName=DNS:vault.service.consul,DNS:localhost,IP:127.0.0.1",
        0,
    ),
    (
        "a server only",
        "SIGN_WITH SAN extendedKeyUsage=serverAuth",
        0,
    ),
    (
        "a client only",
        "SIGN_WITH SAN extendedKeyUsage=clientAuth",
        0,
    ),
    ("a CA", "SIGN_WITH SAN basicConstraints=critical,CA:TRUE", 0),
    ("expired", "SIGN", 6),
    ("of the future", "SIGN", -2),
    ("a failure", "echo the policy forbids this >&2; exit 7", 0),
];

#[tokio::test]
async fn a_wrong_answer_is_refused_with_its_defect() {
    let signer = Signer::new();
    let with = r#"sign_with() {
        cat >csr
        { echo "[e]"; for line; do echo "$line"; done; } >ext
        openssl x509 -req -in csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 5 -extfile ext -extensions e 2>/dev/null
    }
    "#;
    let mut table = String::new();
    for (case, script, days) in WRONG {
        let script = script.replace("SIGN | sed -n p >/dev/null; ", "");
        let script = script
            .replace("SIGN_WITH", "sign_with")
            .replace("SIGN_BY other", &SIGN.replace("ca.", "other."))
            .replace("SIGN", SIGN)
            .replace(
                "SAN",
                "subjectAltName=DNS:vault.service.consul,DNS:localhost,IP:127.0.0.1,IP:10.77.0.31",
            );
        let refused = signer.issue(&format!("{with}{script}"), days).await;
        let refused = refused
            .err()
            .unwrap_or_else(|| panic!("{case} was accepted"));
        let _ = writeln!(table, "{case}: {refused}");
    }
    let absent = Authority::external(&signer.pem, vec!["/no/such/program".into()], signer.now);
    let (request, interrupt) = (request(), Interrupt::default());
    let absent = absent.unwrap();
    let issued = absent.issue(&request, signer.now, &interrupt);
    let refused = issued.await.err().unwrap();
    let _ = writeln!(
        table,
        "no program: {refused}\n  {}",
        refused.hint().unwrap()
    );
    insta::assert_snapshot!(table);
}

#[tokio::test]
async fn an_interrupt_ends_a_command() {
    let signer = Signer::new();
    let interrupt = Interrupt::default();
    interrupt.raise();
    let authority = signer.authority("sleep 60");
    let issued = authority.issue(&request(), signer.now, &interrupt).await;
    assert!(issued.err().unwrap().is_interrupt());
}
