//! Signatures: signed content, refusals, and comparison with openssl.

#![expect(
    clippy::disallowed_methods,
    reason = "the test starts openssl as users do"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};
use testing::signing::{key, key_pem, signer, trust};
use vault_bake::digest::canonical_json;
use vault_bake::sign::{
    Envelope, PublicKey, STATEMENT_PAYLOAD_TYPE, SignError, Signer, SigningKey, Trust, matches,
    pre_authentication_encoding, sign,
};
use vault_bake::wait::Interrupt;

async fn signed(payload: &[u8], signers: &[Signer]) -> Envelope {
    let payload = payload.to_vec();
    sign(
        STATEMENT_PAYLOAD_TYPE,
        payload,
        signers,
        &Interrupt::default(),
    )
    .await
    .unwrap()
}

/// Runs openssl in `folder`. Returns its success and its output.
fn openssl(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// A P-256 key made by openssl.
fn p256(folder: &Path) -> SigningKey {
    let (made, message) = openssl(
        folder,
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
            "p256.pem",
        ],
    );
    assert!(made, "{message}");
    let path = folder.join("p256.pem");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    SigningKey::from_file(&path).unwrap()
}

#[test]
fn the_encoding_is_that_of_the_format() {
    // The example of the DSSE specification.
    let bytes = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
    assert_eq!(
        bytes,
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    );
}

#[tokio::test]
async fn openssl_alone_verifies_an_envelope() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (name, key, verify) in [
        (
            "ed25519",
            key(1),
            [
                "pkeyutl",
                "-verify",
                "-pubin",
                "-inkey",
                "public.pem",
                "-rawin",
                "-in",
                "signed",
                "-sigfile",
                "signature",
            ]
            .as_slice(),
        ),
        (
            "P-256",
            p256(at),
            [
                "dgst",
                "-sha256",
                "-verify",
                "public.pem",
                "-signature",
                "signature",
                "signed",
            ]
            .as_slice(),
        ),
    ] {
        fs::write(at.join("public.pem"), key.public().to_pem()).unwrap();
        let envelope = signed(b"{\"a\":1}", &[Signer::Key(key)]).await;
        let stored: Value = serde_json::from_slice(&envelope.to_bytes()).unwrap();
        let decode = |text: &Value| STANDARD.decode(text.as_str().unwrap()).unwrap();
        fs::write(
            at.join("signature"),
            decode(&stored["signatures"][0]["sig"]),
        )
        .unwrap();
        fs::write(at.join("signed"), envelope.signed_bytes()).unwrap();
        let (valid, message) = openssl(at, verify);
        assert!(valid, "{name}: {message}");
        fs::write(
            at.join("signed"),
            pre_authentication_encoding(STATEMENT_PAYLOAD_TYPE, b"{\"a\":2}"),
        )
        .unwrap();
        assert!(!openssl(at, verify).0, "{name}: another payload");
    }
}

#[tokio::test]
async fn every_signature_must_be_valid() {
    let envelope = signed(b"{}", &[signer(1)]).await;
    insta::assert_snapshot!("envelope", String::from_utf8(envelope.to_bytes()).unwrap());
    assert_eq!(Envelope::parse(&envelope.to_bytes()).unwrap(), envelope);
    let ids = envelope.signers(&trust()).unwrap();
    assert_eq!(ids.into_iter().collect::<Vec<_>>(), [key(1).public().id()]);

    let both = signed(b"{}", &[signer(1), signer(2)]).await;
    let twice = signed(b"{}", &[signer(1), signer(1)]).await;
    let mut lines = Vec::new();
    let mut refused = |what: &str, envelope: &Envelope| {
        let error = envelope.signers(&trust()).unwrap_err().to_string();
        let error = error.replace(&key(1).public().id().to_string(), "KEY 1");
        lines.push(format!(
            "{what}: {}",
            error.replace(&key(2).public().id().to_string(), "KEY 2")
        ));
    };
    refused("a second one by a stranger", &both);
    refused("the same one twice", &twice);
    let other = |change: &dyn Fn(&mut Envelope)| {
        let mut other = envelope.clone();
        change(&mut other);
        other
    };
    refused("another payload", &other(&|it| it.payload = b"[]".to_vec()));
    refused(
        "another type",
        &other(&|it| it.payload_type = "text/plain".into()),
    );
    refused(
        "a shorter signature",
        &other(&|it| {
            it.signatures[0].bytes.pop();
        }),
    );
    refused(
        "another key's id",
        &other(&|it| it.signatures[0].key = key(2).public().id()),
    );
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn envelopes_that_are_none() {
    let id = key(1).public().id().to_string();
    let good = json!({
        "payload": "e30=", "payloadType": "t", "signatures": [{ "keyid": id, "sig": "AAAA" }],
    });
    let with = |pointer: &str, value: Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        canonical_json(&changed)
    };
    let mut more = good.clone();
    more["more"] = json!(1);
    let cases = [
        b"".to_vec(),
        b"{}".to_vec(),
        [canonical_json(&good), b"\n".to_vec()].concat(),
        canonical_json(&more),
        with("/payload", json!("e30")),
        with("/payload", json!("e31=")),
        with("/payload", json!("e30-")),
        with("/signatures", json!([])),
        with("/signatures/0/keyid", json!("me")),
        with("/signatures/0/sig", json!("A A=")),
        with("/payloadType", json!(7)),
        canonical_json(&json!(["t", "e30=", [{ "keyid": id, "sig": "AAAA" }]])),
        with("/signatures/0", json!([id, "AAAA"])),
    ];
    assert!(Envelope::parse(&canonical_json(&good)).is_ok());
    let lines: Vec<String> = cases
        .iter()
        .map(|case| {
            let error = Envelope::parse(case).unwrap_err();
            format!("{}\n    {error}", String::from_utf8_lossy(case))
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n").replace(&id, "KEY 1"));
}

proptest! {
    #[test]
    fn no_flipped_bit_of_an_envelope_is_accepted(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let envelope = runtime.block_on(signed(b"{\"what\":\"is signed\"}", &[signer(1)]));
        let mut bytes = envelope.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let accepted = Envelope::parse(&bytes).and_then(|envelope| envelope.signers(&trust()));
        prop_assert!(accepted.is_err());
    }
}

#[test]
fn key_files_are_read_with_care() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let make = |arguments: &[&str]| {
        let (made, message) = openssl(at, arguments);
        assert!(made, "{message}");
    };
    make(&[
        "genpkey",
        "-algorithm",
        "RSA",
        "-pkeyopt",
        "rsa_keygen_bits:2048",
        "-out",
        "rsa",
    ]);
    make(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-384",
        "-out",
        "p384",
    ]);
    make(&[
        "genpkey",
        "-algorithm",
        "ed25519",
        "-aes256",
        "-pass",
        "pass:x",
        "-out",
        "password",
    ]);
    make(&["genpkey", "-algorithm", "ed25519", "-out", "good"]);
    make(&["pkey", "-in", "good", "-pubout", "-out", "public"]);
    make(&["genpkey", "-algorithm", "ed25519", "-out", "exposed"]);
    fs::write(at.join("empty"), "").unwrap();
    for name in ["rsa", "p384", "password", "good", "public", "empty"] {
        fs::set_permissions(at.join(name), Permissions::from_mode(0o600)).unwrap();
    }
    fs::set_permissions(at.join("exposed"), Permissions::from_mode(0o640)).unwrap();
    assert!(SigningKey::from_file(&at.join("good")).is_ok());
    let lines: Vec<String> = [
        "rsa", "p384", "password", "public", "empty", "exposed", "absent",
    ]
    .map(|name| match SigningKey::from_file(&at.join(name)) {
        Ok(_) => panic!("{name} was read"),
        Err(error) => error
            .to_string()
            .replace(&at.display().to_string(), "FOLDER"),
    })
    .to_vec();
    insta::assert_snapshot!(lines.join("\n"));
    // openssl prints the same fields of a key.
    let pem = fs::read(at.join("public")).unwrap();
    let public = PublicKey::from_pem("public", &pem).unwrap();
    assert_eq!(public.to_pem().as_bytes(), pem);
    assert_eq!(
        public,
        *SigningKey::from_file(&at.join("good")).unwrap().public()
    );
}

#[tokio::test]
async fn a_program_may_sign() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let key = p256(at);
    let public = || key.public().clone();
    let path = at.join("p256.pem").display().to_string();
    let command = |words: &[&str]| Signer::Command {
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        public: public(),
    };
    let trust = Trust::single_key(key.public());
    let openssl = ["openssl", "dgst", "-sha256", "-sign", &path];
    let envelope = signed(b"{}", &[command(&openssl)]).await;
    assert_eq!(envelope.signers(&trust).unwrap().len(), 1);

    // A service may return the two numbers of the signature one after the other.
    let der = STANDARD.encode(&envelope.signatures[0].bytes);
    let plain = format!(
        "import base64\nd=base64.b64decode('{der}')\nn=d[3]\nr=d[4:4+n]\ns=d[6+n:]\n\
         import sys\nsys.stdout.buffer.write(r[-32:].rjust(32,b'\\0')+s[-32:].rjust(32,b'\\0'))"
    );
    let again = signed(b"{}", &[command(&["python3", "-c", &plain])]).await;
    assert_eq!(again, envelope);

    let mut lines = Vec::new();
    for words in [
        &["false"][..],
        &["echo", "hello"],
        &["no-such-signer"],
        &["sh", "-c", "echo the token is locked >&2; exit 3"],
        &[],
    ] {
        let result = sign(
            "t",
            b"{}".to_vec(),
            &[command(words)],
            &Interrupt::default(),
        )
        .await;
        lines.push(
            result
                .unwrap_err()
                .to_string()
                .replace(&public().id().to_string(), "KEY"),
        );
    }
    insta::assert_snapshot!(lines.join("\n"));
    let unsigned = sign("t", b"{}".to_vec(), &[], &Interrupt::default()).await;
    assert!(matches!(unsigned, Err(SignError::Shape { .. })));
}

#[test]
fn keys_of_small_order_are_refused() {
    // The neutral element: signatures of it verify for any content.
    let mut der = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00\x01".to_vec();
    der.extend([0; 31]);
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(der)
    );
    let error = PublicKey::from_pem("weak", pem.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("small order"), "{error}");
    assert!(PublicKey::from_pem("good", key(1).public().to_pem().as_bytes()).is_ok());
    assert!(key_pem(1).starts_with("-----BEGIN PRIVATE KEY-----"));
}

#[test]
fn patterns_match_names() {
    let table = [
        ("*", "", true),
        ("*", "vault", true),
        ("vault", "vault", true),
        ("vault", "vaults", false),
        ("vault-*", "vault-server", true),
        ("vault-*", "consul-server", false),
        ("*-server", "vault-server", true),
        ("*-server", "vault-server-2", false),
        ("v*-s*r", "vault-server", true),
        ("a*a", "a", false),
        ("", "", true),
        ("", "a", false),
        ("prod", "Prod", false),
        ("ä*", "äß", true),
    ];
    for (pattern, name, expected) in table {
        assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
    }
}
