//! Releases: accepted, and refused with their errors, from a folder and by HTTP.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use flate2::read::GzDecoder;
use jiff::Timestamp;
use vault_bake::digest::Digest;
use vault_bake::event::Events;
use vault_bake::release::{
    Architecture, LockedRelease, ReleaseError, ReleaseMirror, ReleaseName, VerifiedRelease, fetch,
    resolve, signature,
};
use vault_bake::wait::Interrupt;

mod archives;
mod cache;
mod gpg;
mod key_files;

use gpg::{ARCHIVE, Lab, VERSION, lab};

/// A mirror folder with one release, and a cache.
struct Mirror {
    folder: tempfile::TempDir,
    source: ReleaseMirror,
}

fn name<'a>(product: &'a str, version: &'a str) -> ReleaseName<'a> {
    ReleaseName {
        product,
        version,
        architecture: Architecture::X86_64,
    }
}

impl Mirror {
    fn new(lab: &Lab, sums: &[u8], signature: &[u8], archive: &[u8], certificate: &[u8]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mirror = Self {
            source: ReleaseMirror {
                base: folder.path().join("mirror").display().to_string(),
                key_file: Some(folder.path().join("key")),
                fingerprint: lab.fingerprint.clone(),
            },
            folder,
        };
        fs::create_dir_all(mirror.release()).expect("a folder");
        mirror.put("vault_1.2.3+fixture_SHA256SUMS", sums);
        mirror.put("vault_1.2.3+fixture_SHA256SUMS.sig", signature);
        mirror.put(ARCHIVE, archive);
        fs::write(mirror.folder.path().join("key"), certificate).expect("a file");
        mirror
    }

    fn good(lab: &Lab) -> Self {
        let archive = archives::good();
        let sums = gpg::sums_of(&archive);
        Self::new(
            lab,
            &sums,
            &lab.signatures["binary"],
            &archive,
            &lab.certificates["binary"],
        )
    }

    fn release(&self) -> PathBuf {
        self.folder.path().join("mirror/vault").join(VERSION)
    }

    fn put(&self, file: &str, content: &[u8]) {
        fs::write(self.release().join(file), content).expect("a file");
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    async fn resolve(&self) -> Result<LockedRelease, ReleaseError> {
        resolve(
            &self.source,
            name("vault", VERSION),
            now(),
            &Events::silent(),
            &Interrupt::default(),
        )
        .await
    }

    async fn fetch(&self, locked: &LockedRelease) -> Result<VerifiedRelease, ReleaseError> {
        self.fetch_telling(locked, &Events::silent()).await
    }

    async fn fetch_telling(
        &self,
        locked: &LockedRelease,
        events: &Events,
    ) -> Result<VerifiedRelease, ReleaseError> {
        fetch(
            &self.source,
            locked,
            &self.cache(),
            now(),
            events,
            &Interrupt::default(),
        )
        .await
    }

    async fn both(&self) -> Result<VerifiedRelease, ReleaseError> {
        self.fetch(&self.resolve().await?).await
    }

    /// Formats a result as one line of a table, without values that differ between runs.
    fn line(&self, lab: &Lab, case: &str, result: Result<(), ReleaseError>) -> String {
        let words = match result {
            Ok(()) => "accepted".to_owned(),
            Err(error) if error.is_integrity() => format!("integrity: {error}"),
            Err(error) => format!("other: {error}"),
        };
        let words = words
            .replace(&self.folder.path().display().to_string(), "TMP")
            .replace(&lab.fingerprint, "PRIMARY")
            .replace(&lab.subkey, "SUBKEY")
            .replace(&lab.other_fingerprint, "OTHER");
        format!("{case}\n    {}\n", without_digests(&words))
    }
}

fn now() -> Timestamp {
    "2025-06-01T00:00:00Z".parse().expect("a time")
}

fn without_digests(text: &str) -> String {
    let mut words = String::new();
    for part in text.split_inclusive(|c: char| !c.is_ascii_hexdigit()) {
        let digits = part.trim_end_matches(|c: char| !c.is_ascii_hexdigit());
        if digits.len() >= 40 {
            words.push_str("HEX");
            words.push_str(&part[digits.len()..]);
        } else {
            words.push_str(part);
        }
    }
    words
}

fn flipped(bytes: &[u8], place: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[place] ^= 1;
    bytes
}

#[tokio::test]
async fn a_good_release_is_locked_verified_and_unpacked() {
    let Some(lab) = lab() else { return };
    let mirror = Mirror::good(lab);
    let locked = mirror.resolve().await.expect("it resolves");
    assert_eq!(locked.primary_fingerprint, lab.fingerprint);
    assert_eq!(locked.signing_fingerprint, lab.subkey);
    assert_eq!(locked.signed_at, "2024-03-01T00:00:00Z");
    assert_eq!(locked.signer, "Fixture Releases");
    assert_eq!(locked.sha256, Digest::hash_bytes(archives::good()));
    assert!(!locked.official);
    let verified = mirror.fetch(&locked).await.expect("it verifies");
    assert_eq!(
        verified.binary_sha256,
        Digest::hash_bytes(archives::binary())
    );
    assert_eq!(verified.binary_size_bytes, archives::binary().len() as u64);
    let gz = fs::File::open(&verified.binary_gz).expect("the gzip file");
    let unpacked = std::io::read_to_string(GzDecoder::new(gz)).expect("it decompresses");
    assert_eq!(unpacked.as_bytes(), archives::binary());
    assert_eq!(verified.licences[0].0, "LICENSE.txt");
    assert_eq!(
        fs::read(&verified.licences[0].1).expect("the licence"),
        b"a licence\n"
    );
}

#[tokio::test]
async fn certificates_and_signatures_are_checked_by_our_rules() {
    let Some(lab) = lab() else { return };
    let archive = archives::good();
    let sums = gpg::sums_of(&archive);
    let mut table = String::new();
    let cases = [
        ("binary", "binary"),
        ("armoured", "armoured"),
        ("by the primary", "binary"),
        ("sha384", "binary"),
        ("tomorrow", "binary"),
        ("sha1", "binary"),
        ("text", "binary"),
        ("future", "binary"),
        ("expired by itself", "binary"),
        ("other", "binary"),
        ("binary", "other"),
        ("binary", "revoked"),
        ("by the primary", "revoked"),
        ("binary", "subkey revoked"),
        ("by the primary", "subkey revoked"),
        ("binary", "no back-signature"),
        ("by the primary", "no back-signature"),
        ("binary", "no sign flag"),
    ];
    for (signature, certificate) in cases {
        let (made, key) = (&lab.signatures[signature], &lab.certificates[certificate]);
        let mirror = Mirror::new(lab, &sums, made, &archive, key);
        let result = mirror.both().await.map(drop);
        table += &mirror.line(
            lab,
            &format!("signature `{signature}`, certificate `{certificate}`"),
            result,
        );
    }
    insta::assert_snapshot!("keys", table);
}

#[test]
fn expiry_is_checked_when_it_was_signed_and_by_the_newest_binding() {
    let Some(lab) = lab() else { return };
    let sums = gpg::sums_of(&archives::good());
    let mut table = String::new();
    for certificate in ["expiring", "prolonged"] {
        for made in ["expiring, in time", "expiring, too late"] {
            let key = &lab.certificates[certificate];
            let fingerprint = primary_of(key);
            let result = signature::verify(&sums, &lab.signatures[made], key, &fingerprint, now());
            let words = result.map_or_else(
                |error| error.to_string(),
                |signed| format!("accepted, signed at {}", signed.signed_at),
            );
            let _ = writeln!(table, "{certificate} · {made}: {}", without_digests(&words));
        }
    }
    insta::assert_snapshot!("expiry", table);
}

fn primary_of(certificate: &[u8]) -> String {
    use pgp::composed::Deserializable as _;
    use pgp::types::KeyDetails as _;
    let key = pgp::composed::SignedPublicKey::from_bytes(certificate).expect("a certificate");
    format!("{:X}", key.fingerprint())
}

#[tokio::test]
async fn what_is_signed_is_still_looked_at() {
    let Some(lab) = lab() else { return };
    let archives: Vec<_> = archives::all();
    let mut table = String::new();
    for (name, (sums, signature)) in &lab.signed_sums {
        let archive = archives.iter().find(|(case, _)| case == name);
        let archive = archive.map_or_else(archives::good, |(_, archive)| archive.clone());
        let mirror = Mirror::new(lab, sums, signature, &archive, &lab.certificates["binary"]);
        let result = mirror.both().await.map(drop);
        table += &mirror.line(lab, name, result);
    }
    insta::assert_snapshot!("content", table);
}

#[tokio::test]
async fn a_wrong_byte_in_any_file_is_an_integrity_failure() {
    let Some(lab) = lab() else { return };
    let archive = archives::good();
    let (sums, signature) = (gpg::sums_of(&archive), &lab.signatures["binary"]);
    let key = &lab.certificates["binary"];
    let (last, in_key) = (signature.len() - 1, 20);
    let cases = [
        (
            "sums",
            flipped(&sums, 3),
            signature.clone(),
            archive.clone(),
            key.clone(),
        ),
        (
            "signature",
            sums.clone(),
            flipped(signature, last),
            archive.clone(),
            key.clone(),
        ),
        (
            "archive",
            sums.clone(),
            signature.clone(),
            flipped(&archive, 50),
            key.clone(),
        ),
        (
            "key",
            sums.clone(),
            signature.clone(),
            archive.clone(),
            flipped(key, in_key),
        ),
        (
            "signature cut",
            sums.clone(),
            signature[..100].to_vec(),
            archive.clone(),
            key.clone(),
        ),
        (
            "signature empty",
            sums.clone(),
            Vec::new(),
            archive.clone(),
            key.clone(),
        ),
        (
            "archive cut",
            sums.clone(),
            signature.clone(),
            archive[..90].to_vec(),
            key.clone(),
        ),
    ];
    let mut table = String::new();
    for (case, sums, signature, archive, key) in cases {
        let mirror = Mirror::new(lab, &sums, &signature, &archive, &key);
        let result = mirror.both().await.map(drop);
        table += &mirror.line(lab, case, result);
        let mirrored = Mirror::good(lab);
        let locked = mirrored.resolve().await.expect("the good one resolves");
        let result = mirror.fetch(&locked).await.map(drop);
        table += &mirror.line(lab, &format!("{case}, after the lock"), result);
    }
    insta::assert_snapshot!("wrong_bytes", table);
}

/// Alters every byte of signature and checksums: only parts that OpenPGP leaves unsigned may
/// change.
#[test]
fn no_flipped_byte_is_accepted_but_where_openpgp_signs_nothing() {
    let Some(lab) = lab() else { return };
    let sums = gpg::sums_of(&archives::good());
    let (made, key) = (&lab.signatures["binary"], &lab.certificates["binary"]);
    let verify =
        |sums: &[u8], made: &[u8]| signature::verify(sums, made, key, &lab.fingerprint, now());
    let unsigned = unsigned_area(made);
    let honest = verify(&sums, made).expect("untouched, it verifies");
    for mask in [1, 0x40, 0x80, 0xff] {
        for place in 0..sums.len() {
            let mut bytes = sums.clone();
            bytes[place] ^= mask;
            assert!(
                verify(&bytes, made).is_err(),
                "sums, byte {place} ^ {mask:#x}"
            );
        }
        for place in 0..made.len() {
            let mut bytes = made.clone();
            bytes[place] ^= mask;
            if let Ok(signed) = verify(&sums, &bytes) {
                assert!(
                    unsigned.contains(&place),
                    "signature, byte {place} ^ {mask:#x}"
                );
                assert_eq!(signed, honest);
            }
        }
    }
    for length in 0..made.len() {
        assert!(
            verify(&sums, &made[..length]).is_err(),
            "the first {length} bytes"
        );
    }
    for place in 0..lab.certificates["armoured"].len() {
        let key = flipped(&lab.certificates["armoured"], place);
        // Parts of ASCII armour have no meaning, but an accepted file must have the same key.
        if let Ok(signed) = signature::verify(&sums, made, &key, &lab.fingerprint, now()) {
            assert_eq!(signed.primary_fingerprint, honest.primary_fingerprint);
            assert_eq!(signed.signing_fingerprint, honest.signing_fingerprint);
        }
    }
}

/// The unsigned parts of a version 4 signature, in an old-format packet with a two-byte length: the
/// unhashed subpackets, the first two bytes of the digest, and the bit count of the number.
fn unsigned_area(signature: &[u8]) -> std::ops::Range<usize> {
    let number =
        |place: usize| usize::from(signature[place]) << 8 | usize::from(signature[place + 1]);
    let hashed_ends = 3 + 6 + number(3 + 4);
    hashed_ends..hashed_ends + 2 + number(hashed_ends) + 2 + 2
}

#[test]
fn the_official_source_pins_hashicorps_key_in_full() {
    let official = ReleaseMirror::official();
    assert_eq!(
        official.fingerprint,
        "C874011F0AB405110D02105534365D9472D7468F"
    );
    assert_eq!(official.key_file, None);
}
