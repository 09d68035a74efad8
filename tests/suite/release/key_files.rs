//! Key files with several certificates: the required one counts, at any position.

use std::fmt::Write as _;

use vault_bake::release::signature;

use super::gpg::{self, lab};
use super::{archives, now, primary_of};

#[test]
fn the_wanted_certificate_is_found_wherever_it_is_in_a_key_file() {
    let Some(lab) = lab() else { return };
    let of = |name: &str| lab.certificates[name].clone();
    let join = |parts: &[&[u8]]| parts.concat();
    let text = b"The keys of our mirror:\n\n".as_slice();
    let crlf = |bytes: Vec<u8>| {
        String::from_utf8(bytes)
            .unwrap()
            .replace('\n', "\r\n")
            .into_bytes()
    };
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() / 2].to_vec();
    let (own, other) = (of("armoured"), of("other, armoured"));
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("two blocks, the other first", join(&[&other, &own])),
        ("two blocks, the signer first", join(&[&own, &other])),
        (
            "three blocks with text between",
            join(&[text, &other, text, &other, b"\n\n", &own, text]),
        ),
        ("two blocks with CRLF", crlf(join(&[&other, &own]))),
        (
            "two blocks without a line end between",
            join(&[other.trim_ascii_end(), b"\n", own.trim_ascii_end()]),
        ),
        ("one block with both", of("both, armoured")),
        ("binary with both", of("both")),
        (
            "binary, the other first",
            join(&[&of("other"), &of("binary")]),
        ),
        (
            "a block that is cut off first",
            join(&[&cut(other.clone()), b"\n", &own]),
        ),
        (
            "a private key of the other first",
            join(&[&of("other, private"), &own]),
        ),
        ("a private key alone", of("other, private")),
        ("the other alone", other.clone()),
        ("the other twice", join(&[&other, &other])),
        (
            "the signer, revoked in a later copy",
            join(&[&of("binary"), &of("revoked")]),
        ),
        (
            "the signer, revoked in an earlier copy",
            join(&[&of("revoked"), &of("binary")]),
        ),
        (
            "its subkey, revoked in a later copy",
            join(&[&of("binary"), &of("subkey revoked")]),
        ),
        ("nothing", Vec::new()),
        ("text", text.to_vec()),
        ("a signature", lab.signatures["armoured"].clone()),
    ];
    let sums = gpg::sums_of(&archives::good());
    let mut table = String::new();
    for (case, file) in files {
        let result = signature::verify(
            &sums,
            &lab.signatures["binary"],
            &file,
            &lab.fingerprint,
            now(),
        );
        let words = result.map_or_else(|error| error.to_string(), |_| "accepted".to_owned());
        let words = words
            .replace(&lab.fingerprint, "SIGNER")
            .replace(&lab.other_fingerprint, "OTHER")
            .replace(&lab.subkey, "SUBKEY");
        let _ = writeln!(table, "{case}: {words}");
    }
    insta::assert_snapshot!(table);
}

#[test]
fn an_expired_certificate_and_its_renewed_copy_count_together() {
    let Some(lab) = lab() else { return };
    let sums = gpg::sums_of(&archives::good());
    let fingerprint = primary_of(&lab.certificates["expiring"]);
    for form in ["", ", armoured"] {
        let [expired, renewed] = ["expiring", "prolonged"]
            .map(|name| lab.certificates[&*format!("{name}{form}")].clone());
        for file in [[expired.clone(), renewed.clone()], [renewed, expired]] {
            for made in ["expiring, in time", "expiring, too late"] {
                let result = signature::verify(
                    &sums,
                    &lab.signatures[made],
                    &file.concat(),
                    &fingerprint,
                    now(),
                );
                assert!(result.is_ok(), "{form} {made}: {result:?}");
            }
        }
    }
}
